"""The benchmarks run at a small size."""

import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def run(name, *words):
    done = subprocess.run([sys.executable, BENCHMARKS / name, *words], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
def test_many_classes():
    lines = run("many_classes.py", "--classes", "600", "--more", "40", "--predict", "60", "--width", "128")
    found = {step: json.loads(values) for step, _, values in (line.partition(" ") for line in lines)}
    assert found["predict"]["accuracy"] > 0.9
    assert found["learn"]["left out"] > 0.9
    assert found["learn"].keys() >= {"seconds", "GiB"}


def test_many_classes_can_miss_its_targets():
    missed = runpy.run_path(str(BENCHMARKS / "many_classes.py"))["missed_targets"]
    found = {"make": {"seconds": 900, "GiB": 9}, "learn": {"seconds": 43, "GiB": 5.8}, "predict": {"seconds": 2.4, "GiB": 3}}
    assert missed(found) == []
    found["learn"]["GiB"], found["predict"]["seconds"] = 6.2, 7
    assert missed(found) == ["predict 7 instead of 5", "GiB 6.2 instead of 6"]


@pytest.mark.skipif(shutil.which("taskset") is None, reason="needs Linux")
def test_two_processes_are_not_compared_with_one_on_a_single_core():
    core = str(min(os.sched_getaffinity(0)))
    words = ["taskset", "-c", core, sys.executable, BENCHMARKS / "streaming.py", "--processes"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert (done.returncode, "on at least two cores" in done.stderr) == (1, True)


def test_records_that_are_missing_are_not_equal(tmp_path):
    records = runpy.run_path(str(BENCHMARKS / "encode_once.py"))["records"]
    with pytest.raises(SystemExit, match="There are no records"):
        records(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tar", "parquet"])
def test_streaming(kind):
    (line,) = run("streaming.py", "--images", "600", "--shard", "100", "--classes", "10", "--kind", kind)
    found = json.loads(line)
    assert found["images"] == 600
    assert found.keys() >= {"bytes per image", "seconds per image, last half / before", "GiB"}


@pytest.mark.slow
def test_encode_once():
    small = ("tasks=2", "train_per_class=4", "test_per_class=1")
    *timed, found = map(json.loads, run("encode_once.py", "run", *small))
    assert [line["methods"] for line in timed] == [["mg-clip-analytic"], ["mg-clip"], ["mg-clip"]]
    assert found["analytic / encoding once"] == found["analytic"] / found["encoding once"] > 1
    assert found["E = 10 / analytic"] == found["E = 10"] / found["analytic"]
    found = json.loads(run("encode_once.py", "methods", "--shape", "iconclip", *small, "ranpac_width=200")[-1])
    assert found["equal records"]
    assert max(found["again"], found["ten methods"]) < found["ten runs"]


@pytest.mark.slow
def test_open_images():
    """It checks that the pixels are those of plain Pillow."""
    found = json.loads(run("open_images.py", "--images", "30", "--rounds", "1")[-1])
    assert found["images"] == 30
    assert found["ratio"] > 0.5
