"""The standard streams of a command: output in any encoding, and closed streams."""

import json
import os
import subprocess
import sys
from pathlib import Path

import forked
import pytest

from mgclip.app.display import _OneLineConsole
from mgclip.app.streams import prepare_streams

NAMES = ("čaj", "猫", "crème")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-16"])
def test_output_in_any_encoding_is_complete(shop, encoding):
    count, words = 6, ("photos", "--quiet")
    plain = forked.mgclip("predict", "m", *words, cwd=shop, encoding=encoding)
    assert (plain.returncode, plain.stderr) == (0, "")
    assert len(plain.stdout.splitlines()) == count
    answered = forked.mgclip("predict", "m", *words, "--json", cwd=shop, encoding=encoding)
    found = [json.loads(line) for line in answered.stdout.splitlines()]
    assert sorted(Path(each["image"]).parent.name for each in found) == sorted(2 * NAMES)
    assert {each["class"] for each in found} <= set(NAMES)


@pytest.mark.parametrize("words", [("predict", "m", "photos", "--csv", "--quiet"), ("evaluate", "m", "photos"), ("history", "m")])
def test_output_of_other_commands_is_complete_too(shop, words):
    done = forked.mgclip(*words, cwd=shop, encoding="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert "\\u732b" in done.stdout


@pytest.mark.parametrize(
    "words",
    [
        ("predict", "m", "photos", "--quiet"),
        ("predict", "m", "photos", "--csv"),
        ("evaluate", "m", "photos"),
        ("history", "m"),
    ],
)
def test_a_closed_pipe_or_output_causes_no_message(shop, words):
    done = forked.mgclip(*words, cwd=shop, output="broken pipe")
    assert (done.returncode, done.stderr) == (0, "")
    done = forked.mgclip(*words, cwd=shop, output="closed")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "words", [("undo", "m", "--to", "1"), ("undo", "m", "--to", "1", "--json"), ("predict", "m", "photos", "--csv")]
)
def test_an_output_that_cannot_be_written_is_one_sentence_that_says_what_may_be_done(shop, words):
    done = forked.mgclip(*words, cwd=shop, output="full")
    assert done.returncode == 1
    assert done.stderr.startswith("mgclip: The output cannot be written (No space left on device): free some space or write it")
    assert len(done.stderr.splitlines()) == 1


def test_a_new_interpreter_opens_and_closes_its_streams_without_a_message(shop):
    """The tests above fork a process; here the interpreter itself finds the encoding, the closed pipe and the closed output."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    options = {"cwd": shop, "stderr": subprocess.PIPE, "timeout": 120, "env": environment}
    start = [sys.executable, "-m", "mgclip", "history", "m"]
    encoded = {**options, "env": {**environment, "PYTHONIOENCODING": "ascii"}}
    done = subprocess.run(start, stdout=subprocess.PIPE, **encoded)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\\u732b" in done.stdout
    for words in (("history", "m"), ("predict", "m", "photos", "--csv")):
        read, write = os.pipe()
        os.close(read)
        done = subprocess.run([*start[:3], *words], stdout=write, **options)
        os.close(write)
        assert (done.returncode, done.stderr) == (0, b""), words
    done = subprocess.run(["sh", "-c", f'exec "{sys.executable}" {" ".join(start[1:])} >&-'], **options)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_closed_stream_accepts_any_file_name(monkeypatch):
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    prepare_streams()
    for stream in (sys.stdout, sys.stderr):
        print(os.fsdecode(b"b\xe9.png"), file=stream, flush=True)
        stream.close()
    sys.stdin.close()


def test_a_closed_pipe_for_notes_does_not_end_the_output(capfd):
    read, written = os.pipe()
    os.close(read)
    with os.fdopen(written, "w", buffering=1) as notes:
        _OneLineConsole(file=notes).print("a note that nobody reads")
        print("an answer")
    assert capfd.readouterr().out == "an answer\n"
