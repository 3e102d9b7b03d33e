"""What all training phases share."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from mgclip.method.training import Phase


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
