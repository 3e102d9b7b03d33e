"""Files of every format can still be read. Never change these files.

Format 1 has a model with two versions, and a run. Format 2 has a run with raw results, and a model with a solved head of 32 random features and two versions,
learned from six drawings of each class; the second version has more of class 1. It answers for the images of format 1.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mgclip import MGCLIP, history, undo
from mgclip.errors import InputError
from mgclip.experiment.run_folder import check_same, read_recipe
from mgclip.report.page import write_report
from mgclip.workflows.held_out import read_held_out

FIRST = Path(__file__).parent / "1"
SECOND = Path(__file__).parent / "2"


@pytest.fixture
def first(tmp_path):
    return shutil.copytree(FIRST, tmp_path / "first")


def test_a_model_of_the_first_format_gives_the_same_predictions(first):
    with np.load(first / "images.npz") as kept:
        images = list(kept["images"])
    answers = json.loads((first / "answers.json").read_text())
    found = MGCLIP.from_pretrained(first / "model").predict(images)
    assert list(found.names) == answers["names"]
    assert found.probabilities == pytest.approx(np.array(answers["probabilities"]), abs=1e-4)


def test_a_model_of_the_first_format_learns_more_classes(first):
    model = MGCLIP.from_pretrained(first / "model")
    assert [version.number for version in history(first / "model")] == [1, 2]
    assert len(model.class_names) == 4
    assert list(read_held_out(first / "model")) == [model.class_names[2]]
    with np.load(first / "images.npz") as kept:
        model.learn(list(kept["images"][:4]), [0, 0, 1, 1], ["fifth", "sixth"])
    model.save_pretrained(first / "model", note={"what": "continued"})
    assert len(MGCLIP.from_pretrained(first / "model").class_names) == 6
    undo(first / "model", 1)
    assert MGCLIP.from_pretrained(first / "model").class_names == model.class_names[:2]


def test_a_run_of_the_first_format_is_reported_and_resumed(first, mgclip):
    page = write_report([first / "run"], first / "page.html").read_text()
    assert "simplecil" in page
    begun = read_recipe(first / "run")
    assert (begun.rank, begun.memory, begun.rapf_init) == (1, 2000, "identity")
    # Recipes had to set the memory then, and RAPF had one initialisation only. Such a run still has the same settings as a new one.
    check_same(first / "run", begun.model_copy(update={"memory": 0, "rapf_init": "default"}), "no")
    with pytest.raises(InputError, match=r"was started with memory = 2000, not 50: no"):
        check_same(first / "run", begun.model_copy(update={"memory": 50}), "no")
    before = json.loads((first / "run" / "summary.json").read_text())
    code, printed, _ = mgclip("run", "--resume", first / "run", "--quiet", "--json")
    assert code == 0
    assert {m: s["accuracy_after"] for m, s in json.loads(printed)["methods"].items()} == {
        m: s["accuracy_after"] for m, s in before.items()
    }
    shutil.rmtree(first / "run" / "simplecil")
    assert mgclip("run", "--resume", first / "run", "--quiet")[0] == 0


@pytest.fixture
def second(tmp_path):
    return shutil.copytree(SECOND, tmp_path / "second")


@pytest.fixture(scope="module")
def images():
    with np.load(FIRST / "images.npz") as kept:
        return list(kept["images"])


def test_a_solved_head_of_the_second_format_gives_the_same_predictions(second, images):
    answers = json.loads((second / "answers.json").read_text())
    model = MGCLIP.from_pretrained(second / "model")
    found = model.predict(images)
    assert found.names == answers["names"]
    assert found.confidence == pytest.approx(np.array(answers["confidence"]), abs=1e-3)
    assert found.likeness == pytest.approx(np.array(answers["likeness"]), abs=1e-3)
    assert model.solved.sums.counts.tolist() == [6, 12, 6, 6]
    assert model.solved.calibration.accuracy == pytest.approx(28 / 30)


def test_a_solved_head_of_the_second_format_continues_to_learn(second, images):
    model = MGCLIP.from_pretrained(second / "model")
    names = model.class_names
    assert [version.number for version in history(second / "model")] == [1, 2]
    assert list(read_held_out(second / "model")) == [names[1]]
    model.learn(images[4:8], [0, 0, 1, 1], [names[2], "fifth"])
    assert model.correct([images[0], images[7]], [names[0], names[3]]) == [None, "fifth"]
    assert model.solved.sums.counts.tolist() == [7, 12, 8, 7, 1]
    model.save_pretrained(second / "model", note={"what": "continued"})
    again = MGCLIP.from_pretrained(second / "model")
    assert again.class_names == (*names, "fifth")
    assert again.predict(images).names == model.predict(images).names
    undo(second / "model", 1)
    assert MGCLIP.from_pretrained(second / "model").class_names == names[:2]


def test_a_run_of_the_second_format_is_reported_and_resumed(second, mgclip):
    run = second / "run"
    answers = pd.read_parquet(run / "mg-clip-analytic" / "predictions" / "task-0002.parquet")
    assert len(answers) == 8
    assert "mg-clip-analytic" in write_report([run], second / "page.html").read_text()
    before = json.loads((run / "summary.json").read_text())
    shutil.rmtree(run / "mg-clip-analytic")
    code, printed, _ = mgclip("run", "--resume", run, "--quiet", "--json")
    assert code == 0
    assert {m: s["accuracy_after"] for m, s in json.loads(printed)["methods"].items()} == {
        m: s["accuracy_after"] for m, s in before.items()
    }
    again = pd.read_parquet(run / "mg-clip-analytic" / "predictions" / "task-0002.parquet")
    of_head = ["probability", "head_score", "head_answer"]  # the run was made before the ridge was chosen as it is now
    added = [f"{kind}_{place}" for place in range(2, 6) for kind in ("answer", "probability")]  # later versions record them too
    assert list(again.columns) == [*answers.columns, "group", *added]
    again, answers = again[answers.columns].drop(columns=of_head), answers.drop(columns=of_head)
    assert again.select_dtypes("number").to_numpy() == pytest.approx(answers.select_dtypes("number").to_numpy(), abs=1e-3)
    assert again.select_dtypes(exclude="number").equals(answers.select_dtypes(exclude="number"))


def test_newer_formats_are_refused_with_advice(first):
    for file, number, known, reads in (
        (first / "model" / "mgclip.json", 3, "formats up to 2", lambda: MGCLIP.from_pretrained(first / "model")),
        (first / "run" / "environment.json", 3, "formats up to 2", lambda: read_recipe(first / "run")),
    ):
        file.write_text(json.dumps({**json.loads(file.read_text()), "format": number}))
        with pytest.raises(InputError, match=rf"format {number}; this version reads {known}: upgrade mg-clip"):
            reads()
