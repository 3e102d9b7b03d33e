"""Time runs with an unchanged CLIP, in which encoding should be nearly the only cost.

    python benchmarks/encode_once.py run
    python benchmarks/encode_once.py run --shape vit-b-16 --frozen train_per_class=20 test_per_class=4
    python benchmarks/encode_once.py methods

``run`` times icons100 with mg-clip-analytic from end to end, as ``mgclip run`` does, and opening and encoding each image once for
comparison; without ``--frozen``, also the published method with E = 10 and E = 1. ``methods`` times ten methods that leave CLIP
unchanged: ten runs of one method each, then one run of all ten with ``--keep-features``. It also compares their records.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import torch

from mgclip import FeatureClassifier, Method, register_method
from mgclip.bench.shapes import make_backbone
from mgclip.clip.load import load_backbone
from mgclip.clip.pixels import PreparedImages
from mgclip.experiment import run_folder, runner
from mgclip.experiment.open_run import build_stream, open_run
from mgclip.experiment.recipe import Recipe, load_recipe

FROZEN = [
    "zero-shot", "simplecil", "compensation-only", "ranpac", "rapf", "mg-clip-analytic", "mg-clip-analytic-relu",
    "mg-clip-analytic-unbalanced", "mg-clip-analytic-image", "nearest",
]  # fmt: skip


class Nearest(FeatureClassifier):
    """Classify an image as the learned image with the largest cosine."""

    learned = ("images", "labels")

    def __init__(self, backbone, settings, own):  # type: ignore[no-untyped-def]
        super().__init__(backbone, settings, own)
        self.images = torch.zeros(0, backbone.feature_dim, device=backbone.device)
        self.labels = torch.zeros(0, dtype=torch.long, device=backbone.device)

    def learn(self, task, on_step):  # type: ignore[no-untyped-def]
        images = torch.nn.functional.normalize(task.features, dim=-1)
        self.images, self.labels = torch.cat([self.images, images]), torch.cat([self.labels, task.labels])

    def scores(self, features, texts):  # type: ignore[no-untyped-def]
        cosines = torch.nn.functional.normalize(features, dim=-1) @ self.images.T
        best = torch.full((len(features), len(texts)), -1.0, device=features.device)
        return best.scatter_reduce(1, self.labels.expand_as(cosines), cosines, "amax")


def encode_once(recipe: Recipe) -> int:
    """Open and encode every image of a stream once. Returns their number."""
    backbone, images = load_backbone(recipe.clip), 0
    for task in build_stream(recipe):
        for split in (task.train, task.test):
            pixels = PreparedImages(split.images, backbone.transform)
            with torch.no_grad():
                for part in torch.arange(len(pixels)).split(recipe.encode_batch_size):
                    backbone.image_features(pixels.batch(part))
            images += len(pixels)
    return images


def seconds(work, *arguments, **options) -> float:  # type: ignore[no-untyped-def]
    """How long a function takes."""
    start = time.perf_counter()
    work(*arguments, **options)
    return time.perf_counter() - start


def run(recipe: Recipe, folder: Path, kept: Path | None = None) -> None:
    """A complete run."""
    runner.run(open_run(recipe, folder, keep_features=kept))


def with_shape(changes: list[str], folder: Path, shape: str) -> list[str]:
    """Store a CLIP of this shape in the folder. Returns the changes to the recipe, with this CLIP."""
    if shape == "iconclip":
        return changes
    backbone = make_backbone(shape)
    for part in (backbone.model, backbone.tokenizer, backbone.processor):
        part.save_pretrained(folder / "clip")
    return [f"clip={folder / 'clip'}", *changes]


def compare_run(changes: list[str], folder: Path, *, frozen: bool) -> None:
    """Time encoding once, the analytic method and, unless ``frozen``, the published one."""
    few = load_recipe("icons100", ["retention={}", *changes, "tasks=1", "train_per_class=1", "test_per_class=1"])
    encode_once(few)  # imports everything
    found = {"encoding once": seconds(encode_once, load_recipe("icons100", ["retention={}", *changes]))}
    variants = {"analytic": ["methods=mg-clip-analytic"]}
    if not frozen:
        variants |= {f"E = {number}": ["methods=mg-clip", f"epochs={number}"] for number in (1, 10)}
    for name, own in variants.items():
        recipe = load_recipe("icons100", ["retention={}", *changes, *own])
        found[name] = seconds(run, recipe, folder / name)
        print(json.dumps({name: round(found[name], 2), "methods": recipe.methods}), flush=True)
    ratios = {"analytic / encoding once": found["analytic"] / found["encoding once"]}
    ratios |= {f"{name} / analytic": found[name] / found["analytic"] for name in variants if name != "analytic"}
    print(json.dumps({**found, **ratios, "threads": torch.get_num_threads()}))


def compare_methods(changes: list[str], folder: Path) -> None:
    """Time ten runs of one method each, and one run of all ten."""
    register_method("nearest", Method(about="the nearest image", source="this benchmark", classifier=Nearest))
    changes = ["retention={}", *changes]
    load_backbone(load_recipe("icons100", changes).clip)  # imports everything
    alone: dict[str, float] = {}
    for method in FROZEN:
        alone[method] = seconds(run, load_recipe("icons100", [*changes, f"methods={method}"]), folder / method)
        print(json.dumps({method: round(alone[method], 2)}), flush=True)
    together = load_recipe("icons100", [*changes, f"methods={','.join(FROZEN)}"])
    found = {"ten runs": sum(alone.values()), "ten methods": seconds(run, together, folder / "all", folder / "features")}
    found["again"] = seconds(run, together, folder / "again", folder / "features")
    equal = all(
        records(folder / method / method) == records(folder / name / method) for method in FROZEN for name in ("all", "again")
    )
    ratio = found["ten runs"] / found["ten methods"]
    print(json.dumps({**found, "ratio": ratio, "equal records": equal, "threads": torch.get_num_threads()}))


def records(folder: Path) -> list[dict[str, object]]:
    """The records of a method without their times. A folder without records would be equal to any other one."""
    found = run_folder.read_records(folder)
    if not found:
        raise SystemExit(f"There are no records in {folder}.")
    return [{key: value for key, value in record.items() if key != "seconds"} for record in found]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "methods"])
    parser.add_argument(
        "--shape", help="iconclip (default of run), or the shape of a CLIP with random weights (methods: vit-b-16)"
    )
    parser.add_argument("--frozen", action="store_true", help="run: do not train, which takes long with large CLIPs")
    parser.add_argument("changes", nargs="*", help="changes to the recipe, such as tasks=2")
    args = parser.parse_intermixed_args()
    with tempfile.TemporaryDirectory() as folder:
        shape = args.shape or ("iconclip" if args.what == "run" else "vit-b-16")
        changes = with_shape(args.changes, Path(folder), shape)
        if args.what == "run":
            compare_run(changes, Path(folder), frozen=args.frozen)
        else:
            compare_methods(changes, Path(folder))


if __name__ == "__main__":
    main()
