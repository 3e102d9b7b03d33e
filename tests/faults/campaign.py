"""Kill a run at random moments, resume it, and check that its result equals that of an uninterrupted run.

    python tests/faults/campaign.py --kills 60

Every trial starts an icons100 run in a process of its own, kills it with SIGKILL and resumes it to the end. Half of the trials are
killed at a seeded random time, the others at a random step of one training phase after the other. All models must then be equal
byte for byte, and all records within rounding, except for their times. The script prints the phase in which each trial was killed,
and exits with 1 if a trial differs.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import forked

from mgclip.saving.checkpoints import FILES, ORDER, Checkpoint, read_checkpoint

RECIPE = (
    "icons100", "tasks=3", "classes_per_task=5", "train_per_class=20", "test_per_class=5", "epochs=auto", "max_epochs=3",
    "adapter_batch_size=16", "methods=mg-clip,mg-clip-replay", "memory=40", "balanced=true", "retention={}",
)  # fmt: skip
FEWER = {
    "methods=mg-clip,mg-clip-replay": "methods=mg-clip", "tasks=3": "tasks=2", "train_per_class=20": "train_per_class=10",
    "test_per_class=5": "test_per_class=2", "adapter_batch_size=16": "adapter_batch_size=8",
}  # fmt: skip
SMALL = tuple(FEWER.get(word, word) for word in RECIPE if word != "balanced=true")
"""One method, two tasks and half of the images in as many steps, for a few quick trials."""
EVERY = ("--checkpoint-every", "2")


def start(folder: Path, *words: str) -> forked.Running:
    """Start a run in a process of its own."""
    return forked.start("run", *words, *EVERY, "--quiet", cwd=folder.parent)


def finished(process: forked.Running) -> None:
    """Wait for a run to end without an error."""
    _, errors = process.communicate(timeout=600)
    if process.returncode:
        raise SystemExit(f"a run failed: {errors}")


def outcome(run: Path) -> dict[str, object]:
    """The result of a run: the content of every model file, the manifest, and the records without their times."""
    result: dict[str, object] = {}
    for method in sorted(entry for entry in run.iterdir() if (entry / "records.jsonl").is_file()):
        lines = [json.loads(line) for line in (method / "records.jsonl").read_text().splitlines()]
        result[f"{method.name} records"] = [{k: v for k, v in line.items() if k != "seconds"} for line in lines]
        manifest = json.loads((method / "model" / "mgclip.json").read_text())
        state = method / "model" / manifest.pop("state")
        result[f"{method.name} manifest"] = manifest
        for file in sorted(state.rglob("*.safetensors")):
            result[f"{method.name} {file.relative_to(state)}"] = file.read_bytes()
        result[f"{method.name} final"] = json.loads((method / "final.json").read_text())
        result[f"{method.name} leftovers"] = sorted(p.name for p in method.glob("*progress*"))
    return result


def equal(found: object, expected: object) -> bool:
    """Whether two results are equal, with numbers in JSON within rounding: some processors round the features of a text differently
    with other texts in its batch, and a resumed run encodes the texts of all finished tasks together.
    """
    if isinstance(found, dict) and isinstance(expected, dict):
        return found.keys() == expected.keys() and all(equal(found[key], expected[key]) for key in found)
    if isinstance(found, list) and isinstance(expected, list):
        return len(found) == len(expected) and all(map(equal, found, expected))
    if isinstance(found, float) and isinstance(expected, float):
        return math.isclose(found, expected, rel_tol=1e-5, abs_tol=1e-7)
    return found == expected


def where(run: Path) -> str:
    """Where a run was killed: the method, the number of finished tasks, and the phase of the newest checkpoint."""
    if not (run / "recipe.yaml").is_file():
        return "before the folder of the run"
    methods = [entry for entry in run.iterdir() if entry.is_dir()]
    if not methods:
        return "before the first method"
    last = max(methods, key=lambda entry: entry.stat().st_mtime)
    records = last / "records.jsonl"
    done = len(records.read_text().splitlines()) if records.is_file() else 0
    found = newest(last)
    return f"{last.name}, {done} tasks finished, {found.phase if found else 'between phases'}"


def newest(method: Path) -> Checkpoint | None:
    """The newest checkpoint of a method inside a task."""
    saved = [c for c in (read_checkpoint(method / name) for name in FILES) if c is not None]
    return max(saved, key=lambda c: c.number, default=None)


def written(method: Path) -> list[int]:
    """When the checkpoints of a method were written."""
    try:
        return [file.stat().st_mtime_ns for file in method.glob("progress-*.safetensors")]
    except FileNotFoundError:  # the task has just ended
        return []


def until(phase: str, count: int, run: Path, process: forked.Running) -> None:
    """Wait for ``count`` checkpoints in a phase, or for the end of the run."""
    seen: set[tuple[Path, int, int]] = set()
    read: dict[Path, list[int]] = {}
    while len(seen) < count and process.poll() is None:
        for method in run.glob("*/"):
            changed = written(method)
            if changed != read.get(method) and (found := newest(method)) is not None and found.phase == phase:
                seen.add((method, found.task, found.number))
            read[method] = changed
        time.sleep(0.01)


def campaign(kills: int, seed: int, place: Path, recipe: tuple[str, ...] = RECIPE) -> Counter[str]:
    """Kill and resume ``kills`` runs, one per core at a time. Ends the program if a resumed run differs.

    Returns:
        The number of kills at each place.
    """
    forked.mgclip("--version")  # from now on a process starts at once
    begun = time.monotonic()
    finished(start(place / "uninterrupted", *recipe, "--out", "uninterrupted"))
    length = time.monotonic() - begun
    expected = outcome(place / "uninterrupted")
    phases = ORDER if "balanced=true" in recipe else [phase for phase in ORDER if not phase.startswith("balance")]

    def trial(number: int) -> str:
        run, draw = place / f"run-{number}", random.Random(f"{seed} {number}")
        phase = phases[number // 2 % len(phases)] if number % 2 else None
        count = draw.randint(1, 6)
        while True:
            process = start(run, *recipe, "--out", run.name)
            if phase is None:
                time.sleep(draw.uniform(0.25, 0.9) * length)
            else:
                until(phase, count, run, process)
            if process.poll() is None:
                break
            shutil.rmtree(run)  # it ended before it could be killed
            count = max(1, count // 2)  # perhaps the phase has fewer checkpoints
        process.kill()
        process.communicate()
        hit = where(run)
        again = ("--resume", run.name) if (run / "recipe.yaml").is_file() else (*recipe, "--out", run.name)
        finished(start(run, *again))
        found = outcome(run)
        if differing := {key for key in expected.keys() | found.keys() if not equal(found.get(key), expected.get(key))}:
            raise SystemExit(f"trial {number}, killed at {hit}: {sorted(differing)} differ")
        shutil.rmtree(run)
        return hit

    places = Counter[str]()
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
        for number, hit in enumerate(threads.map(trial, range(kills)), start=1):
            places[hit] += 1
            print(f"{number}/{kills}: {hit}: equal", flush=True)
    return places


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        places = campaign(args.kills, args.seed, Path(place))
    result = {"kills": args.kills, "equal": sum(places.values()), "places": dict(sorted(places.items()))}
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
