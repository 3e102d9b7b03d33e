"""Every data set in its true layout, small: what is loaded and what is refused."""

import gzip
import tracemalloc
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from layouts import (
    FACTS,
    IMAGENET,
    IMAGENET_R,
    MAKE,
    SIZES,
    VTAB,
    VTAB_FOLDERS,
    make_cub,
    make_food,
    make_imagenet,
    make_imagenet_r,
    make_split_imagenet_r,
    make_vtab,
    named_vtab,
    write,
)
from PIL import Image

from mgclip.errors import InputError
from mgclip.stream import datasets, metadata
from mgclip.stream.datasets import DATASETS, load_dataset
from mgclip.stream.files import ClassFiles, images_in
from mgclip.stream.orders import class_order, published_orders

# What was published


def test_facts():
    for name, which in DATASETS.items():
        if which.table is not None:
            names = metadata.class_names(which.table)[: which.classes]
            assert len(names) == which.classes, name
            index = metadata.column(which.table, "index")
            assert list(index) == [str(i) for i in range(len(index))]
    assert (IMAGENET[0], IMAGENET[-1]) == ("n01440764", "n15075141")
    assert list(IMAGENET) == sorted(set(IMAGENET))
    assert set(IMAGENET_R) < set(IMAGENET)
    assert Counter(metadata.column("vtab_classes.tsv", "source")) == dict.fromkeys(
        ("resisc45", "dtd", "oxford_iiit_pet", "eurosat", "flowers102"), 10
    )
    split = metadata.imagenet_r_test_files()
    assert len(split) == 6000
    assert {file.split("/")[0] for file in split} == set(IMAGENET_R)
    # Two pairs of ImageNet's classes carry one name each; every other data set names each class once.
    twice = {n for n, k in Counter(metadata.class_names("imagenet1k_classes.tsv")).items() if k > 1}
    assert twice == {"missile", "sunglasses"}


def test_imagenet_r_and_imagenet_name_the_same_things():
    one = dict(zip(IMAGENET, metadata.class_names("imagenet1k_classes.tsv"), strict=True))
    pairs = [(one[s], n) for s, n in zip(IMAGENET_R, metadata.class_names("imagenet_r_classes.tsv"), strict=True)]

    def words(name):
        return set(name.lower().replace("_", " ").replace("-", " ").split())

    assert sum(not words(a).isdisjoint(words(b)) for a, b in pairs) >= 180


def test_facts_are_the_published_files(golden):
    published = golden.parent / "facts"
    for file in FACTS.iterdir():
        if file.name != "imagenet1k_classes.tsv":
            assert file.read_bytes() == (published / file.name).read_bytes(), file.name
    lines = [line.split("\t") for line in (published / "imagenet1k_classes.tsv").read_text().splitlines()]
    names = [row[lines[0].index("name")] for row in lines[1:]]
    assert names == list(metadata.class_names("imagenet1k_classes.tsv"))
    hundred = [line.split("\t") for line in (published / "imagenet100_classes.tsv").read_text().splitlines()[1:]]
    assert [row[1] for row in hundred] == list(IMAGENET[:100])
    assert [row[2] for row in hundred] == names[:100]
    listed = gzip.decompress((published / "imagenet_r_test_split.txt.gz").read_bytes()).decode().split()
    assert metadata.imagenet_r_test_files() == {line for line in listed if not line.endswith(".py")}


# The true layouts


@pytest.mark.parametrize("name", MAKE)
@pytest.mark.parametrize("inside", [False, True], ids=["where it is", "its own folder"])
def test_layouts(copies, name, inside):
    place = copies / name
    own = [entry for entry in place.iterdir() if entry.name not in ("train", "val", "images", "annotations")]
    if inside and own:
        place = own[0]
    only = DATASETS[name].test_only
    data = load_dataset(name, path=str(place), test_only=only)
    classes, train, test = SIZES[name]
    assert data.name == name
    assert data.class_names == metadata.class_names(DATASETS[name].table)[:classes]
    assert (
        (len(data.train.labels), len(data.test.labels))
        == (len(data.train.images), len(data.test.images))
        == (train, test)
    )
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


def labelled(part, names):
    return {(names[label], path.parent.name, path.name) for path, label in zip(part.images, part.labels, strict=True)}


