"""Micro-batches, activation checkpointing, precision and compilation change results by rounding only."""

import pytest
import torch
from icon_tasks import task

from mgclip import MGCLIP, Settings
from mgclip.clip import auto_precision, backbone, compute
from mgclip.clip.adapters import adapter_state
from mgclip.clip.backbone import Backbone
from mgclip.clip.encoder import Encoder
from mgclip.errors import MGCLIPError


def learn(clip, icons, **changes):
    losses = []
    settings = Settings(epochs=2, adapter_batch_size=10, head_epochs=1, seed=2, **changes)
    model = MGCLIP.from_pretrained(clip, settings=settings)
    for classes in ([0, 1, 2], [3, 4]):
        model.learn(*task(icons, classes), on_step=lambda step: losses.append(step.loss))
    return model, losses


def test_activation_checkpointing_changes_no_result(tiny_clip, icons):
    plain, losses = learn(tiny_clip, icons)
    lean, again = learn(tiny_clip, icons, activation_checkpointing=True)
    assert again == losses
    assert all(torch.equal(weight, adapter_state(lean.backbone)[name]) for name, weight in adapter_state(plain.backbone).items())
    calls = []
    for model in (lean, plain):
        layer = model.backbone.model.vision_model.encoder.layers[0].self_attn
        hook = layer.register_forward_hook(lambda *_: calls[-1].append(1))
        calls.append([])
        model.learn(*task(icons, [5, 6]))
        hook.remove()
    assert len(calls[0]) > 1.5 * len(calls[1])  # recomputed activations are not stored
    layer = lean.backbone.model.vision_model.encoder.layers[0]
    assert layer.training
    assert not any(inside.training for inside in layer.children())  # dropout stays off if a configuration has it


def test_memory_that_runs_out_halves_the_micro_batch(tiny_clip, icons, monkeypatch):
    _, losses = learn(tiny_clip, icons)
    real = Backbone.image_features

    def scarce(self, pixels, **options):
        if torch.is_grad_enabled() and len(pixels) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")
        return real(self, pixels, **options)

    monkeypatch.setattr(Backbone, "image_features", scarce)
    model, again = learn(tiny_clip, icons, micro_batch_size=10)
    assert again == pytest.approx(losses, abs=2e-5)
    assert model.backbone.compute.micro_batch == 2

    def none(self, pixels, **options):
        if torch.is_grad_enabled():
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried ...")
        return real(self, pixels, **options)

    monkeypatch.setattr(Backbone, "image_features", none)
    with pytest.raises(MGCLIPError, match="Memory ran out with a single image or text: free memory, train with activation_check"):
        learn(tiny_clip, icons)

    def broken(self, pixels, **options):
        if torch.is_grad_enabled():
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
        return real(self, pixels, **options)

    monkeypatch.setattr(Backbone, "image_features", broken)
    with pytest.raises(RuntimeError, match="shapes cannot"):
        learn(tiny_clip, icons)


@pytest.mark.parametrize("tower", ["vision_model", "text_model"])
def test_memory_that_runs_out_halves_what_is_encoded_together(tower, tiny_clip, icons, monkeypatch):
    model = MGCLIP.from_pretrained(tiny_clip, settings=Settings(encode_batch_size=9))

    def encoded():
        encoder = Encoder(model.backbone, prompt=["a photo of a {}.", "a {}."], batch_size=9)
        return encoder.images(encoder.pixels(list(icons["x_test"][:10]))), encoder.texts(["cat", "dog", "cow", "owl", "bat"])

    expected, sizes, most = encoded(), [], 2
    inside = getattr(model.backbone.model, tower)
    real = inside.forward

    def scarce(**given):
        sizes.append(len(next(iter(given.values()))))
        if sizes[-1] > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")
        return real(**given)

    monkeypatch.setattr(inside, "forward", scarce)
    found = encoded()
    assert all(torch.allclose(*pair, atol=1e-6) for pair in zip(found, expected, strict=True))
    assert sizes == ([9, 4, 2, 2, 2, 2, 1, 1] if tower == "vision_model" else [8, 4, 2, 2, 2, 2, 2])
    assert model.backbone.compute.encode_batch == 2
    most = 0
    with pytest.raises(MGCLIPError, match="Memory ran out with a single image or text: free memory, train with activation_check"):
        encoded()


def test_the_micro_batch_is_estimated_from_the_shape():
    class ViT:
        image_size, patch_size, hidden_size, intermediate_size, num_hidden_layers = 224, 16, 768, 3072, 12

    assert compute.fitting_micro_batch(ViT, torch.device("cpu"), checkpointing=False) == 8
    assert compute.fitting_micro_batch(ViT, torch.device("cpu"), checkpointing=True) == 57
    cpu = torch.device("cpu")
    found = [
        compute.images_per_pass(*given)
        for given in ((128, ViT, cpu, "float32"), (128, ViT, cpu, "bfloat16"), (16, ViT, cpu, "float32"))
    ]
    assert found == [13, 26, 8], "at most 13 and 27, and passes of equal size"
    assert [compute.images_per_pass(number, ViT, cpu, "float32") for number in (0, 1, 13)] == [0, 1, 13]
    assert compute.images_per_pass(128, ViT, torch.device("cuda"), "float32") == 128


@pytest.mark.parametrize("precision", ["float32", "auto"])
@torch.no_grad()
def test_a_processor_encodes_few_images_in_a_pass(tiny_clip, icons, monkeypatch, precision):
    monkeypatch.setattr(backbone, "choose_precision", lambda model: auto_precision.Choice("bfloat16", "images", 1.0, 2.0))
    model = MGCLIP.from_pretrained(tiny_clip, settings=Settings(precision=precision))
    pixels = model.encoder.pixels(list(icons["x_test"][:11]))
    together, sizes = [model.encoder.images(pixels), model.backbone.both_features(pixels.batch(torch.arange(11)))], []
    monkeypatch.setattr(compute, "CPU_TENSOR_BYTES", 4 * 17 * 64 * (4 if precision == "float32" else 2))  # of four images
    tower = model.backbone._encoding_tower().tower if precision == "auto" else model.backbone.model.vision_model
    real = tower.forward
    monkeypatch.setattr(tower, "forward", lambda pixel_values: sizes.append(len(pixel_values)) or real(pixel_values=pixel_values))
    found = [model.encoder.images(pixels), model.backbone.both_features(pixels.batch(torch.arange(11)))]
    assert sizes == [4, 4, 3] * 2
    for pair in zip(found, together, strict=True):
        torch.testing.assert_close(*pair, atol=1e-5 if precision == "float32" else 1e-2, rtol=0)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_lower_precision_learns_about_the_same(tiny_clip, icons, precision):
    _, losses = learn(tiny_clip, icons)
    rough, again = learn(tiny_clip, icons, precision=precision)
    assert again != losses
    assert again == pytest.approx(losses, rel=0.15, abs=0.15)
    moved = [weight for name, weight in adapter_state(rough.backbone).items() if name.endswith("B")]
    assert all(weight.abs().max() > 1e-4 for weight in moved)  # no step was skipped
    assert rough.head.dtype == torch.float32
    assert rough.probabilities(rough.encoder.images(rough.encoder.pixels(list(icons["x_test"][:2])))).dtype == torch.float32


@pytest.mark.slow
def test_compiled_towers_learn_the_same(tiny_clip, icons):
    _, losses = learn(tiny_clip, icons)
    _, again = learn(tiny_clip, icons, compile=True)
    assert again == pytest.approx(losses, abs=1e-4)
