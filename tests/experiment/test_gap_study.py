"""The study of the modality gap, and ``mgclip gap``."""

import json

import numpy as np
import pytest
import torch
from icon_tasks import task
from layouts import class_folders
from PIL import Image

from mgclip import MGCLIP, Settings
from mgclip.clip.adapters import adapter_state
from mgclip.errors import InputError
from mgclip.experiment.gap_study import Study, load_sample


@pytest.fixture
def study(tiny_clip):
    sample = load_sample("icons100", None, classes=4, per_class=5, train=True)
    settings = Settings(adapter_batch_size=100, adapter_lr=3e-3)
    return Study(MGCLIP.from_pretrained(tiny_clip, settings=settings), sample)


def test_a_sample_has_the_first_classes_and_n_images_of_each(study):
    assert len(study.sample.names) == 4
    assert np.bincount(study.sample.test.labels).tolist() == [5] * 4
    assert np.bincount(study.sample.train.labels).tolist() == [100] * 4


def test_tracking_measures_and_restores_the_adapters(study):
    before, origin = adapter_state(study.model.backbone), study.measure()
    traces = {loss: study.track(loss, epochs=3, points=4) for loss in ("cross-entropy", "align")}
    for trace in traces.values():
        assert trace.steps == (0, 3, 6, 9, 12)
        assert trace.points[0] == origin
        assert trace.steps_per_epoch == 4
    assert traces["align"].points[-1].positive > origin.positive
    assert traces["align"].points[-1] != traces["cross-entropy"].points[-1]
    assert study.measure() == origin
    assert all(torch.equal(before[name], weight) for name, weight in adapter_state(study.model.backbone).items())


def test_the_last_step_is_measured_whatever_the_interval(study):
    study.model = MGCLIP(study.model.backbone, study.model.settings.model_copy(update={"adapter_batch_size": 150}))
    trace = study.track("align", epochs=3, points=2)
    assert (trace.steps, trace.steps_per_epoch) == ((0, 4, 8, 9), 3)
    assert len(set(trace.points)) == 4


def test_the_last_measurement_is_of_the_trained_adapters(study):
    """The same training by the learner ends at the same similarities."""
    trace = study.track("cross-entropy", epochs=2, points=2)
    settings = study.model.settings.model_copy(update={"epochs": 2})
    learner = MGCLIP(study.model.backbone, settings)
    learner.learn(study.sample.train.images, study.sample.train.labels, study.sample.names)
    assert Study(learner, study.sample).measure().negative == pytest.approx(trace.points[-1].negative, abs=1e-6)


def test_the_command_writes_numbers_and_figures(mgclip, tiny_clip, tmp_path):
    words = ("gap", tiny_clip, "icons100", "adapter_batch_size=150", "--classes", 4, "--per-class", 4)
    code, out, err = mgclip(*words, "--track", "--epochs", 2, "--points", 2, "--out", tmp_path / "gap", "--quiet", "--json")
    assert (code, err) == (0, "")
    record = json.loads((tmp_path / "gap" / "gap.json").read_text())
    printed = json.loads(out)
    assert printed["gap"] == record["gap"]
    assert [trace["loss"] for trace in record["traces"]] == ["cross-entropy", "align"]
    assert record["traces"][1]["points"][0] == record["gap"]
    pictures = {file.name for file in (tmp_path / "gap").glob("*.svg")}
    assert {"projection.svg", "negative.svg", "positive.svg", "centroid-distance.svg", "separability.svg"} <= pictures
    tracked = (tmp_path / "gap" / "negative.svg").read_text()
    assert [text in tracked for text in ("cross-entropy", "align", "within 10 % of the start")] == [True] * 3
    code, out, err = mgclip(*words, "--out", tmp_path / "once")
    assert code == 0, err
    assert "the cone" in out
    assert [file.name for file in sorted((tmp_path / "once").iterdir())] == ["gap.json", "projection.svg"]


