"""Time predicting many files, in turn with only opening and encoding them; and the time to the first answer.

    python benchmarks/predict.py --images 2000

The encoder alone opens, transforms and encodes the same files, batch after batch, prefetching as prediction does. Prediction adds
the comparison with the classes, the fusion and the JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from mgclip import MGCLIP, Settings
from mgclip.images import to_rgb
from mgclip.stream.datasets import load_dataset
from mgclip.workflows.predict import predict_files


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    data = load_dataset("icons100", path=None, train_per_class=max(1, args.images // 100), test_per_class=1)
    with tempfile.TemporaryDirectory() as place:
        files = []
        for number in range(min(args.images, len(data.train.labels))):
            files.append(Path(place) / f"{number:05}.png")
            to_rgb(data.train.images[number]).save(files[-1])
        model = MGCLIP.from_pretrained("iconclip", settings=Settings(epochs=0))
        some = list(range(0, len(data.train.labels), max(1, len(data.train.labels) // 400)))
        labels = [int(data.train.labels[i]) for i in some]
        model.learn([data.train.images[i] for i in some], labels, data.class_names)
        model.save_pretrained(Path(place) / "model")

        def encode() -> None:
            model.encoder.images(model.encoder.pixels(files, keep_bytes=0))

        def predict() -> None:
            for answer in predict_files(model, files, top=3):
                json.dumps(answer.as_json(branches=True))

        works = {"encode": encode, "predict": predict}
        times: dict[str, list[float]] = {name: [] for name in works}
        for name in list(works) + list(works) * args.rounds:
            start = time.perf_counter()
            works[name]()
            times[name].append(time.perf_counter() - start)
        pairs = list(zip(times["predict"][1:], times["encode"][1:], strict=True))  # the first round warms up
        starts = []
        for _ in range(3):
            start = time.perf_counter()
            words = [sys.executable, "-m", "mgclip", "predict", str(Path(place) / "model"), str(files[0])]
            subprocess.run(words, check=True, capture_output=True)
            starts.append(time.perf_counter() - start)
    result = {
        "images": len(files),
        "images/s": {name: len(files) / statistics.median(values[1:]) for name, values in times.items()},
        "predict / encode": statistics.median(a / b for a, b in pairs),
        "seconds to the first answer": statistics.median(starts),
        "threads": torch.get_num_threads(),
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
