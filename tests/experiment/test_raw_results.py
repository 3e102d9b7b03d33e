"""Raw results: complete, equal after a resume, never half written, and readable by pandas."""

import numpy as np
import pandas as pd
import pytest
from learned import SMALL_RUN
from runs import run, stop_after, stop_at

from mgclip import MGCLIP
from mgclip.errors import InputError
from mgclip.experiment import raw_results, run_folder
from mgclip.experiment.open_run import build_stream
from mgclip.experiment.paired import compare_all
from mgclip.experiment.raw_results import KINDS
from mgclip.experiment.recipe import Recipe


@pytest.fixture(scope="module")
def small(tiny_clip):
    return Recipe(**SMALL_RUN, clip=str(tiny_clip), max_epochs=2, methods=["zero-shot", "mg-clip", "ranpac"], ranpac_width=30)


def frames(folder, method):
    return {kind: raw_results.read(folder / method, kind, 3) for kind in KINDS}


def test_predictions_agree_with_the_records_and_the_model(small, tmp_path):
    steps = []
    run(small, tmp_path / "run", on_step=steps.append)
    stream, records = build_stream(small), run_folder.read_records(tmp_path / "run" / "mg-clip")
    found = pd.read_parquet(tmp_path / "run" / "mg-clip" / "predictions")
    assert len(found) == 8 + 16 + 24
    for record in records:
        own = found[found["task"] == record["task"]]
        assert own["right"].mean() == pytest.approx(record["accuracy"])
        assert own.groupby("image_task")["right"].mean().tolist() == pytest.approx(record["accuracy_per_task"])
        assert own["image"].is_unique
    last = found[found["task"] == 2]
    assert last["class"].tolist() == [task.names[label] for task in stream for label in task.test.labels]
    model = MGCLIP.from_pretrained(tmp_path / "run" / "mg-clip" / "model")
    predicted = model.predict([image for task in stream for image in task.test.images])
    assert last["answer"].tolist() == predicted.names
    np.testing.assert_allclose(last["probability"], predicted.probabilities.max(1), atol=1e-5)
    np.testing.assert_allclose(last["text_probability"], predicted.text_probabilities.max(1), atol=1e-4)
    np.testing.assert_allclose(last["head_score"], predicted.head_scores.max(1), atol=1e-5)
    assert last["head_answer"].tolist() == [predicted.classes[label] for label in predicted.head_scores.argmax(1)]
    assert "head_score" not in pd.read_parquet(tmp_path / "run" / "zero-shot" / "predictions")
    written = pd.concat([raw_results.read(tmp_path / "run" / method, "steps", 3) for method in small.methods])
    assert written["loss"].tolist() == [step.loss for step in steps]
    gaps = raw_results.read(tmp_path / "run" / "mg-clip", "gaps", 3)
    probe = records[0]["probe"]
    assert gaps[gaps["images"] == "train"]["negative"].tolist() == pytest.approx(probe["negative"])
    assert gaps[gaps["images"] == "test"]["positive"].tolist() == pytest.approx([r["gap"]["positive"] for r in records])


def test_the_five_best_classes_are_those_of_the_model(small, tmp_path):
    small = small.model_copy(update={"methods": ["mg-clip"], "epochs": 1})
    run(small, tmp_path / "run")
    stream, folder = build_stream(small), tmp_path / "run" / "mg-clip"
    images = [image for task in stream for image in task.test.images]
    predicted = MGCLIP.from_pretrained(folder / "model").predict(images)
    found = pd.read_parquet(folder / "predictions")
    last, first = (found[found["task"] == task] for task in (2, 0))
    order = np.argsort(-predicted.probabilities, axis=1)[:, :5]
    classes = last[["answer", *(f"answer_{place}" for place in range(2, 6))]].astype(str).to_numpy()
    assert classes.tolist() == np.array(predicted.classes)[order].tolist()
    shares = last[["probability", *(f"probability_{place}" for place in range(2, 6))]].to_numpy()
    np.testing.assert_allclose(shares, np.take_along_axis(predicted.probabilities, order, 1), atol=1e-5)
    # After the first task there are two classes only.
    assert first["answer_2"].notna().all() and first["probability_2"].notna().all()
    assert first[[f"{kind}_{place}" for kind in ("answer", "probability") for place in range(3, 6)]].isna().all(None)


