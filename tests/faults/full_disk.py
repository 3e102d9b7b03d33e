"""Run out of disk space at every write.

    python tests/faults/full_disk.py

Each command runs on a small tmpfs with room for 0, 1, 2, ... more pages of 4 KiB, and then for 0, 1, 2, ... more files, until it
succeeds. Every failure must be reported in one sentence and leave existing files unchanged, and the same command must succeed once
there is room. The script needs the right to mount.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
from campaign import equal, outcome
from small_clip import make_small_clip

PAGE = 4096
ROOMY = "size=256m,nr_inodes=100000"
Bytes = dict[str, bytes]


@dataclass(frozen=True)
class Operation:
    """A command that writes.

    ``words`` is the command line in a folder, and ``again`` the one that repeats it after a failure, if it differs. ``kept`` reads
    what a failure must not change, and ``result`` what the command must produce.
    """

    name: str
    words: Callable[[Path], list[str]]
    kept: Callable[[Path], object]
    result: Callable[[Path], object]
    again: Callable[[Path], list[str]] | None = None


def files(folder: Path) -> Bytes:
    """Every file below a folder, except locks and the checkpoints of an interrupted command."""
    temporary = (".mgclip-lock", ".mgclip-progress")
    found = (file for file in sorted(folder.rglob("*")) if file.is_file() and not any(t in str(file) for t in temporary))
    return {str(file.relative_to(folder)): file.read_bytes() for file in found}


def learned(shop: Path) -> object:
    """The active version of a model folder: its classes, its tensors byte for byte, and the number of versions."""
    manifest = json.loads((shop / "mgclip.json").read_text())
    state = shop / manifest["state"]
    tensors = {str(f.relative_to(state)): f.read_bytes() for f in sorted(state.rglob("*.safetensors"))}
    return manifest["class_names"], tensors, len(manifest["versions"]), len(list(shop.glob("mgclip-state-*")))


def check_run(place: Path) -> object:
    """Check that every model and every record of a failed run can be read. (A last record may be cut short.)"""
    from mgclip import MGCLIP
    from mgclip.experiment.run_folder import read_records

    for method in (place / "run").glob("*/"):
        read_records(method)
        if (method / "model" / "mgclip.json").is_file():
            MGCLIP.from_pretrained(method / "model")
    return "readable"


def operations(clip: Path) -> list[Operation]:
    """All commands that write."""
    shop = lambda *words: lambda place: [words[0], str(place / "shop"), *words[1:]]  # noqa: E731
    run = [
        "run", "icons100", "tasks=2", "classes_per_task=2", "train_per_class=3", "test_per_class=1", "epochs=1",
        f"clip={clip}", "features=16", "retention={}", "--quiet", "--checkpoint-every", "1",
    ]  # fmt: skip

    def resume(place: Path) -> list[str]:
        started = (place / "run" / "recipe.yaml").is_file()
        return ["run", "--resume", str(place / "run"), "--quiet"] if started else [*run, "--out", str(place / "run")]

    def model(place: Path) -> object:
        return files(place / "shop")

    def result(place: Path) -> object:
        return learned(place / "shop")

    def written(name: str) -> Callable[[Path], object]:
        return lambda place: sorted(files(place / name)) if (place / name).is_dir() else (place / name).read_bytes()

    def absent(name: str) -> Callable[[Path], object]:
        return lambda place: ((place / name).exists(), model(place))

    return [
        Operation(
            "learn", lambda place: ["learn", str(place / "april"), "--model", str(place / "shop"), "--quiet"], model, result
        ),
        Operation(
            "first learn",
            lambda place: [
                *("learn", str(place / "april"), "--model", str(place / "new"), "--base", str(clip)),
                *("--method", "mg-clip", "epochs=1", "head_epochs=1", "--quiet"),
            ],
            lambda place: ((place / "new" / "mgclip.json").exists(), model(place)),
            lambda place: learned(place / "new"),
        ),
        Operation("undo", shop("undo"), model, result),
        Operation("relabel", shop("relabel", "first", "premier"), model, result),
        Operation("forget", shop("forget", "first"), model, result),
        Operation("history --keep", shop("history", "--keep", "1"), lambda place: learned(place / "shop")[:2], result),
        Operation("run", lambda place: [*run, "--out", str(place / "run")], check_run, lambda p: outcome(p / "run"), resume),
        Operation("export", lambda p: shop("export", "--to", str(p / "out"))(p), absent("out"), written("out")),
        Operation(
            "evaluate --page",
            lambda p: ["evaluate", str(p / "shop"), str(p / "march"), "--page", str(p / "e.html"), "--csv", str(p / "e.csv")],
            absent("e.html"),
            written("e.csv"),
        ),
        Operation("report", lambda p: ["report", str(p / "old-run"), "--out", str(p / "r.html")], absent("r.html"), written("r.html")),
    ]  # fmt: skip


def mgclip(*words: str) -> tuple[int, str]:
    """Run a command in this process; returns its exit code and what it wrote to standard error."""
    from mgclip.app import main as command

    errors, argv = io.StringIO(), sys.argv
    sys.argv = ["mgclip", *words]
    try:
        with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
            command.main()
    except SystemExit as end:
        return int(end.code or 0), errors.getvalue()
    finally:
        sys.argv = argv
    return 0, errors.getvalue()


def prepare(place: Path, clip: Path) -> None:
    """Create a model with two versions, images of two months, and a finished run."""
    import numpy as np
    from PIL import Image

    from mgclip import MGCLIP, Settings

    draw = np.random.default_rng(0)
    for month, names in (("march", ("first", "second")), ("april", ("third", "fourth"))):
        for name in names:
            (place / month / name).mkdir(parents=True)
            for i in range(5):
                Image.fromarray(draw.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(place / month / name / f"{i}.png")
    images = draw.integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    model = MGCLIP.from_pretrained(clip, settings=Settings(epochs=1, head_epochs=1))
    for names in (["first", "second"], ["zeroth", "minus"]):
        model.learn(images, [0, 0, 0, 1, 1, 1], names)
        model.save_pretrained(place / "shop", note={"what": "learned", "classes": names})
    words = (
        "tasks=1", "classes_per_task=2", "train_per_class=3", "test_per_class=1", "epochs=1", "features=16", "retention={}",
        f"clip={clip}",
    )  # fmt: skip
    assert mgclip("run", "icons100", *words, "--quiet", "--out", str(place / "old-run"))[0] == 0


@contextlib.contextmanager
def small_disk(place: Path) -> Iterator[Callable[[str], None]]:
    """Mount a tmpfs at ``place``; yields a function that changes its limits."""

    def limits(options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", str(place)], check=True, capture_output=True)

    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", ROOMY, "tmpfs", str(place)], check=True, capture_output=True)
    try:
        yield limits
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True, capture_output=True)


def may_mount() -> bool:
    """Whether this process may mount a file system."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            with small_disk(Path(folder) / "disk"):
                return True
        except (OSError, subprocess.CalledProcessError):
            return False


