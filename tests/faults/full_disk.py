"""Run out of disk at every write: on a file system with room for so many pages more, then one more, and so for files.

    python tests/faults/full_disk.py

Each operation is done on a small tmpfs that is full after 0, 1, 2, ... pages of 4 KiB, and then after 0, 1, 2, ... new files, until
it is done without a failure. Every failure must be one sentence, leave what was there byte for byte, and be made good by
the same command once there is room. Needs the right to mount.
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
from campaign import outcome
from small_clip import make_small_clip

PAGE = 4096
ROOMY = "size=256m,nr_inodes=100000"
Bytes = dict[str, bytes]


@dataclass(frozen=True)
class Operation:
    """Something that writes. ``kept``: what lies in a place and may not change where it fails; ``result``: what it should be in
    the end; ``again``: the words that make a failure good, from what it left.
    """

    name: str
    words: Callable[[Path], list[str]]
    kept: Callable[[Path], object]
    result: Callable[[Path], object]
    again: Callable[[Path], list[str]] | None = None


def files(folder: Path) -> Bytes:
    """Every file below a folder but locks, and what an unfinished learn keeps."""
    aside = (".mgclip-lock", ".mgclip-progress")
    found = (
        file for file in sorted(folder.rglob("*")) if file.is_file() and not any(word in str(file) for word in aside)
    )
    return {str(file.relative_to(folder)): file.read_bytes() for file in found}


def learned(shop: Path) -> object:
    """What a model folder's version in force holds: classes, and its tensors byte for byte."""
    manifest = json.loads((shop / "mgclip.json").read_text())
    state = shop / manifest["state"]
    tensors = {str(f.relative_to(state)): f.read_bytes() for f in sorted(state.rglob("*.safetensors"))}
    return manifest["class_names"], tensors, len(manifest["versions"]), len(list(shop.glob("mgclip-state-*")))


def run_is_whole(place: Path) -> object:
    """Of a run that failed: every model there loads, every record but a last one cut short is whole."""
    from mgclip import MGCLIP
    from mgclip.experiment.run_folder import read_records

    for method in (place / "run").glob("*/"):
        read_records(method)
        if (method / "model" / "mgclip.json").is_file():
            MGCLIP.from_pretrained(method / "model")
    return "whole"


def operations(clip: Path) -> list[Operation]:
    """All that writes."""
    shop = lambda *words: lambda place: [words[0], str(place / "shop"), *words[1:]]  # noqa: E731
    run = [
        "run", "icons100", "tasks=2", "classes_per_task=2", "train_per_class=3", "test_per_class=1", "epochs=1",
        f"clip={clip}", "--quiet", "--checkpoint-every", "1",
    ]  # fmt: skip

    def go_on(place: Path) -> list[str]:
        begun = (place / "run" / "recipe.yaml").is_file()
        return ["run", "--resume", str(place / "run"), "--quiet"] if begun else [*run, "--out", str(place / "run")]

    def model(place: Path) -> object:
        return files(place / "shop")

    def result(place: Path) -> object:
        return learned(place / "shop")

    def made(name: str) -> Callable[[Path], object]:
        return lambda place: sorted(files(place / name)) if (place / name).is_dir() else (place / name).read_bytes()

    def nothing(name: str) -> Callable[[Path], object]:
        return lambda place: ((place / name).exists(), model(place))

    return [
        Operation(
            "learn", lambda place: ["learn", str(place / "april"), "--model", str(place / "shop"), "--quiet"], model, result
        ),
        Operation(
            "first learn",
            lambda place: [
                *("learn", str(place / "april"), "--model", str(place / "new"), "--base", str(clip)),
                *("epochs=1", "head_epochs=1", "--quiet"),
            ],
            lambda place: ((place / "new" / "mgclip.json").exists(), model(place)),
            lambda place: learned(place / "new"),
        ),
        Operation("undo", shop("undo"), model, result),
        Operation("relabel", shop("relabel", "first", "premier"), model, result),
        Operation("forget", shop("forget", "first"), model, result),
        Operation("history --keep", shop("history", "--keep", "1"), lambda place: learned(place / "shop")[:2], result),
        Operation("run", lambda place: [*run, "--out", str(place / "run")], run_is_whole, lambda p: outcome(p / "run"), go_on),
        Operation("export", lambda p: shop("export", "--to", str(p / "out"))(p), nothing("out"), made("out")),
        Operation(
            "evaluate --page",
            lambda p: ["evaluate", str(p / "shop"), str(p / "march"), "--page", str(p / "e.html"), "--csv", str(p / "e.csv")],
            nothing("e.html"),
            made("e.csv"),
        ),
        Operation("report", lambda p: ["report", str(p / "old-run"), "--out", str(p / "r.html")], nothing("r.html"), made("r.html")),
    ]  # fmt: skip