def test_labels_are_those_of_the_folders_and_lists(copies):
    def load(name):
        return load_dataset(name, path=str(copies / name), test_only=DATASETS[name].test_only)

    data = load("imagenet-r")
    synset = dict(zip(data.class_names, IMAGENET_R, strict=True))
    assert all(
        folder == synset[n] for part in (data.train, data.test) for n, folder, _ in labelled(part, data.class_names)
    )
    assert {f"{f}/{file}" for _, f, file in labelled(data.test, data.class_names)} == metadata.imagenet_r_test_files()
    data = load("imagenet1k")
    assert all(
        path.parent.name == IMAGENET[label] for path, label in zip(data.test.images, data.test.labels, strict=True)
    )
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


def test_vtab_with_folders_named_by_class(tmp_path):
    make_vtab(tmp_path, named_vtab())
    data = load_dataset("vtab", path=str(tmp_path))
    for n, folder, _ in labelled(data.test, data.class_names):
        assert metadata.fold(folder) == metadata.fold(n)


def test_vtabs_numbers_are_read_as_numbers_in_each_part(tmp_path):
    make_vtab(tmp_path, [str(i) for i in range(50)])
    data = load_dataset("vtab", path=str(tmp_path))
    assert [path.parent.name for path in data.train.images] == [str(i) for i in range(50)]
    (tmp_path / "vtab" / "test" / "7").rename(tmp_path / "vtab" / "test" / "50")
    with pytest.raises(InputError, match="must have folders of the same numbers"):
        load_dataset("vtab", path=str(tmp_path))
    assert len(load_dataset("vtab", path=str(tmp_path), test_only=True).class_names) == 50
    write(tmp_path, "vtab/test/7/a.jpg")
    with pytest.raises(InputError, match=r"test must contain 50 folders named by number.* found 51 named by number"):
        load_dataset("vtab", path=str(tmp_path))
    (tmp_path / "vtab" / "test" / "50").rename(tmp_path / "vtab" / "test" / "airplane")
    with pytest.raises(InputError, match="found 50 named by number and 1 others"):
        load_dataset("vtab", path=str(tmp_path))


def test_imagenet_r_already_split(tmp_path):
    make_split_imagenet_r(tmp_path)
    synset = dict(zip(metadata.class_names("imagenet_r_classes.tsv"), IMAGENET_R, strict=True))
    for place in (tmp_path, tmp_path / "imagenet-r"):
        data = load_dataset("imagenet-r", path=str(place))
        assert (len(data.train.labels), len(data.test.labels)) == (200, 200)
        for part, name in ((data.train, "train"), (data.test, "test")):
            assert {path.parts[-3] for path in part.images} == {name}
            assert all(folder == synset[n] for n, folder, _ in labelled(part, data.class_names))
    (tmp_path / "imagenet-r" / "test" / IMAGENET_R[7]).rename(tmp_path / "gone")
    with pytest.raises(InputError, match=r"of imagenet-r has no test image in .*test/"):
        load_dataset("imagenet-r", path=str(tmp_path))


def test_published_orders_fit_the_data_sets(copies):
    for name in ("imagenet-r", "imagenet100", "cub200"):
        assert name.replace("-", "_") in published_orders()
        order = class_order("published", dataset=name, classes=DATASETS[name].classes, seed=0)
        assert sorted(order) == list(range(DATASETS[name].classes))


def test_imagenet100_reads_a_whole_imagenet(copies):
    data = load_dataset("imagenet100", path=str(copies / "imagenet1k"))
    assert len(data.class_names) == 100
    assert {path.parent.name for path in data.train.images} == set(IMAGENET[:100])
    assert not datasets.find_dataset("imagenet100", path=str(copies / "imagenet1k")).extra


def test_imagenet_validation_alone_is_enough_to_test_on(tmp_path):
    make_imagenet(tmp_path / "imagenet")
    (tmp_path / "imagenet" / "train").rename(tmp_path / "elsewhere")
    assert len(load_dataset("imagenet1k", path=str(tmp_path), test_only=True).test.labels) == 1000
    with pytest.raises(
        InputError, match=r"There is no training image of imagenet1k in .* \(testing on it needs none\)"
    ):
        load_dataset("imagenet1k", path=str(tmp_path))


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


# What is refused


