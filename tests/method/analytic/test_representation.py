"""Which image feature a solved head classifies: chosen on the first task, kept with the model."""

import pytest
import torch
from icon_tasks import task
from torch.nn.functional import normalize

from mgclip import MGCLIP
from mgclip.clip.adapters import adapters_have_effect
from mgclip.clip.representation import REPRESENTATIONS, represent
from mgclip.errors import InputError
from mgclip.export.card import model_card
from mgclip.method.analytic import representation, solving
from mgclip.method.analytic.representation import choose_representation
from mgclip.method.methods import ANALYTIC

DIM = 5


def images(spread, per_class, seed=0):
    """Features whose projected and pooled parts scatter this much around the means of their classes."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.cat([torch.full((count,), label) for label, count in enumerate(per_class)])
    parts = []
    for dim, width in zip((DIM, 9), spread, strict=True):
        means = normalize(torch.randn(len(per_class), dim, generator=generator), dim=-1)
        parts.append(means[labels] + width * torch.randn(len(labels), dim, generator=generator))
    return represent(*parts, "both"), labels


@pytest.mark.parametrize(("spread", "expected"), [((0.1, 2), "projected"), ((2, 0.1), "pre-projection"), ((0.5, 0.3), "both")])
def test_the_representation_with_the_least_error_is_chosen(spread, expected):
    assert choose_representation(*images(spread, [30] * 6), DIM) == expected


@pytest.mark.parametrize("per_class", [[1, 1, 1], [20]])
def test_without_evidence_the_projected_feature_is_chosen(per_class):
    assert choose_representation(*images((2, 0.1), per_class), DIM) == "projected"


def test_representations_that_are_equal_leave_the_projected_one():
    both, labels = images((0.3, 0.3), [30] * 6)
    projected = both[:, :DIM]
    assert choose_representation(represent(projected, projected, "both"), labels, DIM) == "projected"


@pytest.mark.parametrize(("lower", "expected"), [(0.91, "projected"), (0.89, "pre-projection")])
def test_another_representation_must_lower_the_error_of_classes_with_several_images_by_a_tenth(monkeypatch, lower, expected):
    """The only image of a class tells nothing, however large its error is."""
    both, labels = images((0.3, 0.3), [5, 1, 7])
    of_width = {DIM: 2.0, 9: 2.0 * lower, DIM + 9: 3.0}

    def errors(part, own):
        assert torch.equal(own, labels)
        return torch.where(labels == 1, 1e3 / of_width[part.shape[1]], of_width[part.shape[1]])

    monkeypatch.setattr(representation, "squared_errors", errors)
    assert choose_representation(both, labels, DIM) == expected


@pytest.fixture
def make(tiny_clip):
    return lambda **changes: MGCLIP.from_pretrained(tiny_clip, settings={**ANALYTIC, "features": 64, **changes})


@pytest.mark.parametrize("changes", [{}, {"adapt": "always", "epochs": 1}, {"adapt": "auto", "epochs": 1}])
@pytest.mark.parametrize("chosen", REPRESENTATIONS)
def test_a_model_that_chose_a_representation_is_the_one_that_was_given_it(make, icons, monkeypatch, tmp_path, chosen, changes):
    monkeypatch.setattr(solving, "choose_representation", lambda *_: chosen)
    found, given = make(representation="auto", **changes), make(representation=chosen, **changes)
    for model in (found, given):
        results = [model.learn(*task(icons, classes)) for classes in ([0, 1, 2], [3, 4])]
        assert [each.representation for each in results] == [chosen if model is found else None, None]
    assert found.solved.fourier.representation == found.encoder.representation == chosen
    assert (found.solved.weights - given.solved.weights).abs().max() < 1e-4 * given.solved.weights.abs().max()
    seen = list(icons["x_test"])
    found.save_pretrained(tmp_path / "model")
    loaded = MGCLIP.from_pretrained(tmp_path / "model")
    assert loaded.solved.fourier == found.solved.fourier
    # Some processors round the features of a text differently with other texts in its batch.
    assert loaded.predict(seen).confidence == pytest.approx(found.predict(seen).confidence, rel=1e-5)
    assert f"| `representation` | {chosen} |" in model_card(loaded, [])


def test_it_is_chosen_from_the_features_of_the_pretrained_clip(make, icons, monkeypatch):
    """So that the head is the same if the adapters, which have learned the first task then, are removed later."""
    given, images = [], task(icons, [0, 1, 2])
    monkeypatch.setattr(solving, "choose_representation", lambda both, labels, dim: given.append(both) or "projected")
    untuned = make().encoder
    untuned.representation = "both"
    expected = untuned.images(untuned.pixels(images[0]))
    model = make(representation="auto", adapt="auto", epochs=1, adapter_lr=5e-3, adapter_batch_size=16)
    model.learn(*images)
    assert adapters_have_effect(model.backbone)
    torch.testing.assert_close(given[0], expected, atol=1e-5, rtol=1e-5)


def test_an_interrupted_first_task_chooses_again(make, icons, monkeypatch):
    model = make(representation="auto")
    monkeypatch.setattr(solving, "choose_representation", lambda *_: "pre-projection")
    monkeypatch.setattr(solving.solved_head, "add", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        model.learn(*task(icons, [0, 1]))
    monkeypatch.undo()
    assert model.learn(*task(icons, [0, 1])).representation is not None
    assert model.predict(list(icons["x_test"][:2])).confidence.shape == (2, 2)


def test_models_of_different_representations_are_not_merged(tiny_clip, icons):
    one, other = (
        MGCLIP.from_pretrained(tiny_clip, settings={**ANALYTIC, "features": 64, "gamma": 0.5, "representation": each})
        for each in ("projected", "both")
    )
    for model in (one, other):
        model.learn(*task(icons, [0, 1]))
    with pytest.raises(InputError, match=r"differ in their representation \(projected and both\), .* with --like"):
        one.merge(other)


def test_a_representation_needs_a_solved_head_and_stays(make, icons, tiny_clip):
    with pytest.raises(InputError, match="representation needs a solved head: set compensation to analytic"):
        MGCLIP.from_pretrained(tiny_clip, settings={"representation": "auto"})
    model = make()
    model.learn(*task(icons, [0, 1]))
    with pytest.raises(InputError, match="representation cannot change without training, because it decides how the head"):
        model.change_settings(representation="both")
