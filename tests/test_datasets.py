"""Every data set in its true layout, small: what is loaded, what is refused, and what the check finds."""

import gzip
import io
import json
import pickle
import tarfile
import tracemalloc
from collections import Counter
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mgclip.errors import InputError
from mgclip.stream import check, datasets, facts, icons
from mgclip.stream.datasets import DATASETS, NAMES, Published, load_dataset
from mgclip.stream.files import ClassFiles, images_in
from mgclip.stream.glyphs import render
from mgclip.stream.hub import Hub
from mgclip.stream.orders import class_order, published_orders

FACTS = Path(str(files("mgclip") / "stream" / "facts"))
PIXEL = io.BytesIO()
Image.new("RGB", (8, 8), (200, 30, 60)).save(PIXEL, "JPEG")
IMAGENET = facts.column("imagenet1k_classes.tsv", "wnid")
IMAGENET_R = facts.column("imagenet_r_classes.tsv", "wnid")


def write(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(PIXEL.getvalue())


def write_lines(file, lines):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{line}\n" for line in lines))


def make_imagenet(root, synsets=IMAGENET):
    write(root, *(f"train/{s}/{s}_1{k}.JPEG" for s in synsets for k in range(2)))
    write(root, *(f"val/{s}/ILSVRC2012_val_{i:08}.JPEG" for i, s in enumerate(synsets)))


def make_imagenet_r(root):
    write(root / "imagenet-r", *facts.imagenet_r_test_files(), *(f"{s}/art_9999.jpg" for s in IMAGENET_R))


def make_cub(root):
    folders = [f"{i:03}.{name}" for i, name in enumerate(facts.class_names("cub200_classes.tsv"), 1)]
    images = [f"{folder}/Bird_{k:04}_{i}.jpg" for i, folder in enumerate(folders) for k in (7, 2, 5)]
    place = root / "CUB_200_2011"
    write(place / "images", *images)
    write_lines(place / "classes.txt", (f"{i} {folder}" for i, folder in enumerate(folders, 1)))
    write_lines(place / "images.txt", (f"{i} {image}" for i, image in enumerate(images, 1)))
    write_lines(place / "image_class_labels.txt", (f"{i + 1} {i // 3 + 1}" for i in range(len(images))))
    write_lines(place / "train_test_split.txt", (f"{i + 1} {int(i % 3 == 0)}" for i in range(len(images))))


def make_food(root):
    place = root / "food-101"
    for part, kept in (("train", (10, 11)), ("test", (12,))):
        listed = [f"{name}/{k}" for name in facts.class_names("food101_classes.tsv") for k in kept]
        write(place / "images", *(f"{line}.jpg" for line in listed))
        write_lines(place / "meta" / f"{part}.txt", listed)


def make_pets(root):
    names = facts.class_names("oxford_pet_classes.tsv")
    for part, k in (("trainval", 1), ("test", 2)):
        # The data set writes cats with a capital and dogs without.
        listed = [f"{name.title() if i % 3 else name}_{k}" for i, name in enumerate(names)]
        write(root / "images", *(f"{line}.jpg" for line in listed))
        write_lines(
            root / "annotations" / f"{part}.txt",
            ["# Image CLASS-ID", *(f"{line} {i} 1 1" for i, line in enumerate(listed, 1))],
        )
    (root / "images" / "Abyssinian_1.mat").write_bytes(b"no image")


def make_caltech(root):
    for name in ("BACKGROUND_Google", *facts.class_names("caltech101_classes.tsv")):
        folder = {"faces": "Faces", "faces_easy": "Faces_easy", "leopards": "Leopards"}.get(name, name)
        write(root / "101_ObjectCategories", *(f"{folder}/image_{k:04}.jpg" for k in (1, 2)))


def make_vtab(root):
    for i, name in enumerate(facts.class_names("vtab_classes.tsv")):
        folder = [name, name.lower().replace(" ", "_"), name.replace(" ", "-")][i % 3]
        write(root / "vtab", f"train/{folder}/a.jpg", f"test/{folder}/b.jpg", f"test/{folder}/c.jpg")


MAKE = {
    "imagenet-r": make_imagenet_r,
    "imagenet100": lambda root: make_imagenet(root, IMAGENET[:100]),
    "imagenet1k": make_imagenet,
    "cub200": make_cub,
    "vtab": make_vtab,
    "food101": make_food,
    "oxford-pets": make_pets,
    "caltech101": make_caltech,
}
SIZES = {  # of the small copies: classes, train, test
    "imagenet-r": (200, 200, 6000),
    "imagenet100": (100, 200, 100),
    "imagenet1k": (1000, 2000, 1000),
    "cub200": (200, 200, 400),
    "vtab": (50, 50, 100),
    "food101": (101, 202, 101),
    "oxford-pets": (37, 37, 37),
    "caltech101": (101, 0, 202),
}


@pytest.fixture(scope="module")
def copies(tmp_path_factory):
    """A small copy of each data set, made once; tests that change one make their own."""
    root = tmp_path_factory.mktemp("data")
    for name, make in MAKE.items():
        make(root / name)
    return root


@pytest.fixture
def as_small(monkeypatch):
    """Take the counts of a small copy for the published ones."""

    def small(name):
        _, train, test = SIZES[name]
        monkeypatch.setitem(DATASETS, name, replace(DATASETS[name], train=Published(train), test=Published(test)))

    return small


# What was published


def test_facts():
    for name, which in DATASETS.items():
        if which.table is not None:
            names = facts.class_names(which.table)[: which.classes]
            assert len(names) == which.classes, name
            index = facts.column(which.table, "index")
            assert list(index) == [str(i) for i in range(len(index))]
    assert (IMAGENET[0], IMAGENET[-1]) == ("n01440764", "n15075141")
    assert list(IMAGENET) == sorted(set(IMAGENET))
    assert set(IMAGENET_R) < set(IMAGENET)
    assert Counter(facts.column("vtab_classes.tsv", "source")) == dict.fromkeys(
        ("resisc45", "dtd", "oxford_iiit_pet", "eurosat", "flowers102"), 10
    )
    split = facts.imagenet_r_test_files()
    assert len(split) == 6000
    assert {file.split("/")[0] for file in split} == set(IMAGENET_R)
    # Two pairs of ImageNet's classes carry one name each; every other data set names each class once.
    twice = {n for n, k in Counter(facts.class_names("imagenet1k_classes.tsv")).items() if k > 1}
    assert twice == {"missile", "sunglasses"}


def test_imagenet_r_and_imagenet_name_the_same_things():
    one = dict(zip(IMAGENET, facts.class_names("imagenet1k_classes.tsv"), strict=True))
    pairs = [(one[s], n) for s, n in zip(IMAGENET_R, facts.class_names("imagenet_r_classes.tsv"), strict=True)]

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
    assert names == list(facts.class_names("imagenet1k_classes.tsv"))
    hundred = [line.split("\t") for line in (published / "imagenet100_classes.tsv").read_text().splitlines()[1:]]
    assert [row[1] for row in hundred] == list(IMAGENET[:100])
    assert [row[2] for row in hundred] == names[:100]
    listed = gzip.decompress((published / "imagenet_r_test_split.txt.gz").read_bytes()).decode().split()
    assert facts.imagenet_r_test_files() == {line for line in listed if not line.endswith(".py")}


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
    assert data.class_names == facts.class_names(DATASETS[name].table)[:classes]
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
    assert {f"{f}/{file}" for _, f, file in labelled(data.test, data.class_names)} == facts.imagenet_r_test_files()
    data = load("imagenet1k")
    assert all(
        path.parent.name == IMAGENET[label] for path, label in zip(data.test.images, data.test.labels, strict=True)
    )
    for name in ("cub200", "food101", "caltech101", "vtab"):
        data = load(name)
        for part in (data.train, data.test):
            for class_name, folder, _ in labelled(part, data.class_names):
                assert facts.fold(folder.rpartition(".")[2]) == facts.fold(class_name)
    data = load("cub200")
    assert [path.name.split("_")[1] for path in data.test.images[:4]] == ["0002", "0005"] * 2  # the order of images.txt
    assert {path.name.split("_")[1] for path in data.train.images} == {"0007"}
    data = load("oxford-pets")
    assert all(file[:-6].lower() == n for n, _, file in labelled(data.test, data.class_names))
    assert {path.stem[-2:] for path in data.train.images} == {"_1"}
    data = load("food101")
    assert {path.stem for path in data.test.images} == {"12"}


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
    make_vtab(tmp_path)
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
        with pytest.raises(InputError, match=f"{name} cannot be fetched from here: get it from http|the VTAB archive"):
            load_dataset(name, path=None, test_only=True)


def test_wrong_uses(tmp_path):
    with pytest.raises(InputError, match=r"There is no data set imagenet_r: did you mean imagenet-r\?"):
        load_dataset("imagenet_r", path=None)
    with pytest.raises(InputError, match="There is no data set zzz: there are icons100, icons-concepts"):
        load_dataset("zzz", path=None)
    for name in ("caltech101", "icons-concepts", "icons-families"):
        with pytest.raises(InputError, match=f"{name} has no training images: it is there to be tested on"):
            load_dataset(name, path=None)
    write(tmp_path, "train/n01440764/a.JPEG", "val/ILSVRC2012_val_00000001.JPEG")
    with pytest.raises(InputError, match="val holds images and no class folder: sort them into nXXXXXXXX/"):
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
    damaged("images.txt", "1 001.", "one 001.", r"images\.txt must hold a number and a word a line; found 'one 001\.")
    damaged("images.txt", "3 001.", "9999 001.", r"The lists in .* must speak of the same images")
    damaged("image_class_labels.txt", "5 2", "5 201", "give image 5 no class or no part")
    make_food(tmp_path)
    (tmp_path / "food-101" / "meta" / "test.txt").write_text("plum_pie/1\n")
    with pytest.raises(InputError, match=r"test\.txt must name images of the data set's classes; found 'plum_pie/1'"):
        load_dataset("food101", path=str(tmp_path))


# Folders of parquet files, as the hub has them


def make_parquet(root, part, image, label, names, labels):
    from datasets import ClassLabel, Features, Image as ImageColumn  # isort: skip
    from datasets import Dataset as Table

    pictures = [Image.new("RGB", (4, 4), (i, 0, 0)) for i in range(len(labels))]
    features = Features({image: ImageColumn(), label: ClassLabel(names=list(names))})
    root.mkdir(parents=True, exist_ok=True)
    Table.from_dict({image: pictures, label: labels}, features=features).to_parquet(
        root / f"{part}-00000-of-00001.parquet"
    )


def test_parquet_by_name(tmp_path):
    ours = facts.class_names("oxford_pet_classes.tsv")
    theirs = [name.replace("_", " ").title() for name in reversed(ours)]
    for part in ("train", "test"):
        make_parquet(tmp_path / "data", part, "image", "label", theirs, list(range(37)))
    data = load_dataset("oxford-pets", path=str(tmp_path))
    assert data.class_names == ours
    assert data.train.labels.tolist() == list(range(36, -1, -1))
    assert data.test.images[5].getpixel((0, 0)) == (5, 0, 0)
    for part in ("train", "test"):
        make_parquet(tmp_path / "data", part, "image", "label", ["Cow", *theirs[1:]], list(range(37)))
    with pytest.raises(
        InputError, match=r"The classes in .* are others: 'yorkshire_terrier' is not among their 37 names"
    ):
        load_dataset("oxford-pets", path=str(tmp_path))


@pytest.fixture
def imagenet_parquet(tmp_path):
    """ImageNet-1K as the hub has it: a test split without labels, class names of its own in the same order."""
    theirs = [f"{name}, Genus species" for name in facts.class_names("imagenet1k_classes.tsv")]
    theirs = list(dict.fromkeys(name if theirs.count(name) == 1 else f"{name} {i}" for i, name in enumerate(theirs)))
    make_parquet(tmp_path / "data", "validation", "image", "label", theirs, [0, 999, *range(100), 1, 100])
    make_parquet(tmp_path / "data", "test", "image", "label", theirs, [-1, -1])
    return tmp_path


def test_parquet_by_index(imagenet_parquet):
    data = load_dataset("imagenet100", path=str(imagenet_parquet), test_only=True)
    assert data.class_names == facts.class_names("imagenet1k_classes.tsv")[:100]
    assert data.test.labels.tolist() == [0, *range(100), 1]
    assert data.test.images[1].getpixel((0, 0)) == (2, 0, 0)  # the row of class 999 is left out
    with pytest.raises(InputError, match=r"There is no imagenet100 at .*, or a folder of parquet files of ILSVRC"):
        load_dataset("imagenet100", path=str(imagenet_parquet))
    others = [f"class {i}" for i in range(1000)]
    make_parquet(imagenet_parquet / "data", "validation", "image", "label", others, list(range(100)))
    with pytest.raises(InputError, match=r"are others: [0-9] of their 1000 names agree with the 100 expected"):
        load_dataset("imagenet100", path=str(imagenet_parquet), test_only=True)


def test_the_hub(imagenet_parquet, tmp_path, monkeypatch):
    # The library takes a folder for an id: what it does with the one it does with the other.
    hub = replace(DATASETS["imagenet100"].hub, id=str(imagenet_parquet))
    monkeypatch.setitem(DATASETS, "imagenet100", replace(DATASETS["imagenet100"], hub=hub))
    data = load_dataset("imagenet100", path=None, test_only=True)
    assert data.test.labels.tolist() == [0, *range(100), 1]
    names = facts.class_names("oxford_pet_classes.tsv")
    for part in ("train", "test"):
        make_parquet(tmp_path / "pets", part, "image", "label", names, list(range(37)))
    pets = replace(DATASETS["oxford-pets"], hub=Hub(str(tmp_path / "pets")))
    monkeypatch.setitem(DATASETS, "oxford-pets", pets)
    assert load_dataset("oxford-pets", path=None).train.labels.tolist() == list(range(37))
    for gated, advice in (
        (False, "check the network, or give the folder"),
        (True, "accept its terms at https://hugging"),
    ):
        missing = replace(pets, hub=Hub(str(tmp_path / "none"), gated=gated))
        monkeypatch.setitem(DATASETS, "oxford-pets", missing)
        with pytest.raises(InputError, match=f"oxford-pets cannot be loaded from .*none .*: {advice}"):
            load_dataset("oxford-pets", path=None)
    monkeypatch.setitem(DATASETS, "oxford-pets", replace(pets, hub=Hub("x/y", image="picture")))
    with pytest.raises(InputError, match="expected the columns picture and label, the latter with class names"):
        load_dataset("oxford-pets", path=str(tmp_path / "pets"))


# CIFAR-100

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
def test_cifar_archive(tmp_path, packed):
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


def test_cifar_parquet(tmp_path):
    for split in ("train", "test"):
        make_parquet(tmp_path / "cifar100", split, "img", "fine_label", FINE, LABELS[split])
    dataset = load_dataset("cifar100", path=str(tmp_path))
    assert dataset.class_names == tuple(FINE)
    assert dataset.train.labels.tolist() == LABELS["train"]
    assert dataset.train.images[6].getpixel((0, 0)) == (6, 0, 0)


class Runs:
    def __reduce__(self):
        return (print, ("ran",))


def test_bad_cifar(tmp_path, capsys):
    with pytest.raises(
        InputError, match=r"There is no cifar100 at .*nowhere: get it from .* cifar-100-python\.tar\.gz"
    ):
        load_dataset("cifar100", path=str(tmp_path / "nowhere"))
    (tmp_path / "cut.tar.gz").write_bytes(b"\x1f\x8b cut")
    with pytest.raises(InputError, match=r"cut\.tar\.gz is not the CIFAR-100 python archive"):
        load_dataset("cifar100", path=str(tmp_path / "cut.tar.gz"))
    for name, raw in archive_members():
        (tmp_path / name).write_bytes(raw)
    (tmp_path / "meta").write_bytes(pickle.dumps({"fine_label_names": Runs()}))
    with pytest.raises(InputError, match=r"it names builtins\.print, which is no plain data"):
        load_dataset("cifar100", path=str(tmp_path))
    assert "ran" not in capsys.readouterr().out
    (tmp_path / "meta").write_bytes(pickle.dumps({"fine_label_names": ["only"]}))
    with pytest.raises(InputError, match="train part has a label outside its 1 class names"):
        load_dataset("cifar100", path=str(tmp_path))


# Icons to test on


def test_icons_to_test_on():
    concepts, families = icons.held_out_glyphs(), icons.family_glyphs()
    for groups in (concepts, families):
        assert len(groups) == 100
        assert list(groups) == sorted(groups)
        assert set(groups).isdisjoint(icons.class_names())
    assert set(concepts).isdisjoint(families)
    assert {g.family for drawings in concepts.values() for g in drawings} == {"phosphor"}
    for drawings in families.values():
        drawn = {g.family for g in drawings}
        assert drawn.isdisjoint(icons.STREAM_FAMILIES)
        assert len({family.rstrip("56") for family in drawn}) >= 2
    # The training log of iconclip was measured on these.
    assert list(concepts)[:4] == ["address book", "airplane landing", "arrow circle down", "arrow circle right"]
    assert list(concepts)[-1] == "spade"
    initials = Counter(name[0] for name in families)
    assert len(initials) >= 15
    assert max(initials.values()) <= 25
    for name, groups in (("icons-concepts", concepts), ("icons-families", families)):
        data = load_dataset(name, path=None, train_per_class=1, test_per_class=7, test_only=True)
        assert data.class_names == tuple(groups)
        assert len(data.train.labels) == 0
        assert data.test.labels.tolist() == [label for label in range(100) for _ in range(7)]
        few = load_dataset(name, path=None, train_per_class=1, test_per_class=2, test_only=True)
        assert np.array_equal(np.asarray(few.test.images[2 * 31 + 1]), np.asarray(data.test.images[7 * 31 + 1]))
        covers = [np.asarray(render(g)).max() for drawings in groups.values() for g in drawings]
        assert min(covers) > 200
    first, second = icons.load_retention("icons-concepts", 1), icons.load_retention("icons-families", 1)
    assert not np.array_equal(np.asarray(first[0]), np.asarray(second[0]))


# mgclip data


def test_list(mgclip):
    code, said, _ = mgclip("data", "list")
    assert code == 0
    assert all(name in said for name in NAMES)
    assert "https://people.eecs.berkeley.edu/~hendrycks/imagenet-r.tar" in said
    code, said, _ = mgclip("data", "list", "--json")
    table = json.loads(said)
    assert list(table) == list(NAMES)
    assert table["imagenet1k"]["train_images"] == 1_281_167
    assert table["food101"]["hub"] == "ethz/food101"


@pytest.mark.parametrize("name", MAKE)
def test_check_finds_nothing_wrong(copies, as_small, mgclip, name):
    as_small(name)
    quick = ["--quick"] if name in ("imagenet-r", "imagenet1k") else []
    code, said, error = mgclip("data", "check", name, copies / name, "--json", *quick)
    assert code == 0, said + error
    report = json.loads(said)
    classes, train, test = SIZES[name]
    assert report["ok"] is True
    assert len(report["classes"]) == classes
    assert report["parts"]["test"]["images"] == test
    assert report["parts"].get("train", {"images": 0})["images"] == train
    assert report["opened"] == (0 if quick else train + test)


def test_check_of_all_that_can_be_wrong(tmp_path, as_small, mgclip):
    as_small("cub200")
    make_cub(tmp_path)
    place = tmp_path / "CUB_200_2011" / "images"
    write(place, "999.Dodo/a.jpg")
    (place / "002.Laysan_Albatross").rename(tmp_path / "gone")
    noise = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(noise, "JPEG")
    torn, text = place / "003.Sooty_Albatross" / "Bird_0007_2.jpg", place / "003.Sooty_Albatross" / "Bird_0002_2.jpg"
    torn.write_bytes(noise.getvalue()[: len(noise.getvalue()) // 2])
    text.write_text("not an image")
    (place / "200.Common_Yellowthroat" / "Bird_0005_199.jpg").unlink()
    code, said, _ = mgclip("data", "check", "cub200", tmp_path, "--json")
    assert code == 1
    report = json.loads(said)
    found = {}
    for finding in report["findings"]:
        found.setdefault(finding["kind"], []).append(finding["what"])
    assert list(found) == ["missing class", "wrong count", "extra folder", "missing file", "unreadable"]
    assert [what[: what.index(" in ")] for what in found["missing class"]] == [
        "train: the class 'Laysan_Albatross' has no image",
        "test: the class 'Laysan_Albatross' has no image",
    ]
    assert found["wrong count"] == ["train: 199 images; published are 200", "test: 397 images; published are 400"]
    assert found["extra folder"] == ["images/999.Dodo is no class of cub200"]
    assert len(found["missing file"]) == 4
    assert "200.Common_Yellowthroat/Bird_0005_199.jpg is in the published list and not in" in found["missing file"][-1]
    assert len(found["unreadable"]) == 2
    assert f"{torn} (image file is truncated" in found["unreadable"][0]
    assert f"{text} (not an image of a kind that Pillow reads)" in found["unreadable"][1]
    assert report["classes"][1] == {"class": "Laysan_Albatross", "train": 0, "test": 0}
    assert report["parts"]["train"] == {"images": 199, "min": 0, "median": 1, "max": 1}
    code, said, _ = mgclip("data", "check", "cub200", tmp_path)
    assert code == 1
    assert "596 images opened, 11 found wrong; recipes for it:" in said
    assert "unreadable" not in mgclip("data", "check", "cub200", tmp_path, "--quick")[1]


def test_check_of_class_folders(tmp_path, mgclip):
    make_imagenet(tmp_path, IMAGENET[:100])
    write(tmp_path, "train/n00000000/a.JPEG", "val/n01440764/a.JPEG")
    code, said, _ = mgclip("data", "check", "imagenet100", tmp_path, "--quick", "--json")
    found = [finding["what"] for finding in json.loads(said)["findings"]]
    assert code == 1
    assert found[0] == "train: the class 'tench' has 2 images; published are 732 to 1300"
    assert "test: 101 images; published are 5,000" in found
    assert "test: the class 'tench' has 2 images; published are 50" in found
    assert found[-1] == "train/n00000000 is no class of imagenet100"
    code, said, _ = mgclip("data", "check", "imagenet100", tmp_path, "--quick", "--json", "--test-only")
    assert not any(finding["what"].startswith("train") for finding in json.loads(said)["findings"])
    make_vtab(tmp_path)
    write(tmp_path, "vtab/test/Sea Lake/a.jpg")
    code, said, _ = mgclip("data", "check", "vtab", tmp_path, "--quick")
    assert "extra folder: test/SeaLake is no class of vtab" in said
    make_caltech(tmp_path)
    (tmp_path / "101_ObjectCategories" / "Faces").rename(tmp_path / "101_ObjectCategories" / "Visages")
    code, said, _ = mgclip("data", "check", "caltech101", tmp_path, "--quick")
    assert "missing class: test: the class 'faces' has no image" in said
    assert "extra folder: Visages is no class of caltech101" in said
    assert "BACKGROUND" not in said


def test_check_of_a_folder_of_ones_own(tmp_path, mgclip):
    write(tmp_path, "train/cat/a.jpg", "train/dog/a.jpg", "test/cat/b.jpg", "test/dog/b.jpg")
    code, said, _ = mgclip("data", "check", "folder", tmp_path)
    assert code == 0
    assert "4 images opened, nothing wrong; recipes for it: folder" in said
    write(tmp_path, "test/cow/b.jpg")
    (tmp_path / "train" / "cat" / "a.jpg").write_bytes(b"")
    code, said, _ = mgclip("data", "check", "folder", tmp_path)
    assert code == 1
    assert "extra folder: test/cow is no class of" in said
    assert "a.jpg (not an image" in said
    assert len(load_dataset("folder", path=str(tmp_path), test_only=True).class_names) == 3
    assert load_dataset("folder", path=str(tmp_path / "train"), test_only=True).class_names == ("cat", "dog")


def test_check_of_icons_and_of_tables(tmp_path, mgclip):
    code, said, _ = mgclip("data", "check", "icons100", "--quick", "--json")
    assert code == 0
    assert "icons100" in json.loads(said)["recipes"]
    report = check.check_dataset("icons-concepts", None, quick=True)
    assert report.counts == {"test": [20] * 100}
    names = facts.class_names("oxford_pet_classes.tsv")
    for part in ("train", "test"):
        make_parquet(tmp_path, part, "image", "label", names, list(range(37)))
    code, said, _ = mgclip("data", "check", "oxford-pets", tmp_path, "--json")
    assert code == 1
    assert [finding["kind"] for finding in json.loads(said)["findings"]] == ["wrong count", "wrong count"]
    assert json.loads(said)["opened"] == 74


def test_check_of_what_is_not_there(tmp_path, mgclip):
    code, _, error = mgclip("data", "check", "cub20", tmp_path)
    assert (code, error) == (2, "mgclip: There is no data set cub20: did you mean cub200?\n")
    code, _, error = mgclip("data", "check", "cub200", tmp_path / "none")
    assert (code, error) == (2, f"mgclip: There is no folder {tmp_path / 'none'}.\n")
    code, _, error = mgclip("data", "check", "imagenet-r")
    assert code == 2
    assert "imagenet-r cannot be fetched from here: get it from" in error
    code, _, error = mgclip("data", "check", "icons100", tmp_path)
    assert code == 2
    assert "icons100 is drawn from fonts and lies nowhere" in error
    code, said, _ = mgclip("data", "check", "cub200", tmp_path)
    assert code == 1
    assert f"layout: There is no cub200 at {tmp_path}: get it from" in said


def test_the_check_opens_images_in_order_and_says_how_far_it_is(copies, as_small):
    as_small("food101")
    told = []
    check.check_dataset("food101", str(copies / "food101"), on_images=lambda done, total: told.append((done, total)))
    assert told[-1] == (303, 303)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
