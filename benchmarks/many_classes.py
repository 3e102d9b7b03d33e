"""Learn 1,000 more classes on top of 100,000, and predict 1,000 images: time and peak memory, on synthetic features.

    python benchmarks/many_classes.py
    python benchmarks/many_classes.py --classes 2000 --more 100 --predict 100 --width 256

The features of a class scatter around its direction; its text is a direction close to that. A model of iconclip learns them, but no
image is encoded: what is measured is everything else. The steps are those of a user: make a model of 100,000 classes and save it
(not part of the targets), then, in a fresh process each, load it and learn 1,000 more classes, and load it and predict 1,000 images.
The exit code is 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mgclip import MGCLIP
from mgclip.clip.pixels import PreparedImages
from mgclip.method.methods import ANALYTIC

TARGETS = {"learn": 60.0, "predict": 5.0, "GiB": 6.0}
"""Seconds and GiB to stay below with the default numbers."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, default=100_000)
    parser.add_argument("--more", type=int, default=1_000, help="classes to learn on top of them")
    parser.add_argument("--per-class", type=int, default=5, help="images of a class")
    parser.add_argument("--predict", type=int, default=1_000, help="images to predict")
    parser.add_argument("--width", type=int, default=2_048, help="random features")
    parser.add_argument("--folder", type=Path, help="keep the model of all classes here, and use it again")
    parser.add_argument("--step", choices=["make", "learn", "predict"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.step:
        print(json.dumps(STEPS[args.step](args)), flush=True)
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder, found = args.folder or Path(scratch) / "model", {}
        for step in ["make"] * (not folder.exists()) + ["learn", "predict"]:
            command = [sys.executable, __file__, *sys.argv[1:], "--folder", str(folder), "--step", step]
            printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
            print(step, printed, flush=True)
            found[step] = json.loads(printed)
        bytes_of = {file.name: file.stat().st_size for file in folder.rglob("*.safetensors")}
        print("files", json.dumps({name: f"{size / 2**20:,.0f} MiB" for name, size in bytes_of.items()}))
    print("targets", json.dumps(TARGETS))
    if missed := missed_targets(found):
        raise SystemExit(f"Missed: {', '.join(missed)}.")


def missed_targets(found: dict[str, dict[str, Any]]) -> list[str]:
    """The targets that are missed, in words. ``found`` is what the steps printed."""
    steps = {step: found[step] for step in ("learn", "predict")}
    values = {step: about["seconds"] for step, about in steps.items()}
    values["GiB"] = max(about["GiB"] for about in steps.values())
    return [f"{name} {value:.3g} instead of {TARGETS[name]:g}" for name, value in values.items() if value > TARGETS[name]]


def make(args: argparse.Namespace) -> dict[str, Any]:
    """Learn the first classes, and save the model."""
    model = MGCLIP.from_pretrained("iconclip", settings={**ANALYTIC, "features": args.width})
    classes = Classes(model, args)
    begun = time.perf_counter()
    classes.learn(model, 0, args.classes)
    model.save_pretrained(args.folder)
    return {"seconds": time.perf_counter() - begun, **peak()}


def learn(args: argparse.Namespace) -> dict[str, Any]:
    """Load the model, learn more classes, and save it elsewhere."""
    begun = time.perf_counter()
    model = MGCLIP.from_pretrained(args.folder)
    loaded = time.perf_counter()
    Classes(model, args).learn(model, args.classes, args.more)
    learned = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
    assert model.solved is not None
    accuracy = model.solved.calibration.accuracy
    saved = time.perf_counter()
    return {"load": loaded - begun, "seconds": learned - loaded, "save": saved - learned, "left out": accuracy, **peak()}


def predict(args: argparse.Namespace) -> dict[str, Any]:
    """Load the model, and predict new images of its classes."""
    model = MGCLIP.from_pretrained(args.folder)
    classes = Classes(model, args)
    truth = torch.arange(args.predict) * (args.classes // args.predict)
    features = classes.images(truth, seed=1)
    model.classify(features[:1])  # the first call makes a copy of some weights
    begun = time.perf_counter()
    found = model.classify(features)
    best = found.order(5)
    seconds = time.perf_counter() - begun
    return {"seconds": seconds, "accuracy": float((best[:, 0] == truth.numpy()).mean()), **peak()}


STEPS = {"make": make, "learn": learn, "predict": predict}


class Classes:
    """Classes by number, each with a direction; their texts are known to the encoder of the model."""

    def __init__(self, model: MGCLIP, args: argparse.Namespace) -> None:
        self.dim, self.per_class = model.backbone.feature_dim, args.per_class
        generator = torch.Generator().manual_seed(0)
        self.centres = F.normalize(torch.randn(args.classes + args.more, self.dim, generator=generator), dim=-1)
        texts = F.normalize(self.centres + torch.randn(self.centres.shape, generator=generator) / self.dim**0.5, dim=-1)
        self.names = [f"class {number}" for number in range(len(texts))]
        model.encoder.remember_texts(self.names, texts)

    def images(self, labels: Tensor, seed: int) -> Tensor:
        """Normalised features ``(n, d)`` of images of these classes ``(n,)``."""
        noise = torch.randn(len(labels), self.dim, generator=torch.Generator().manual_seed(seed))
        return F.normalize(self.centres[labels] + 0.8 * noise / self.dim**0.5, dim=-1)

    def learn(self, model: MGCLIP, first: int, number: int) -> None:
        """Learn ``number`` classes, from ``first`` on."""
        labels = torch.arange(number).repeat_interleave(self.per_class)
        features = self.images(first + labels, seed=first + 2)
        pixels = PreparedImages.of(torch.zeros(1, 3, 1, 1, dtype=torch.uint8).expand(len(labels), -1, -1, -1))
        marks = torch.randint(-(2**62), 2**62, (len(labels),), generator=torch.Generator().manual_seed(first))
        pixels.marks = marks  # in place of the fingerprints of pixels
        model.encoder.images = lambda *_, **__: features  # type: ignore[method-assign]
        model.learn(pixels, labels, self.names[first : first + number])


def peak() -> dict[str, Any]:
    """The largest resident memory of this process so far, and the cores that it can use."""
    gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"GiB": round(gib, 2), "cores": len(os.sched_getaffinity(0)), "threads": torch.get_num_threads()}


if __name__ == "__main__":
    main()
