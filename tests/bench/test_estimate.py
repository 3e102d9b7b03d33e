"""Estimates for other machines follow the amount of work."""

import pytest

from mgclip.bench.estimate import MACHINES, adapter_count, estimate
from mgclip.bench.flops import image_flops
from mgclip.bench.shapes import make_config
from mgclip.bench.stream import Stream
from mgclip.method import stored_texts


def test_estimates_follow_the_work():
    config = make_config("vit-b-16")
    assert adapter_count(config) == 491_520
    stream = Stream(tasks=10, classes=100, train_per_class=1281, test_per_class=50, epochs=2)
    float32, bfloat16, eight = (estimate(config, stream, machine, adapter_numbers=491_520) for machine in MACHINES)
    assert float32["training"] == pytest.approx(bfloat16["training"] * 138 / 34)
    assert bfloat16["training"] / 8 < eight["training"] < bfloat16["training"] / 6
    assert (float32["communication"], bfloat16["communication"]) == (0, 0)
    assert 0 < eight["communication"] < 0.05 * eight["total"]
    images = stream.tasks * stream.images
    assert float32["features"] == pytest.approx(images * image_flops(config, training=False) / 34e12)


def test_the_saved_model_has_the_text_features_of_many_classes_too():
    config = make_config("vit-b-16")

    def saved(classes):
        return estimate(config, Stream(1, classes, 1, 1, 1), MACHINES[0], adapter_numbers=491_520)["model_bytes"]

    assert saved(stored_texts.MANY - 1) == 4 * (491_520 + 999 * 512)
    assert saved(stored_texts.MANY) == 4 * (491_520 + 2 * 1000 * 512)
