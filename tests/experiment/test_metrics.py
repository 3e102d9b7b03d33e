"""The metrics of an accuracy matrix, against numbers worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mgclip.experiment import metrics, run_folder
from mgclip.experiment.metrics import EPOCHS, METRICS, SECONDS

MATRIX = np.array([[0.9, 0.3, np.nan], [0.7, 0.8, 0.2], [0.6, 0.9, 0.5]])


def summary_of(matrix, sizes):
    """The summary of a run with these accuracies."""
    return run_folder.summarise(
        [
            {
                "classes_seen": 2,
                "epochs": 1,
                "test_images": size,
                "accuracy_per_task": row[: done + 1].tolist(),
                "next_task_text_accuracy": float(row[done + 1]) if done + 1 < len(matrix) else None,
                "seconds": {"learn": 1.0, "evaluate": 2.0},
            }
            for done, (row, size) in enumerate(zip(matrix, sizes, strict=True))
        ]
    )


def test_the_metrics_agree_with_a_calculation_by_hand():
    summary = summary_of(MATRIX, [10, 10, 20])
    assert summary["accuracy_after"] == pytest.approx([0.9, 0.75, (6 + 9 + 10) / 40])
    assert summary["last"] == pytest.approx(0.625)
    assert summary["average"] == pytest.approx((0.9 + 0.75 + 0.625) / 3)
    assert summary["forgetting"] == metrics.forgetting(MATRIX)
    assert summary["backward_transfer"] == metrics.backward_transfer(MATRIX)
    assert summary["forward_transfer"] == metrics.forward_transfer(MATRIX)
    assert metrics.forgetting(MATRIX) == pytest.approx(((0.9 - 0.6) + (0.8 - 0.9)) / 2)
    best_later = np.array([[0.5, 0.1, np.nan], [0.7, 0.8, 0.2], [0.6, 0.9, 0.5]])
    assert metrics.forgetting(best_later) == pytest.approx(((0.7 - 0.6) + (0.8 - 0.9)) / 2)
    assert metrics.backward_transfer(MATRIX) == pytest.approx(((0.6 - 0.9) + (0.9 - 0.8)) / 2)
    assert metrics.forward_transfer(MATRIX) == pytest.approx((0.3 + 0.2) / 2)
    single = np.array([[0.4]])
    assert (metrics.forgetting(single), metrics.backward_transfer(single), metrics.forward_transfer(single)) == (None,) * 3


def test_accuracies_before_a_task_is_learned_are_not_forgotten_and_images_weigh_the_same():
    """The second and the third task are recognised better by the texts alone."""
    matrix = np.array([[0.5, 0.95, np.nan, np.nan], [0.5, 0.8, 0.9, np.nan], [0.4, 0.7, 0.6, 0.1], [0.4, 0.6, 0.7, 0.8]])
    assert metrics.accuracy_drops(matrix) == pytest.approx([0.5 - 0.4, 0.8 - 0.6, 0.6 - 0.7])
    assert metrics.forgetting(matrix) == pytest.approx(0.2 / 3)
    assert metrics.backward_transfer(matrix) == pytest.approx((-0.1 - 0.2 + 0.1) / 3)
    assert metrics.forward_transfer(matrix) == pytest.approx((0.95 + 0.9 + 0.1) / 3)
    olds = [0.5, (0.4 * 10 + 0.7 * 30) / 40, (0.4 * 10 + 0.6 * 30 + 0.7 * 5) / 45]
    assert metrics.old_accuracy(matrix, [10, 30, 5, 7]) == pytest.approx(np.mean(olds))
    assert metrics.new_accuracy(matrix) == pytest.approx((0.8 + 0.6 + 0.8) / 3)
    single = np.array([[0.4]])
    assert (metrics.old_accuracy(single, [3]), metrics.new_accuracy(single)) == (None, None)


@given(st.integers(2, 6), st.integers(0, 2**31))
def test_the_metrics_are_consistent(tasks, seed):
    rng = np.random.default_rng(seed)
    matrix, sizes = rng.random((tasks, tasks)), rng.integers(1, 50, tasks).tolist()
    after, summary = metrics.accuracy_after(matrix, sizes), summary_of(matrix, sizes)
    assert summary["last"] == after[-1]
    assert after.min() - 1e-12 <= summary["average"] <= after.max() + 1e-12
    assert metrics.forgetting(matrix) >= -metrics.backward_transfer(matrix) - 1e-12


def test_every_metric_of_the_tables_is_in_a_summary():
    summary = summary_of(np.array([[0.5]]), [4])
    values = {metric.heading: metric.of(summary) for metric in (*METRICS, EPOCHS, SECONDS)}
    assert values == {"Avg": 0.5, "Last": 0.5, "forgetting": None, "BWT": None, "FWT": None, "E": 1, "seconds": 3.0}
    assert [metric.column for metric in METRICS[:2]] == ["Avg %", "Last %"]
