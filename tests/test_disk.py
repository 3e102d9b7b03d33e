"""A file is replaced completely or not at all."""

import os

import pytest

from mgclip.disk import give_usual_permissions, replace_file, write_json, write_output, write_text


def test_a_failed_write_leaves_the_old_file_and_no_temporary_file(tmp_path, monkeypatch):
    write_text(tmp_path / "x.txt", "old")

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_text(tmp_path / "x.txt", "new")
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"x.txt": "old"}


def test_a_link_is_replaced_unless_the_user_chose_the_path(tmp_path):
    (tmp_path / "target").write_text("target")
    for name in ("link", "chosen"):
        (tmp_path / name).symlink_to(tmp_path / "target")
    replace_file(tmp_path / "link", b"new")
    assert (tmp_path / "target").read_text() == "target"
    assert not (tmp_path / "link").is_symlink()
    write_output(tmp_path / "chosen", "followed")
    assert (tmp_path / "target").read_text() == "followed"
    assert (tmp_path / "chosen").is_symlink()


def test_json_refuses_nan_and_escapes_invalid_file_names(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x.json", float("nan"))
    assert not list(tmp_path.iterdir())
    write_text(tmp_path / "x.txt", "\udcff.png")
    assert (tmp_path / "x.txt").read_text() == "\\udcff.png"


def test_a_text_is_written_into_a_pipe_behind_a_link(tmp_path):
    read, written = os.pipe()
    (tmp_path / "stdout").symlink_to(f"/proc/self/fd/{written}")  # as /dev/stdout is, whose target has no path
    write_output(tmp_path / "stdout", "through the pipe")
    os.close(written)
    with os.fdopen(read) as opened:
        assert opened.read() == "through the pipe"


@pytest.mark.parametrize(("umask", "of_folder", "of_file"), [(0o022, 0o755, 0o644), (0o077, 0o700, 0o600), (0o002, 0o755, 0o644)])
def test_a_temporary_folder_gets_the_permissions_that_the_umask_leaves(tmp_path, umask, of_folder, of_file):
    (tmp_path / "new" / "inner").mkdir(parents=True, mode=0o700)
    (tmp_path / "new" / "inner" / "file").touch(mode=0o600)
    before = os.umask(umask)
    try:
        give_usual_permissions(tmp_path / "new")
    finally:
        os.umask(before)
    modes = {part.name: part.stat().st_mode & 0o777 for part in (tmp_path / "new", *(tmp_path / "new").rglob("*"))}
    assert modes == {"new": of_folder, "inner": of_folder, "file": of_file}
