"""The index of image files, and what counts as an image."""

import tracemalloc
from pathlib import Path

import pytest
from layouts import (
    IMAGENET,
    write,
)

from mgclip.stream.files import ClassFiles, images_in


def test_an_index_of_all_of_imagenet_is_small():
    tracemalloc.start()
    begun = tracemalloc.get_traced_memory()[0]
    files = ClassFiles(Path("imagenet/train"), IMAGENET, ([f"{s}_{k:05}.JPEG" for k in range(128)] for s in IMAGENET))
    split = files.split()
    used = tracemalloc.get_traced_memory()[0] - begun
    tracemalloc.stop()
    assert len(split.images) == 128_000
    assert used / len(files) < 35  # bytes an image: 20 of its name, 8 of its label; 45 MB for all of ImageNet-1K
    assert files[129] == Path("imagenet/train") / IMAGENET[1] / f"{IMAGENET[1]}_00001.JPEG"
    assert files[-1] == files[127_999] == files[127_990:][-1]
    assert split.labels[127] == 0
    assert split.labels[128] == 1
    with pytest.raises(IndexError):
        files[128_000]
    gaps = ClassFiles(Path("a"), ["x", "y", "z"], [[], ["é.png"], []])
    assert list(gaps) == [Path("a/y/é.png")]


def test_what_counts_as_an_image(tmp_path):
    write(tmp_path, "b.JPEG", "a.jpg", ".hidden.jpg", "jpg", "notes.txt")
    (tmp_path / "folder.jpg").mkdir()
    assert images_in(tmp_path) == ["a.jpg", "b.JPEG"]
    assert images_in(tmp_path / "none") == []
