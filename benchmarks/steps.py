"""Time a training step in every task of icons100: a step of the last task must not take longer than one of the first.

python benchmarks/steps.py
"""

from __future__ import annotations

import json
import statistics
import time

import torch

from mgclip.bench.shapes import make_backbone
from mgclip.experiment.open_run import build_stream
from mgclip.experiment.recipe import load_recipe
from mgclip.method.learner import MGCLIP
from mgclip.method.training import Step


def main() -> None:
    recipe = load_recipe("icons100", ["epochs=4"])
    learner = MGCLIP(make_backbone("iconclip"), recipe.settings())
    medians = []
    for task in build_stream(recipe):
        times: list[float] = []
        last = [0.0]

        def note(step: Step, times: list[float] = times, last: list[float] = last) -> None:
            now = time.perf_counter()
            is_full = step.images == recipe.adapter_batch_size
            # The first epoch opens the images, and the time of a first step includes what comes before it.
            if step.phase == "adapter" and step.epoch > 1 and step.step > 1 and is_full:
                times.append(now - last[0])
            last[0] = now

        learner.learn(task.train.images, task.train.labels, task.names, class_texts=task.texts, on_step=note)
        medians.append(statistics.median(times))
    result = {"seconds": medians, "last / first": medians[-1] / medians[0], "threads": torch.get_num_threads()}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
