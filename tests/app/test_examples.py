"""The examples in the docstrings of the functions behind the commands."""

import doctest
import importlib

import pytest

MODULES = ["mgclip.experiment.conformance", "mgclip.experiment.recipe", "mgclip.experiment.unused_settings"]
MODULES += ["mgclip.workflows.edit_model"]


def examples(name):
    module = importlib.import_module(name)
    return [test for test in doctest.DocTestFinder().find(module) if test.examples]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    report, found = [], examples(name)
    assert found
    for test in found:
        failed = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=report.append).failed
        assert not failed, "".join(report)
