"""Every data set in its true layout, small: what is loaded and what is refused."""

import numpy as np
import pytest
from layouts import (
    IMAGENET,
    IMAGENET_R,
    MAKE,
    SIZES,
    VTAB,
    VTAB_FOLDERS,
    labelled,
    make_imagenet_r,
    make_vtab,
    named_vtab,
    write,
)
from PIL import Image

from mgclip.errors import InputError
from mgclip.stream import metadata
from mgclip.stream.datasets import DATASETS, load_dataset


@pytest.mark.parametrize("name", MAKE)
@pytest.mark.parametrize("inside", [False, True], ids=["where it is", "its own folder"])
def test_each_data_set_is_found_in_its_layout(copies, name, inside):
    place = copies / name
    own = [entry for entry in place.iterdir() if entry.name not in ("train", "val", "images", "annotations")]
    if inside and own:
        place = own[0]
    only = DATASETS[name].test_only
    data = load_dataset(name, path=str(place), test_only=only)
    classes, train, test = SIZES[name]
    assert data.name == name
    assert len(data.class_names) == classes
    if (table := DATASETS[name].table) is not None:
        assert data.class_names == metadata.class_names(table)[:classes]
    assert (len(data.train.labels), len(data.test.labels)) == (len(data.train.images), len(data.test.images)) == (train, test)
    for part in (data.train, data.test):
        assert part.labels.dtype == np.int64
        for i in (0, len(part.labels) // 2, -1) if len(part.labels) else ():
            with Image.open(part.images[i]) as image:
                assert image.size == (8, 8)
    if not only:
        assert set(data.train.images).isdisjoint(data.test.images)
    held_out = load_dataset(name, path=str(place), test_only=True)
    assert (len(held_out.train.images), len(held_out.train.labels)) == (0, 0)
    assert list(held_out.test.images) == list(data.test.images)


def test_labels_are_those_of_the_folders_and_lists(copies):
    def load(name):
        return load_dataset(name, path=str(copies / name), test_only=DATASETS[name].test_only)

    data = load("imagenet-r")
    synset = dict(zip(data.class_names, IMAGENET_R, strict=True))
    assert all(folder == synset[n] for part in (data.train, data.test) for n, folder, _ in labelled(part, data.class_names))
    assert {f"{f}/{file}" for _, f, file in labelled(data.test, data.class_names)} == metadata.imagenet_r_test_files()
    data = load("imagenet1k")
    assert all(path.parent.name == IMAGENET[label] for path, label in zip(data.test.images, data.test.labels, strict=True))
    data = load("vtab")
    for part in (data.train, data.test):
        assert {(VTAB_FOLDERS.index(folder), VTAB.index(n)) for n, folder, _ in labelled(part, data.class_names)} == {
            (i, i) for i in range(50)
        }
    for name in ("cub200", "food101", "caltech101"):
        data = load(name)
        for part in (data.train, data.test):
            for class_name, folder, _ in labelled(part, data.class_names):
                assert metadata.fold(folder.rpartition(".")[2]) == metadata.fold(class_name)
    data = load("cub200")
    assert [path.name.split("_")[1] for path in data.test.images[:4]] == ["0002", "0005"] * 2  # the order of images.txt
    assert {path.name.split("_")[1] for path in data.train.images} == {"0007"}
    data = load("oxford-pets")
    assert all(file[:-6].lower() == n for n, _, file in labelled(data.test, data.class_names))
    assert {path.stem[-2:] for path in data.train.images} == {"_1"}
    data = load("food101")
    assert {path.stem for path in data.test.images} == {"12"}


def test_missing_classes_are_named(tmp_path):
    make_imagenet_r(tmp_path)
    (tmp_path / "imagenet-r" / "n01443537" / "art_9999.jpg").unlink()
    with pytest.raises(InputError, match=r"The class 'goldfish' of imagenet-r has no training image in .*n01443537"):
        load_dataset("imagenet-r", path=str(tmp_path))
    (tmp_path / "imagenet-r" / "n01443537").rename(tmp_path / "moved")
    (tmp_path / "imagenet-r" / "n12267677").rename(tmp_path / "moved too")
    with pytest.raises(InputError, match=r"'goldfish' \(and 1 more\) of imagenet-r has no test image .*mgclip data check"):
        load_dataset("imagenet-r", path=str(tmp_path), test_only=True)
    make_vtab(tmp_path, named_vtab())
    (tmp_path / "vtab" / "test" / "crystalline").rename(tmp_path / "crystal")
    with pytest.raises(InputError, match="The class 'crystalline' of vtab has no test image"):
        load_dataset("vtab", path=str(tmp_path))


@pytest.mark.parametrize("name", [name for name, which in DATASETS.items() if which.source.startswith(("http", "the VTAB"))])
def test_missing_data_is_reported_with_its_source(tmp_path, name):
    which = DATASETS[name]
    with pytest.raises(InputError) as error:
        load_dataset(name, path=str(tmp_path), test_only=True)
    assert str(error.value).startswith(f"There is no {name} at {tmp_path}: get it from {which.source}")
    assert which.layout in str(error.value)
    assert (f"parquet files of {which.hub.id}" in str(error.value)) if which.hub else True
    if which.hub is None:
        with pytest.raises(InputError, match=f"{name} cannot be downloaded automatically: get it from http|the VTAB archive"):
            load_dataset(name, path=None, test_only=True)


def test_wrong_names_and_layouts_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"There is no data set imagenet_r: did you mean imagenet-r\?"):
        load_dataset("imagenet_r", path=None)
    with pytest.raises(InputError, match="There is no data set zzz; choose from icons100, icons-concepts"):
        load_dataset("zzz", path=None)
    with pytest.raises(InputError, match="caltech101 has no training images: it can only be tested on"):
        load_dataset("caltech101", path=None)
    write(tmp_path, "train/n01440764/a.JPEG", "val/ILSVRC2012_val_00000001.JPEG")
    with pytest.raises(InputError, match="val contains images and no class folder: sort them into nXXXXXXXX/"):
        load_dataset("imagenet1k", path=str(tmp_path))
