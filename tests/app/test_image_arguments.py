"""The images given to a command: lists on standard input, and what is not an image."""

import io
import os
import socket
import subprocess
import sys
from pathlib import Path

from mgclip.app.image_arguments import given_files


def test_lists_of_other_programs_are_read(monkeypatch):
    """Each form of the list contains the same names."""
    names = ["a.png", "b c.png", "é.png", f"{Path.home()}/d.png"]
    lines = ["a.png", "b c.png", "é.png", "~/d.png"]
    text = "\n".join(lines)
    forms = {
        "lines": text.encode(),
        "last line ended": text.encode() + b"\n\n",
        "Windows": text.replace("\n", "\r\n").encode(),
        "byte-order mark": b"\xef\xbb\xbf" + text.encode(),
        "PowerShell": text.encode("utf-16"),
        "null characters": "\0".join(lines).encode() + b"\0",
        "double quotes": "\n".join(f'"{line}"' for line in lines).encode(),
        "single quotes": "\n".join(f"'{line}'" for line in lines).encode(),
    }
    for form, given in forms.items():
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(given))))
        assert [str(each) for each in given_files(["-"])[0]] == names, form
    program = "from mgclip.app.image_arguments import given_files; print([str(each) for each in given_files(['-'])[0]])"
    done = subprocess.run([sys.executable, "-c", program], input=b"a\nb.png\0c.png\0", capture_output=True, timeout=60)
    assert done.stdout.decode().strip() == str(["a\nb.png", "c.png"])


def test_a_name_on_the_list_that_is_not_an_image_is_rejected_or_skipped(shop, tmp_path, mgclip, monkeypatch):
    good = sorted((shop / "photos").glob("*/*.png"))[0]
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "link").symlink_to("nothing")
    server = socket.socket(socket.AF_UNIX)
    monkeypatch.chdir(tmp_path)
    server.bind("socket")
    bad = [
        str(shop / "photos"), "pipe", "loop", "link", "socket", "/dev/zero", "a" * 300 + ".png", "nothing.png", f"{good}/x.png", "x\0y.png",
    ]  # fmt: skip
    for name in bad:
        given = f"{name}\n{good}\n".encode()
        monkeypatch.setattr(sys, "stdin", _Stdin(given))
        code, out, err = mgclip("predict", shop / "m", "-", "--quiet")
        assert (code, out, len(err.splitlines())) == (2, "", 1), (name, err)
        assert "unexpected" not in err
    monkeypatch.setattr(sys, "stdin", _Stdin("\n".join([*bad, str(good)]).encode()))
    code, out, err = mgclip("predict", shop / "m", "-", "--on-bad-image", "skip", "--quiet")
    assert (code, len(out.splitlines()), err.count("skipped: ")) == (0, 1, len(bad))
    server.close()


def test_an_address_is_named_as_it_was_given(shop, mgclip, monkeypatch):
    address = "https://shop.example/a.png"
    code, _, err = mgclip("predict", shop / "m", address)
    assert (code, address in err) == (2, True), err
    monkeypatch.setattr(sys, "stdin", _Stdin(address.encode()))
    code, _, err = mgclip("predict", shop / "m", "-", "--on-bad-image", "skip")
    assert (code, f"{address} is an address" in err) == (0, True), err


class _Stdin:
    """Standard input with these bytes, read line by line, so that a null character does not appear in its first bytes."""

    def __init__(self, given):
        self.buffer = iter(given.splitlines(keepends=True))
