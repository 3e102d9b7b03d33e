"""``mgclip studio``: the address it listens on."""

import socket

import pytest


def test_a_taken_port_and_a_wrong_host_are_reported_first(mgclip, tmp_path):
    pytest.importorskip("gradio")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, out, err = mgclip("studio", tmp_path / "new", "--base", "iconclip", "--port", port)
        assert (code, out, err) == (2, "", f"mgclip: Port {port} is in use: give another one with --port.\n")
    for host, sentence in (
        ("203.0.113.7", "203.0.113.7 is not an address of this machine: give another one with --host."),
        ("no.such.name.invalid", "There is no host no.such.name.invalid: give an address of this machine with --host."),
        ("a" * 70, f"There is no host {'a' * 70}: give an address of this machine with --host."),
    ):
        code, out, err = mgclip("studio", tmp_path / "new", "--base", "iconclip", "--host", host, "--port", port)
        assert (code, out, err) == (2, "", f"mgclip: {sentence}\n")
