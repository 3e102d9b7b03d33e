"""Small copies of every data set in its true layout."""

import gzip
import io
import json
import pickle
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from mgclip.stream import metadata
from mgclip.stream.datasets import DATASETS
from mgclip.stream.entry import Published
from mgclip.stream.lists import AIRCRAFT
from mgclip.stream.mtil import CALTECH, EUROSAT
from mgclip.stream.toolbox import TOOLBOX

FACTS = Path(str(files("mgclip") / "stream" / "metadata"))
PIXEL = io.BytesIO()
Image.new("RGB", (8, 8), (200, 30, 60)).save(PIXEL, "JPEG")
IMAGENET = metadata.column("imagenet1k_classes.tsv", "wnid")
IMAGENET_R = metadata.column("imagenet_r_classes.tsv", "wnid")


def write(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(PIXEL.getvalue())


def write_pictures(root, *names):
    """Write images that differ from each other."""
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8 + number), (number, len(name), 9)).save(root / name)


def write_lines(file, lines):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{line}\n" for line in lines))


def make_imagenet(root, synsets=IMAGENET):
    write(root, *(f"train/{s}/{s}_1{k}.JPEG" for s in synsets for k in range(2)))
    write(root, *(f"val/{s}/ILSVRC2012_val_{i:08}.JPEG" for i, s in enumerate(synsets)))


def make_imagenet_r(root):
    write(root / "imagenet-r", *metadata.imagenet_r_test_files(), *(f"{s}/art_9999.jpg" for s in IMAGENET_R))


def make_cub(root):
    folders = [f"{i:03}.{name}" for i, name in enumerate(metadata.class_names("cub200_classes.tsv"), 1)]
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
        listed = [f"{name}/{k}" for name in metadata.class_names("food101_classes.tsv") for k in kept]
        write(place / "images", *(f"{line}.jpg" for line in listed))
        write_lines(place / "meta" / f"{part}.txt", listed)


def make_pets(root):
    names = metadata.class_names("oxford_pet_classes.tsv")
    for part, k in (("trainval", 1), ("test", 2)):
        # The data set capitalises the names of cats only.
        listed = [f"{name.title() if i % 3 else name}_{k}" for i, name in enumerate(names)]
        write(root / "images", *(f"{line}.jpg" for line in listed))
        write_lines(root / "annotations" / f"{part}.txt", (f"{line} {i} 1 1" for i, line in enumerate(listed, 1)))
    (root / "images" / "Abyssinian_1.mat").write_bytes(b"no image")


def make_caltech(root):
    for name in ("BACKGROUND_Google", *metadata.class_names("caltech101_classes.tsv")):
        folder = {"faces": "Faces", "faces_easy": "Faces_easy", "leopards": "Leopards", "motorbikes": "Motorbikes"}.get(
            name, name
        )
        write(root / "101_ObjectCategories", *(f"{folder}/image_{k:04}.jpg" for k in (1, 2)))


VTAB = metadata.class_names("vtab_classes.tsv")
VTAB_FOLDERS = tuple(str(number) for number in range(10, 10 + len(VTAB)))
"""The published archive has numbers for folders, in the order of the classes."""


def make_vtab(root, folders=VTAB_FOLDERS):
    for folder in folders:
        write(root / "vtab", f"train/{folder}/a.jpg", f"test/{folder}/b.jpg", f"test/{folder}/c.jpg")


def named_vtab():
    """The class names in the usual form of folder names."""
    return [[name, name.lower().replace(" ", "_"), name.replace(" ", "-")][i % 3] for i, name in enumerate(VTAB)]


def make_split_imagenet_r(root):
    """ImageNet-R as other experiments share it: already split."""
    listed = sorted(metadata.imagenet_r_test_files())
    first = {file.split("/")[0]: file for file in reversed(listed)}
    write(
        root / "imagenet-r",
        *(f"test/{file}" for file in first.values()),
        *(f"train/{s}/art_9999.jpg" for s in IMAGENET_R),
    )


def folders_of(name):
    """The class folders of a data set of the toolboxes, spelled as in its archive."""
    table = TOOLBOX[name].table
    names = metadata.class_names(table)
    return {
        "cub200-resplit": lambda: [f"{number:03}.{each}" for number, each in enumerate(names, 1)],
        "imagenet-a": lambda: metadata.column(table, "wnid"),
        "aircraft": lambda: [each.replace("/", "_") for each in names],
        "ucf100": lambda: [each.replace(" ", "") for each in names],
    }.get(name, lambda: [each.replace(" ", "_") for each in names[: TOOLBOX[name].classes]])()


