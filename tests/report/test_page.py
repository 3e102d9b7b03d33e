"""The HTML report of runs: it shows the numbers of the records, any name as text, and is self-contained."""

import base64
import io
import json
import re
import subprocess
import sys

import numpy as np
import pytest
from made_runs import HOSTILE, evaluation, make_run, matrix
from PIL import Image
from report_pages import cells, read

from mgclip.experiment.recipe import load_recipe
from mgclip.report.page import write_evaluation, write_report
from mgclip.report.page_classes import data_uri
from mgclip.report.run_data import labels, read_runs


def test_the_page_of_a_run_shows_its_numbers(tmp_path):
    run = make_run(tmp_path / "run", methods=("zero-shot", "mg-clip", "joint"))
    file = write_report([run], run / "report.html")
    assert file == run / "report.html"
    page, text = read(file), file.read_text(encoding="utf-8")
    assert [attrs["id"] for attrs in page.all("h2")] == [
        "summary",
        "accuracy",
        "matrices",
        "forgetting",
        "gap",
        "classes",
        "settings",
        "versions",
        "timings",
    ]
    summary = cells(text, "Accuracies")
    assert summary[0] == [
        "method",
        "Avg %",
        "Last %",
        "forgetting",
        "BWT",
        "FWT",
        "E",
        "drop on icons-concepts",
        "seconds",
    ]
    found = read_runs([run])[0].results[1]
    own = next(row for row in summary if row[0] == "mg-clip")
    assert own[1].removesuffix(" (best)") == f"{100 * found.summary['average']:.2f}"
    assert own[2].removesuffix(" (best)") == f"{100 * found.summary['last']:.2f}"
    assert own[5:] == ["50.00 (best)", "3", "11.00", "8"]
    joint = next(row for row in summary if row[0] == "joint")
    assert joint[3:6] == ["–", "–", "–"]
    assert not any("best" in cell for cell in joint)
    for column in (1, 2, 3, 4, 8):
        assert sum("best" in row[column] for row in summary) == 1
    assert cells(text, "Seconds")[2] == ["mg-clip", "6.8 + 1.5", *["2.2 + 0.5"] * 3]


def test_published_results_stand_next_to_those_of_the_same_setting(tmp_path):
    """A run is made of the settings of a shipped recipe, with made-up numbers."""
    settings = load_recipe("cars-laion", ["methods=simplecil,mg-clip", "data_path=/data"]).model_dump(mode="json")
    kept = {key: value for key, value in settings.items() if key not in ("methods", "seed", "classes_per_task", "tasks")}

    def page(place, **changes):
        run = make_run(place, methods=("simplecil", "mg-clip"), tasks=10, per_task=10, **{**kept, **changes})
        return run, write_report([run], run / "report.html").read_text(encoding="utf-8")

    run, text = page(tmp_path / "same")
    read(run / "report.html")
    head, *rows = cells(text, "Published and measured")
    assert head == ["method", "published Avg", "published Last", "measured Avg", "measured Last"]
    summary = read_runs([run])[0].results[0].summary
    measured = [f"{100 * summary[key]:.2f}" for key in ("average", "last")]
    assert rows[0] == ["simplecil (arXiv 2305.19270)", "92.00", "86.90", *measured]
    assert rows[1] == ["ranpac (with an adapter of the first task; its paper is not known)", "93.70", "90.00", "–", "–"]
    assert "Published results" not in page(tmp_path / "other", clip="openai/clip-vit-base-patch16")[1]
    assert "Published results" not in page(tmp_path / "half", initial_classes=50)[1]


def test_the_best_value_of_each_column_is_marked(tmp_path):
    runs = [make_run(tmp_path / f"seed-{seed}", methods=("zero-shot", "fine-tune", "mg-clip"), seed=seed) for seed in range(2)]
    text = write_report(runs, tmp_path / "page.html").read_text(encoding="utf-8")
    rows = cells(text, "Accuracies")[1:]
    assert [row[0] for row in rows][::3] == ["seed-0/zero-shot", "seed-1/zero-shot"]
    for column, best in ((1, max), (2, max), (3, min), (4, max), (7, min), (8, min)):
        values = [float(row[column].removesuffix(" (best)")) for row in rows]
        assert {values[n] for n, row in enumerate(rows) if "best" in row[column]} == {best(values)}


