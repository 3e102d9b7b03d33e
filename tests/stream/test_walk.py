"""Hidden and system folders, links, and folders that cannot be read."""

import os
from pathlib import Path

import pytest
from layouts import write_pictures

from mgclip.errors import InputError
from mgclip.stream import walk
from mgclip.stream.files import folders_in, images_in
from mgclip.stream.folder import image_files
from mgclip.workflows.source import read_source

SYSTEM_FOLDERS = (
    ".ipynb_checkpoints", ".thumbnails", ".Trash-1000/files", ".picasaoriginals", ".dtrash/files", ".git/annex/objects", "@eaDir",
    "__MACOSX", "lost+found", "$RECYCLE.BIN", "#recycle", "@Recycle", "System Volume Information", "deep/.hidden", "deep/@EADIR",
    "@tmp", "Network Trash Folder", "Temporary Items",
)  # fmt: skip


@pytest.mark.parametrize("name", SYSTEM_FOLDERS)
def test_hidden_and_system_folders_are_skipped_everywhere(tmp_path, name):
    write_pictures(tmp_path, "cat/a.png", "cat/deep/b.png", "dog/a.png", f"cat/{name}/x.png", f"{name}/cat/x.png")
    (tmp_path / "deep").is_dir() and (tmp_path / "deep").rename(tmp_path / ".deep")
    assert {n: [file.name for file in f] for n, f in read_source(tmp_path).train.items()} == {
        "cat": ["a.png", "b.png"],
        "dog": ["a.png"],
    }
    assert [file.name for file in image_files(tmp_path / "cat")] == ["a.png", "b.png"]
    assert not any(".hidden" in str(file) or "@" in file.name for file in image_files(tmp_path))
    assert [name for name in folders_in(tmp_path) if name not in ("cat", "dog")] == []


def test_links_are_followed_and_circular_links_end(tmp_path):
    write_pictures(tmp_path / "far", "a.png", "more/b.png")
    write_pictures(tmp_path / "d", "cat/c.png", "dog/d.png")
    (tmp_path / "d" / "cat" / "linked").symlink_to(tmp_path / "far")
    (tmp_path / "far" / "back").symlink_to(tmp_path / "d" / "cat")
    (tmp_path / "d" / "cat" / "up").symlink_to(tmp_path / "d")
    (tmp_path / "d" / "cat" / "again").symlink_to(tmp_path / "far" / "more")
    (tmp_path / "d" / "fox").symlink_to(tmp_path / "far")
    (tmp_path / "d" / "dog" / "e.png").symlink_to(tmp_path / "far" / "a.png")
    found = {name: sorted(file.name for file in files) for name, files in read_source(tmp_path / "d").train.items()}
    assert found["cat"] == ["a.png", "b.png", "c.png"]
    assert found["dog"] == ["d.png", "e.png"]
    assert {"a.png", "b.png"} <= set(found["fox"])


@pytest.fixture
def deep(tmp_path, monkeypatch):
    """A class folder with an image below more folders than pytest could remove."""
    write_pictures(tmp_path, "cat/a.png", "cat/e.png", "dog/a.png")
    monkeypatch.chdir(tmp_path / "cat")
    for _ in range(1200):
        Path("d").mkdir()
        os.chdir("d")
    write_pictures(Path(), "b.png")
    yield tmp_path
    Path("b.png").unlink()
    for _ in range(1200):
        os.chdir("..")
        Path("d").rmdir()


def test_images_are_found_in_folders_that_are_deeper_than_the_stack_of_python(deep):
    found = read_source(deep).train
    assert [file.name for file in found["cat"]] == ["a.png", "b.png", "e.png"]
    assert found["cat"][1].parts.count("d") == 1200


def test_broken_links_are_reported(tmp_path, mgclip, tiny_clip):
    write_pictures(tmp_path, "cat/a.png", "dog/a.png")
    (tmp_path / "cat" / "b.png").symlink_to(tmp_path / "gone.png")
    assert images_in(tmp_path / "cat") == ["a.png", "b.png"]
    assert len(read_source(tmp_path).train["cat"]) == 2
    words = (
        "--model",
        tmp_path.parent / "shop",
        "--base",
        tiny_clip,
        "epochs=0",
        "head_epochs=0",
        "--hold-out",
        "0",
        "--quiet",
    )
    code, _, err = mgclip("learn", tmp_path, *words)
    assert code == 2
    assert "b.png does not exist, or is a broken link" in err
    assert not (tmp_path.parent / "shop").exists()
    code, out, err = mgclip("learn", tmp_path, *words, "--on-bad-image", "skip", "--json")
    assert (code, err) == (0, "")
    assert '"skipped"' in out
    (tmp_path / "fox").symlink_to(tmp_path / "gone")
    with pytest.raises(InputError, match="fox is a broken link"):
        read_source(tmp_path)
    (tmp_path / "fox").unlink()
    (tmp_path / "cat" / "more").symlink_to("more")
    with pytest.raises(InputError, match="more is a broken link"):
        read_source(tmp_path)


def test_a_folder_that_cannot_be_read_is_reported(tmp_path, monkeypatch):
    write_pictures(tmp_path, "cat/a.png", "cat/deep/b.png", "dog/a.png")
    scan = os.scandir

    def refuse(folder):
        if os.fspath(folder).endswith("deep"):
            raise PermissionError(13, "Permission denied")
        return scan(folder)

    monkeypatch.setattr(walk.os, "scandir", refuse)
    with pytest.raises(InputError, match=r"The folder .*deep cannot be read \(Permission denied\)"):
        read_source(tmp_path)


def test_a_folder_that_does_not_exist_is_named_as_it_was_given(tmp_path):
    with pytest.raises(InputError, match=r"^There is no folder .*nowhere\.$"):
        walk.entries(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"^https://shop\.example/march is an address, not a folder: download the folder"):
        walk.entries(Path("https://shop.example/march"))