def make_toolbox(name, folder, test="test"):
    """A maker of class folders in ``train/`` and ``test/``."""

    def make(root):
        for each in folders_of(name):
            write(root / folder, f"train/{each}/1.jpg", f"train/{each}/2.jpg", f"{test}/{each}/3.jpg")

    return make


def make_aircraft(root, train="trainval"):
    place, number = root / "fgvc-aircraft-2013b" / "data", 0
    for part, count in ((train, 2), ("test", 1)):
        listed = [(f"{1 + number + i:07}", variant) for i, variant in enumerate(metadata.class_names(AIRCRAFT) * count)]
        number += len(listed)
        write(place / "images", *(f"{image}.jpg" for image, _ in listed))
        write_lines(place / f"images_variant_{part}.txt", (" ".join(each) for each in listed))


OFFICIAL_CARS = (*(f"Other Car {n} 2012" for n in range(94)), *reversed(metadata.class_names("setting_b_classes.tsv#cars-100")))
"""196 classes in an order of their own: as in the devkit, some are not in the list of Cars."""


def make_cars_devkit(root, names=OFFICIAL_CARS):
    """Stanford Cars in its official layout: two training images and one test image of each class."""
    place, fields = root / "stanford_cars", ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname")
    (place / "devkit").mkdir(parents=True)
    savemat(place / "devkit" / "cars_meta.mat", {"class_names": np.array(names, dtype=object)})
    for part, count, file in (("train", 2, "devkit/cars_train_annos.mat"), ("test", 1, "cars_test_annos_withlabels.mat")):
        rows = np.zeros((1, count * len(names)), dtype=[(field, object) for field in fields])
        for i in range(count * len(names)):
            rows[0, i] = (1, 1, 8, 8, i % len(names) + 1, f"{i + 1:05}.jpg")
        write(place / f"cars_{part}", *(f"{i + 1:05}.jpg" for i in range(count * len(names))))
        savemat(place / file, {"annotations": rows})


def make_flowers(root):
    """Flowers-102 with four images of each class: one for training, one for validation and two for testing."""
    place, labels = root / "flowers-102", np.repeat(np.arange(1, 103), 4)
    write(place / "jpg", *(f"image_{i + 1:05}.jpg" for i in range(len(labels))))
    numbers = np.arange(1, len(labels) + 1).reshape(102, 4)
    savemat(place / "imagelabels.mat", {"labels": labels.astype(np.uint8)})
    savemat(
        place / "setid.mat", {"trnid": numbers[:, 0][None], "valid": numbers[:, 1][None], "tstid": numbers[:, 2:].reshape(1, -1)}
    )


TEXTURES = [f"texture_{i:02}" if i else "polka-dotted" for i in range(47)]


def make_dtd(root):
    for part, k in (("train1", (1,)), ("test1", (2, 3)), ("train2", (3,)), ("val1", (4,))):
        listed = [f"{folder}/{folder}_{i:04}.jpg" for folder in TEXTURES for i in k]
        write(root / "dtd" / "images", *listed)
        write_lines(root / "dtd" / "labels" / f"{part}.txt", listed)


def make_class_folders(table, folder, count):
    """A maker of the class folders of a table of MTIL."""

    def make(root):
        write(root / folder, *(f"{each}/{each}_{k}.jpg" for each in metadata.column(table, "folder") for k in range(count)))

    return make


def make_mnist(root, per_class=2):
    """MNIST with some images of each digit, the training part compressed."""
    place = root / "MNIST" / "raw"
    place.mkdir(parents=True)
    for part, count, ending in (("train", per_class, ".gz"), ("t10k", 1, "")):
        labels = np.tile(np.arange(10, dtype=np.uint8), count)
        images = np.zeros((len(labels), 28, 28), np.uint8) + labels[:, None, None] * 20
        images[:, 0, 0] = 255
        for kind, values in (("images-idx3", images), ("labels-idx1", labels)):
            raw = np.array([2048 + values.ndim, *values.shape], ">u4").tobytes() + values.tobytes()
            (place / f"{part}-{kind}-ubyte{ending}").write_bytes(gzip.compress(raw) if ending else raw)


def make_coop(root, folder="images", names=("cat", "dog")):
    """A data set with a split of CoOp: two images of a class for training, one for validation, one for testing."""
    parts = {part: [] for part in ("train", "val", "test")}
    for label, name in enumerate(names):
        for k, part in enumerate(("train", "train", "val", "test")):
            parts[part].append([f"{name}_{k}.jpg", label, name])
    write(root / folder, *(image for lines in parts.values() for image, _, _ in lines))
    (root / "split_zhou_Animals.json").write_text(json.dumps(parts))