def test_runs_with_different_tasks_are_not_compared(tmp_path):
    runs = [make_run(tmp_path / f"by-{n}", per_task=n) for n in (2, 3)]
    rows = cells(write_report(runs, tmp_path / "page.html").read_text(encoding="utf-8"), "Accuracies")[1:]
    assert [sum("best" in row[1] for row in rows[half]) for half in (slice(0, 2), slice(2, 4))] == [1, 1]


def test_the_page_shows_matrix_forgetting_and_gap(tmp_path):
    run = make_run(tmp_path / "run", methods=("mg-clip",))
    text = write_report([run], tmp_path / "page.html").read_text(encoding="utf-8")
    expected = matrix(3, 0)
    found = cells(text, "mg-clip: accuracy on each task")
    assert found[0] == ["learned", "task 1", "task 2", "task 3"]
    assert found[2] == ["2", f"{100 * expected[1][0]:.0f}", f"{100 * expected[1][1]:.0f}", "50 (zero-shot)"]
    assert found[3] == ["3", *(f"{100 * share:.0f}" for share in expected[2])]
    lost = [100 * (max(expected[i][j] for i in range(j, 2)) - expected[2][j]) for j in range(2)]
    assert cells(text, "Points")[1] == ["mg-clip", *(f"{drop:.1f}" for drop in [np.mean(lost), *lost])]
    assert cells(text, "The negative similarity, logits")[1] == ["mg-clip", "10.000", "10.400", "8.800"]
    assert "alpha = 0.1" in text
    assert "It allowed 1 epoch." in text
    assert "mg-clip from 0.0 % to -12.0 %. Dashed lines at -10 % and +10 %." in text
    assert "mg-clip from 0.0 % to 5.0 %." in text


def test_equal_probes_share_a_curve(tmp_path):
    run = make_run(tmp_path / "run", methods=("zero-shot", "mg-clip", "mg-clip-replay"))
    text = write_report([run], tmp_path / "page.html").read_text(encoding="utf-8")
    assert [row[0] for row in cells(text, "The negative similarity, logits")[1:]] == ["mg-clip, mg-clip-replay"]


def test_any_name_is_shown_as_text(tmp_path):
    run = make_run(tmp_path / "<b>run", names=HOSTILE)
    page = read(write_report([run], tmp_path / "page.html", title="<i>mine</i> {{ 1 }}"))
    for name in (*HOSTILE, "<b>run", "<i>mine</i> {{ 1 }}"):
        assert name in page.text
    assert "49" not in re.findall(r"it's & (\S+)", page.text)
    assert not page.all("script") + page.all("i") + page.all("b")
    assert "predicted as <script>alert(1)</script>" in " ".join(attrs["alt"] for attrs in page.all("img"))


def test_a_lone_surrogate_in_a_name_is_replaced(tmp_path):
    run = make_run(tmp_path / "run", names=["caf\udce9"])
    page = read(write_report([run], tmp_path / "page.html"))
    assert "caf?" in page.text


def test_twenty_runs_get_a_figure_each(tmp_path):
    runs = [
        make_run(tmp_path / f"run-{n}", methods=("zero-shot", "mg-clip", "joint"), tasks=10, seed=n, rank=2 + n % 3)
        for n in range(20)
    ]
    file = write_report(runs, tmp_path / "page.html")
    page, text = read(file), file.read_text(encoding="utf-8")
    assert file.stat().st_size < 5_000_000
    assert len(cells(text, "Accuracies")) == 61
    titles = [attrs["id"] for attrs in page.all("title") if "id" in attrs]
    assert len([name for name in titles if name.startswith("accuracy-")]) == 20
    differ = cells(text, "Settings that differ")
    assert differ[0] == ["run", "seed", "rank"]
    assert differ[4] == ["run-3", "3", "2"]
    assert cells(text, "Versions and machine that differ")[0] == ["run", "torch"]
    assert ["numpy", "2.0.0"] in cells(text, "Versions and machine that all runs share")


