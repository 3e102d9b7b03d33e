"""Learn many tasks: do memory and the time of a task stay constant, and have the files the documented size?

    python tests/faults/soak.py --tasks 200

In one process, a small CLIP learns 5 classes per task, is saved as a version and loaded again. Then new models learn the same 5
classes as often. The script prints memory per task (the slope of a line through the second half), the time of the first and the
last tasks, and the size of the last version.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from small_clip import make_small_clip

CLASSES, IMAGES = 5, 8
PAGE = 4096


def resident() -> int:
    """Resident memory of this process, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def size(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def slope(values: list[float]) -> float:
    """The slope of the straight line through equally spaced values."""
    return float(np.polyfit(range(len(values)), values, 1)[0])


def soak(tasks: int, place: Path) -> dict[str, Any]:
    """Learn ``tasks`` tasks; returns the measurements of memory, time and files."""
    from mgclip import MGCLIP, Settings
    from mgclip.clip.load import load_backbone

    backbone = load_backbone(make_small_clip(place))
    settings = Settings(epochs=2, head_epochs=2, adapter_batch_size=16, head_batch_size=16)
    model, draw = MGCLIP(backbone, settings), np.random.default_rng(0)
    shop = place / "shop"
    memory: list[float] = []
    learning: list[float] = []
    saving: list[float] = []
    for task in range(tasks):
        images = draw.integers(0, 256, (CLASSES * IMAGES, 32, 32, 3), dtype=np.uint8)
        names = [f"class {task}-{c}" for c in range(CLASSES)]
        begun = time.perf_counter()
        model.learn(images, np.arange(CLASSES).repeat(IMAGES), names)
        learned = time.perf_counter()
        model.save_pretrained(shop, note={"what": f"task {task}"})
        model = MGCLIP.from_pretrained(shop, base=backbone)
        learning.append(learned - begun)
        saving.append(time.perf_counter() - learned)
        memory.append(resident())
    assert len(model.class_names) == tasks * CLASSES
    again: list[float] = []
    for _ in range(tasks):  # without new classes, any growth is a leak
        model = MGCLIP(backbone, settings)
        model.learn(images, np.arange(CLASSES).repeat(IMAGES), names)
        model.save_pretrained(place / "again")
        again.append(resident())
    state = shop / json.loads((shop / "mgclip.json").read_text())["state"]
    warm = max(1, tasks // 10)
    return {
        "tasks": tasks,
        "classes": tasks * CLASSES,
        "memory MiB, first and last": [round(memory[warm] / 2**20, 1), round(memory[-1] / 2**20, 1)],
        "memory KiB per task": round(slope(memory[tasks // 2 :]) / 1024, 2),
        "memory KiB per task, same classes": round(slope(again[tasks // 2 :]) / 1024, 2),
        "seconds to learn, first and last tenth": [round(float(np.median(part)), 3) for part in (learning[warm : 2 * warm], learning[-warm:])],
        "seconds to save and load, first and last tenth": [round(float(np.median(part)), 3) for part in (saving[warm : 2 * warm], saving[-warm:])],
        "adapter bytes": size(state / "adapter"),
        "head bytes": (state / "head.safetensors").stat().st_size,
        "head bytes expected": 4 * backbone.feature_dim * tasks * CLASSES,
        "manifest bytes": (state / "mgclip.json").stat().st_size,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=200)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        print(json.dumps(soak(args.tasks, Path(place)), indent=1))


if __name__ == "__main__":
    main()
