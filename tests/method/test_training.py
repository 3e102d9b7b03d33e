"""What all training phases share."""

from dataclasses import replace
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mgclip.method.training import Phase, image_order


@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 99), st.integers(0, 5), st.integers(1, 9))
def test_the_order_is_a_permutation_that_depends_only_on_seed_task_and_epoch(count, size, seed, index, epoch):
    def order(at=epoch, **changes):
        phase = replace(Phase("adapter", index, 9, 1e-3, 1e-5, size, seed, True), **changes)
        return [i for _, part in phase.batches(count, at) for i in part.tolist()]

    assert sorted(order()) == list(range(count))
    assert order() == order(batch_size=count)
    assert order(shuffle=False) == list(range(count))
    if count > 20:
        assert order() != order(at=epoch + 1)
        assert order() != order(seed=seed + 1)


@pytest.mark.parametrize(
    ("phase", "number"),
    [
        *(("probe", 1), ("adapter", 1), ("head", 2), ("balance-adapter", 3), ("balance-head", 4), ("rapf", 5), ("ranpac", 6)),
        *((name, crc32(name.encode())) for name in ("of another package", "mine")),
    ],
)
def test_the_order_of_a_saved_run_never_changes(phase, number):
    """An interrupted task resumes in this order, also if it was begun by an earlier version."""
    for seed, task, epoch in ((0, 0, 1), (7, 3, 2)):
        expected = np.random.default_rng([seed, task, number, epoch]).permutation(50)
        assert image_order(50, phase, task=task, epoch=epoch, seed=seed, shuffle=True).tolist() == expected.tolist()
