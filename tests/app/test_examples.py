"""The examples in the docstrings of the functions behind the commands."""

import doctest
import importlib
import pkgutil

import pytest

import mgclip.experiment
import mgclip.workflows

PACKAGES = (mgclip.experiment, mgclip.workflows)
MODULES = sorted(m.name for package in PACKAGES for m in pkgutil.iter_modules(package.__path__, f"{package.__name__}."))


def examples(name):
    module = importlib.import_module(name)
    return [test for test in doctest.DocTestFinder().find(module) if test.examples]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    report = []
    for test in examples(name):
        failed = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=report.append).failed
        assert not failed, "".join(report)
