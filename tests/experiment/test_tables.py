"""Tables that are refused before anything starts, because their runs would not be those that they name."""

import pytest

from mgclip.app.reproduce import numbers
from mgclip.errors import InputError
from mgclip.experiment.reproduce import TableSpec, load_table, table_runs


def test_what_runs_differ_in_anyway_cannot_be_varied_or_changed(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("about: mine\nrecipes: [icons100]\nvary: {seed: [0, 1, 2]}\n")
    with pytest.raises(InputError, match=r"vary must have keys other than seed; found seed: use --seeds\."):
        load_table(str(file))
    for line, words in (("vary: {class_order: [1, 2]}", []), ("changes: {class_order: 1}", []), ("", ["class_order=1"])):
        file.write_text(f"about: mine\nrecipes: [icons100]\n{line}\n")
        with pytest.raises(InputError, match="The runs differ in their class orders, so class_order cannot be changed or varied"):
            table_runs(load_table(str(file)), tmp_path, seeds=1, twin=False, changes=words, class_orders=[1993])
        assert table_runs(load_table(str(file)), tmp_path, seeds=2, twin=False, changes=words)


def test_the_only_key_that_a_table_varies_cannot_be_changed(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("about: mine\nrecipes: [icons100]\nvary: {rank: [2, 4]}\n")
    with pytest.raises(InputError, match="The table varies rank in all its runs, so it cannot be changed too"):
        table_runs(load_table(str(file)), tmp_path, seeds=1, twin=False, changes=["rank=3"])
    file.write_text("about: mine\nrecipes: [icons100]\nvary: {rank: [2, 4], alpha: [0.2]}\n")
    runs = table_runs(load_table(str(file)), tmp_path, seeds=1, twin=False, changes=["rank=3"])
    assert [run.recipe.rank for run in runs] == [2, 4, 3]


def test_two_runs_with_one_folder_are_refused_before_the_first_starts(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.yaml").write_text("extends: icons100\n")
    recipes = [str(tmp_path / folder / "mine.yaml") for folder in ("a", "b")]
    sentence = r"Two runs of the table have the folder .*mine.seed-0: give the recipe .*b.mine\.yaml another name with a line"
    with pytest.raises(InputError, match=sentence):
        table_runs(TableSpec(about="mine", recipes=recipes), tmp_path, seeds=1, twin=False)
    (tmp_path / "b" / "mine.yaml").write_text("extends: icons100\nname: other\n")
    assert len(table_runs(TableSpec(about="mine", recipes=recipes), tmp_path, seeds=1, twin=False)) == 2
    alike = TableSpec(about="mine", recipes=["icons100"], vary={"prompt": ["a {}", "a {}?"], "rank": [2, 2]})
    with pytest.raises(
        InputError, match=r"have the folder .*icons100 prompt=a \{\}.seed-0: give .* or leave one value of vary out"
    ):
        table_runs(alike, tmp_path, seeds=1, twin=False)


def test_a_value_that_a_table_has_in_two_forms_is_run_once(tmp_path):
    table = TableSpec(about="mine", recipes=["icons100"], vary={"imbalance": [1, 1.0, "1e0", 2.5], "alpha": [0.1, None]})
    runs = table_runs(table, tmp_path, seeds=2, twin=False, class_orders=[1993, 1994])
    changes = ["imbalance=1", "imbalance=2.5", "alpha=0.1", "alpha=null"]
    assert [run.change for run in runs] == 4 * changes


def test_published_results_belong_to_a_recipe_of_the_table(tmp_path):
    table = TableSpec(about="mine", recipes=["cifar100"], published=[{"recipe": "cifar-100", "method": "other", "avg": 1}])
    with pytest.raises(InputError, match=r"A published result of the table names the recipe cifar-100: did you mean cifar100\?"):
        table_runs(table, tmp_path, seeds=1, twin=False)


@pytest.mark.parametrize("text", ["1993-", "-3", "b", "5-3", "1.5"])
def test_wrong_class_orders_are_refused(mgclip, text):
    code, printed, err = mgclip("reproduce", "icons100", f"--class-orders={text}")
    assert (code, printed) == (2, "")
    assert "--class-orders must be numbers such as 1993-1997 or 1993,1995; found" in err


@pytest.mark.parametrize("text", ["1-99999999", "1-600,1001-1600"])
def test_more_class_orders_than_anyone_runs_are_refused(mgclip, text):
    code, printed, err = mgclip("reproduce", "icons100", f"--class-orders={text}")
    assert (code, printed) == (2, "")
    assert f"--class-orders must be at most 1,000 numbers; found '{text}': give fewer." in err
    assert len(numbers("1-600,1001-1400")) == 1000
