"""What ``mgclip bench`` measures and prints."""

import json

import pytest


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


def test_an_estimate_needs_no_measurement(mgclip):
    code, out, _ = mgclip("bench", "--shape", "vit-l-14", "--estimate", "--classes", 10_000)
    assert code == 0
    assert "8 GPUs" in out


def test_an_unknown_shape_is_refused_with_the_known_ones(mgclip):
    code, _, err = mgclip("bench", "--shape", "vit-h")
    assert code == 2
    assert "There is no shape vit-h" in err
    assert "vit-b-32, vit-b-16, vit-l-14, iconclip" in err
