"""The adapters a model starts with, and what happens to a CLIP that serves several models."""

import contextlib
import itertools

import pytest
import torch
from icon_tasks import task
from learned import state

from mgclip import MGCLIP, Settings
from mgclip.clip.adapters import (
    adapter_state,
    adapter_weights,
    adapters_have_effect,
    set_adapter_state,
    without_adapters,
)
from mgclip.errors import InputError, MGCLIPError
from mgclip.method.baselines.make import make_learner
from mgclip.saving.checkpoints import Stopped, TaskCheckpoints


def test_adapters_start_without_effect_and_nothing_else_is_trained(tiny_clip, icons):
    model = MGCLIP.from_pretrained(tiny_clip, settings=Settings(rank=8, seed=3))
    for name, weight in adapter_weights(model.backbone):
        if name.endswith("B"):
            assert not weight.any()
        else:
            assert weight.abs().max() <= (6 / sum(weight.shape)) ** 0.5
            assert weight.std() > 0.3 * (6 / sum(weight.shape)) ** 0.5
    trainable = {id(p) for p in model.backbone.model.parameters() if p.requires_grad}
    assert trainable == {id(weight) for _, weight in adapter_weights(model.backbone)}
    bare = MGCLIP.from_pretrained(tiny_clip, settings=Settings(rank=2, seed=4))
    images = list(icons["x_test"][:3])
    assert torch.equal(model.encoder.images(model.encoder.pixels(images)), bare.encoder.images(bare.encoder.pixels(images)))


def test_adapters_are_drawn_from_the_seed(tiny_clip):
    one, same, other = (
        adapter_state(MGCLIP.from_pretrained(tiny_clip, settings=Settings(seed=seed)).backbone) for seed in (3, 3, 4)
    )
    for name, weight in one.items():
        assert torch.equal(weight, same[name])
        assert torch.equal(weight, other[name]) == name.endswith("B")


def test_adapters_have_an_effect_once_they_are_trained_and_while_they_are_enabled(tiny_clip):
    backbone = MGCLIP.from_pretrained(tiny_clip).backbone
    assert not adapters_have_effect(backbone)
    set_adapter_state(backbone, {name: weight + 1 for name, weight in adapter_state(backbone).items()})
    assert adapters_have_effect(backbone)
    with without_adapters(backbone):
        assert not adapters_have_effect(backbone)
    assert adapters_have_effect(backbone)


def test_the_adapters_of_vit_b16_have_the_published_size():
    """491,520 parameters at rank 8, as published."""
    from transformers import CLIPConfig, CLIPModel

    from mgclip.clip.adapters import attach_adapters
    from mgclip.clip.backbone import Backbone

    class Processor:
        image_mean = image_std = (0.5, 0.5, 0.5)

    with torch.device("meta"):
        empty = CLIPModel(CLIPConfig(vision_config={"patch_size": 16}))
    empty.logit_scale = torch.nn.Parameter(torch.tensor(1.0))
    backbone = Backbone(empty, None, Processor(), "vit-b-16", "")
    with torch.device("meta"):
        attach_adapters(backbone, rank=8, alpha=1, seed=0)
    assert sum(weight.numel() for _, weight in adapter_weights(backbone)) == 491_520


def test_an_initial_adapter_is_loaded_from_a_file_or_refused(tiny_clip, quick, tmp_path):
    from safetensors.torch import save_file

    given = {
        name: torch.randn(weight.shape)
        for name, weight in adapter_state(MGCLIP.from_pretrained(tiny_clip, settings=quick).backbone).items()
    }
    save_file(given, tmp_path / "init.safetensors")
    settings = quick.model_copy(update={"adapter_init": str(tmp_path / "init.safetensors")})
    found = adapter_state(MGCLIP.from_pretrained(tiny_clip, settings=settings).backbone)
    assert all(torch.equal(found[name], given[name]) for name in given)
    save_file({**given, "vision.0.k.A": torch.zeros(3, 3)}, tmp_path / "init.safetensors")
    with pytest.raises(InputError, match=r"vision\.0\.k\.A must have shape \(8, 32\) for this CLIP; found \(3, 3\)"):
        MGCLIP.from_pretrained(tiny_clip, settings=settings)
    del given["text.1.v.B"]
    save_file(given, tmp_path / "init.safetensors")
    with pytest.raises(InputError, match=r"The adapter lacks text\.1\.v\.B \(1 of 16 matrices is missing\)"):
        MGCLIP.from_pretrained(tiny_clip, settings=settings)


