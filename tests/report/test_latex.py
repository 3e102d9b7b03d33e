"""Tables in LaTeX: what is bold, and that no text breaks them."""

from mgclip.experiment.table_results import TableResult
from mgclip.report.latex import escape, latex_table
from mgclip.report.tables import frame


def row(method, average, last, recipe="icons100"):
    values = {"Avg": (average, 0.01), "Last": (last, 0.02), "forgetting": (average - last, None)}
    return TableResult(recipe, "", method, 2, values, (3, 3), 9.0, ((average,), (last,)), as_published=False)


def test_the_best_of_each_recipe_is_bold_unless_all_are_equal():
    rows = [row("zero-shot", 0.8, 0.5), row("mg-clip", 0.9, 0.5), row("joint", 0.95, 0.95), row("mg-clip", 0.7, 0.6, "cub200")]
    lines = latex_table(frame(rows), rows, "t").splitlines()
    shown = [line for line in lines if "&" in line][1:]
    assert [line.count(r"\textbf") for line in shown] == [1, 1, 0, 0]  # the average of one, the forgetting of the other
    assert r"\textbf{90.0 $\pm$ 1.0}" in shown[1]
    assert r"\begin{tabular}{llrrrrr}  % needs \usepackage{booktabs}" in "\n".join(lines)


def test_no_text_breaks_a_table():
    assert (
        escape(r"50% & a_b #1 {x} ~ ^ \ $") == r"50\% \& a\_b \#1 \{x\} \textasciitilde{} \textasciicircum{} \textbackslash{} \$"
    )
    assert escape("a<b>|c") == r"a\textless{}b\textgreater{}\textbar{}c"
    assert escape("83.2 ± 1.3") == r"83.2 $\pm$ 1.3"
    assert escape("-1.5 to +2.0") == "$-$1.5 to $+$2.0"
    assert escape("icons100-5x10") == "icons100-5x10"
