"""The gradient of an adapter phase, accumulated over micro-batches, against autograd in one pass."""

import pytest
import torch
from icon_tasks import task

from mgclip import MGCLIP, Settings
from mgclip.clip.backbone import Backbone


@pytest.fixture
def batch(tiny_clip, icons):
    """A partly trained model, one batch of its objective, and its gradient as autograd gives it in one pass."""
    from mgclip.clip.adapters import adapter_weights
    from mgclip.method.adapter_phase import task_objective
    from mgclip.method.replay import remember, replay_objective
    from mgclip.method.task import make_task

    def make(kind):
        loss = "align" if kind == "align" else "cross-entropy"
        prompt = ["a {}.", "an icon of a {}."] if kind == "templates" else "a good photo of a {}."
        settings = Settings(epochs=2, adapter_batch_size=10, head_epochs=1, seed=2, adapter_loss=loss, prompt=prompt)
        model = MGCLIP.from_pretrained(tiny_clip, settings=settings)
        for classes in ([0, 1, 2], [3, 4]):
            model.learn(*task(icons, classes))
        backbone = model.backbone
        images, labels, names = task(icons, [5, 6, 7])
        data = make_task(model.encoder.pixels(images), labels, names, index=2, known=())
        if kind == "replay":
            old, y, known = task(icons, [0, 1, 2, 3, 4])
            before = make_task(model.encoder.pixels(old), y, known, index=0, known=())
            memory = remember(None, before, first=0, limit=20, seed=0)
            tokens = backbone.class_tokens(settings.templates, (*known, *names))
            objective = replay_objective(backbone, data, memory, tokens, first=5, settings=settings)
        else:
            objective = task_objective(backbone, data, settings)
        picked = torch.tensor([0, 3, 35, 13, 20, 5, 30] + [40, 50] * (kind == "replay"))
        trained = [weight for _, weight in adapter_weights(backbone)]
        features = backbone.image_features(objective.pixels(picked))
        texts = backbone.text_features(objective.tokens)
        if kind == "templates":
            parts = [backbone.text_features(backbone.tokenize([each.format(name) for name in names])) for each in prompt]
            texts = torch.nn.functional.normalize(parts[0] + parts[1], dim=-1)
        total = (objective.weights(picked) * objective.losses(features, texts, picked)).sum()
        slopes = torch.autograd.grad(total, trained)
        return backbone, objective, picked, trained, total.detach(), slopes

    return make


def gradients(batch, scaler=None):
    from mgclip.method.objective import backward

    backbone, objective, picked, trained, *_ = batch
    scaler = scaler or torch.amp.GradScaler("cpu", enabled=False)
    loss = backward(backbone, objective, picked, objective.pixels(picked), trained, scaler)
    return loss, [weight.grad.clone() for weight in trained]


def assert_same(batch, loss, found):
    torch.testing.assert_close(loss, batch[-2], atol=1e-5, rtol=1e-5)
    assert any(slope.abs().max() > 1e-4 for slope in found)
    for ours, plain in zip(found, batch[-1], strict=True):
        torch.testing.assert_close(ours, plain, atol=1e-5 * max(1.0, float(plain.abs().max())), rtol=1e-3)


@pytest.mark.parametrize("kind", ["cross-entropy", "replay", "align", "templates"])
@pytest.mark.parametrize("micro_batch", [1, 3, 100])
@pytest.mark.parametrize("texts_at_once", [2, 256])
def test_micro_batches_give_the_gradient_of_the_whole_batch(batch, monkeypatch, micro_batch, kind, texts_at_once):
    from mgclip.method import objective

    monkeypatch.setattr(objective, "TEXTS_AT_ONCE", texts_at_once)
    made = batch(kind)
    made[0].compute.micro_batch = micro_batch
    assert_same(made, *gradients(made))


def test_memory_that_runs_out_in_the_middle_leaves_no_half_gradient(batch, monkeypatch):
    made, real, calls = batch("cross-entropy"), Backbone.image_features, []
    made[0].compute.micro_batch = 4

    def scarce(self, pixels, **options):
        calls.append(len(pixels))
        if len(calls) == 2:  # the first four images have passed, forward and backward
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")
        return real(self, pixels, **options)

    monkeypatch.setattr(Backbone, "image_features", scarce)
    assert_same(made, *gradients(made))
    assert calls == [4, 3, 2, 2, 2, 1]
    assert made[0].compute.micro_batch == 2


def test_float16_scales_the_loss_and_unscales_the_gradient(batch):
    made = batch("cross-entropy")
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    loss, scaled = gradients(made, scaler)
    torch.testing.assert_close(loss, made[-2], atol=1e-5, rtol=1e-5)
    for ours, plain in zip(scaled, made[-1], strict=True):
        torch.testing.assert_close(ours / 1024, plain, atol=1e-5 * max(1.0, float(plain.abs().max())), rtol=1e-3)
    optimizer = torch.optim.SGD(made[3], lr=1.0)
    before = [weight.detach().clone() for weight in made[3]]
    scaler.step(optimizer)
    for weight, start, plain in zip(made[3], before, made[-1], strict=True):
        torch.testing.assert_close(start - weight, plain, atol=1e-4 * max(1.0, float(plain.abs().max())), rtol=1e-2)
