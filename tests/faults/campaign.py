"""Kill a run at random moments, go on with it, and see that nothing of it differs from one that was left alone.

    python tests/faults/campaign.py --kills 60

Every trial starts an icons100 run in a process of its own, kills it with SIGKILL and resumes it to the end. Every other one is
killed at a seeded random time between its start and its end, the rest in one phase of training after the other, at a random step. All models must then be equal byte for byte, and all records but for their seconds. Says how many
trials were, in which phase each was hit, and exits with 1 if any differs.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mgclip.saving.checkpoints import FILES, ORDER, Checkpoint, read_checkpoint

RECIPE = (
    "icons100", "tasks=3", "classes_per_task=5", "train_per_class=20", "test_per_class=5", "epochs=auto", "max_epochs=3",
    "adapter_batch_size=16", "methods=mg-clip,mg-clip-replay", "memory=40", "balanced=true", "retention={}",
)  # fmt: skip
FEWER = {"methods=mg-clip,mg-clip-replay": "methods=mg-clip", "tasks=3": "tasks=2"}
SMALL = tuple(FEWER.get(word, word) for word in RECIPE if word != "balanced=true")
"""One method and two tasks only: for a few trials in little time."""
EVERY = ("--checkpoint-every", "2")


def start(folder: Path, *words: str) -> subprocess.Popen[bytes]:
    """A run in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "mgclip", "run", *words, *EVERY, "--quiet"],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=folder.parent, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def finished(process: subprocess.Popen[bytes]) -> None:
    """Wait for the end of a run that should come to it."""
    _, said = process.communicate(timeout=600)
    if process.returncode:
        raise SystemExit(f"a run failed: {said.decode()}")


def outcome(run: Path) -> dict[str, object]:
    """What a run leaves: every model file's content, its classes, the records without their seconds."""
    left: dict[str, object] = {}
    for method in sorted(entry for entry in run.iterdir() if (entry / "records.jsonl").is_file()):
        lines = [json.loads(line) for line in (method / "records.jsonl").read_text().splitlines()]
        left[f"{method.name} records"] = [{k: v for k, v in line.items() if k != "seconds"} for line in lines]
        manifest = json.loads((method / "model" / "mgclip.json").read_text())
        state = method / "model" / manifest.pop("state")
        left[f"{method.name} manifest"] = manifest
        for file in sorted(state.rglob("*.safetensors")):
            left[f"{method.name} {file.relative_to(state)}"] = file.read_bytes()
        left[f"{method.name} final"] = (method / "final.json").read_text()
        left[f"{method.name} left over"] = sorted(p.name for p in method.glob("*progress*"))
    return left


def where(run: Path) -> str:
    """The place in which a run was killed: method, tasks done, and the phase of its newest checkpoint."""
    if not (run / "recipe.yaml").is_file():
        return "before the run's folder"
    methods = [entry for entry in run.iterdir() if entry.is_dir()]
    if not methods:
        return "before the first method"
    last = max(methods, key=lambda entry: entry.stat().st_mtime)
    records = last / "records.jsonl"
    done = len(records.read_text().splitlines()) if records.is_file() else 0
    found = newest(last)
    return f"{last.name}, {done} tasks done, {found.phase if found else 'between phases'}"


def newest(method: Path) -> Checkpoint | None:
    """The newest checkpoint inside a task of a method."""
    there = [c for c in (read_checkpoint(method / name) for name in FILES) if c is not None]
    return max(there, key=lambda c: c.number, default=None)


def until(phase: str, count: int, run: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait for so many checkpoints in a phase, or for the end of the run."""
    seen = set()
    while len(seen) < count and process.poll() is None:
        for method in run.glob("*/"):
            if (found := newest(method)) is not None and found.phase == phase:
                seen.add((method, found.task, found.number))
        time.sleep(0.01)


def campaign(kills: int, seed: int, place: Path, recipe: tuple[str, ...] = RECIPE) -> Counter[str]:
    """Kill and resume so many times, as many trials at once as there are cores; the places hit. Ends the program where a resumed
    run differs.
    """
    begun = time.monotonic()
    finished(start(place / "whole", *recipe, "--out", "whole"))
    length = time.monotonic() - begun
    expected = outcome(place / "whole")
    phases = ORDER if "balanced=true" in recipe else [phase for phase in ORDER if not phase.startswith("balance")]

    def trial(number: int) -> str:
        run, draw = place / f"run-{number}", random.Random(f"{seed} {number}")
        phase = phases[number // 2 % len(phases)] if number % 2 else None
        while True:
            process = start(run, *recipe, "--out", run.name)
            if phase is None:
                time.sleep(draw.uniform(0.25, 1.0) * length)
            else:
                until(phase, draw.randint(1, 6), run, process)
            if process.poll() is None:
                break
            shutil.rmtree(run)  # it had ended before: not a kill
        process.kill()
        process.communicate()
        hit = where(run)
        again = ("--resume", run.name) if (run / "recipe.yaml").is_file() else (*recipe, "--out", run.name)
        finished(start(run, *again))
        found = outcome(run)
        if differing := {key for key in expected.keys() | found.keys() if found.get(key) != expected.get(key)}:
            raise SystemExit(f"trial {number}, killed at {hit}: {sorted(differing)} differ")
        shutil.rmtree(run)
        return hit

    places = Counter[str]()
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as hands:
        for number, hit in enumerate(hands.map(trial, range(kills)), start=1):
            places[hit] += 1
            print(f"{number}/{kills}: {hit}: the same", flush=True)
    return places


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        places = campaign(args.kills, args.seed, Path(place))
    print(
        json.dumps(
            {"kills": args.kills, "the same": sum(places.values()), "places": dict(sorted(places.items()))}, indent=1
        )
    )


if __name__ == "__main__":
    main()