def test_a_saved_model_and_a_folder_can_be_measured(mgclip, tiny_clip, icons, tmp_path, quick):
    model = MGCLIP.from_pretrained(tiny_clip, settings=quick)
    model.learn(*task(icons, [0, 1, 2]))
    model.save_pretrained(tmp_path / "shop")
    for c in range(3):
        (tmp_path / "photos" / f"class {c}").mkdir(parents=True)
        for i in range(3):
            Image.fromarray(icons["x_train"][12 * c + i]).save(tmp_path / "photos" / f"class {c}" / f"{i}.png")
    numbers = {}
    for clip in ("shop", tiny_clip):
        code, out, err = mgclip("gap", tmp_path / clip, tmp_path / "photos", "--out", tmp_path / "out", "--json", "--quiet")
        assert (code, err) == (0, "")
        numbers[clip] = json.loads(out)["gap"]
    assert numbers["shop"]["positive"] != numbers[tiny_clip]["positive"]
    assert numbers["shop"]["separability"] is None  # too few texts to train and test a classifier
    code, _, err = mgclip("gap", tmp_path / "shop", tmp_path / "photos", "rank=2")
    assert code == 2
    assert "is a saved model and keeps its settings: leave rank=2 out" in err


@pytest.mark.parametrize(
    ("data", "options", "sentence"),
    [
        ("icons10", {}, "There is no data set or folder icons10: give a data set"),
        ("icons100", {"classes": 1}, "The gap needs at least 2 classes; icons100 gives 1"),
        ("cifar100", {"path": "/nowhere"}, "There is no cifar100 at"),
        ("caltech101", {"train": True}, "caltech101 has no training images"),
    ],
)
def test_data_without_a_gap_is_rejected(data, options, sentence):
    with pytest.raises(InputError, match=sentence):
        load_sample(data, options.pop("path", None), **{"classes": 10, "per_class": 5, "train": False, **options})


def test_the_command_rejects_impossible_requests(mgclip, tiny_clip, tmp_path):
    for name in ("a", "b", "empty"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        if name != "empty":
            Image.new("RGB", (8, 8)).save(tmp_path / "photos" / name / "0.png")
    (tmp_path / "file").write_text("mine")
    for words, sentence in (
        ((tmp_path / "photos",), "The class 'empty' of photos has no image: add one, or leave it out"),
        ((tmp_path / "photos", "--path", "x"), "is not one: leave --path x out"),
        (("icons100", "epochs=2"), "--epochs sets the epochs of --track: use it instead of epochs="),
        (("icons100", "--out", tmp_path / "file"), "file is not a folder; give another folder"),
        (("icons100", "--out", tmp_path / "file" / "x"), "file is not a folder; give another folder"),
    ):
        code, out, err = mgclip("gap", tiny_clip, *words)
        assert (code, out) == (2, "")
        assert sentence in err


def test_a_sample_has_the_requested_number_of_images():
    sample = load_sample("icons100", None, classes=3, per_class=33, train=False)
    assert np.bincount(sample.test.labels).tolist() == [33] * 3


def test_numbers_of_another_model_of_the_same_name_are_kept(mgclip, tiny_clip, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for place in ("first", "second"):
        MGCLIP.from_pretrained(tiny_clip).save_pretrained(tmp_path / place / "model")
    words = ("icons100", "--classes", 4, "--per-class", 2, "--quiet")
    assert mgclip("gap", "first/model", *words)[0] == 0
    before = (tmp_path / "runs" / "gap-model-icons100" / "gap.json").read_text()
    sentence = (
        "gap-model-icons100 has the numbers of first/model on icons100: give another folder with --out, or remove this one."
    )
    code, _, err = mgclip("gap", "second/model", *words)
    assert code == 2
    assert sentence in " ".join(err.split())
    assert (tmp_path / "runs" / "gap-model-icons100" / "gap.json").read_text() == before
    assert mgclip("gap", "second/model", *words, "--out", "runs/other")[0] == 0
    assert mgclip("gap", "first/model", *words)[0] == 0  # the same again
    assert mgclip("gap", "first/model", *words, "--track", "--epochs", 1, "--points", 1)[0] == 0
    code, _, err = mgclip("gap", "first/model", *words)
    assert code == 2
    assert "gap-model-icons100 has the numbers of --track: give another folder" in " ".join(err.split())


def test_the_numbers_of_other_data_are_named_by_their_path(mgclip, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    class_folders(tmp_path / "april", cat=2, dog=2)
    folder = tmp_path / "runs" / "gap-iconclip-folder"
    folder.mkdir(parents=True)
    (folder / "gap.json").write_text(json.dumps({"clip": "iconclip", "data": "folder", "path": "march", "traces": []}))
    code, _, err = mgclip("gap", "iconclip", "folder", "--path", "april", "--per-class", 2)
    assert code == 2
    assert "gap-iconclip-folder has the numbers of iconclip on march: give another folder" in " ".join(err.split())
