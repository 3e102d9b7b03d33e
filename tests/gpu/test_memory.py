"""Memory of the GPU that really runs out halves the micro-batch; the result stays the same."""

import contextlib

import pytest
import torch
from on_device import largest, learned

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
    assert again == pytest.approx(losses, abs=1e-4)
    assert largest(model.head, expected.head) < 1e-3
    _, after = training(icons, gpu, BATCH)  # nothing of the failed attempts is kept
    assert after == pytest.approx(losses, abs=1e-6)


def test_memory_for_not_even_one_image_is_an_error_with_advice(gpu, icons):
    from mgclip.clip.load import load_backbone

    backbone = load_backbone("iconclip", gpu)
    with spare(gpu, 4 << 20), pytest.raises(MGCLIPError, match="Memory ran out"):
        learned_on(backbone, icons)


def learned_on(backbone, icons):
    from conftest import task

    from mgclip import MGCLIP, Settings

    model = MGCLIP(backbone, Settings(epochs=1, adapter_batch_size=BATCH))
    model.learn(*task(icons, list(CLASSES[0])))


def test_the_estimated_micro_batch_fits(gpu, icons, record_property):
    """Activations of an image take no more than the estimate says, apart from the share of memory that it leaves free."""
    few, many = 30, BATCH
    config = learned("iconclip", icons, gpu, ((0, 1),))[0].backbone.model.config.vision_config
    tokens = (config.image_size // config.patch_size) ** 2 + 1
    estimated = tokens * config.hidden_size * 4 * config.num_hidden_layers * SAVED_PER_WIDTH
    measured = (peak(icons, gpu, many) - peak(icons, gpu, few)) / (many - few)
    record_property("bytes_per_image", [measured, estimated])
    assert 0.4 * estimated < measured < 1.3 * estimated
