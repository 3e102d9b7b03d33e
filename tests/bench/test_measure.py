"""What ``mgclip bench`` measures and prints."""

import json

import pytest
import torch

from mgclip.bench.prediction import prediction_times
from mgclip.method import predictions


def test_the_measurements_are_plausible(mgclip):
    code, out, err = mgclip("bench", "--rounds", 2, "--images", 4, "--tasks", 2, "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert set(found["units"]) == {"image_trained", "image", "texts_trained", "texts", "head"}
    for value in found["composed"].values():
        assert value["ours"] > 0
        assert value["ratio"] == pytest.approx(value["plain"] / value["ours"], rel=0.3)  # the median of paired ones
    for part in ("stream", "last task"):  # two rounds cannot tell the single steps of two classes apart
        assert found["composed"][part]["ratio"] > 1
    assert 0 < found["share_of_peak"]["encoding"] < 1.5
    peaks = {each["precision"]: each["matmul_peak"] for each in found["precisions"]}
    assert peaks["float32"] == found["matmul_peak"]  # measured once
    kinds = [(each["head"], each["classes"]) for each in found["prediction"]["heads"]]
    assert kinds == [("solved", 100), ("solved", 10_000), ("trained", 100), ("trained", 10_000)]


def test_predictions_are_timed_with_the_code_that_models_run(monkeypatch):
    calls = []
    real = predictions.branch_probabilities

    def counted(logits, scores, settings, calibration):
        calls.append((scores.shape, scores.dtype, calibration is not None))
        return real(logits, scores, settings, calibration)

    monkeypatch.setattr(predictions, "branch_probabilities", counted)
    found = prediction_times("iconclip", classes=(7, 50), batch=4, rounds=2)
    expected = {((4, classes), torch.float32, solved) for classes in (7, 50) for solved in (True, False)}
    assert set(calls) == expected
    for each in found["heads"]:
        assert each["best_five"] > 0
        assert each["ratio"] == 1 + each["classify"] / found["encode"]


def test_an_estimate_needs_no_measurement(mgclip):
    code, out, _ = mgclip("bench", "--shape", "vit-l-14", "--estimate", "--classes", 10_000)
    assert code == 0
    assert "8 H100" in out


def test_an_unknown_shape_is_refused_with_the_known_ones(mgclip):
    code, _, err = mgclip("bench", "--shape", "vit-h")
    assert code == 2
    assert "There is no shape vit-h" in err
    assert "vit-b-32, vit-b-16, vit-l-14, siglip-b-16, iconclip" in err
