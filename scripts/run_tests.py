"""Run the fast tests in two processes, each on a core of its own, and print what each of them printed.

    python scripts/run_tests.py

Two processes of PyTorch on the same cores slow each other many times; on a core each they do not. With one core, or where a process
cannot be bound to a core, one process runs everything.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).parent.parent / "tests"
FIRST = ("app", "bench", "docs", "faults", "formats", "saving", "stories")
"""Folders of tests that take half of the time; the second process runs all others."""


def main() -> int:
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if len(cores) < 2:
        return subprocess.call([sys.executable, "-m", "pytest"])
    first = [TESTS / name for name in FIRST]
    others = [path for path in sorted(TESTS.iterdir()) if path not in first and (path.is_dir() or path.stem.startswith("test_"))]
    parts = [first, [path for path in others if path.name != "__pycache__"]]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as place:
        outputs = [Path(place) / str(number) for number in range(2)]
        running = []
        for core, paths, output in zip(cores, parts, outputs, strict=False):
            # Bound in a process of its own: it is the one that starts pytest, and its children inherit the core.
            start = f"import os, runpy, sys; os.sched_setaffinity(0, {{{core}}}); runpy.run_module('pytest', run_name='__main__')"
            command = [sys.executable, "-c", start, "-p", "no:cacheprovider", *map(str, paths)]
            with output.open("w") as file:
                running.append(subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment))
        codes = [process.wait() for process in running]
        for output in outputs:
            print(output.read_text(errors="replace"))
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
