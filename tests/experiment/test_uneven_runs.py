"""Runs of long-tailed and blurry streams: what is recorded, resumed and reported."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from layouts import class_folders
from runs import run, stop_after
from safetensors.torch import load_file

from mgclip.errors import InputError
from mgclip.experiment import run_folder
from mgclip.experiment.metrics import by_shots
from mgclip.experiment.open_run import build_stream
from mgclip.report.page import write_report
from mgclip.stream.tasks import training_counts

GROWING = ["zero-shot", "simplecil", "acil", "ranpac", "mg-clip-analytic-adapt", "joint"]


def test_by_shots_is_the_mean_over_classes():
    counts = np.array([101, 100, 20, 19, 500])
    truth, right = np.array([0, 0, 1, 2, 3, 3, 4]), np.array([True, False, True, False, True, True, True])
    assert by_shots(counts, truth, right) == {"many": 0.75, "medium": 0.5, "few": 1.0}
    assert by_shots(counts, truth[:1], right[:1]) == {"many": 1.0, "medium": None, "few": None}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Folders of six classes: eight training and two test images each."""
    root = tmp_path_factory.mktemp("six")
    for part, images in (("train", 8), ("test", 2)):
        class_folders(root / part, **dict.fromkeys("abcdef", images))
    return root


@pytest.fixture
def blurry(small, folders):
    """A recipe of three tasks; of the eight images of each class two come later."""
    return small.model_copy(
        update={"data": "folder", "data_path": str(folders), "train_per_class": None, "test_per_class": None}
        | {"tasks": None, "blurry": 0.25, "retention": {}}
    )


@pytest.fixture
def tailed(blurry, tmp_path):
    """A recipe of two tasks, whose classes have 120, 24, 5 and 1 training images."""
    class_folders(tmp_path / "data" / "train", a=120, b=120, c=120, d=120)
    class_folders(tmp_path / "data" / "test", a=3, b=3, c=3, d=3)
    return blurry.model_copy(
        update={
            "methods": ["zero-shot", "simplecil"],
            "data_path": str(tmp_path / "data"),
            "blurry": 0.0,
            "imbalance": 120.0,
        }
    )


def test_a_long_tail_is_recorded_by_shots(tailed, tmp_path, mgclip):
    summaries = run(tailed, tmp_path / "run")
    counts = training_counts(build_stream(tailed))
    assert sorted(counts) == [1, 4, 24, 120]
    for method in tailed.methods:
        folder = tmp_path / "run" / method
        last = run_folder.read_records(folder)[-1]
        answers = pd.read_parquet(folder / "predictions")
        answers = answers[answers["task"] == answers["task"].max()]
        final = json.loads((folder / "final.json").read_text())
        trained = {each["name"]: each["train"] for each in final["classes"]}
        assert list(trained.values()) == counts.tolist()
        right = answers.groupby("class", observed=True)["right"].mean()
        wanted = {
            "many": [share for name, share in right.items() if trained[name] > 100],
            "medium": [share for name, share in right.items() if 20 <= trained[name] <= 100],
            "few": [share for name, share in right.items() if trained[name] < 20],
        }
        for group, shares in wanted.items():
            value = pytest.approx(np.mean(shares)) if shares else None
            assert last["shots"][group] == summaries[method][group] == value
    page = write_report([tmp_path / "run"]).read_text()
    assert "few %" in page and "training images" in page
    assert "<dt>old</dt>" not in page
    code, printed, err = mgclip("run", "--resume", tmp_path / "run", "--quiet", "--json")
    assert code == 0, err
    assert json.loads(printed)["methods"]["simplecil"]["few"] == summaries["simplecil"]["few"]


def test_a_run_without_a_long_tail_has_no_shots(small, tmp_path):
    summary = run(small.model_copy(update={"methods": ["simplecil"], "retention": {}}), tmp_path / "run")["simplecil"]
    assert not {"many", "few", "old", "new"} & summary.keys()
    page = write_report([tmp_path / "run"]).read_text()
    assert "few %" not in page and "old %" not in page


