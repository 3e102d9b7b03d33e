"""Tables of runs over several class orders, also with several seeds each."""

import csv
import json

import numpy as np
import pytest
import yaml

from mgclip.experiment.reproduce import load_table, table_runs
from mgclip.stream.datasets import load_dataset

SMALL = ("tasks=2", "classes_per_task=2", "train_per_class=3", "test_per_class=2", "methods=zero-shot,simplecil")


def test_a_study_of_class_orders_runs_each_order_once(mgclip, tiny_clip, tmp_path):
    out = tmp_path / "orders"
    words = (f"clip={tiny_clip}", *SMALL, "--out", out, "--class-orders", "1993-1994,1997")
    code, printed, err = mgclip("reproduce", "icons100-5x10", *words, "--json", "--quiet")
    assert (code, err) == (0, "")
    folders = sorted(file.parent.name for file in out.rglob("recipe.yaml"))
    assert folders == ["class-order-1993", "class-order-1994", "class-order-1997"]
    runs = [out / "icons100-5x10" / folder for folder in folders]
    recipes = [yaml.safe_load((run / "recipe.yaml").read_text()) for run in runs]
    assert [(recipe["class_order"], recipe["seed"]) for recipe in recipes] == [(1993, 0), (1994, 0), (1997, 0)]
    classes = [json.loads((run / "data.json").read_text())["task 1"]["classes"] for run in runs]
    names = load_dataset("icons100", path=None, train_per_class=1, test_per_class=1).class_names
    assert classes[0] == [names[place] for place in np.random.RandomState(1993).permutation(100)[:2]]
    assert len({tuple(own) for own in classes}) == 3
    lasts = [json.loads((run / "summary.json").read_text())["simplecil"]["last"] for run in runs]
    row = next(row for row in json.loads(printed)["rows"] if row["method"] == "simplecil")
    assert (row["seeds"], row["over"]) == (3, "class orders")
    assert row["values"]["Last"] == [pytest.approx(np.mean(lasts)), pytest.approx(np.std(lasts, ddof=1))]
    table, latex = ((out / f"icons100-5x10.{ending}").read_text() for ending in ("md", "tex"))
    assert table.startswith("| recipe | method | Avg % |")
    assert "| class orders | seconds |" in table.splitlines()[0]
    assert f"{100 * np.mean(lasts):.1f} ± {100 * np.std(lasts, ddof=1):.1f}" in table
    assert "mean and standard deviation over class orders" in latex
    assert "over seeds" not in table + latex
    with (out / "icons100-5x10-seeds.csv").open(encoding="utf-8") as file:
        assert [line["class order"] for line in csv.DictReader(file)] == ["1993", "1993", "1994", "1994", "1997", "1997"]
    page = (out / "report.html").read_text()
    assert "Mean ± standard deviation over runs" in page
    assert f"{100 * np.mean(lasts):.1f} ± {100 * np.std(lasts, ddof=1):.1f}" in page
    stamps = {file: file.stat().st_mtime_ns for file in out.rglob("records.jsonl")}
    code, _, err = mgclip("reproduce", "icons100-5x10", *words, "--quiet")  # nothing is left to run
    assert (code, err) == (0, "")
    assert {file: file.stat().st_mtime_ns for file in out.rglob("records.jsonl")} == stamps


def test_class_orders_in_a_table(tmp_path):
    file = tmp_path / "orders.yaml"
    file.write_text("about: five orders\nrecipes: [icons100]\nclass_orders: [1993, 1994, 1995, 1996, 1997]\n")
    runs = table_runs(load_table(str(file)), tmp_path, seeds=1, twin=False)
    assert [run.recipe.class_order for run in runs] == [1993, 1994, 1995, 1996, 1997]
    given = table_runs(load_table(str(file)), tmp_path, seeds=1, twin=False, class_orders=[7, 7])
    assert [run.recipe.class_order for run in given] == [7]
    both = table_runs(load_table(str(file)), tmp_path, seeds=2, twin=False, class_orders=[7, 8], changes=["seed=3"])
    assert [(run.recipe.class_order, run.recipe.seed) for run in both] == [(7, 3), (7, 4), (8, 3), (8, 4)]


def test_each_class_order_runs_with_every_seed(mgclip, tmp_path):
    out = tmp_path / "both"
    words = (*SMALL, "--out", out, "--class-orders", "1993-1994", "--quiet")
    assert mgclip("reproduce", "icons100-5x10", *words)[0] == 0
    stamps = {file: file.stat().st_mtime_ns for file in out.rglob("records.jsonl")}
    code, printed, err = mgclip("reproduce", "icons100-5x10", *words, "--seeds", 2, "--json")
    assert (code, err) == (0, "")
    assert stamps.items() <= {file: file.stat().st_mtime_ns for file in out.rglob("records.jsonl")}.items()  # only new ones run
    folders = sorted(file.parent.name for file in out.rglob("recipe.yaml"))
    assert folders == ["class-order-1993", "class-order-1993-seed-1", "class-order-1994", "class-order-1994-seed-1"]
    lasts = [json.loads(file.read_text())["simplecil"]["last"] for file in out.glob("icons100-5x10/*/summary.json")]
    row = next(row for row in json.loads(printed)["rows"] if row["method"] == "simplecil")
    assert (row["seeds"], row["over"]) == (4, "combinations of class order and seed")
    assert row["values"]["Last"] == [pytest.approx(np.mean(lasts)), pytest.approx(np.std(lasts, ddof=1))]
    assert "mean and standard deviation over combinations of class order and seed" in (out / "icons100-5x10.tex").read_text()
    with (out / "icons100-5x10-seeds.csv").open(encoding="utf-8") as file:
        own = [(line["class order"], line["seed"]) for line in csv.DictReader(file) if line["method"] == "simplecil"]
    assert own == [("1993", "0"), ("1993", "1"), ("1994", "0"), ("1994", "1")]
    with (out / "icons100-5x10-pairs.csv").open(encoding="utf-8") as file:
        (pair,) = csv.DictReader(file)
    assert pair["combinations of class order and seed"] == "4"
    assert len(pair["McNemar p of each run"].split()) == 4
