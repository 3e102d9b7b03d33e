"""A model on the GPU is exported, and the files give its answers on the CPU."""

import numpy as np
import pytest
import torch
from exported import assert_same, everything
from on_device import largest, learned, probabilities

from mgclip import MGCLIP
from mgclip.export.deviation import TOLERANCE
from mgclip.export.folder import export_folder

KINDS = {
    "trained": {},
    "solved": {"compensation": "analytic", "fusion": "calibrated", "adapt": "first", "features": 64},
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_files_give_the_answers_of_the_model(kind, tiny_clip, icons, device, tmp_path, record_property):
    onnxruntime = pytest.importorskip("onnxruntime")
    model, _ = learned(tiny_clip, icons, device, **KINDS[kind])
    before, expected = everything(model), probabilities(model, icons)
    exported = export_folder(model, tmp_path / "clip", onnx=True)
    record_property("deviation", exported.deviation)
    record_property("onnx_deviation", exported.onnx_deviation)
    assert exported.deviation < TOLERANCE / 10
    assert exported.onnx_deviation < TOLERANCE / 10
    assert_same(before, everything(model))
    assert model.backbone.device.type == device.type
    plain = MGCLIP.from_pretrained(tmp_path / "clip", device="cpu")
    texts = largest(plain.encoder.texts(model.class_texts), model.encoder.texts(model.class_texts))
    assert texts < 1e-5
    session = onnxruntime.InferenceSession(tmp_path / "clip" / "model.onnx", providers=["CPUExecutionProvider"])
    values = model.backbone.processor([*icons["x_test"]], return_tensors="pt")["pixel_values"]
    found = session.run(["probabilities"], {"pixel_values": values.numpy().astype(np.float32)})[0]
    assert largest(torch.from_numpy(found), expected) < 1e-3
