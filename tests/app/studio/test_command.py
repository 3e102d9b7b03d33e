"""``mgclip studio``: the address it listens on, and the folder for uploads."""

import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from mgclip.app.studio.command import upload_folder


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


@pytest.mark.skipif(os.name == "nt", reason="Windows gives each user a folder for temporary files")
def test_uploads_are_in_a_folder_of_their_own_which_is_removed_at_the_end(tmp_path, monkeypatch):
    """Several users of a machine have one folder for temporary files."""
    utils = pytest.importorskip("gradio.utils")
    monkeypatch.delenv("GRADIO_TEMP_DIR", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with upload_folder():
        place = Path(utils.get_upload_folder())
        assert place.stat().st_mode & 0o777 == 0o700
        (place / "photo.png").write_bytes(b"x")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "chosen"))
    with upload_folder():
        assert Path(utils.get_upload_folder()) == tmp_path / "chosen"


STARTED = """
import os
from mgclip.app.main import main
from mgclip.app.studio import command

def serve(*given):
    from gradio import routes
    print(routes.DEFAULT_TEMP_DIR == os.environ["GRADIO_TEMP_DIR"])

command._serve = serve
main()
"""


def test_gradio_writes_nothing_into_the_folder_of_all_users(tmp_path):
    """When the page starts, Gradio makes a folder in the one that was set when it was imported."""
    pytest.importorskip("gradio")
    own = {name: value for name, value in os.environ.items() if name != "GRADIO_TEMP_DIR"}
    start = [sys.executable, "-c", STARTED, "studio", str(tmp_path / "new"), "--port", "7893"]
    done = subprocess.run(start, env=own, capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.returncode) == ("True\n", 0), done.stderr
