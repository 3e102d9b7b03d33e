"""The composed time of a stream counts the passes that real runs make."""

import pytest

from mgclip.bench.stream import Stream, Units, naive_task_seconds, steps, task_seconds

NOTHING = {"image_trained": 0.0, "image": 0.0, "texts_trained": 0.0, "texts": 0.0, "head": 0.0}


@pytest.mark.parametrize(
    ("seconds", "unit", "passes"),
    [
        (task_seconds, "image_trained", 2 * 18 * 3),
        (task_seconds, "image", 18 * 3 + 12 * (2 + 3 + 3)),
        (task_seconds, "texts_trained", 2 * 4 * 3 * 3),
        (task_seconds, "texts", 3 * 9),
        (task_seconds, "head", 3 * 3 * 1),
        (naive_task_seconds, "image_trained", 2 * 18 * 3),
        (naive_task_seconds, "image", 18 * 3 * (1 + 1 + 3) + 12 * (2 + 3 + 3)),
        (naive_task_seconds, "texts_trained", 2 * 4 * (3 + 6 + 9)),
        (naive_task_seconds, "texts", 4 * (3 + 6 + 9) + (1 * 3 + 2 * 6 + 3 * 9)),
    ],
)
def test_every_pass_of_a_run_is_counted(seconds, unit, passes):
    """The numbers are those that the tests of passes find in real runs."""
    stream = Stream(tasks=3, classes=3, train_per_class=6, test_per_class=4, epochs=2, batch=5)
    units = Units(**{**NOTHING, unit: 1.0})
    assert sum(sum(seconds(stream, units, task).values()) for task in range(3)) == passes


def test_the_last_batch_may_be_smaller():
    assert [steps(items, 4) for items in (0, 1, 4, 5)] == [0, 1, 1, 2]
