"""Commands that are killed, stopped or out of disk space lose nothing and resume exactly. The scripts here have the long tests."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import forked
import numpy as np
import pytest
from campaign import SMALL, campaign, equal, finished, outcome, start
from crowd import crowd
from full_disk import full_disk, may_mount
from icon_tasks import month_folders
from soak import soak

from mgclip import MGCLIP, Settings
from mgclip.saving.checkpoints import ORDER


def test_a_run_killed_at_random_resumes_to_the_same_result(tmp_path):
    assert sum(campaign(4, 1, tmp_path, SMALL).values()) == 4


@pytest.mark.slow
def test_sixty_runs_killed_at_random_resume_to_the_same_result(tmp_path):
    places = campaign(60, 0, tmp_path)
    assert sum(places.values()) == 60
    assert set(ORDER) <= {place.rpartition(", ")[2] for place in places}


def test_four_processes_at_one_model_lose_no_update(tiny_clip, tmp_path):
    assert sum(crowd(tmp_path / "shop", str(tiny_clip), 40, 4).values()) == 40


@pytest.mark.slow
def test_a_thousand_operations_of_four_processes_lose_no_update(tiny_clip, tmp_path):
    assert sum(crowd(tmp_path / "shop", str(tiny_clip), 1000, 4).values()) == 1000


def check_growth(found, *, growth, leak):
    """Check the growth of memory in KiB per task, with and without new classes, and the time and the size of the head."""
    assert found["memory KiB per task"] <= growth
    assert found["memory KiB per task, same classes"] <= leak
    first, last = found["seconds to learn, first and last tenth"]
    assert last <= 1.5 * first
    assert found["head bytes expected"] <= found["head bytes"] <= found["head bytes expected"] + 200


def test_memory_and_time_stay_constant_over_forty_tasks(tmp_path):
    check_growth(soak(40, tmp_path), growth=100, leak=60)


@pytest.mark.slow
def test_memory_and_time_stay_constant_over_two_hundred_tasks():
    """In a process of its own, in which nothing else takes memory; in that of pytest, a task took 60 KiB."""
    command = [sys.executable, Path(__file__).with_name("soak.py"), "--tasks", "200"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    check_growth(json.loads(done.stdout), growth=32, leak=8)


needs_mount = pytest.mark.skipif(not may_mount(), reason="a small file system cannot be mounted here")


@needs_mount
def test_a_full_disk_destroys_nothing_and_the_command_can_be_repeated(tmp_path):
    found = full_disk(tmp_path, stride=120)
    assert min(found.values()) >= 1
    assert len(found) == 20


@needs_mount
@pytest.mark.slow
def test_a_disk_that_is_full_at_any_write_destroys_nothing(tmp_path):
    found = full_disk(tmp_path)
    assert sum(found.values()) > 600


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The result of a run without interruption."""
    place = tmp_path_factory.mktemp("run")
    finished(start(place / "run", *SMALL, "--out", "run"))
    return outcome(place / "run")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_the_step_end_and_the_message_says_how_to_resume(tmp_path, number, uninterrupted):
    process = start(tmp_path / "run", *SMALL, "--out", "run")
    for _ in range(600):
        if list((tmp_path / "run").glob("*/progress-*")):
            break
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    _, output = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "Progress is saved" in output
    assert "mgclip run --resume run" in output
    assert "Traceback" not in output
    finished(start(tmp_path / "run", "--resume", "run"))
    assert equal(outcome(tmp_path / "run"), uninterrupted)


def test_an_interrupted_learn_leaves_the_active_version_unchanged(icons, tmp_path):
    month_folders(icons, tmp_path, {"march": (0, 1), "april": (2, 3)}, 12)
    small = MGCLIP.from_pretrained("iconclip", settings=Settings(epochs=400))  # long enough to be interrupted
    small.epochs = 0
    picked = np.isin(icons["y_train"], [0, 1])
    small.learn(icons["x_train"][picked], icons["y_train"][picked], [str(name) for name in icons["class_names"][:2]])
    small.epochs = 400
    small.save_pretrained(tmp_path / "shop", note={"what": "march"})
    before = {file: file.read_bytes() for file in (tmp_path / "shop").rglob("*") if file.is_file()}
    process = forked.start("learn", "april", "--model", "shop", "--checkpoint-every", "2", cwd=tmp_path)
    owner = tmp_path / "shop" / ".mgclip-lock-owner"
    for _ in range(1200):
        if list((tmp_path / "shop").glob(".mgclip-progress-*/progress-*")):
            break
        assert process.poll() is None
        time.sleep(0.05)
    assert owner.is_file()
    process.send_signal(signal.SIGINT)
    _, output = process.communicate(timeout=120)
    assert (process.returncode, "shop is unchanged" in output, "Traceback" in output) == (1, True, False)
    after = {file: file.read_bytes() for file in (tmp_path / "shop").rglob("*") if file.is_file()}
    assert {f: b for f, b in after.items() if "lock" not in f.name and "progress" not in str(f)} == {
        f: b for f, b in before.items() if "lock" not in f.name
    }
    assert not owner.exists()