def test_missing_classes_are_named(tmp_path):
    make_imagenet_r(tmp_path)
    (tmp_path / "imagenet-r" / "n01443537" / "art_9999.jpg").unlink()
    with pytest.raises(InputError, match=r"The class 'goldfish' of imagenet-r has no training image in .*n01443537"):
        load_dataset("imagenet-r", path=str(tmp_path))
    (tmp_path / "imagenet-r" / "n01443537").rename(tmp_path / "moved")
    (tmp_path / "imagenet-r" / "n12267677").rename(tmp_path / "moved too")
    with pytest.raises(
        InputError, match=r"'goldfish' \(and 1 more\) of imagenet-r has no test image .*mgclip data check"
    ):
        load_dataset("imagenet-r", path=str(tmp_path), test_only=True)
    make_vtab(tmp_path, named_vtab())
    (tmp_path / "vtab" / "test" / "crystalline").rename(tmp_path / "crystal")
    with pytest.raises(InputError, match="The class 'crystalline' of vtab has no test image"):
        load_dataset("vtab", path=str(tmp_path))


@pytest.mark.parametrize(
    "name", [name for name, which in DATASETS.items() if which.source.startswith(("http", "the VTAB"))]
)
def test_data_that_is_not_there(tmp_path, name):
    which = DATASETS[name]
    with pytest.raises(InputError) as error:
        load_dataset(name, path=str(tmp_path), test_only=True)
    assert str(error.value).startswith(f"There is no {name} at {tmp_path}: get it from {which.source}")
    assert which.layout in str(error.value)
    assert (f"parquet files of {which.hub.id}" in str(error.value)) if which.hub else True
    if which.hub is None:
        with pytest.raises(
            InputError, match=f"{name} cannot be downloaded automatically: get it from http|the VTAB archive"
        ):
            load_dataset(name, path=None, test_only=True)


def test_wrong_uses(tmp_path):
    with pytest.raises(InputError, match=r"There is no data set imagenet_r: did you mean imagenet-r\?"):
        load_dataset("imagenet_r", path=None)
    with pytest.raises(InputError, match="There is no data set zzz: there are icons100, icons-concepts"):
        load_dataset("zzz", path=None)
    for name in ("caltech101", "icons-concepts", "icons-families"):
        with pytest.raises(InputError, match=f"{name} has no training images: it can only be tested on"):
            load_dataset(name, path=None)
    write(tmp_path, "train/n01440764/a.JPEG", "val/ILSVRC2012_val_00000001.JPEG")
    with pytest.raises(InputError, match="val contains images and no class folder: sort them into nXXXXXXXX/"):
        load_dataset("imagenet1k", path=str(tmp_path))


def test_damaged_lists(tmp_path):
    make_cub(tmp_path)
    lists = tmp_path / "CUB_200_2011"

    def damaged(file, old, new, sentence):
        text = (lists / file).read_text()
        (lists / file).write_text(text.replace(old, new, 1))
        with pytest.raises(InputError, match=sentence):
            load_dataset("cub200", path=str(tmp_path))
        (lists / file).write_text(text)

    damaged(
        "classes.txt", "1 001.Black_footed_Albatross", "1 001.Penguin", r"must name class 1 001\.Black_footed_Albatross"
    )
    damaged(
        "images.txt",
        "1 001.",
        "one 001.",
        r"images\.txt must contain a number and a word on each line; found 'one 001\.",
    )
    damaged("images.txt", "3 001.", "9999 001.", r"The lists in .* name different images")
    damaged("images.txt", "3 001.", "2 001.", r"images\.txt must contain each number once; found 2 again")
    damaged("image_class_labels.txt", "5 2", "5 201", "give image 5 no class or no part")
    make_food(tmp_path)
    (tmp_path / "food-101" / "meta" / "test.txt").write_text("plum_pie/1\n")
    with pytest.raises(InputError, match=r"test\.txt must name images of the data set's classes; found 'plum_pie/1'"):
        load_dataset("food101", path=str(tmp_path))
    (tmp_path / "food-101" / "meta" / "test.txt").write_text("apple_pie/12\napple_pie/12\n")
    with pytest.raises(InputError, match=r"test\.txt must name each image once; found 'apple_pie/12' again"):
        load_dataset("food101", path=str(tmp_path))
