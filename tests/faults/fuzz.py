"""Fuzz the code that reads untrusted files, guided by coverage (atheris).

    python tests/faults/fuzz.py --runs 100000

Every target runs in a process of its own, with its seeds, a time limit per input, and an audit hook. The hook reports a file written
outside the folder of the target, a started process, an opened connection, and any global of a pickle except those of arrays. The
script prints the number of inputs and the findings of each target, and exits with 1 if there are findings. It needs atheris
(extra audit: Linux, Python 3.11 or newer).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SHARES = {
    "images": 0.4, "recipes": 0.2, "models": 0.1, "clips": 0.02, "runs": 0.06, "archives": 0.1, "sources": 0.06,
    "openai-files": 0.01, "scripts": 0.05,
}  # fmt: skip
"""The share of all inputs for each target; fast ones get more."""
LIMIT = 20
"""Time limit of an input, in seconds."""
MEMORY = 6144
"""Memory limit of a target, in megabytes."""
WRITES = {"rename", "remove", "mkdir", "rmdir", "link", "symlink", "truncate", "chmod"}
WRITES = {*(f"os.{name}" for name in WRITES), "shutil.move"}
"""Audit events that are allowed inside the folder of the target."""
FORBIDDEN = {f"os.{name}" for name in ("system", "exec", "posix_spawn", "fork")}
FORBIDDEN |= {"subprocess.Popen", "socket.connect", "socket.getaddrinfo"}
PICKLE_GLOBALS = {"_reconstruct", "ndarray", "dtype", "scalar", "_frombuffer", "encode"}


class Watch:
    """An audit hook that records what no input may cause, while it is ``on``."""

    def __init__(self, place: Path) -> None:
        self.place, self.active, self.seen = place.resolve(), False, []
        sys.addaudithook(self._note)

    @contextlib.contextmanager
    def on(self) -> Iterator[None]:
        """Watch; raises ``AssertionError`` at the end if something was recorded."""
        self.active = True
        try:
            yield
        finally:
            self.active = False
        assert not self.seen, f"forbidden: {self.seen}"

    def _note(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.active:
            return
        if event in FORBIDDEN or (event == "pickle.find_class" and args[1] not in PICKLE_GLOBALS):
            self.seen.append((event, str(args)[:200]))
        elif event == "open" and isinstance(args[0], str | bytes | os.PathLike) and _writes(args[1], args[2]):
            self._inside(event, args[0])
        elif event in WRITES:
            for path in args[: 2 if event in ("os.rename", "os.link", "os.symlink", "shutil.move") else 1]:
                self._inside(event, path)

    def _inside(self, event: str, path: Any) -> None:
        if isinstance(path, int):  # the descriptor of an open file
            return
        if not Path(os.fsdecode(path)).resolve().is_relative_to(self.place) and os.fsdecode(path) != os.devnull:
            self.seen.append((event, os.fsdecode(path)))


def _writes(mode: str | None, flags: int) -> bool:
    if mode is not None:
        return any(letter in mode for letter in "wax+")
    return bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))


def work(name: str, runs: int, seed: int, place: Path) -> None:
    """Fuzz one target; ends the process with the exit code of libFuzzer."""
    import atheris

    with atheris.instrument_imports(include=["mgclip", "PIL", "yaml"], exclude=["mgclip.experiment.metrics"]):
        from fuzz_targets import TARGETS

        folder, corpus = place / "target", place / "corpus"
        folder.mkdir()
        corpus.mkdir()
        target = TARGETS[name](folder)
    for number, data in enumerate(target.seeds()):
        (corpus / str(number)).write_bytes(data)
    for data in target.seeds():
        target.feed(data)  # imports what is imported on first use, before the hook watches
    os.chdir(folder)
    watch = Watch(folder)

    def one(data: bytes) -> None:
        with watch.on():
            target.feed(data)

    length = max(map(len, target.seeds())) + 1024
    limits = [f"-runs={runs}", f"-timeout={LIMIT}", f"-rss_limit_mb={MEMORY}", f"-max_len={length}", f"-seed={seed}"]
    atheris.Setup([sys.argv[0], *limits, f"-artifact_prefix={place}/", "-print_final_stats=1", str(corpus)], one)
    atheris.Fuzz()


def fuzz(name: str, runs: int, seed: int, keep: Path | None = None) -> dict[str, Any]:
    """Fuzz one target in a process of its own.

    Returns:
        The number of inputs, the seconds, and the findings. Their inputs are copied to ``keep``.
    """
    with tempfile.TemporaryDirectory() as folder:
        place, begun = Path(folder), time.monotonic()
        words = [sys.executable, __file__, "--work", name, "--runs", str(runs), "--seed", str(seed), "--place", folder]
        ended = subprocess.run(words, capture_output=True, text=True, errors="replace", check=False)
        fed = re.findall(r"stat::number_of_executed_units:\s*(\d+)", ended.stderr)
        found = [] if ended.returncode == 0 else [_finding(ended.stdout + ended.stderr)]
        for artifact in (p for p in place.iterdir() if p.is_file() and keep is not None):
            (keep / f"{name}-{artifact.name}").write_bytes(artifact.read_bytes())
    return {"fed": int(fed[-1]) if fed else 0, "seconds": round(time.monotonic() - begun), "found": found}


def _finding(output: str) -> str:
    lines = [line for line in output.splitlines() if not re.match(r"#\d+\s|INFO:|stat::|\s*$|Writing model", line)]
    return "\n".join(lines[-40:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100_000, help="number of inputs in all, or of the only target")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=sorted(SHARES))
    parser.add_argument("--keep", type=Path, help="folder for the inputs of findings")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    parser.add_argument("--place", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        work(args.work, args.runs, args.seed, args.place)
        return
    if args.keep:
        args.keep.mkdir(parents=True, exist_ok=True)
    results = {}
    for name, share in SHARES.items():
        if args.only in (None, name):
            runs = args.runs if args.only else round(args.runs * share)
            results[name] = fuzz(name, runs, args.seed, args.keep)
            print(name, json.dumps(results[name]), flush=True)
            for finding in results[name]["found"]:
                print(finding, file=sys.stderr)
    fed, found = (sum(r["fed"] for r in results.values()), sum(len(r["found"]) for r in results.values()))
    print(json.dumps({"fed": fed, "found": found}))
    sys.exit(any(r["found"] for r in results.values()))


if __name__ == "__main__":
    main()
