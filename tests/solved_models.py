"""Models with a solved head, compared with one another."""

import pytest

from mgclip import Settings
from mgclip.clip.adapters import adapter_state
from mgclip.method.methods import ANALYTIC

SETTINGS = Settings(**ANALYTIC, features=64)


def names_of(icons, classes):
    return [str(icons["class_names"][c]) for c in classes]


def some(icons, rows):
    """Training drawings, twelve of each class, and the names of their classes."""
    return list(icons["x_train"][rows]), names_of(icons, icons["y_train"][rows])


def state(model):
    head = model.solved
    tensors = [] if head is None else [head.sums.targets, head.weights, head.learned.marks, head.learned.labels]
    if head is not None:
        tensors.append(head.sums.gram.tril())  # files keep one triangle; some processors round the other one differently
    about = (
        model.class_names,
        model.class_texts,
        model.task_sizes,
        None if head is None else (head.ridge, head.calibration),
    )
    return about, [tensor.numpy().tobytes() for tensor in (*tensors, *adapter_state(model.backbone).values())]


def equal(found, expected, icons, *, order=None):
    """The same head within rounding, over the same classes, and the same answers.

    Features of one image differ in rounding between batches of different images. ``order`` gives the positions of the classes
    of ``expected`` in ``found``.
    """
    order = order or list(range(len(found.class_names)))
    assert [found.class_names[place] for place in order] == list(expected.class_names)
    one, other = found.solved.weights[:, order], expected.solved.weights
    assert (one - other).abs().max() <= 1e-6 * other.abs().max()
    assert found.solved.ridge == expected.solved.ridge
    assert found.solved.sums.counts[order].tolist() == expected.solved.sums.counts.tolist()
    seen = list(icons["x_test"])
    assert found.predict(seen).names == expected.predict(seen).names
    for value in ("head", "text", "deviation", "accuracy"):
        assert getattr(found.solved.calibration, value) == pytest.approx(getattr(expected.solved.calibration, value), rel=1e-3)
