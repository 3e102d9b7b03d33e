"""Memory of the GPU that really runs out halves the micro-batch; the result stays the same."""

import contextlib

import pytest
import torch
from icon_tasks import task
from on_device import QUICK, largest, learn, learned

from mgclip import MGCLIP, Settings
from mgclip.bench.shapes import make_backbone
from mgclip.clip.backbone import Backbone
from mgclip.clip.compute import SAVED_PER_WIDTH
from mgclip.errors import MGCLIPError

CLASSES = ((0, 1, 2, 3, 4, 5, 6, 7, 8, 9),)
BATCH = 120
"""All training images of the classes are one step."""


@contextlib.contextmanager
def spare(gpu, amount):
    """Let this process allocate only some more bytes on the GPU."""
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(gpu).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + amount) / total, torch.cuda.current_device())
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, torch.cuda.current_device())
        torch.cuda.empty_cache()


def training(icons, gpu, micro_batch):
    return learned("iconclip", icons, gpu, CLASSES, adapter_batch_size=BATCH, micro_batch_size=micro_batch, encode_batch_size=8)


def peak(icons, gpu, micro_batch):
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    training(icons, gpu, micro_batch)
    return torch.cuda.max_memory_allocated() - before


def test_memory_that_runs_out_halves_the_micro_batch(gpu, icons, record_property):
    expected, losses = training(icons, gpu, BATCH)
    need, little = peak(icons, gpu, BATCH), peak(icons, gpu, BATCH // 4)
    record_property("peaks", [need, little])
    assert little < need / 2
    errors = torch.cuda.memory_stats()["num_ooms"]
    with spare(gpu, (need + little) // 2):
        model, again = training(icons, gpu, BATCH)
    record_property("micro_batch", model.backbone.compute.micro_batch)
    record_property("losses", largest(again, losses))
    assert torch.cuda.memory_stats()["num_ooms"] > errors
    assert BATCH // 8 <= model.backbone.compute.micro_batch <= BATCH // 2
    assert again == pytest.approx(losses, abs=1e-5)  # measured: 1.2e-7
    assert largest(model.head, expected.head) < 1e-4
    _, after = training(icons, gpu, BATCH)  # nothing of the failed attempts is kept
    assert after == pytest.approx(losses, abs=1e-6)


def test_memory_that_runs_out_halves_the_images_that_are_encoded_together(gpu, icons):
    encoder, peaks = MGCLIP.from_pretrained("iconclip", settings=Settings(encode_batch_size=320), device=gpu).encoder, []
    pixels = encoder.pixels([icons["x_train"][0]] * 320)
    expected = encoder.images(pixels)
    for count in (320, 80):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        encoder.images(encoder.pixels([icons["x_train"][0]] * count))
        peaks.append(torch.cuda.max_memory_allocated() - before)
    with spare(gpu, sum(peaks) // 2):
        found = encoder.images(pixels)
    assert 40 <= encoder.backbone.compute.encode_batch <= 160
    assert largest(found, expected) < 1e-5


def test_memory_for_not_even_one_image_is_an_error_with_advice(gpu, icons):
    """An image of ViT-B/16 takes blocks of more than a megabyte to encode, and 100 MB to train. All else fits."""
    model = MGCLIP(make_backbone("vit-b-16"), Settings(epochs=1, adapter_batch_size=BATCH))
    given = task(icons, [0, 1])
    pixels = model.encoder.pixels(given[0])
    expected, taken, advice = model.encoder.images(pixels), [], "Memory ran out with a single image or text: free memory"
    with spare(gpu, 4 << 20):
        with contextlib.suppress(torch.OutOfMemoryError):
            while True:
                taken.append(torch.empty(3 << 19, dtype=torch.uint8, device=gpu))
        with pytest.raises(MGCLIPError, match=advice):
            model.encoder.images(pixels)
        taken.clear()
    with spare(gpu, 48 << 20), pytest.raises(MGCLIPError, match=advice):
        model.learn(*given)
    assert largest(model.encoder.images(pixels), expected) < 1e-5


def test_images_go_to_the_gpu_from_pinned_memory(gpu, icons, tiny_clip, monkeypatch):
    model = MGCLIP.from_pretrained(tiny_clip, settings=Settings(**QUICK), device=gpu)
    pinned, real = [], Backbone.image_features
    monkeypatch.setattr(
        Backbone,
        "image_features",
        lambda self, pixels, **options: pinned.append(pixels.is_pinned()) or real(self, pixels, **options),
    )
    learn(model, icons, ((0, 1),))
    model.predict([*icons["x_test"][:3]])
    assert len(pinned) > 3
    assert all(pinned)


def test_the_estimated_micro_batch_fits(gpu, icons, record_property):
    """Activations of an image take no more than the estimate says, apart from the share of memory that it leaves free."""
    few, many = 30, BATCH
    config = learned("iconclip", icons, gpu, ((0, 1),))[0].backbone.model.config.vision_config
    tokens = (config.image_size // config.patch_size) ** 2 + 1
    estimated = tokens * config.hidden_size * 4 * config.num_hidden_layers * SAVED_PER_WIDTH
    measured = (peak(icons, gpu, many) - peak(icons, gpu, few)) / (many - few)
    record_property("bytes_per_image", [measured, estimated])
    assert 0.4 * estimated < measured < 1.3 * estimated