def test_a_blurry_run_resumes_to_the_same_result(blurry, tmp_path):
    recipe = blurry.model_copy(update={"methods": GROWING})
    whole = run(recipe, tmp_path / "whole")
    for place, method in enumerate(["simplecil", "acil", "mg-clip-analytic-adapt"]):
        stop_after(2, recipe, tmp_path / "part", method=method, resume=place > 0)
    again = run(recipe, tmp_path / "part", resume=True)
    for method in GROWING:
        assert {**again[method], "seconds": 0} == {**whole[method], "seconds": 0}
    page = write_report([tmp_path / "whole"]).read_text()
    assert "old %" in page and "new %" in page


@pytest.mark.parametrize("method", ["simplecil", "joint"])
def test_a_blurry_run_records_what_comes_back(blurry, tmp_path, method):
    whole, stream = run(blurry.model_copy(update={"methods": [method]}), tmp_path / "whole")[method], build_stream(blurry)
    records = run_folder.read_records(tmp_path / "whole" / method)
    if method == "joint":
        assert [record["train_images"] for record in records] == [48]
        assert "old" not in whole
        return
    assert [record["train_images"] for record in records] == [len(task.train.labels) for task in stream]
    back = [record.get("returning_images", 0) for record in records]
    assert back == [int((task.train.labels >= 2).sum()) for task in stream]
    assert sum(back) == 8  # two images of each class of the first two tasks
    assert records[-1]["classes_seen"] == 6
    shares = [record["accuracy_per_task"] for record in records]
    assert whole["new"] == pytest.approx((shares[1][1] + shares[2][2]) / 2)
    assert whole["old"] == pytest.approx((shares[1][0] + (shares[2][0] + shares[2][1]) / 2) / 2)


def test_a_blurry_run_has_old_and_new_even_if_no_image_comes_back(blurry, tmp_path):
    recipe = blurry.model_copy(update={"methods": ["zero-shot"], "images_per_class": 1})  # the only image of a class stays
    assert not any(task.returning for task in build_stream(recipe))
    summary = run(recipe, tmp_path / "run")["zero-shot"]
    records = run_folder.read_records(tmp_path / "run" / "zero-shot")
    assert [record["returning_images"] for record in records] == [0, 0, 0]
    assert summary["new"] == pytest.approx((records[1]["accuracy_per_task"][1] + records[2]["accuracy_per_task"][2]) / 2)


def test_class_means_do_not_depend_on_the_task_of_an_image(blurry, tmp_path):
    recipes = [blurry.model_copy(update={"methods": ["simplecil"], "blurry": share}) for share in (0.0, 0.5)]
    for recipe in recipes:
        run(recipe, tmp_path / str(recipe.blurry))
    even, late = (load_file(next((tmp_path / share).glob("simplecil/model/*/head.safetensors"))) for share in ("0.0", "0.5"))
    torch.testing.assert_close(even["weight"], late["weight"], rtol=0, atol=1e-6)
    assert even["counts"].tolist() == late["counts"].tolist() == [8] * 6


def test_a_run_keeps_its_stream(blurry, tmp_path):
    recipe = blurry.model_copy(update={"methods": ["zero-shot"], "imbalance": 2.0})
    run(recipe, tmp_path / "run")
    written = yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())
    assert (written["blurry"], written["imbalance"], written["imbalance_order"]) == (0.25, 2.0, "shuffled")
    assert json.loads((tmp_path / "run" / "data.json").read_text())["task 3"]["returning"]
    for change, value in (("blurry", 0.2), ("imbalance", 3.0), ("imbalance_order", "ordered")):
        with pytest.raises(InputError, match=f"was started with {change} = "):
            run(recipe.model_copy(update={change: value}), tmp_path / "run", resume=True)


def test_an_unreadable_image_that_comes_back_is_skipped(blurry, tmp_path):
    class_folders(tmp_path / "data" / "train", a=4, b=4, c=4, d=4)
    class_folders(tmp_path / "data" / "test", a=1, b=1, c=1, d=1)
    changes = {"data_path": str(tmp_path / "data"), "classes_per_task": 1, "methods": ["simplecil"], "on_bad_image": "skip"}
    recipe = blurry.model_copy(update=changes)
    stream = build_stream(recipe)
    task = next(task for task in stream if task.returning)
    gone = [task.train.images[k] for k in np.flatnonzero(task.train.labels == 1)]  # all images of the class that comes back
    for file in gone:
        file.write_bytes(b"no image")
    run(recipe, tmp_path / "run")
    record = run_folder.read_records(tmp_path / "run" / "simplecil")[task.index]
    assert len(record["skipped"]) == len(gone)
