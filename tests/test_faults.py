"""Killed, stopped, out of space: what a run leaves, and that it goes on exactly. ``tests/faults/`` has the long campaign."""

import signal
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "faults"))
from campaign import SMALL, campaign, finished, outcome, start


def test_killed_at_random_and_resumed_nothing_differs(tmp_path):
    assert sum(campaign(6, 1, tmp_path, SMALL).values()) == 6


@pytest.mark.slow
def test_killed_at_random_sixty_times(tmp_path):
    places = campaign(60, 0, tmp_path)
    assert sum(places.values()) == 60
    assert {"probe", "adapter", "head"} <= {place.rpartition(", ")[2] for place in places}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_the_step_end_and_says_how_to_go_on(tmp_path, number):
    finished(start(tmp_path / "whole", *SMALL, "--out", "whole"))
    process = start(tmp_path / "run", *SMALL, "--out", "run")
    for _ in range(600):
        if list((tmp_path / "run").glob("*/progress-*")):
            break
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 1
    assert b"All steps so far are kept" in said
    assert b"mgclip run --resume run" in said
    assert b"Traceback" not in said
    finished(start(tmp_path / "run", "--resume", "run"))
    assert outcome(tmp_path / "run") == outcome(tmp_path / "whole")
