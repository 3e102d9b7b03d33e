"""Learning from a folder that was stopped resumes exactly, if nothing has changed."""

import json
import os
import shutil
import sys
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from icon_tasks import month_folders
from PIL import Image

from mgclip import MGCLIP, Settings
from mgclip.saving.checkpoints import Stopped
from mgclip.saving.store import is_saved
from mgclip.workflows.learn import learn_folder
from mgclip.workflows.plan import make_plan
from mgclip.workflows.source import read_source

SETTINGS = Settings(epochs=3, adapter_batch_size=4, head_epochs=2, head_batch_size=4)


MONTHS = ("march", "april")


@pytest.fixture
def months(icons, tmp_path):
    return two_months(icons, tmp_path)


def two_months(icons, place):
    month_folders(icons, place, {"march": (0, 1), "april": (2, 3)}, 8)
    return place


def learn(place, clip, month, model="shop", *, stop_after=None):
    """Learn a month; returns its steps, and whether it finished."""
    shop, steps, queries = place / model, [], count(1)
    if is_saved(shop):
        learner = MGCLIP.from_pretrained(shop)
    else:
        learner = MGCLIP.from_pretrained(clip, settings=SETTINGS)
    plan = make_plan(learner, read_source(place / month), share=0.2, seed=0)
    stop = lambda: stop_after is not None and next(queries) >= stop_after  # noqa: E731
    try:
        learn_folder(learner, shop, plan, origin=month, on_step=steps.append, checkpoint_every=100, stop=stop)
    except Stopped:
        return steps, False
    return steps, True


def tensors(shop):
    state = shop / json.loads((shop / "mgclip.json").read_text())["state"]
    return {str(file.relative_to(state)): file.read_bytes() for file in sorted(state.rglob("*.safetensors"))}


@pytest.fixture(scope="module")
def uninterrupted(icons, tiny_clip, tmp_path_factory):
    """The steps of each month if nothing stops them, and the tensors of the model."""
    place = two_months(icons, tmp_path_factory.mktemp("uninterrupted"))
    learned = [learn(place, tiny_clip, month) for month in MONTHS]
    assert all(done for _, done in learned)
    return [steps for steps, _ in learned], tensors(place / "shop")


@pytest.mark.parametrize("stop_after", [1, 5, 9])
def test_a_stopped_training_run_resumes_to_the_same_model(months, tiny_clip, stop_after, uninterrupted):
    for month, steps in zip(MONTHS, uninterrupted[0], strict=True):
        first, done = learn(months, tiny_clip, month, stop_after=stop_after)
        assert (len(first), done) == (stop_after, False)
        assert len(list((months / "shop").glob(".mgclip-progress-*"))) == 1
        rest, done = learn(months, tiny_clip, month)
        assert done
        assert [(s.phase, s.epoch, s.step, s.loss) for s in (*first, *rest)] == [
            (s.phase, s.epoch, s.step, s.loss) for s in steps
        ]
        assert not list((months / "shop").glob(".mgclip-progress-*"))
    assert tensors(months / "shop") == uninterrupted[1]


def another_image(file):
    """Write another image under the same name."""
    Image.fromarray(np.zeros((32, 32, 3), dtype=np.uint8)).save(file)


def another_of_the_same_size_and_time(file):
    before, content = file.stat(), next(other for other in file.parent.iterdir() if other != file).read_bytes()
    file.write_bytes(content[: before.st_size].ljust(before.st_size, b"\0"))  # bytes after the end of a PNG are ignored
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def padded(folder):
    """Give all images the same size."""
    files = sorted(folder.rglob("*.png"))
    size = max(file.stat().st_size for file in files)
    for file in files:
        file.write_bytes(file.read_bytes().ljust(size, b"\0"))


@pytest.mark.parametrize(
    "change",
    [
        another_image,
        pytest.param(
            another_of_the_same_size_and_time,
            marks=pytest.mark.skipif(sys.platform == "win32", reason="a file has no time of its last change of any kind"),
        ),
        Path.unlink,
        lambda file: file.rename(file.with_name("new.png")),
        lambda file: file.with_name("new.png").write_bytes(file.read_bytes() + b"\0"),
        lambda file: file.rename(next(folder for folder in file.parent.parent.iterdir() if folder != file.parent) / "new.png"),
    ],
)
def test_a_different_training_run_starts_again(months, tiny_clip, change):
    padded(months / "march")
    learn(months, tiny_clip, "march", stop_after=5)
    change(next((months / "march").rglob("1.png")))
    learn(months, tiny_clip, "march", "uninterrupted")
    steps, done = learn(months, tiny_clip, "march")
    assert done
    assert (steps[0].epoch, steps[0].step) == (1, 1)
    assert tensors(months / "shop") == tensors(months / "uninterrupted")


def test_a_second_month_with_other_classes_starts_again(months, tiny_clip):
    learn(months, tiny_clip, "march")
    learn(months, tiny_clip, "april", stop_after=3)
    shutil.rmtree(months / "april")
    shutil.copytree(months / "march", months / "april")
    for folder in list((months / "april").iterdir()):
        folder.rename(folder.with_name(f"{folder.name} again"))
    steps, done = learn(months, tiny_clip, "april")
    assert done
    assert (steps[0].epoch, steps[0].step) == (1, 1)


def test_a_folder_with_checkpoints_only_is_accepted(months, tiny_clip, mgclip):
    learn(months, tiny_clip, "march", stop_after=2)
    assert not (months / "shop" / "mgclip.json").exists()
    code, _, output = mgclip("learn", months / "march", "--model", months / "shop", "--base", tiny_clip, "--quiet", "features=64")
    assert code == 0, output
