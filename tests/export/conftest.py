"""Trained models to export, and their exports."""

import copy

import pytest
from exported import SOLVED, Shared, everything, learned

from mgclip.export import folder


@pytest.fixture(scope="session")
def tiny(tiny_clip, icons):
    return learned(tiny_clip, icons)


@pytest.fixture(scope="session")
def iconclip(icons):
    return learned("iconclip", icons)


@pytest.fixture(scope="session")
def solved(icons):
    """iconclip with a solved head, on adapters that the first task trained."""
    return learned("iconclip", icons, **SOLVED)


@pytest.fixture(scope="session")
def relu(icons):
    """iconclip with a solved head on ReLU features, in which every image weighs the same."""
    return learned("iconclip", icons, **{**SOLVED, "adapt": "never", "kernel": "relu", "class_balance": False})


@pytest.fixture(scope="session")
def pooled(icons):
    """iconclip with a solved head on features before the projection."""
    return learned("iconclip", icons, **{**SOLVED, "adapt": "never", "representation": "pre-projection"})


@pytest.fixture(scope="session")
def joined(icons):
    """iconclip with a solved head on both features of an image."""
    return learned("iconclip", icons, **{**SOLVED, "representation": "both"})


@pytest.fixture(scope="session")
def shared(request, tmp_path_factory):
    """A function that exports a model with an ONNX file and without 8-bit weights, once for all tests. They only read it."""
    made = {}

    def export(name, branches, fusion, weight):
        key = name, branches, fusion, weight
        if key not in made:
            learned = request.getfixturevalue(name)
            model, place = copy.copy(learned), tmp_path_factory.mktemp("shared") / "clip"
            changes = {"branches": branches, "fusion": fusion, "vision_weight": weight}
            model.settings = learned.settings.model_copy(update=changes)
            before = everything(model)
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(folder, "add_int8", lambda *_: None)
                made[key] = Shared(model, place, folder.export_folder(model, place, onnx=True), before, everything(model))
        return made[key]

    return export


@pytest.fixture(params=["tiny", "iconclip", "solved"])
def model(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def onnx():
    return pytest.importorskip("onnxruntime")
