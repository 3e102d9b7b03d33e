"""The peak memory of a training step."""

import pytest

from mgclip.bench.memory import training_peak


@pytest.mark.slow
def test_vit_b_16_trains_at_batch_128_within_6_gib():
    found = training_peak("vit-b-16", 128)
    assert found["peak"] < 6 * 2**30
    assert found["micro_batch"] < 128
