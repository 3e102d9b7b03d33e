"""A run that resumes with other versions of packages, or with a changed method of another package, says so."""

import importlib
import json
import warnings

import pytest
from own_packages import forget, forget_registered
from runs import run, stop_after

from mgclip import Method, register_method
from mgclip.errors import ChangedCode
from mgclip.experiment.changed_code import code_of_methods
from mgclip.experiment.recipe import Recipe
from mgclip.experiment.reproduce import TableRun, finished


@pytest.fixture
def recipe(own_packages, tiny_clip):
    return Recipe(
        name="own", data="shapes", clip=str(tiny_clip), classes_per_task=2, class_order="dataset", methods=["gaussian-classes"]
    )


def edit(place, module, old, new):
    file = place / f"{module}.py"
    file.write_text(file.read_text().replace(old, new, 1))
    importlib.reload(importlib.import_module(module))
    forget_registered()


def test_a_changed_method_is_reported_when_its_run_resumes(recipe, own_packages, tmp_path, mgclip):
    stop_after(1, recipe, tmp_path / "run")
    edit(own_packages, "gaussian_classes", "import torch", "import torch  # another line")
    with pytest.warns(
        ChangedCode, match="run was started, this has changed: the code of the method gaussian-classes of the package gaussian-"
    ):
        run(recipe, tmp_path / "run", resume=True)
    assert json.loads((tmp_path / "run" / "environment.json").read_text())["changed"] == [
        "the code of the method gaussian-classes of the package gaussian-classes"
    ]
    assert mgclip("report", tmp_path / "run")[0] == 0
    assert "the code of the method gaussian-classes" in (tmp_path / "run" / "report.html").read_text()


def test_a_changed_method_of_a_finished_run_is_reported_by_its_table(recipe, own_packages, tmp_path):
    run(recipe, tmp_path / "run")
    edit(own_packages, "gaussian_classes", "import torch", "import torch  # another line")
    with pytest.warns(ChangedCode, match="the code of the method gaussian-classes"):
        assert finished(TableRun(recipe, "", tmp_path / "run"))


def test_another_version_of_a_package_is_reported_with_both(recipe, tmp_path):
    stop_after(1, recipe, tmp_path / "run")
    file = tmp_path / "run" / "environment.json"
    about = json.loads(file.read_text())
    about["packages"] |= {"torch": "1.0", "gaussian-classes": "0.0.1", "gradio": "0.1"}
    file.write_text(json.dumps(about))
    with pytest.warns(ChangedCode, match=r"this has changed: torch 1\.0 -> [0-9.]+.*, gaussian-classes 0\.0\.1 -> 0\.1\.0\. Its"):
        run(recipe, tmp_path / "run", resume=True)


def test_unchanged_code_and_finished_methods_are_not_reported(recipe, own_packages, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error", ChangedCode)
        stop_after(1, recipe, tmp_path / "run")
        run(recipe, tmp_path / "run", resume=True)
        edit(own_packages, "gaussian_classes", "import torch", "import torch  # another line")
        run(recipe, tmp_path / "run", resume=True)
    assert "changed" not in json.loads((tmp_path / "run" / "environment.json").read_text())


def test_every_module_of_the_package_of_a_method_is_part_of_its_code(tmp_path, monkeypatch):
    package = tmp_path / "lab"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "helper.py").write_text("SCALE = 1\n")
    (package / "own.py").write_text(
        "from mgclip import FeatureClassifier\nfrom lab.helper import SCALE\n\nclass Own(FeatureClassifier):\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    register_method("lab-own", Method("own", "here", classifier="lab.own:Own"))
    before = code_of_methods(["lab-own"])
    assert code_of_methods(["lab-own"]) == before
    (package / "helper.py").write_text("SCALE = 2\n")
    after = code_of_methods(["lab-own"])
    forget(package)
    assert after != before
