"""The public names have docstrings, their examples run, and the API page shows them."""

import doctest
import inspect
import subprocess
import sys
from pathlib import Path

import pytest
from own_packages import forget_registered

import mgclip

ROOT = Path(__file__).parents[2]
NAMES = [name for name in mgclip.__all__ if not name.startswith("_")]


def examples(name):
    """The doctests of a public class and its methods, or of a public function."""
    thing = getattr(mgclip, name)
    module = inspect.getmodule(thing)
    found = doctest.DocTestFinder(recurse=True).find(thing, name, module, globs={**vars(module), name: thing})
    return [test for test in found if test.examples]


@pytest.mark.parametrize("name", NAMES)
def test_the_examples_of_the_docstrings_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    report = []
    for test in examples(name):
        failed = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=report.append).failed
        forget_registered()
        assert not failed, "".join(report)


@pytest.mark.parametrize("name", ["MGCLIP", "Predictions", "Settings", "history"])
def test_these_names_have_an_example(name):
    assert [test.name for test in examples(name)] == [name]


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_has_a_docstring(name):
    assert inspect.getdoc(getattr(mgclip, name))


@pytest.mark.slow
def test_the_api_page_shows_every_public_name(tmp_path):
    pytest.importorskip("pdoc", reason="pdoc is not installed: extra docs")
    words = [sys.executable, "-W", "error::UserWarning:pdoc", ROOT / "scripts" / "api_page.py", tmp_path / "api"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Warn" not in done.stderr
    page = (tmp_path / "api" / "mgclip.html").read_text(encoding="utf-8")
    for name in (*NAMES, "MGCLIP.learn", "MGCLIP.predict", "Settings.epochs", "MGCLIPClassifier.partial_fit"):
        assert f'id="{name}"' in page
