"""A file is replaced completely or not at all."""

import os

import pytest

from mgclip.disk import replace_file, write_json, write_output, write_text


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