@pytest.mark.parametrize(("count", "groups"), [(5, 1), (40, 1), (41, 2), (1000, 2)])
def test_few_classes_get_a_bar_each_and_many_a_histogram(tmp_path, count, groups):
    run = make_run(tmp_path / "run", tasks=1, per_task=count, methods=("mg-clip",))
    file = write_report([run], tmp_path / "page.html")
    page, text = read(file), file.read_text(encoding="utf-8")
    bars = [attrs for attrs in page.all("table") if attrs.get("class") == "bars"]
    assert len(bars) == groups
    assert len(cells(text, "Accuracy of every class")) == count + 1
    final = json.loads((run / "mg-clip" / "final.json").read_text())
    right = sorted(each["right"] for each in final["classes"])
    if groups == 1:
        assert [int(row[1].split()[0]) for row in cells(text, f"{count} classes, worst first")[1:]] == right
    else:
        assert [int(row[1].split()[0]) for row in cells(text, "The 20 best")[1:]] == right[:-21:-1]
        assert [int(row[1].split()[0]) for row in cells(text, "The 20 worst")[1:]] == right[:20]
        assert f"Of {count} classes the worst has {5 * right[0]} %" in text
    assert file.stat().st_size < 1_500_000


def test_a_matrix_of_many_tasks_is_a_figure(tmp_path):
    run = make_run(tmp_path / "run", tasks=40)
    page = read(write_report([run], tmp_path / "page.html"))
    titles = [attrs["id"] for attrs in page.all("title") if "id" in attrs]
    assert {"matrix-0-0-title", "matrix-0-1-title"} <= set(titles)


def test_an_unfinished_run_is_reported_as_far_as_it_is(tmp_path):
    run = make_run(tmp_path / "run", methods=("zero-shot", "mg-clip", "ranpac"), done={"mg-clip": 2, "ranpac": 0})
    with (run / "mg-clip" / "records.jsonl").open("a") as file:
        file.write('{"method": "mg-clip", "ta')
    (run / "environment.json").unlink()
    page = read(write_report([run], tmp_path / "page.html"))
    assert "Unfinished: mg-clip has 2 so far; ranpac has not finished a task." in page.text
    assert "(unfinished: 2 tasks so far)" in page.text
    assert "Not recorded for mg-clip: there is no final.json" in page.text
    assert "there is no environment.json" in page.text
    rows = cells((tmp_path / "page.html").read_text(encoding="utf-8"), "Accuracies")[1:]
    assert not any("best" in cell for cell in rows[1])


def test_a_single_task_with_missing_measurements_is_reported(tmp_path):
    run = make_run(tmp_path / "run", tasks=1, per_task=1, methods=("mg-clip",), final=False)
    file = run / "mg-clip" / "records.jsonl"
    record = json.loads(file.read_text()) | {"gap": {"positive": None, "negative": None}}
    del record["probe"]
    file.write_text(json.dumps(record) + "\n")
    page = read(write_report([run], tmp_path / "page.html"))
    for sentence in (
        "no method has learned a second task yet",
        "No method was probed: none trains adapters, the epochs were set, or the first task has a single class.",
        "there is a single class",
        "no method of this run has a final.json",
    ):
        assert sentence in page.text


