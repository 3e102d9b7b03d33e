"""Compare ways to encode images on this processor: PyTorch in float32 and bfloat16, compiled or not, onnxruntime and OpenVINO.

    python benchmarks/engines.py --shape vit-b-16 --images 16
    python benchmarks/engines.py --answers

The first form prints images per second, compared with float32 and with the multiplications that the processor can do; the engines take
turns. ``--answers`` compares the answers of a model of icons100 on its test images and, with ``--photos FOLDER``, those of a model of
half of these photographs on crops of the others. onnxruntime and OpenVINO are measured if they are installed.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mgclip import MGCLIP
from mgclip.bench.flops import image_flops
from mgclip.bench.shapes import make_backbone
from mgclip.clip.compute import Compute, Precision, images_per_pass
from mgclip.clip.encoding_tower import EncodingTower
from mgclip.clip.pixels import PreparedImages
from mgclip.experiment.open_run import build_stream
from mgclip.experiment.recipe import load_recipe
from mgclip.export.int8 import quantise
from mgclip.export.onnx_file import export_onnx
from mgclip.images import open_image
from mgclip.method.methods import ANALYTIC
from mgclip.stream.walk import is_image_name

Encode = Callable[[Tensor], Tensor]
CROPS = 2000
"""Crops of photographs whose answers are compared."""


def engines(model: MGCLIP, batch: int, folder: Path, *, compiled: bool) -> dict[str, Encode]:
    """Functions from normalised pixels ``(batch, 3, size, size)`` to normalised features."""
    backbone = model.backbone

    def plain(precision: Precision) -> Encode:
        def encode(values: Tensor) -> Tensor:
            with Compute(precision).autocast(backbone.device):
                pooled = backbone.model.vision_model(pixel_values=values).pooler_output
            return torch.nn.functional.normalize(backbone.model.visual_projection(pooled.float()), dim=-1)

        return in_passes(encode, precision)

    def copied(tower: EncodingTower) -> Encode:
        return in_passes(lambda values: torch.nn.functional.normalize(tower(values)[0], dim=-1), "bfloat16")

    def in_passes(encode: Encode, precision: Precision) -> Encode:
        """Split a batch as the package does."""
        size = images_per_pass(batch, backbone.model.config.vision_config, backbone.device, precision)
        return lambda values: torch.cat([encode(part) for part in values.split(size)])

    found = {
        "float32": plain("float32"),
        "bfloat16, autocast": plain("bfloat16"),
        "bfloat16 weights": copied(EncodingTower(backbone.model, adapted=True)),
    }
    if compiled:
        tower = EncodingTower(backbone.model, adapted=True)
        start = time.perf_counter()
        tower.compile(batch, backbone.image_size)
        found[f"bfloat16 weights, compiled in {time.perf_counter() - start:.0f} s"] = copied(tower)
    file = folder / "model.onnx"
    if find_spec("onnxruntime") is not None:
        export_onnx(model, file)
        found |= onnx_engines(file, folder)
    if find_spec("openvino") is not None and file.exists():
        found |= openvino_engines(file)
    return found


def onnx_engines(file: Path, folder: Path) -> dict[str, Encode]:
    """Onnxruntime in float32 and with 8-bit weights."""
    import onnxruntime

    small = folder / "int8.onnx"
    quantise(file, small)

    def engine(file: Path) -> Encode:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        return lambda values: torch.from_numpy(session.run(["image_features"], {"pixel_values": values.numpy()})[0])

    return {"onnxruntime": engine(file), "onnxruntime, int8": engine(small)}


def openvino_engines(file: Path) -> dict[str, Encode]:
    """OpenVINO in float32 and, as it chooses by itself where the processor has it, in bfloat16."""
    import openvino  # type: ignore[import-not-found]

    def engine(kind: str) -> Encode:
        hints = {"INFERENCE_PRECISION_HINT": kind, "INFERENCE_NUM_THREADS": torch.get_num_threads()}
        compiled: Any = openvino.Core().compile_model(str(file), "CPU", hints)
        return lambda values: torch.from_numpy(np.array(compiled(values.numpy())["image_features"]))

    return {"OpenVINO": engine("f32"), "OpenVINO, bfloat16": engine("bf16")}


def least_seconds(work: Callable[[], object], best: float) -> float:
    """Time one more call. Returns its seconds, or the ``best`` so far if that is less."""
    start = time.perf_counter()
    work()
    return min(best, time.perf_counter() - start)


@torch.no_grad()
def speeds(shape: str, images: int, rounds: int, *, compiled: bool) -> None:
    """Print images per second of every engine."""
    model = MGCLIP(make_backbone(shape), {"epochs": 0, "branches": "text"})
    size = model.backbone.image_size
    blank = np.zeros((size, size, 3), dtype=np.uint8)
    model.learn([blank, blank + 1], [0, 1], class_names=["a", "b"])
    torch.manual_seed(0)
    values = torch.randn(images, 3, size, size)
    matrices = {kind: torch.randn(2048, 2048).to(kind) for kind in (torch.float32, torch.bfloat16)}
    with tempfile.TemporaryDirectory() as folder:
        found = engines(model, images, Path(folder), compiled=compiled)
        features = {name: encode(values) for name, encode in found.items()}
        best, peaks = dict.fromkeys(found, float("inf")), dict.fromkeys(matrices, float("inf"))
        for _ in range(rounds):
            for kind, matrix in matrices.items():
                peaks[kind] = least_seconds(lambda matrix=matrix: matrix @ matrix, peaks[kind])  # type: ignore[misc]
            for name, encode in found.items():
                best[name] = least_seconds(lambda encode=encode: encode(values), best[name])  # type: ignore[misc]
    peak = {str(kind).removeprefix("torch."): 2 * 2048**3 / least for kind, least in peaks.items()}
    print(json.dumps({"threads": torch.get_num_threads(), "GFLOP/s": {kind: round(value / 1e9) for kind, value in peak.items()}}))
    flops = image_flops(model.backbone.model.config, training=False)
    for name, least in best.items():
        cosine = (features[name] * features["float32"]).sum(1).min().item()
        share = None if "int8" in name else images * flops / least / peak["bfloat16" if "bfloat16" in name else "float32"]
        row = {"engine": name, "images/s": images / least, "against float32": best["float32"] / least}
        print(json.dumps({**row, "share of its peak": share, "least cosine to float32": cosine}))


def photographs(folder: Path) -> tuple[MGCLIP, PreparedImages]:
    """A model of one half of the photographs in a folder of class folders, and random crops of the other half."""
    files = sorted(file for file in folder.rglob("*") if is_image_name(file.name))
    names = sorted({file.parent.name for file in files})
    model = MGCLIP.from_pretrained("iconclip", settings=ANALYTIC)
    learned, others = files[::2], files[1::2]
    model.learn(learned, [file.parent.name for file in learned], names)
    rng, crops = np.random.default_rng(0), []
    for number in range(CROPS):
        image = open_image(others[number % len(others)])
        side = int(min(image.size) * rng.uniform(0.5, 1))
        left, top = (int(rng.integers(0, length - side + 1)) for length in image.size)
        crops.append(np.asarray(image.crop((left, top, left + side, top + side))))
    return model, model.encoder.pixels(crops)


def icons() -> tuple[MGCLIP, PreparedImages]:
    """A model of icons100, and its test images."""
    recipe = load_recipe("icons100", ["methods=mg-clip-analytic", "tasks=1", "classes_per_task=100", "train_per_class=20"])
    (task,) = build_stream(recipe)
    model = MGCLIP.from_pretrained("iconclip", settings=ANALYTIC)
    model.learn(task.train.images, task.train.labels, task.names, class_texts=task.texts)
    return model, model.encoder.pixels(task.test.images)


@torch.no_grad()
def answers(photos: Path | None, *, compiled: bool) -> None:
    """Print the share of answers that every engine leaves as they are."""
    sets = {"icons100": icons()} | ({"photographs": photographs(photos)} if photos else {})
    for name, (model, pixels) in sets.items():
        mean, std = model.backbone._mean_std
        with tempfile.TemporaryDirectory() as folder:
            found = engines(model, 64, Path(folder), compiled=compiled)
            parts = [(pixels.batch(part).float() / 255 - mean) / std for part in torch.arange(len(pixels)).split(64)]
            labels = {
                engine: np.concatenate([model.classify(encode(part)).labels for part in parts])
                for engine, encode in found.items()
            }
        for engine, own in labels.items():
            same = float((own == labels["float32"]).mean())
            print(json.dumps({"images": name, "number": len(own), "engine": engine, "equal answers": same}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default="vit-b-16")
    parser.add_argument("--images", type=int, default=16, help="images per batch")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--answers", action="store_true", help="compare answers instead of speeds")
    parser.add_argument("--photos", type=Path, help="photographs in a folder for each class")
    parser.add_argument("--no-compile", action="store_true")
    args = parser.parse_args()
    os.environ["MGCLIP_DEVICE"] = "cpu"  # also where there is a GPU
    if args.answers:
        answers(args.photos, compiled=not args.no_compile)
    else:
        speeds(args.shape, args.images, args.rounds, compiled=not args.no_compile)


if __name__ == "__main__":
    main()
