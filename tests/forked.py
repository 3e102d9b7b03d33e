"""Run commands and programs in processes forked from one that has already imported the slow modules.

A forked process has its own arguments, folder, environment, and standard input, output and error. It saves the imports, and what
``warm`` does.
"""

import functools
import multiprocessing
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from pkgutil import walk_packages
from unittest import mock

import mgclip as package

CAN_FORK = "forkserver" in multiprocessing.get_all_start_methods()
SERVER = multiprocessing.get_context("forkserver" if CAN_FORK else "spawn")
OWN = [each.name for each in walk_packages(package.__path__, "mgclip.") if not each.name.endswith("__main__")]
CLIP = [f"transformers.models.clip.{part}" for part in ("modeling_clip", "tokenization_clip", "image_processing_pil_clip")]
WARM = ["warm"] if sys.platform == "linux" and not any(map(os.path.exists, ("/dev/nvidiactl", "/dev/kfd"))) else []
"""Not on a machine with a GPU: a process that has used one cannot be forked."""
SERVER.set_forkserver_preload(["torch", *CLIP, "peft", "sklearn.metrics", "matplotlib.figure", "rich.progress", *OWN, *WARM])


STARTING = threading.Lock()


def start_server() -> None:
    """Start the server of forked processes if it does not run yet."""
    with STARTING:
        _started()


@functools.cache
def _started() -> None:
    """Start it with the path of modules in a variable, because Python before 3.13 does not pass it on."""
    if not CAN_FORK:
        return
    from multiprocessing import forkserver

    with mock.patch.dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, sys.path))):
        forkserver.ensure_running()


def mgclip(*words: object, **options) -> subprocess.CompletedProcess[str]:
    """Run ``mgclip WORDS``; returns its exit code and output. The options are those of ``_forked``."""
    return _forked(_command, [str(word) for word in words], **options)


def program(text: str, *words: object, **options) -> subprocess.CompletedProcess[str]:
    """Run ``python -c TEXT WORDS``."""
    return _forked(_program, [text, *map(str, words)], **options)


def programs(count: int, text: str, *words: object) -> list[subprocess.CompletedProcess[str]]:
    """Run ``python -c TEXT WORDS`` in a number of processes that work together, with the variables that torchrun sets."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    group = {"WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "tests"}
    ranks = [{"RANK": rank, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": count, **group} for rank in range(count)]
    available = cores()

    def run(rank):
        variables = {name: str(value) for name, value in ranks[rank].items()} if count > 1 else {}
        return program(text, *words, variables=variables, core=available[rank % len(available)])

    with ThreadPoolExecutor(count) as starters:
        return list(starters.map(run, range(count)))


def cores() -> list[int | None]:
    """The processor cores that this process may use; None for each where a process cannot choose."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return [None] * (os.cpu_count() or 1)


def _forked(what, words, *, given="", encoding="utf-8", **options):
    """Run a function to its end. ``given`` is its standard input."""
    running = Running(what, words, given=given, encoding=encoding, **options)
    written = running.communicate(600)
    return subprocess.CompletedProcess(words, running.returncode, *written)


def start(*words: object, **options) -> "Running":
    """Start ``mgclip WORDS``, to be stopped or waited for."""
    return Running(_command, [str(word) for word in words], **options)


class Running:
    """A function in a forked process, with the methods of ``subprocess.Popen`` that the tests call.

    It gets a folder, words, standard input, the encoding of the streams, and more environment variables. ``output`` is ``file``
    (it is returned), ``closed``, ``full`` or ``broken pipe``. ``log`` is a file for both outputs, to be read while the process runs.
    ``core`` is the processor core to stay on.
    """

    def __init__(self, what, words, *, cwd=None, given="", encoding="utf-8", output="file", log=None, core=None, variables=None):
        self.place, self.encoding, self.words = tempfile.TemporaryDirectory(), encoding, words
        own = [Path(self.place.name, name) for name in ("in", "out", "err")]
        self.files = [own[0], log, log] if log else own
        self.files[0].write_text(given, encoding=encoding)
        start_server()
        where = (str(cwd or Path.cwd()), {**os.environ, **(variables or {})}, self.files, encoding, output, core)
        self.process = SERVER.Process(target=_child, args=(what, words, *where))
        self.process.start()

    @property
    def returncode(self) -> int | None:
        return self.process.exitcode

    def poll(self) -> int | None:
        return self.process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.process.pid, number)

    def kill(self) -> None:
        self.process.kill()

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for the end; returns the standard output and error."""
        self.process.join(timeout)
        if self.process.is_alive():
            self.process.kill()
            raise subprocess.TimeoutExpired(self.words, timeout)
        output, errors = (file.read_text(encoding=self.encoding) if file.exists() else "" for file in self.files[1:])
        self.place.cleanup()
        return output, errors


def _child(what, words, cwd, environment, files, encoding, output, core):
    import torch

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts jobs in the background without it
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    torch.set_num_threads(1)
    if core is not None:
        os.sched_setaffinity(0, {core})
    for number, file in enumerate(files):
        if number == 1 and output == "broken pipe":
            read, opened = os.pipe()
            os.close(read)
        else:
            file = "/dev/full" if number == 1 and output == "full" else file
            opened = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        os.dup2(opened, number)
        os.close(opened)
    # As a new interpreter opens them.
    sys.stdin = os.fdopen(0, encoding=encoding, closefd=False)
    sys.stdout = os.fdopen(1, "w", encoding=encoding, closefd=False)
    sys.stderr = os.fdopen(2, "w", 1, encoding, "backslashreplace", closefd=False)
    if output == "closed":
        os.close(1)
        sys.stdout = None
    what(words)


def _command(words):
    sys.argv = ["mgclip", *words]
    runpy.run_module("mgclip", run_name="__main__")


def _program(words):
    sys.argv = ["-c", *words[1:]]
    exec(compile(words[0], "<program>", "exec"), {"__name__": "__main__"})