def test_examples_are_embedded_small_and_only_from_the_methods_folder(tmp_path):
    run = make_run(tmp_path / "run", methods=("mg-clip",))
    method = run / "mg-clip"
    Image.new("RGB", (20, 20)).save(run / "secret.png")
    (method / "broken.png").write_bytes((method / "examples" / "000.png").read_bytes()[:60])
    (method / "picture.svg").write_text("<svg onload='alert(1)'/>")
    (method / "link.png").symlink_to(run / "secret.png")
    for name in (
        "../secret.png",
        str(run / "secret.png"),
        "gone.png",
        "broken.png",
        "picture.svg",
        "link.png",
        "",
        "a\0b",
    ):
        assert data_uri(method, name) is None
    uri = data_uri(method, "examples/000.png")
    picture = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    assert picture.size == (128, 77)
    final = json.loads((method / "final.json").read_text())
    final["examples"][0]["file"] = "../secret.png"
    (method / "final.json").write_text(json.dumps(final))
    page = read(write_report([run], tmp_path / "page.html"))
    assert len(page.all("img")) == len(final["examples"]) - 1


def test_the_same_runs_give_the_same_page(tmp_path):
    run = make_run(tmp_path / "run")
    first = write_report([run], tmp_path / "a.html").read_bytes()
    assert write_report([run, run], tmp_path / "b.html").read_bytes() == first


def test_labels_of_runs_are_distinct(tmp_path):
    folders = [tmp_path / "a" / "seed-0", tmp_path / "b" / "seed-0", tmp_path / "b" / "seed-1"]
    assert labels(folders) == ["a/seed-0", "b/seed-0", "b/seed-1"]
    assert labels(folders[1:]) == ["seed-0", "seed-1"]


def test_the_page_of_an_evaluation_shows_its_numbers(tmp_path):
    names = [*HOSTILE, *(f"class {n}" for n in range(50))]
    file = write_evaluation(evaluation(names), tmp_path / "page.html")
    page, text = read(file), file.read_text(encoding="utf-8")
    assert [attrs["id"] for attrs in page.all("h2")] == ["accuracy", "classes", "confused", "calibration"]
    for name in names:
        assert name in page.text
    assert cells(text, "Accuracy of the model, and of each branch alone")[1:] == [
        ["model", "75.60"],
        ["text branch", "60.00"],
        ["image branch", "70.00"],
    ]
    assert cells(text, "All classes")[1][1:] == ["20", "0", "0", "0.0", "–"]
    assert cells(text, "Predictions by confidence")[1:] == [["0 to 10 %", "20", "4.0", "75.0"]]
    assert "71.0 points" in page.text
    assert "4.0 % confident, 75.0 % right, 20 images." in text


def test_an_evaluation_of_one_branch_without_predictions_is_reported(tmp_path):
    bare = {"bins": [], "error": 0.0}
    bare = evaluation(["a", "b"], text_accuracy=None, image_accuracy=None, confused=[], calibration=bare)
    page = read(write_evaluation(bare, tmp_path / "page.html"))
    assert page.text.startswith(f"{bare['model']} on {bare['folder']}")
    assert "No image was assigned to a wrong class." in page.text
    assert "There are no predictions." in page.text
    assert "of each branch alone" not in page.text


def test_the_command_writes_the_page(mgclip, tmp_path):
    runs = [make_run(tmp_path / f"run-{n}", seed=n) for n in range(2)]
    code, out, err = mgclip("report", *runs)
    assert (code, err) == (0, "")
    assert out.strip() == f"report: {runs[0] / 'report.html'}"
    code, out, _ = mgclip("report", runs[0], "--out", tmp_path / "new" / "page.html", "--title", "Mine", "--json")
    printed = json.loads(out)
    assert code == 0
    assert printed["report"] == str(tmp_path / "new" / "page.html")
    assert printed["bytes"] == (tmp_path / "new" / "page.html").stat().st_size
    assert read(tmp_path / "new" / "page.html").text.startswith("Mine")
    code, _, err = mgclip("report", tmp_path)
    assert code == 2
    assert "is not a run, because it has no recipe.yaml" in err


def test_a_report_does_not_import_torch(tmp_path):
    run = make_run(tmp_path / "run")
    program = (
        "import sys; from pathlib import Path; from mgclip.report.page import write_report; "
        "write_report([Path(sys.argv[1])], Path(sys.argv[1]) / 'page.html'); "
        "print([name for name in ('torch', 'transformers', 'peft', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program, str(run)], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr
