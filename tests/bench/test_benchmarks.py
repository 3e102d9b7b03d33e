"""The benchmarks run at a small size."""

import json
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
