"""What the solved head does on icons100 beyond accuracy: unknown classes, unequal classes and calibration, next to a kernel SVM.

    python benchmarks/solved_head.py --seeds 3 > solved-head.jsonl
    python benchmarks/solved_head_figures.py solved-head.jsonl docs

The second command draws what the first one measured:

- unknown: half of the classes are learned. How well does each score separate test images of these from those of the others? Area
  under the ROC curve.
- unequal: half of the classes have 4 images, the others 100. Accuracy over all, and over the small ones.
- few: accuracy and expected calibration error with N images per class, and the accuracy of an RBF SVM trained on all images at once.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score, roc_curve
from sklearn.svm import SVC

from mgclip import MGCLIP
from mgclip.clip.pixels import PreparedImages
from mgclip.experiment.evaluation import calibration
from mgclip.method.methods import ANALYTIC
from mgclip.method.predictions import Predictions
from mgclip.stream.datasets import load_dataset

TASK = 10
"""Classes of a task."""
RATES = np.linspace(0, 1, 51)
"""Shares of images of unknown classes that are taken for known, at which the ROC curves are written."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--images", type=int, nargs="*", default=[1, 2, 4, 20, 100])
    args = parser.parse_args()
    data = load_dataset("icons100", path=None)
    new = MGCLIP.from_pretrained("iconclip", settings=ANALYTIC)
    indices = torch.arange(len(data.train.labels))
    train = PreparedImages.of(new.encoder.pixels(data.train.images).batch(indices))
    test = new.encoder.images(new.encoder.pixels(data.test.images))
    stream = (train, np.asarray(data.train.labels), data.class_names, test, np.asarray(data.test.labels))
    for seed in range(args.seeds):
        order = np.random.default_rng(seed).permutation(len(data.class_names))
        print(json.dumps({"seed": seed, "unknown": unknown(*stream, order=order, seed=seed)}), flush=True)
        print(json.dumps({"seed": seed, "unequal": unequal(*stream, order=order, seed=seed)}), flush=True)
        for count in args.images:
            found = few(*stream, order=order, seed=seed, count=count)
            print(json.dumps({"seed": seed, "images per class": count, **found}), flush=True)


def learned(train: PreparedImages, labels: NDArray[Any], names: Sequence[str], counts: Mapping[int, int], seed: int) -> MGCLIP:
    """A model that has learned ``counts`` random images of each class, task after task in the order of ``counts``."""
    model = MGCLIP.from_pretrained("iconclip", settings={**ANALYTIC, "seed": seed})
    classes = list(counts)
    for first in range(0, len(classes), TASK):
        own = classes[first : first + TASK]
        rows = np.concatenate([chosen(labels, label, counts[label], seed) for label in own])
        pixels = PreparedImages.of(train.batch(torch.from_numpy(rows)))
        model.learn(pixels, [names[label] for label in labels[rows]], [names[label] for label in own])
    return model


def unknown(train: Any, labels: Any, names: Any, test: Any, truth: Any, *, order: Any, seed: int) -> dict[str, Any]:
    """Area under the ROC curve of each score, known test images against unknown ones, and the curve at the rates ``RATES``."""
    half = order[: len(order) // 2].tolist()
    model = learned(train, labels, names, dict.fromkeys(half, 100), seed)
    found, known = model.classify(test), np.isin(truth, half)
    scores = {
        "likeness": found.likeness,
        "confidence": found.confidence.max(1),
        "text": found.text_probabilities.max(1),
    }
    areas = {name: round(float(roc_auc_score(known, score)), 4) for name, score in scores.items()}
    curves = {name: np.interp(RATES, *roc_curve(known, score)[:2]).round(4).tolist() for name, score in scores.items()}
    return {**areas, "curves": curves}


def unequal(train: Any, labels: Any, names: Any, test: Any, truth: Any, *, order: Any, seed: int) -> dict[str, float]:
    """Accuracy if every second class of the order has 4 images and the others have 100."""
    counts = {int(label): 4 if place % 2 else 100 for place, label in enumerate(order)}
    right = answers(learned(train, labels, names, counts, seed).classify(test), names) == truth
    small = np.array([counts[int(label)] == 4 for label in truth])
    return {"all": float(right.mean()), "small": float(right[small].mean())}


def few(train: Any, labels: Any, names: Any, test: Any, truth: Any, *, order: Any, seed: int, count: int) -> dict[str, Any]:
    """Accuracy and calibration with some images per class, and an RBF SVM on the same features with the same kernel width."""
    model = learned(train, labels, names, dict.fromkeys(order.tolist(), count), seed)
    found = model.classify(test)
    right = answers(found, names) == truth
    measured = calibration(found.confidence.max(1), right)
    svm = None
    if count > 1 and model.solved is not None:
        rows = np.concatenate([chosen(labels, label, count, seed) for label in order])
        features = model.encoder.images(PreparedImages.of(train.batch(torch.from_numpy(rows))))
        machine = SVC(C=10, gamma=model.solved.fourier.gamma).fit(features.numpy(), labels[rows])
        svm = float((machine.predict(test.numpy()) == truth).mean())
    text = np.array([names.index(name) for name in found.classes])[found.text_probabilities.argmax(1)] == truth
    return {
        "accuracy": float(right.mean()),
        "calibration error": round(measured["error"], 4),
        "svm": svm,
        "text": float(text.mean()),
        "bins": [[row["confidence"], row["accuracy"], row["count"]] for row in measured["bins"]],
    }


def chosen(labels: NDArray[Any], label: int, count: int, seed: int) -> NDArray[np.int64]:
    """The positions of some images of a class, chosen at random by the seed."""
    return np.random.default_rng([seed, label]).permutation(np.flatnonzero(labels == label))[:count]


def answers(found: Predictions, names: Sequence[str]) -> NDArray[np.int64]:
    """The predicted classes as positions in ``names``."""
    return np.array([names.index(name) for name in found.names])


if __name__ == "__main__":
    main()