def assert_current(model, names):
    """The text features that the model gives are those of the weights as they are now."""
    with torch.no_grad():
        now = model.backbone.text_features(model.backbone.class_tokens(model.settings.templates, names))
    torch.testing.assert_close(model.encoder.texts(names), now, atol=1e-6, rtol=1e-5)


def test_text_features_are_current_after_every_change_of_the_weights(learned, icons, tmp_path):
    names = [str(name) for name in icons["class_names"][:3]]
    seen = []

    def ask():
        assert_current(learned, names)
        seen.append(learned.encoder.texts(names))

    def stop(step):
        ask()
        if step.step == 2:
            raise KeyboardInterrupt

    ask()
    set_adapter_state(learned.backbone, {n: w + 0.1 for n, w in adapter_state(learned.backbone).items()})
    ask()
    with pytest.raises(KeyboardInterrupt):
        learned.learn(*task(icons, [3, 4]), on_step=stop)
    ask()
    with pytest.raises(Stopped):
        learned.learn(*task(icons, [3, 4]), checkpoints=TaskCheckpoints(tmp_path, stop=lambda: True))
    ask()
    learned.learn(*task(icons, [3, 4]), on_step=lambda step: ask(), checkpoints=TaskCheckpoints(tmp_path))
    ask()
    with contextlib.suppress(KeyboardInterrupt), without_adapters(learned.backbone):
        ask()
        raise KeyboardInterrupt
    ask()
    assert not any(torch.equal(a, b) for a, b in itertools.pairwise(seen[:4]))


def test_a_model_whose_clip_serves_a_second_model_is_refused(learned, icons, tmp_path):
    images = list(icons["x_test"][:2])
    features = learned.encoder.images(learned.encoder.pixels(images))
    learned.save_pretrained(tmp_path / "shop")
    second = MGCLIP.from_pretrained(tmp_path / "shop", base=learned.backbone)
    before = state(second)
    for use in (
        lambda: learned.predict(images),
        lambda: learned.classify(features),
        lambda: learned.text_logits(features, ["a star"]),
        lambda: learned.learn(*task(icons, [3, 4])),
        lambda: learned.save_pretrained(tmp_path / "shop"),
    ):
        with pytest.raises(MGCLIPError) as refused:
            use()
        assert str(refused.value) == (
            f"The CLIP {learned.backbone.reference} now carries the adapters of another model: load a separate CLIP for each "
            "model."
        )
    assert state(second) == before
    assert second.predict(images).names == MGCLIP.from_pretrained(tmp_path / "shop").predict(images).names


def test_a_text_only_model_does_not_train_the_adapters_of_another(tiny_clip, quick, icons):
    settings = quick.model_copy(update={"branches": "text"})
    first = MGCLIP.from_pretrained(tiny_clip, settings=settings)
    second = MGCLIP(first.backbone, settings)
    before = state(second)
    with pytest.raises(MGCLIPError, match="now carries the adapters of another model"):
        first.learn(*task(icons, [0, 1]))
    assert state(second) == before


@pytest.mark.parametrize("adapts", [True, False])
def test_a_baseline_whose_clip_serves_another_model_is_refused(small, backbone, icons, tmp_path, adapts):
    own = {**small.own, "ranpac_first_task_adapter": adapts}
    first = make_learner("ranpac", backbone, small.settings(), own)
    second = make_learner("mg-clip", backbone, small.settings(), own)
    before = state(second)
    for use in (lambda: first.learn(*task(icons, [0, 1])), lambda: first.save_pretrained(tmp_path / "model")):
        with pytest.raises(MGCLIPError, match="now carries the adapters of another model"):
            use()
    assert state(second) == before
    assert not (tmp_path / "model").exists()
