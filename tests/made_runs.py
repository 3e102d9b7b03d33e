"""Run folders as the runner writes them, and an evaluation, with made-up numbers, for the tests of the report."""

import json
from itertools import pairwise

import numpy as np
import yaml
from PIL import Image

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "it's & {{ 7 * 7 }}",
    "🦉 owl $x_1$",
    "قطة",
    "\u202eevil",
]


def matrix(tasks, seed):
    """Accuracies that decrease down each column."""
    rng = np.random.default_rng(seed)
    start, loss = rng.uniform(0.7, 1.0, tasks), rng.uniform(0.0, 0.02, tasks)
    return [[round(max(0.0, float(start[j] - loss[j] * (i - j))), 4) for j in range(i + 1)] for i in range(tasks)]


def make_run(
    folder,
    *,
    methods=("zero-shot", "mg-clip"),
    tasks=3,
    per_task=2,
    names=(),
    seed=0,
    done=None,
    final=True,
    **settings,
):
    """The folder of a run. ``done``: finished tasks of methods that have not finished; ``final``: whether to write final.json."""
    done, names = done or {}, list(names) + [f"class {n}" for n in range(len(names), tasks * per_task)]
    recipe = {
        "name": "made-up",
        "methods": list(methods),
        "classes_per_task": per_task,
        "seed": seed,
        "alpha": 0.1,
        **settings,
    }
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe, allow_unicode=True), encoding="utf-8")
    versions = {"python": "3.11.7", "device": "cpu", "packages": {"torch": f"2.1{seed}.0", "numpy": "2.0.0"}}
    (folder / "environment.json").write_text(json.dumps(versions))
    for number, method in enumerate(methods):
        joint, accuracies = method == "joint", matrix(tasks, 100 * seed + number)
        count = done.get(method, 1 if joint else tasks)
        if not count:
            continue
        (folder / method).mkdir()
        lines = []
        for task in range(count):
            own = names if joint else names[task * per_task : (task + 1) * per_task]
            lines.append(
                {
                    "method": method,
                    "task": task,
                    "classes": own,
                    "classes_seen": len(own) * (task + 1),
                    "train_images": 40,
                    "test_images": 10 * len(own),
                    "accuracy": float(np.mean(accuracies[task])),
                    "accuracy_per_task": accuracies[task],
                    "next_task_text_accuracy": 0.5 if not joint and task + 1 < tasks else None,
                    "gap": {"positive": 30.0 - task, "negative": 10.0 + task / 10},
                    "epochs": 3,
                    "seconds": {"learn": 1.25 + number, "evaluate": 0.5},
                }
            )
        if method.startswith("mg-clip"):
            lines[0]["probe"] = {"positive": [30.0, 30.3, 31.5], "negative": [10.0, 10.4, 8.8], "epochs": 1}
        (folder / method / "records.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        if method not in done:
            kept = {"icons-concepts": {"accuracy": 0.5, "untuned": 0.6, "drop": 0.1 + number / 100}}
            (folder / method / "summary.json").write_text(json.dumps({"tasks": tasks, "retention": kept}))
            if final:
                make_final(folder / method, names, per_task)
    return folder


def make_final(folder, names, per_task):
    """The files that the runner writes after the last task, with an example image for each of the first classes."""
    rng = np.random.default_rng(len(names))
    right = rng.binomial(20, 0.8, len(names)).tolist()
    classes = [{"name": n, "task": i // per_task, "images": 20, "right": right[i]} for i, n in enumerate(names)]
    pairs = [{"truth": a, "predicted": b, "count": 9 - i % 9} for i, (a, b) in enumerate(pairwise(names))]
    examples = []
    (folder / "examples").mkdir()
    for i, name in enumerate(names[:8]):
        hit = i % 2 == 0
        file = f"examples/{i:03}.png"
        Image.new("RGB", (200, 120), (30 * i, 80, 160)).save(folder / file)
        taken = name if hit else names[i - 1]
        examples.append({"file": file, "truth": name, "predicted": taken, "probability": 0.125, "right": hit})
    (folder / "final.json").write_text(json.dumps({"classes": classes, "confused": pairs[:30], "examples": examples}))


def evaluation(names, **changes):
    """The result of ``mgclip evaluate``, with made-up numbers."""
    classes = [
        {"name": n, "images": 20, "right": 20 - i % 20, "predicted": 20, "recall": 1 - i % 20 / 20, "precision": 0.5}
        for i, n in enumerate(names)
    ]
    classes[0] |= {"predicted": 0, "right": 0, "recall": 0.0, "precision": None}
    empty = {"low": 0.1, "high": 0.2, "count": 0, "confidence": None, "accuracy": None}
    full = {"low": 0.0, "high": 0.1, "count": 20, "confidence": 0.04, "accuracy": 0.75}
    return {
        "model": "shop",
        "folder": "photos",
        "images": 20 * len(names),
        "accuracy": 0.756,
        "text_accuracy": 0.6,
        "image_accuracy": 0.7,
        "classes": classes,
        "confused": [{"truth": names[0], "predicted": names[1], "count": 4}],
        "calibration": {"bins": [full, empty], "error": 0.71},
        **changes,
    }