def mgclip(*words: str) -> tuple[int, str]:
    """A command in this process: its exit code and all it said."""
    from mgclip.app import main as command

    said, given = io.StringIO(), sys.argv
    sys.argv = ["mgclip", *words]
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            command.main()
    except SystemExit as end:
        return int(end.code or 0), said.getvalue()
    finally:
        sys.argv = given
    return 0, said.getvalue()


def prepare(place: Path, clip: Path) -> None:
    """A model with two versions, images of two months, and a run that is done."""
    import numpy as np
    from PIL import Image

    from mgclip import MGCLIP, Settings

    draw = np.random.default_rng(0)
    for month, names in (("march", ("first", "second")), ("april", ("third", "fourth"))):
        for name in names:
            (place / month / name).mkdir(parents=True)
            for i in range(5):
                Image.fromarray(draw.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(
                    place / month / name / f"{i}.png"
                )
    images = draw.integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    model = MGCLIP.from_pretrained(clip, settings=Settings(epochs=1, head_epochs=1))
    for names in (["first", "second"], ["zeroth", "minus"]):
        model.learn(images, [0, 0, 0, 1, 1, 1], names)
        model.save_pretrained(place / "shop", note={"what": "learned", "classes": names})
    words = ("tasks=1", "classes_per_task=2", "train_per_class=3", "test_per_class=1", "epochs=1", f"clip={clip}")
    assert mgclip("run", "icons100", *words, "--quiet", "--out", str(place / "old-run"))[0] == 0


@contextlib.contextmanager
def small_disk(place: Path) -> Iterator[Callable[[str], None]]:
    """A tmpfs at ``place``, and how to change its limits."""

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
    """Mount options that leave room for so many pages or files more than there are."""
    now = os.statvfs(place)
    if what == "pages":
        return f"size={(now.f_blocks - now.f_bfree) * now.f_frsize + count * PAGE},nr_inodes=100000"
    return f"size=256m,nr_inodes={now.f_files - now.f_ffree + count}"


def sweep(
    operation: Operation, what: str, disk: Path, limits: Callable[[str], None], prepared: Path, stride: int
) -> int:
    """Fail an operation with less room than it needs, in steps; how often it failed. Raises ``AssertionError`` at a fault."""

    def afresh() -> None:
        limits(ROOMY)
        for old in disk.iterdir():
            shutil.rmtree(old) if old.is_dir() else old.unlink()
        shutil.copytree(prepared, disk, dirs_exist_ok=True)

    afresh()
    code, said = mgclip(*operation.words(disk))
    assert code == 0, said
    expected, failures = operation.result(disk), 0
    while True:
        afresh()
        before = operation.kept(disk)
        limits(room_for(disk, what, failures * stride))
        code, said = mgclip(*operation.words(disk))
        limits(ROOMY)
        if code == 0:
            assert operation.result(disk) == expected
            return failures
        where = f"{operation.name}, room for {failures * stride} {what}"
        assert code == 1, f"{where}: exit code {code}: {said}"
        assert "no space left" in said and "Traceback" not in said, f"{where}: {said}"
        assert operation.kept(disk) == before, f"{where}: what was there has changed"
        code, said = mgclip(*(operation.again or operation.words)(disk))
        assert code == 0, f"{where}: not made good: {said}"
        assert operation.result(disk) == expected, f"{where}: made good to something else"
        failures += 1


def full_disk(place: Path, stride: int = 1, only: str = "") -> Counter[str]:
    """Every operation on every size of disk; the failures of each."""
    clip, prepared, found = place / "clip", place / "prepared", Counter[str]()
    for folder in (clip, prepared):
        folder.mkdir()
    make_small_clip(clip)
    prepare(prepared, clip)
    with small_disk(place / "disk") as limits:
        for operation in operations(clip):
            if only in operation.name:
                for what in ("pages", "files"):
                    found[f"{operation.name}, {what}"] = sweep(
                        operation, what, place / "disk", limits, prepared, stride
                    )
                    print(
                        f"{operation.name}: {found[f'{operation.name}, {what}']} sizes too small in {what}", flush=True
                    )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stride", type=int, default=1, help="pages or files between one size and the next")
    parser.add_argument("--only", default="", help="operations whose name holds this")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        found = full_disk(Path(place), args.stride, args.only)
    print(json.dumps({"failures, all made good": sum(found.values()), **found}, indent=1))


if __name__ == "__main__":
    main()
