"""A model as an ONNX file: run with onnxruntime and compared with the model."""

import copy
import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from exported import BRANCHES, assert_same, everything
from PIL import Image

from mgclip.errors import InputError, MGCLIPError
from mgclip.export.folder import export_folder
from mgclip.export.onnx_file import export_onnx, onnx_deviation


@pytest.mark.parametrize(("branches", "fusion", "weight"), BRANCHES)
def test_onnx_gives_the_probabilities_of_the_model(onnx, tiny, icons, tmp_path, branches, fusion, weight):
    model, file = copy.copy(tiny), tmp_path / "model.onnx"
    changes = {"branches": branches, "fusion": fusion, "vision_weight": weight}
    model.settings = tiny.settings.model_copy(update=changes)
    before = everything(model)
    assert export_onnx(model, file) < 1e-5
    assert_same(before, everything(model))
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    session = onnx.InferenceSession(str(file))
    assert [(x.name, x.type, x.shape) for x in session.get_inputs()] == [("pixel_values", "tensor(float)", ["batch", 3, 32, 32])]
    assert [(x.name, x.shape) for x in session.get_outputs()] == [
        ("probabilities", ["batch", 5]),
        ("image_features", ["batch", 24]),
        ("confidence", ["batch", 5]),
        ("likeness", ["batch"]),
        ("label", ["batch"]),
    ]
    about = {key: json.loads(value) for key, value in session.get_modelmeta().custom_metadata_map.items()}
    assert (tuple(about["names"]), about["branches"], about["image_size"]) == (model.class_names, branches, 32)
    images = [Image.fromarray(image) for image in icons["x_test"][:13]]
    pixels = model.backbone.processor(images, return_tensors="np")["pixel_values"]
    probabilities, features, confidence, likeness, label = session.run(None, {"pixel_values": pixels})
    found = model.predict(images)
    np.testing.assert_allclose(probabilities, found.probabilities, rtol=0, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(confidence, found.confidence, rtol=0, atol=1e-5)
    np.testing.assert_allclose(confidence.sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(likeness, found.likeness, rtol=0, atol=1e-5)
    assert label.tolist() == found.labels.tolist()
    others = copy.copy(model)
    others.settings = model.settings.model_copy(update={"branches": "image" if branches == "text" else "text"})
    assert onnx_deviation(others, file) > 1e-2  # a wrong branch would be noticed


@pytest.mark.parametrize("branches", ["both", "image", "text"])
def test_onnx_gives_the_answers_of_a_solved_head_in_single_precision(onnx, shared, icons, branches):
    import onnx as format_of_files

    model, folder, exported, before, after = shared("solved", branches, "calibrated", 4.0)
    file = folder / "model.onnx"
    assert exported.onnx_deviation < 1e-5
    assert_same(before, after)
    session = onnx.InferenceSession(str(file))
    for size in (1, 40):  # any number of images in one batch
        images = [Image.fromarray(image) for image in icons["x_test"][:size]]
        pixels = model.backbone.processor(images, return_tensors="np")["pixel_values"]
        outputs = session.run(["confidence", "probabilities", "likeness", "label"], {"pixel_values": pixels})
        confidence, probabilities, likeness, label = outputs
        found = model.predict(images)
        np.testing.assert_allclose(confidence, found.confidence, rtol=0, atol=1e-5)
        np.testing.assert_array_equal(probabilities, confidence)
        np.testing.assert_allclose(confidence.sum(1), 1, rtol=1e-5)
        np.testing.assert_allclose(likeness, found.likeness, rtol=0, atol=1e-5)
        assert label.tolist() == found.labels.tolist() == confidence.argmax(1).tolist()
    graph = format_of_files.load(file).graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    assert (list(stored["matrix"].dims), list(stored["shift"].dims)) == ([128, 256], [256])
    assert (list(stored["weights"].dims), list(stored["constant"].dims)) == ([256, 5], [5])
    assert format_of_files.TensorProto.DOUBLE not in {tensor.data_type for tensor in stored.values()}
    assert len(set(label.tolist())) > 3
    stronger = copy.copy(model)
    stronger.solved = replace(model.solved, weights=2 * model.solved.weights)
    assert onnx_deviation(stronger, file) > 1e-2  # wrong weights would be noticed


def test_iconclip_can_be_exported_to_onnx_and_its_file_is_not_replaced(onnx, shared):
    model, folder, exported, *_ = shared("iconclip", *BRANCHES[0])
    assert exported.onnx_deviation < 1e-5
    content = (folder / "model.onnx").read_bytes()
    with pytest.raises(InputError, match=r"model\.onnx already exists"):
        export_onnx(model, folder / "model.onnx")
    assert (folder / "model.onnx").read_bytes() == content


def test_an_onnx_file_that_deviates_is_removed(onnx, tiny, tmp_path):
    model = copy.copy(tiny)
    model.head = torch.full_like(tiny.head, torch.nan)
    with pytest.raises(MGCLIPError, match="The ONNX file deviates from the model by nan"):
        export_onnx(model, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_extra_is_reported_before_anything_is_written(tiny, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    for write in (export_onnx, lambda model, place: export_folder(model, place, onnx=True)):
        with pytest.raises(InputError, match=r"needs onnxruntime, which is not installed: run `pip install 'mg-clip\[onnx\]'"):
            write(tiny, tmp_path / "x")
    assert list(tmp_path.iterdir()) == []