def make_tiny_imagenet(root):
    place, synsets = root / "tiny-imagenet-200", metadata.column("tiny_imagenet_classes.tsv", "wnid")
    write(place, *(f"train/{s}/images/{s}_{k}.JPEG" for s in synsets for k in range(2)), "test/images/test_0.JPEG")
    for s in synsets:
        write_lines(place / "train" / s / f"{s}_boxes.txt", [f"{s}_0.JPEG\t0\t0\t62\t62"])
    write(place, *(f"val/images/val_{i}.JPEG" for i in range(len(synsets))))
    answers = (f"val_{i}.JPEG\t{s}\t0\t32\t44\t62" for i, s in enumerate(reversed(synsets)))
    write_lines(place / "val" / "val_annotations.txt", answers)


def make_cifar(root):
    """CIFAR-100 with one training and one test image for each class."""
    place, rng = root / "cifar-100-python", np.random.default_rng(0)
    place.mkdir(parents=True)
    (place / "meta").write_bytes(pickle.dumps({"fine_label_names": [f"class_{c:02}" for c in range(100)]}, 2))
    for part in ("train", "test"):
        content = {"data": rng.integers(0, 256, (100, 3072), dtype=np.uint8), "fine_labels": list(range(100))}
        (place / part).write_bytes(pickle.dumps(content, 2))


def make_parquet(root, part, image, label, names, labels):
    from datasets import ClassLabel, Features, Image as ImageColumn  # isort: skip
    from datasets import Dataset as Table

    pictures = [Image.new("RGB", (4, 4), (i, 0, 0)) for i in range(len(labels))]
    features = Features({image: ImageColumn(), label: ClassLabel(names=list(names))})
    root.mkdir(parents=True, exist_ok=True)
    Table.from_dict({image: pictures, label: labels}, features=features).to_parquet(root / f"{part}-00000-of-00001.parquet")


def class_folders(folder, **images):
    """Write a folder for each class with this number of different images; returns ``folder``."""
    for name, count in images.items():
        (folder / name).mkdir(parents=True)
        for i in range(count):
            Image.new("RGB", (40, 30), (i * 9, 80, 200)).save(folder / name / f"{i}.png")
    return folder


def split_folder(root, train, test, test_name="test"):
    """Write class folders for training and for testing."""
    class_folders(root / "train", **train)
    class_folders(root / test_name, **test)


MAKE = {
    "imagenet-r": make_imagenet_r,
    "imagenet100": lambda root: make_imagenet(root, IMAGENET[:100]),
    "imagenet1k": make_imagenet,
    "cub200": make_cub,
    "vtab": make_vtab,
    "food101": make_food,
    "oxford-pets": make_pets,
    "caltech101": make_caltech,
    "cub200-resplit": make_toolbox("cub200-resplit", "cub"),
    "cars100": make_toolbox("cars100", "cars"),
    "aircraft": make_aircraft,
    "food100": make_toolbox("food100", "food101", "val"),
    "ucf100": make_toolbox("ucf100", "ucf"),
    "sun300": make_toolbox("sun300", "sun"),
    "objectnet200": make_toolbox("objectnet200", "objectnet"),
    "imagenet-a": make_toolbox("imagenet-a", "imagenet-a"),
    "tiny-imagenet": make_tiny_imagenet,
    "mtil-aircraft": lambda root: make_aircraft(root, "train"),
    "mtil-caltech101": make_class_folders(CALTECH, "101_ObjectCategories", 15),
    "mtil-eurosat": make_class_folders(EUROSAT, "2750", 20),
    "dtd": make_dtd,
    "flowers102": make_flowers,
    "stanford-cars": make_cars_devkit,
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
    **{name: (entry.classes, 2 * entry.classes, entry.classes) for name, entry in TOOLBOX.items()},
    "mtil-aircraft": (100, 200, 100),
    "mtil-caltech101": (101, 1212, 303),
    "mtil-eurosat": (10, 160, 40),
    "dtd": (47, 47, 94),
    "flowers102": (102, 102, 204),
    "stanford-cars": (196, 392, 196),
}


@pytest.fixture(scope="session")
def copies(tmp_path_factory):
    """A small copy of each data set, made once; tests that change one make their own."""
    root = tmp_path_factory.mktemp("data")
    for name, make in MAKE.items():
        make(root / name)
    return root


@pytest.fixture
def as_small(monkeypatch):
    """Replace the published counts by those of a small copy."""

    def small(name):
        _, train, test = SIZES[name]
        monkeypatch.setitem(DATASETS._entries, name, replace(DATASETS[name], train=Published(train), test=Published(test)))

    return small


def labelled(part, names):
    """The class, folder and file name of each image."""
    return {(names[label], path.parent.name, path.name) for path, label in zip(part.images, part.labels, strict=True)}
