"""CIFAR-100 from its own archive."""

import io
import pickle
import tarfile

import numpy as np
import pytest

from mgclip.errors import InputError
from mgclip.stream.datasets import load_dataset

FINE = ["apple", "aquarium_fish", "baby"]


RNG = np.random.default_rng(0)


FLAT = {split: RNG.integers(0, 256, (count, 3072), dtype=np.uint8) for split, count in (("train", 7), ("test", 4))}


LABELS = {"train": [0, 1, 2, 2, 1, 0, 1], "test": [2, 1, 0, 0]}


def archive_members(protocol=2):
    yield "meta", pickle.dumps({"fine_label_names": FINE, "coarse_label_names": ["x"]}, protocol)
    for split in ("train", "test"):
        yield split, pickle.dumps({"data": FLAT[split], "fine_labels": LABELS[split], "coarse_labels": []}, protocol)


def picture(split, i):
    return FLAT[split][i].reshape(3, 32, 32).transpose(1, 2, 0)


@pytest.mark.parametrize("packed", [True, False])
def test_the_archive_is_read_packed_and_unpacked(tmp_path, packed):
    if packed:
        place = tmp_path / "cifar-100-python.tar.gz"
        with tarfile.open(place, "w:gz") as archive:
            for name, raw in archive_members():
                member = tarfile.TarInfo(f"cifar-100-python/{name}")
                member.size = len(raw)
                archive.addfile(member, io.BytesIO(raw))
    else:
        place = tmp_path / "cifar-100-python"
        place.mkdir()
        for name, raw in archive_members():
            (place / name).write_bytes(raw)
    dataset = load_dataset("cifar100", path=str(place))
    assert dataset.class_names == tuple(FINE)
    assert dataset.train.labels.tolist() == LABELS["train"]
    assert np.array_equal(dataset.test.images[3], picture("test", 3))
    held_out = load_dataset("cifar100", path=str(tmp_path), test_only=True)
    assert (len(held_out.train.images), len(held_out.test.images)) == (0, 4)


class Runs:
    def __reduce__(self):
        return (print, ("ran",))


def test_a_damaged_cifar_archive_is_refused(tmp_path, capsys):
    with pytest.raises(InputError, match=r"There is no cifar100 at .*nowhere: get it from .* cifar-100-python\.tar\.gz"):
        load_dataset("cifar100", path=str(tmp_path / "nowhere"))
    (tmp_path / "cut.tar.gz").write_bytes(b"\x1f\x8b cut")
    with pytest.raises(InputError, match=r"cut\.tar\.gz is not the CIFAR-100 python archive"):
        load_dataset("cifar100", path=str(tmp_path / "cut.tar.gz"))
    for name, raw in archive_members():
        (tmp_path / name).write_bytes(raw)
    (tmp_path / "meta").write_bytes(pickle.dumps({"fine_label_names": Runs()}))
    with pytest.raises(InputError, match=r"builtins\.print is not allowed in this file"):
        load_dataset("cifar100", path=str(tmp_path))
    assert "ran" not in capsys.readouterr().out
    (tmp_path / "meta").write_bytes(pickle.dumps({"fine_label_names": ["only"]}))
    with pytest.raises(InputError, match="train part has a label outside its 1 class names"):
        load_dataset("cifar100", path=str(tmp_path))
