"""Run commands and programs in processes forked from one that has already imported the slow modules.

A forked process has its own arguments, folder, environment, and standard input, output and error. It saves only the imports.
"""

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

CAN_FORK = "forkserver" in multiprocessing.get_all_start_methods()
SERVER = multiprocessing.get_context("forkserver" if CAN_FORK else "spawn")
SERVER.set_forkserver_preload(
    [
        "torch",
        "transformers.models.clip.modeling_clip",
        "transformers.models.clip.tokenization_clip",
        "peft",
        "mgclip.app.main",
    ]
)


def mgclip(*words: object, cwd: Path | None = None, given: str = "") -> subprocess.CompletedProcess[str]:
    """Run ``mgclip WORDS`` in a folder; returns its exit code and output."""
    return _forked(_command, [str(word) for word in words], cwd, given)


def program(text: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run ``python -c TEXT``."""
    return _forked(_program, [text], cwd, "")


def _forked(what, words, cwd, given):
    with tempfile.TemporaryDirectory() as place:
        files = [Path(place, name) for name in ("in", "out", "err")]
        files[0].write_text(given)
        process = SERVER.Process(target=_child, args=(what, words, str(cwd or Path.cwd()), dict(os.environ), files))
        process.start()
        process.join(600)
        if process.is_alive():
            process.kill()
            raise subprocess.TimeoutExpired(words, 600)
        return subprocess.CompletedProcess(words, process.exitcode, files[1].read_text(), files[2].read_text())


def _child(what, words, cwd, environment, files):
    import torch

    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    torch.set_num_threads(1)
    for number, file in enumerate(files):
        opened = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin = os.fdopen(0, closefd=False)
    what(words)


def _command(words):
    sys.argv = ["mgclip", *words]
    runpy.run_module("mgclip", run_name="__main__")


def _program(words):
    sys.argv = ["-c"]
    exec(compile(words[0], "<program>", "exec"), {"__name__": "__main__"})
