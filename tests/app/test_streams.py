"""The standard streams of a command: output in any encoding, and closed streams."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mgclip.app.streams import prepare_streams

NAMES = ("čaj", "猫", "crème")


def mgclip_in(place, *words, given=b"", encoding="utf-8", **options):
    variables = {**os.environ, "PYTHONIOENCODING": encoding}
    options = {"stdout": subprocess.PIPE, **options}
    return subprocess.run(
        [sys.executable, "-m", "mgclip", *words], cwd=place, input=given, stderr=subprocess.PIPE, env=variables, timeout=120, **options
    )  # fmt: skip


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-16"])
def test_output_in_any_encoding_is_complete(shop, encoding):
    count, words = 6, ("photos", "--quiet")
    plain = mgclip_in(shop, "predict", "m", *words, encoding=encoding)
    assert (plain.returncode, plain.stderr) == (0, b"")
    assert len(plain.stdout.decode(encoding).splitlines()) == count
    answered = mgclip_in(shop, "predict", "m", *words, "--json", encoding=encoding)
    found = [json.loads(line) for line in answered.stdout.decode(encoding).splitlines()]
    assert sorted(Path(each["image"]).parent.name for each in found) == sorted(2 * NAMES)
    assert {each["class"] for each in found} <= set(NAMES)


@pytest.mark.parametrize(
    "words", [("predict", "m", "photos", "--csv", "--quiet"), ("evaluate", "m", "photos"), ("history", "m")]
)
def test_output_of_other_commands_is_complete_too(shop, words):
    done = mgclip_in(shop, *words, encoding="ascii")
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\\u732b" in done.stdout


def test_a_closed_pipe_or_output_causes_no_message(shop):
    for words in (
        ("predict", "m", "photos", "--quiet"),
        ("predict", "m", "photos", "--csv"),
        ("evaluate", "m", "photos"),
        ("history", "m"),
    ):
        read, write = os.pipe()
        os.close(read)
        done = mgclip_in(shop, *words, stdout=write)
        os.close(write)
        assert (done.returncode in (0, 1, 141), done.stderr) == (True, b""), words
        command = f'exec "{sys.executable}" -m mgclip {" ".join(words)} >&-'
        done = subprocess.run(["sh", "-c", command], cwd=shop, stderr=subprocess.PIPE, timeout=120)
        assert (done.returncode, done.stderr) == (0, b""), words


def test_a_closed_stream_accepts_any_file_name(monkeypatch):
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    prepare_streams()
    for stream in (sys.stdout, sys.stderr):
        print(os.fsdecode(b"b\xe9.png"), file=stream, flush=True)
        stream.close()
    sys.stdin.close()
