"""icons100 from the first task to the last, by the product and by the plain method, task by task in turn; whole seconds and ratio.

    python benchmarks/icons100.py --tasks 10

Both learn every task and then classify the test images of all tasks so far. The product also measures what a run records (the gap,
zero-shot accuracy on the next task), so its time is that of ``mgclip run``. Predictions are compared.
"""

from __future__ import annotations

import argparse
import json
import time

import torch

from mgclip.bench.plain import NaiveMGCLIP
from mgclip.bench.shapes import make_backbone
from mgclip.clip.pixels import KEEP_BYTES
from mgclip.experiment.open_run import build_stream
from mgclip.experiment.recipe import load_recipe
from mgclip.experiment.task_record import evaluate, prepare_test_images
from mgclip.method.learner import MGCLIP


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=10)
    parser.add_argument("--keep", action="store_true", help="let the plain method keep its transformed images too")
    parser.add_argument("changes", nargs="*", help="changes to the recipe, such as epochs=1")
    args = parser.parse_args()
    recipe = load_recipe("icons100", [f"tasks={args.tasks}", *args.changes])
    settings = recipe.settings()
    mine, theirs = build_stream(recipe), build_stream(recipe)
    ours, plain = (
        MGCLIP(make_backbone("iconclip"), settings),
        NaiveMGCLIP(make_backbone("iconclip", shortcut=False), settings, keep_bytes=KEEP_BYTES if args.keep else 0),
    )
    total = {"ours": 0.0, "plain": 0.0}
    pixels = prepare_test_images(ours.backbone, mine, KEEP_BYTES)
    equal = compared = 0
    for task, same in zip(mine, theirs, strict=True):
        begun = time.perf_counter()
        ours.learn(task.train.images, task.train.labels, task.names, class_texts=task.texts)
        evaluate(ours, mine, task, pixels)
        middle = time.perf_counter()
        plain.learn(same)
        found = [plain.predict(earlier.test.images) for earlier in theirs[: task.index + 1]]
        ended = time.perf_counter()
        total["ours"] += middle - begun
        total["plain"] += ended - middle
        wanted = torch.cat([torch.from_numpy(ours.predict(t.test.images).labels) for t in mine[: task.index + 1]])
        equal, compared = equal + int((torch.cat(found).cpu() == wanted).sum()), compared + len(wanted)
        print(json.dumps({"task": task.index, **{name: round(value, 1) for name, value in total.items()}}), flush=True)
    ratio = total["plain"] / total["ours"]
    print(
        json.dumps({**total, "ratio": ratio, "same predictions": equal / compared, "threads": torch.get_num_threads()})
    )


if __name__ == "__main__":
    main()
