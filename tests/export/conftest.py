"""Trained models to export."""

import pytest
from exported import SOLVED, learned


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


@pytest.fixture(params=["tiny", "iconclip", "solved"])
def model(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def onnx():
    return pytest.importorskip("onnxruntime")
