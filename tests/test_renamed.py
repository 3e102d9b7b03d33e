"""Former names of keyword arguments and of values."""

import pytest
import torch

from mgclip import MGCLIP, Predictions, Settings
from mgclip.renamed import accepts_former_names
from mgclip.saving.versions import Version


@accepts_former_names(colour="color")
def paint(place, *, color="white"):
    """Returns what it was given."""
    return place, color


def test_a_former_name_works_with_a_warning():
    with pytest.warns(DeprecationWarning, match=r"colour= is now called color=\."):
        assert paint("wall", colour="red") == ("wall", "red")
    assert paint("wall", color="red") == ("wall", "red")
    assert (paint.__name__, paint.__doc__) == ("paint", "Returns what it was given.")
    with pytest.raises(TypeError, match="colour= is the former name of color=: give one of them"):
        paint("wall", colour="red", color="red")
    with pytest.raises(TypeError, match="hue"):
        paint("wall", hue="red")


def test_models_take_the_former_names(tiny_clip, icons, tmp_path):
    with pytest.warns(DeprecationWarning, match=r"computing= is now called runtime=\."):
        model = MGCLIP.from_pretrained(tiny_clip, settings={"epochs": 0}, computing={"encode_batch_size": 7})
    assert model.settings.encode_batch_size == 7
    model.learn(icons["x_train"][:4], [0, 0, 1, 1], ["alarm", "archive"])
    with pytest.warns(DeprecationWarning, match=r"also= is now called candidates=\."):
        assert model.predict(icons["x_test"][:2], also=["a fox"]).classes == ("alarm", "archive", "a fox")
    with pytest.warns(DeprecationWarning, match=r"beside= is now called files=\."):
        model.save_pretrained(tmp_path / "saved", beside={"extra.json": {"one": 1}})
    assert list((tmp_path / "saved").rglob("extra.json"))


def test_predictions_have_the_former_names():
    found = Predictions(("cat", "dog"), (), torch.tensor([[30.0, 25.0]]), torch.tensor([[0.9, 0.8]]), 100.0, Settings())
    assert found.text is found.text_probabilities
    assert found.image is found.head_scores
    assert found.sureness is found.top_confidence


def test_versions_have_the_former_name():
    assert [Version(1, None, "2026-01-01T00:00:00+00:00", {}, active).in_force for active in (True, False)] == [True, False]
