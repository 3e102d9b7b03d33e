"""Trained models to export."""

import pytest
from exported import learned


@pytest.fixture(scope="module")
def tiny(tiny_clip, icons):
    return learned(tiny_clip, icons)


@pytest.fixture(scope="module")
def iconclip(icons):
    return learned("iconclip", icons)


@pytest.fixture(params=["tiny", "iconclip"])
def model(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def onnx():
    return pytest.importorskip("onnxruntime")