def room_for(place: Path, what: str, count: int) -> str:
    """Mount options that leave room for ``count`` more pages or files."""
    now = os.statvfs(place)
    if what == "pages":
        return f"size={(now.f_blocks - now.f_bfree) * now.f_frsize + count * PAGE},nr_inodes=100000"
    return f"size=256m,nr_inodes={now.f_files - now.f_ffree + count}"


def sweep(operation: Operation, disk: Path, limits: Callable[[str], None], prepared: Path, stride: int) -> dict[str, int]:
    """Run an operation with room for more pages each time until it succeeds, then for more files, checking every failure.

    Returns:
        The number of failures of each.
    """

    def reset() -> None:
        limits(ROOMY)
        for old in disk.iterdir():
            shutil.rmtree(old) if old.is_dir() else old.unlink()
        shutil.copytree(prepared, disk, dirs_exist_ok=True)

    reset()
    code, message = mgclip(*operation.words(disk))
    assert code == 0, message
    expected, failures = operation.result(disk), {"pages": 0, "files": 0}
    for what in failures:
        while True:
            reset()
            before = operation.kept(disk)
            limits(room_for(disk, what, failures[what] * stride))
            code, message = mgclip(*operation.words(disk))
            limits(ROOMY)
            if code == 0:
                assert equal(operation.result(disk), expected)
                break
            where = f"{operation.name}, room for {failures[what] * stride} {what}"
            assert code == 1, f"{where}: exit code {code}: {message}"
            assert "no space left" in message and "Traceback" not in message, f"{where}: {message}"
            assert operation.kept(disk) == before, f"{where}: existing files have changed"
            code, message = mgclip(*(operation.again or operation.words)(disk))
            assert code == 0, f"{where}: the command failed again: {message}"
            assert equal(operation.result(disk), expected), f"{where}: the repeated command gave another result"
            failures[what] += 1
    return failures


def full_disk(place: Path, stride: int = 1, only: str = "") -> Counter[str]:
    """Sweep over every operation; returns the number of failures of each."""
    clip, prepared, found = place / "clip", place / "prepared", Counter[str]()
    for folder in (clip, prepared):
        folder.mkdir()
    make_small_clip(clip)
    prepare(prepared, clip)
    with small_disk(place / "disk") as limits:
        for operation in operations(clip):
            if only in operation.name:
                for what, count in sweep(operation, place / "disk", limits, prepared, stride).items():
                    found[f"{operation.name}, {what}"] = count
                    print(f"{operation.name}: failed with {count} limits of {what}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stride", type=int, default=1, help="pages or files between one size and the next")
    parser.add_argument("--only", default="", help="operations whose name contains this")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        found = full_disk(Path(place), args.stride, args.only)
    print(json.dumps({"failures, all repaired": sum(found.values()), **found}, indent=1))


if __name__ == "__main__":
    main()
