"""The ONNX file with 8-bit weights: measured, kept only if it is worth it, and named in the card."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from exported import SOLVED_BOTH
from PIL import Image

from mgclip.errors import InputError
from mgclip.export import folder, int8
from mgclip.export.folder import INT8, ONNX, export_folder


@pytest.fixture
def ready(shared, monkeypatch):
    """A model with a solved head. Its ONNX file, from which the other one is made, is copied from an export of this model."""
    model, folder, exported, *_ = shared(*SOLVED_BOTH)

    def copied(_, file):
        shutil.copy(folder / ONNX, file)
        return exported.onnx_deviation

    monkeypatch.setattr("mgclip.export.folder.export_onnx", copied)
    return model


@pytest.fixture
def pictures(icons):
    return [Image.fromarray(each) for each in icons["x_test"]]


def test_a_file_that_is_worth_it_is_kept_and_answers_like_the_model(onnx, ready, pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(int8, "FASTER", 0.0)
    monkeypatch.setattr(int8, "SAME", 0.9)
    exported = export_folder(ready, tmp_path / "clip", onnx=True, images=pictures)
    found = exported.int8
    assert found.kept and INT8 in exported.files and found.images == len(pictures) and not found.generated
    assert exported.sizes[INT8] < 0.5 * exported.sizes[ONNX]
    import onnxruntime

    sessions = [onnxruntime.InferenceSession(str(tmp_path / "clip" / name)) for name in (ONNX, INT8)]
    about = [session.get_modelmeta().custom_metadata_map for session in sessions]
    assert json.loads(about[1]["names"]) == list(ready.class_names)
    assert about[0].items() <= about[1].items()
    assert [output.name for output in sessions[0].get_outputs()] == [output.name for output in sessions[1].get_outputs()]
    process = ready.backbone.processor
    pixels = {"pixel_values": process(pictures, return_tensors="np")["pixel_values"].astype(np.float32)}
    exact, rounded = (session.run(["label"], pixels)[0] for session in sessions)
    assert found.same == pytest.approx((exact == rounded).mean())
    card = (tmp_path / "clip" / "README.md").read_text(encoding="utf-8")
    assert found.sentence in card and f"% of {len(pictures)} images." in found.sentence
    assert "`model-int8.onnx` is used in the same way" in card


@pytest.mark.parametrize(("faster", "same"), [(1e9, 0.0), (0.0, 1.1)])
def test_a_file_that_is_not_worth_it_is_removed(onnx, ready, tmp_path, monkeypatch, faster, same):
    monkeypatch.setattr(int8, "FASTER", faster)
    monkeypatch.setattr(int8, "SAME", same)
    monkeypatch.setattr(int8, "SAMPLES", 8)
    exported = export_folder(ready, tmp_path / "clip", onnx=True)
    assert not exported.int8.kept and exported.int8.generated
    assert INT8 not in exported.files and not (tmp_path / "clip" / INT8).exists()
    assert "A file with 8-bit weights is not in this folder" in (tmp_path / "clip" / "README.md").read_text(encoding="utf-8")


def test_a_failed_conversion_leaves_a_complete_export(onnx, ready, tmp_path, monkeypatch):
    def fail(source, file):
        Path(file).write_bytes(b"partial")
        raise RuntimeError("unsupported node.\nmore")

    monkeypatch.setattr(int8, "quantise", fail)
    exported = export_folder(ready, tmp_path / "clip", onnx=True)
    assert exported.int8.failed == "unsupported node"
    assert ONNX in exported.files and INT8 not in exported.files


def test_an_unreadable_image_is_named_before_any_work(onnx, ready, tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "write_clip", lambda *given: pytest.fail("the export has begun"))
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"a\.png"):
        export_folder(ready, tmp_path / "clip", onnx=True, images=[tmp_path / "a.png"])
    assert not (tmp_path / "clip").exists()


def test_the_numbers_of_a_file_that_is_not_kept_are_below_those_it_needs():
    found = int8.Int8(1.49, 95 / 96, 96, generated=False, kept=False)
    assert "is 1.4 times as fast and gives the same answer for 98.9 % of 96 images." in found.sentence
    assert "1.5 times as fast and gives the same answer for 100.0 % of 1 image." in int8.Int8(1.5, 1.0, 1, False, True).sentence
