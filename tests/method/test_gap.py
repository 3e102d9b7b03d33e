"""The gap, against its definition computed by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from icon_tasks import task

from mgclip import MGCLIP, Settings
from mgclip.method.gap import measure_gap, similarities


@given(st.integers(1, 6), st.integers(2, 7), st.integers(0, 2**31))
def test_similarities_are_of_the_own_class_and_of_the_mean_other(images, classes, seed):
    rng = np.random.default_rng(seed)
    logits, labels = rng.normal(size=(images, classes)), rng.integers(0, classes, images)
    own, others = similarities(torch.tensor(logits), torch.tensor(labels))
    for i, y in enumerate(labels):
        assert own[i] == logits[i, y]
        assert others[i] == pytest.approx(np.mean([z for c, z in enumerate(logits[i]) if c != y]))


@pytest.mark.parametrize("average", ["published", "exact"])
def test_the_gap_is_averaged_over_batches_or_over_images(tiny_clip, icons, average):
    model = MGCLIP.from_pretrained(tiny_clip, settings=Settings())
    images, labels, names = task(icons, [0, 1, 2])
    pixels, texts = model.encoder.pixels(images), model.encoder.texts(names)
    found = measure_gap(
        model.encoder.images(pixels), torch.tensor(labels), texts, logit_scale=model.backbone.logit_scale, batch_size=25,
        average=average,
    )  # fmt: skip
    logits = model.text_logits(model.encoder.images(pixels), names)
    own, others = similarities(logits, torch.tensor(labels))
    parts = [(own[:25], others[:25]), (own[25:], others[25:])]
    if average == "published":
        expected = np.mean([[o.mean().item(), n.mean().item()] for o, n in parts], axis=0)
    else:
        expected = [own.mean().item(), others.mean().item()]
    assert [found.positive, found.negative] == pytest.approx(list(expected), abs=1e-5)
