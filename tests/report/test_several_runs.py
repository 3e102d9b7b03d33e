"""A page of several runs: which of them are compared, which are averaged, and how its rows name them."""

import json

import pandas as pd
import pytest
from made_runs import make_run
from report_pages import cells

from mgclip.report.page import write_report
from mgclip.report.page_tables import points
from mgclip.report.tables import mean_and_spread

METHODS = ("zero-shot", "mg-clip")


def report(runs, place):
    """The text of the page of some runs."""
    return write_report(runs, place / "page.html").read_text(encoding="utf-8")


def stars(text, column=1):
    """The rows whose value in a column of the summary is marked as the best."""
    return [row[0] for row in cells(text, "Accuracies")[1:] if "best" in row[column]]


def with_answers(run):
    """The run with the answers of its methods after the last of three tasks: mg-clip is right, zero-shot for every second image."""
    for method in METHODS:
        images = [str(number) for number in range(20)]
        right = [method == "mg-clip" or number % 2 == 0 for number in range(20)]
        answers = ["a" if each else "b" for each in right]
        table = {"task": 2, "image": images, "class": "a", "answer": answers, "right": right, "text_answer": answers}
        (run / method / "predictions").mkdir()
        pd.DataFrame(table).to_parquet(run / method / "predictions" / "task-0003.parquet")
    return run


def test_rows_say_which_runs_they_are_about_if_recipes_have_the_same_name(tmp_path):
    changes = [(rank, seed) for rank in (2, 4) for seed in (0, 1)]
    runs = [with_answers(make_run(tmp_path / f"rank={rank}-{seed}", rank=rank, seed=seed)) for rank, seed in changes]
    text = report(runs, tmp_path)
    names = [row[0] for row in cells(text, "Mean ± standard deviation")[1:]]
    notes = ["(rank=2-0, rank=2-1)", "(rank=4-0, rank=4-1)"]
    assert names == [f"made-up/{method} {note}" for note in notes for method in METHODS]
    pairs = [row[0] for row in cells(text, "Difference in accuracy")[1:]]
    assert pairs == [f"made-up: zero-shot − mg-clip {note}" for note in notes]
    one = report(runs[:2], tmp_path)
    assert [row[0] for row in cells(one, "Mean ± standard deviation")[1:]] == [f"made-up/{method}" for method in METHODS]
    assert [row[0] for row in cells(one, "Difference in accuracy")[1:]] == ["zero-shot − mg-clip"]


def test_a_run_that_was_repeated_with_the_same_seed_is_not_averaged(tmp_path):
    runs = [make_run(tmp_path / name, seed=seed) for name, seed in (("first", 0), ("again", 0))]
    assert "Mean ± standard deviation" not in report(runs, tmp_path)
    text = report([*runs, make_run(tmp_path / "other", seed=1)], tmp_path)
    rows = cells(text, "Mean ± standard deviation")[1:]
    assert [(row[0], row[-1]) for row in rows] == [(f"made-up/{method} (first, other)", "2") for method in METHODS]
    twice = [*runs, *(make_run(tmp_path / f"{name} other", seed=1) for name in ("first", "again"))]
    rows = cells(report(twice, tmp_path), "Mean ± standard deviation")[1:]
    assert [(row[0], row[-1]) for row in rows] == [(f"made-up/{method} (first, first other)", "2") for method in METHODS]
    ordered = [make_run(tmp_path / f"order-{number}", class_order=number) for number in (1993, 1994)]
    assert [row[-1] for row in cells(report(ordered, tmp_path), "Mean ± standard deviation")[1:]] == ["2", "2"]


def test_a_run_of_a_version_without_sources_is_averaged_with_later_ones(tmp_path):
    runs = [make_run(tmp_path / "old", seed=0), make_run(tmp_path / "new", seed=1, expected_source="a paper")]
    assert [row[-1] for row in cells(report(runs, tmp_path), "Mean ± standard deviation")[1:]] == ["2", "2"]


@pytest.mark.parametrize(
    "settings",
    [
        [{"data": "folder", "data_path": "march"}, {"data": "folder", "data_path": "april"}],
        [{"data": "icons100"}, {"data": "icons100", "filter": "edges"}],
        [{"datasets": [{"data": "folder", "name": "x", "data_path": path}, {"data": "dtd"}]} for path in ("march", "april")],
        [{"datasets": [{"data": "folder", "name": "x"}, {"data": "dtd"}], "data_path": path} for path in ("march", "april")],
        [{"datasets": [{"data": data, "name": "x"}, {"data": "dtd"}]} for data in ("food101", "cub200")],
    ],
)
def test_runs_on_different_data_are_not_compared(tmp_path, settings):
    runs = [make_run(tmp_path / f"run-{number}", methods=["mg-clip"], seed=number, **own) for number, own in enumerate(settings)]
    assert stars(report(runs, tmp_path)) == ["run-0/mg-clip", "run-1/mg-clip"]


