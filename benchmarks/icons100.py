"""Time icons100 from end to end, with this package and with the naive implementation, task by task in turn.

    python benchmarks/icons100.py --tasks 10

Both learn every task and then classify the test images of all tasks so far; the predictions are compared. This package also
measures what a run records (the gap, and zero-shot accuracy on the next task), so its time is that of ``mgclip run``.
"""

from __future__ import annotations

import argparse
import json
import time

import torch
from naive_learner import NaiveMGCLIP

from mgclip.bench.shapes import make_backbone
from mgclip.clip.pixels import KEEP_BYTES
from mgclip.experiment.measured_images import prepare_test_images
from mgclip.experiment.open_run import build_stream
from mgclip.experiment.recipe import load_recipe
from mgclip.experiment.task_record import evaluate
from mgclip.method.learner import MGCLIP


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=10)
    parser.add_argument("--keep", action="store_true", help="let the naive implementation keep its transformed images too")
    parser.add_argument("changes", nargs="*", help="changes to the recipe, such as epochs=1")
    args = parser.parse_args()
    recipe = load_recipe("icons100", [f"tasks={args.tasks}", *args.changes])
    settings = recipe.settings()
    stream, naive_stream = build_stream(recipe), build_stream(recipe)
    model, keep = MGCLIP(make_backbone("iconclip"), settings), KEEP_BYTES if args.keep else 0
    naive = NaiveMGCLIP(make_backbone("iconclip", shortcut=False), settings, keep_bytes=keep)
    total = {"this package": 0.0, "naive": 0.0}
    pixels = prepare_test_images(model.backbone, stream, KEEP_BYTES)
    equal = compared = 0
    for task, naive_task in zip(stream, naive_stream, strict=True):
        start = time.perf_counter()
        model.learn(task.train.images, task.train.labels, task.names, class_texts=task.texts)
        evaluate(model, stream, task, pixels)
        middle = time.perf_counter()
        naive.learn(naive_task)
        found = [naive.predict(earlier.test.images) for earlier in naive_stream[: task.index + 1]]
        end = time.perf_counter()
        total["this package"] += middle - start
        total["naive"] += end - middle
        expected = torch.cat([torch.from_numpy(model.predict(t.test.images).labels) for t in stream[: task.index + 1]])
        equal, compared = equal + int((torch.cat(found).cpu() == expected).sum()), compared + len(expected)
        print(json.dumps({"task": task.index, **{name: round(value, 1) for name, value in total.items()}}), flush=True)
    ratio = total["naive"] / total["this package"]
    result = {**total, "ratio": ratio, "equal predictions": equal / compared, "threads": torch.get_num_threads()}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