def test_raw_results_name_the_drawing_of_an_icon(small, tmp_path):
    small = small.model_copy(update={"methods": ["zero-shot", "ranpac"]})
    run(small, tmp_path / "run")
    found = pd.read_parquet(tmp_path / "run" / "zero-shot" / "predictions")
    assert all(group.endswith(name) for group, name in zip(found["group"], found["class"], strict=True))
    (pair,) = compare_all([tmp_path / "run"], small.methods)
    assert (pair.images, pair.groups) == (24, found["group"].nunique())
    assert pair.groups < 24


@pytest.mark.parametrize("part", ["predictions", "predictions/task-0002.parquet"])
def test_pandas_compares_the_classes_of_a_file_and_of_a_folder(small, tmp_path, part):
    run(small.model_copy(update={"methods": ["mg-clip"], "epochs": 1}), tmp_path / "run")
    found = pd.read_parquet(tmp_path / "run" / "mg-clip" / part)
    columns = ["class", "answer", "text_answer", "head_answer"]
    assert {found[column].dtype.name for column in columns} == {"category"}
    assert ((found["class"] == found["answer"]) == found["right"]).all()
    for column in columns[1:]:
        expected = found["class"].astype(str) == found[column].astype(str)
        assert (found["class"] == found[column]).tolist() == expected.tolist()


@pytest.fixture(scope="module")
def probed(small):
    """A recipe whose probe stops, so that both phases of the adapters train."""
    return small.model_copy(update={"methods": ["mg-clip"], "max_epochs": 3, "alpha": 1e-6})


@pytest.fixture(scope="module")
def complete(probed, tmp_path_factory):
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("complete") / "run"
    run(probed, folder)
    return folder


@pytest.mark.parametrize("phase", ["probe", "adapter", "head"])
def test_a_resumed_run_has_every_step_once(probed, complete, tmp_path, phase):
    stop_at(lambda step: (step.phase, step.epoch, step.step) == (phase, 1, 2), probed, tmp_path / "part", checkpoint_every=1)
    run(probed, tmp_path / "part", resume=True)
    for kind, expected in frames(complete, "mg-clip").items():
        found = raw_results.read(tmp_path / "part" / "mg-clip", kind, 3)
        pd.testing.assert_frame_equal(found, expected)
        assert not found.duplicated().any()


def test_files_of_a_task_that_the_model_has_not_learned_are_replaced(small, tmp_path):
    small = small.model_copy(update={"methods": ["zero-shot"]})
    stop_after(2, small, tmp_path / "run")
    folder = tmp_path / "run" / "zero-shot" / "predictions"
    (folder / "task-0003.parquet").write_bytes((folder / "task-0002.parquet").read_bytes())  # a crash came before the record
    (folder / ".task-0003.parquet.new").write_bytes(b"PAR1")
    assert mine(tmp_path / "run")["task"].max() == 1
    run(small, tmp_path / "run", resume=True)
    assert mine(tmp_path / "run").groupby("task").size().tolist() == [8, 16, 24]


def mine(folder):
    return raw_results.read(folder / "zero-shot", "predictions", len(run_folder.read_records(folder / "zero-shot")))


def test_a_task_without_steps_does_not_change_the_types_of_columns(tmp_path):
    steps = pd.DataFrame({"task": 0, "phase": pd.array(["head"], "string"), "epoch": 1, "step": [1], "images": 4, "loss": 0.5})
    (tmp_path / "steps").mkdir()
    steps.to_parquet(tmp_path / "steps" / "task-0001.parquet")
    steps[:0].astype(object).to_parquet(tmp_path / "steps" / "task-0002.parquet")
    pd.testing.assert_frame_equal(raw_results.read(tmp_path, "steps", 2), steps)
    assert len(raw_results.read(tmp_path, "steps", 1)) == 1
    steps[:0].to_parquet(tmp_path / "steps" / "task-0001.parquet")
    assert raw_results.read(tmp_path, "steps", 2).empty


def test_a_damaged_file_is_named(small, tmp_path):
    run(small.model_copy(update={"methods": ["zero-shot"], "tasks": 1}), tmp_path / "run")
    file = tmp_path / "run" / "zero-shot" / "predictions" / "task-0001.parquet"
    good = pd.read_parquet(file)
    assert raw_results.read(tmp_path / "run" / "zero-shot", "predictions", 2) is None
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"task-0001\.parquet cannot be read \(.*\): restore it from a backup"):
        raw_results.read(tmp_path / "run" / "zero-shot", "predictions", 1)
    good.drop(columns="right").to_parquet(file)
    with pytest.raises(InputError, match=r"is damaged \(it has no column right\)"):
        raw_results.read(tmp_path / "run" / "zero-shot", "predictions", 1)