def test_a_data_set_of_the_table_is_the_same_wherever_it_is(tmp_path):
    places = ("here", "there")
    runs = [make_run(tmp_path / place, methods=["mg-clip"], seed=n, data_path=place) for n, place in enumerate(places)]
    assert len(stars(report(runs, tmp_path))) == 1


def test_seconds_that_look_equal_are_both_marked(tmp_path):
    run = make_run(tmp_path / "run")
    for method, learn in zip(METHODS, ("1.1", "1.15"), strict=True):
        file = run / method / "records.jsonl"
        file.write_text(
            file.read_text().replace('"learn": 1.25', f'"learn": {learn}').replace('"learn": 2.25', f'"learn": {learn}')
        )
    assert [row[-1] for row in cells(report([run], tmp_path), "Accuracies")[1:]] == ["5 (best)", "5 (best)"]


@pytest.mark.parametrize(("share", "words"), [(-0.0004, "0.0"), (0.0, "0.0"), (0.0004, "0.0"), (-0.012, "-1.2"), (0.012, "+1.2")])
def test_a_difference_that_is_shown_as_zero_has_no_sign(share, words):
    assert points(share) == words
    assert mean_and_spread((share, 0.001)) == f"{words.removeprefix('+')} ± 0.1"


def with_data(run, tasks):
    """The run with a record of its data: for each task its classes, its numbers of training and test images, and a digest."""
    parts = [
        {"classes": classes, "train": {"images": train, "digest": f"{run}"}, "test": {"images": test, "digest": digest}}
        for classes, train, test, digest in tasks
    ]
    (run / "data.json").write_text(json.dumps({f"task {number}": part for number, part in enumerate(parts, start=1)}))
    return run


@pytest.mark.parametrize(
    ("settings", "other"),
    [
        ({"class_order": "dataset"}, [(["a"], 4, 2, "x"), (["b"], 4, 2, "changed")]),
        ({}, [(["a"], 4, 2, "x"), (["b"], 5, 2, "y")]),
        ({"class_order": 7}, [(["b"], 4, 2, "z"), (["c"], 4, 2, "z")]),
        ({"class_order": 7}, [(["b"], 4, 3, "z"), (["a"], 4, 2, "z")]),
    ],
)
def test_runs_whose_files_of_the_data_were_changed_are_not_averaged(tmp_path, settings, other):
    data = [(["a"], 4, 2, "x"), (["b"], 4, 2, "y")]
    made = [with_answers(make_run(tmp_path / f"run-{seed}", seed=seed, **settings)) for seed in range(3)]
    runs = [with_data(run, tasks) for run, tasks in zip(made, (data, data, other), strict=True)]
    text = report(runs, tmp_path)
    assert [(row[0], row[-1]) for row in cells(text, "Mean ± standard deviation")[1:]] == [
        (f"made-up/{method} (run-0, run-1)", "2") for method in METHODS
    ]
    assert [row[-1] for row in cells(text, "Difference in accuracy")[1:]] == ["2", "1"]
    assert "The data of these runs differ: run-0, run-1, run-2." in text
    assert "The data of these runs differ" not in report(runs[:2], tmp_path)


def test_runs_with_other_class_orders_or_rare_classes_have_the_same_data(tmp_path):
    for number, (settings, seconds) in enumerate(
        [
            ([{"class_order": 1}, {"class_order": 2}], [(["b"], 4, 2, "v"), (["a"], 4, 2, "w")]),
            ([{"class_order": "shuffled"}, {"class_order": "shuffled"}], [(["b"], 4, 2, "v"), (["a"], 4, 2, "w")]),
            ([{"imbalance": 10}, {"imbalance": 10}], [(["a"], 1, 2, "x"), (["b"], 4, 2, "y")]),
        ]
    ):
        data = [(["a"], 4, 2, "x"), (["b"], 4, 2, "y")], seconds
        made = [make_run(tmp_path / f"{number}-{seed}", seed=seed, **own) for seed, own in enumerate(settings)]
        text = report([with_data(run, tasks) for run, tasks in zip(made, data, strict=True)], tmp_path)
        assert [row[-1] for row in cells(text, "Mean ± standard deviation")[1:]] == ["2", "2"]
