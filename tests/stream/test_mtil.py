"""Data sets of MTIL and X-TAIL: their original archives, the classes and the parts that are read from them."""

import json

import numpy as np
import pytest
import torch
from layouts import MAKE, OFFICIAL_CARS, TEXTURES, make_cars_devkit, make_coop, make_dtd, make_flowers, make_mnist, split_folder
from scipy.io import loadmat, savemat

from mgclip.errors import InputError
from mgclip.stream import metadata
from mgclip.stream.datasets import load_dataset
from mgclip.stream.mtil import CALTECH, EUROSAT, MTIL
from mgclip.stream.toolbox import CARS


@pytest.mark.parametrize(
    ("name", "table", "folder", "per_class"),
    [("mtil-caltech101", CALTECH, "101_ObjectCategories", 15), ("mtil-eurosat", EUROSAT, "2750", 20)],
)
def test_random_parts_are_those_of_pytorch_with_the_seed_of_mtil(copies, name, table, folder, per_class):
    every = sorted((copies / name / folder).glob("*/*.jpg"))
    train, test = torch.utils.data.random_split(
        range(len(every)), [int(0.8 * len(every)), len(every) - int(0.8 * len(every))], torch.Generator().manual_seed(42)
    )
    data = load_dataset(name, path=str(copies / name))
    named = dict(zip(metadata.column(table, "folder"), metadata.class_names(table), strict=True))
    for part, chosen in ((data.train, train), (data.test, test)):
        assert [str(path) for path in part.images] == [str(every[i]) for i in sorted(chosen)]
        assert [data.class_names[label] for label in part.labels] == [named[path.parent.name] for path in part.images]
    assert len(every) == per_class * len(named)
    (copies / name / folder / "BACKGROUND_Google").mkdir(exist_ok=True)
    assert len(load_dataset(name, path=str(copies / name)).train.images) == len(train), "images of no class are left out"


def test_the_order_of_caltech_is_that_of_its_sorted_folders():
    folders = metadata.column(CALTECH, "folder")
    assert list(folders) == sorted(folders)
    assert folders[:5] == ("Faces", "Faces_easy", "Leopards", "Motorbikes", "accordion")
    assert metadata.class_names(CALTECH)[:2] == ("off-center face", "centered face")


@pytest.mark.parametrize("name", ["caltech101", "mtil-caltech101"])
def test_caltech_is_found_in_the_folder_of_its_archive(tmp_path, name):
    MAKE["mtil-caltech101"](tmp_path / "caltech-101")
    assert len(load_dataset(name, path=str(tmp_path), test_only=True).class_names) == 101


def test_dtd_and_flowers_leave_out_the_validation_part(copies):
    data = load_dataset("dtd", path=str(copies / "dtd"))
    assert data.class_names == tuple(sorted(name.replace("_", " ") for name in TEXTURES))
    for part, numbers in ((data.train, {"0001"}), (data.test, {"0002", "0003"})):
        assert {path.stem[-4:] for path in part.images} == numbers
        assert all(
            path.parent.name.replace("_", " ") == data.class_names[i] for path, i in zip(part.images, part.labels, strict=True)
        )
    data = load_dataset("flowers102", path=str(copies / "flowers102"))
    labels = loadmat(copies / "flowers102" / "flowers-102" / "imagelabels.mat")["labels"][0]
    for part, places in ((data.train, {1}), (data.test, {3, 0})):
        numbers = [int(path.stem[-5:]) for path in part.images]
        assert {number % 4 for number in numbers} == places
        assert [labels[number - 1] - 1 for number in numbers] == part.labels.tolist()
    assert data.class_names[0] == "pink primrose" and data.class_names[-1] == "blackberry lily"


def cars_of(root):
    """The official class of each image, by its path below the folder."""
    place = root / "stanford_cars"
    names = loadmat(place / "devkit" / "cars_meta.mat", squeeze_me=True)["class_names"]
    files = {"cars_train": place / "devkit" / "cars_train_annos.mat", "cars_test": place / "cars_test_annos_withlabels.mat"}
    rows = {folder: loadmat(file, squeeze_me=True)["annotations"] for folder, file in files.items()}
    return {f"{folder}/{row['fname']}": names[row["class"] - 1] for folder, each in rows.items() for row in each}


@pytest.mark.parametrize("name", ["stanford-cars", "cars100"])
def test_the_labels_of_cars_are_those_of_the_devkit(copies, name):
    data, official = load_dataset(name, path=str(copies / "stanford-cars")), cars_of(copies / "stanford-cars")
    for part, folder in ((data.train, "cars_train"), (data.test, "cars_test")):
        found = {f"{path.parent.name}/{path.name}": data.class_names[i] for path, i in zip(part.images, part.labels, strict=True)}
        assert found == {image: each for image, each in official.items() if image.startswith(folder) and each in data.class_names}
    if name == "stanford-cars":
        assert data.class_names == OFFICIAL_CARS
    else:
        without = [each for each in metadata.class_names(CARS) if not each.startswith("FIAT 500")]
        assert list(data.class_names) == without
        assert (len(without), without[-1]) == (100, "Ferrari 458 Italia Coupe 2012")


def test_a_damaged_devkit_is_refused(tmp_path):
    make_cars_devkit(tmp_path / "whole")
    place = tmp_path / "whole" / "stanford_cars"
    (place / "cars_test_annos_withlabels.mat").rename(place / "devkit" / "cars_test_annos_withlabels.mat")
    assert len(load_dataset("stanford-cars", path=str(place)).test.images) == 196
    (place / "devkit" / "cars_test_annos_withlabels.mat").unlink()
    with pytest.raises(InputError, match=r"lacks cars_test_annos_withlabels\.mat, the labels of cars_test/: download it and put"):
        load_dataset("cars100", path=str(place))
    (place / "devkit" / "cars_meta.mat").write_bytes(b"MATLAB 5.0 MAT-file, cut off")
    with pytest.raises(InputError, match=r"cars_meta\.mat cannot be read \(.*\): download it again\."):
        load_dataset("cars100", path=str(place))
    make_cars_devkit(tmp_path / "other", OFFICIAL_CARS[:150])
    with pytest.raises(InputError, match=r"cars_meta\.mat must name the classes of Stanford Cars; found 150 others"):
        load_dataset("cars100", path=str(tmp_path / "other"))


@pytest.mark.parametrize("inside", ["", "MNIST/raw"])
def test_mnist_is_read_compressed_or_not(tmp_path, inside):
    make_mnist(tmp_path)
    data = load_dataset("mnist", path=str(tmp_path / inside))
    assert data.class_names == tuple("0123456789")
    assert (data.train.labels.tolist(), data.test.labels.tolist()) == ([*range(10)] * 2, [*range(10)])
    for part in (data.train, data.test):
        for image, label in zip(part.images, part.labels, strict=True):
            assert image.shape == (28, 28, 3)
            assert image[0, 0].tolist() == [255] * 3
            assert np.unique(image[1:]).tolist() == [label * 20]
    alone = load_dataset("mnist", path=str(tmp_path), test_only=True)
    assert (len(alone.train.images), len(alone.test.images)) == (0, 10)


def test_the_check_opens_images_that_are_no_files(tmp_path, mgclip):
    make_mnist(tmp_path)
    code, out, _ = mgclip("data", "check", "mnist", tmp_path, "--json")
    report = json.loads(out)
    assert (code, report["opened"]) == (1, 30)
    assert [each["what"] for each in report["findings"]] == [
        "train: 20 images; published are 60,000",
        "test: 10 images; published are 10,000",
    ]


def test_damaged_files_of_mnist_are_refused(tmp_path):
    make_mnist(tmp_path)
    place = tmp_path / "MNIST" / "raw"
    images, labels, train = (place / f"{name}-ubyte" for name in ("t10k-images-idx3", "t10k-labels-idx1", "train-images-idx3"))
    whole = images.read_bytes()
    images.write_bytes(whole[:-1])
    with pytest.raises(InputError, match=r"t10k-images-idx3-ubyte cannot be read \(cannot reshape .*\): download it again"):
        load_dataset("mnist", path=str(tmp_path))
    images.write_bytes(whole.replace(b"\x00\x00\x08\x03", b"\x00\x00\x08\x04", 1))
    with pytest.raises(InputError, match=r"must begin with 2051; found 2052"):
        load_dataset("mnist", path=str(tmp_path))
    images.write_bytes(whole)
    labels.write_bytes(labels.read_bytes().replace(b"\x09", b"\x0a"))
    with pytest.raises(InputError, match="must contain a label from 0 to 9 for each image of t10k"):
        load_dataset("mnist", path=str(tmp_path))
    packed = (place / f"{train.name}.gz").read_bytes()
    for damaged in (b"\x1f\x8b cut off", packed[:12] + bytes([packed[12] ^ 255]) + packed[13:]):
        (place / f"{train.name}.gz").write_bytes(damaged)
        with pytest.raises(InputError, match=r"train-images-idx3-ubyte\.gz cannot be read"):
            load_dataset("mnist", path=str(tmp_path))
    (place / f"{train.name}.gz").unlink()
    with pytest.raises(InputError, match=r"lacks train-images-idx3-ubyte: download it\."):
        load_dataset("mnist", path=str(tmp_path))


@pytest.mark.parametrize("folder", ["images", "deep", ""])
def test_a_split_of_coop_names_the_images_and_the_classes(tmp_path, folder):
    make_coop(tmp_path, folder)
    (tmp_path / "another").mkdir()
    data = load_dataset("coop", path=str(tmp_path))
    assert data.class_names == ("cat", "dog")
    assert [path.name for path in data.train.images] == ["cat_0.jpg", "cat_1.jpg", "dog_0.jpg", "dog_1.jpg"]
    assert [path.name for path in data.test.images] == ["cat_3.jpg", "dog_3.jpg"]
    assert data.train.labels.tolist() == [0, 0, 1, 1]
    (tmp_path / folder / "cat_0.jpg").unlink()
    assert [path.name for path in load_dataset("coop", path=str(tmp_path)).train.images] == [
        "cat_1.jpg",
        "dog_0.jpg",
        "dog_1.jpg",
    ]


@pytest.mark.parametrize(
    ("content", "why"),
    [("{", "Expecting"), ("[]", "list indices"), ('{"train": []}', "test"), ('{"train": [["a.jpg", 1, "a"]], "test": []}', "0"),
     ('{"train": [["a.jpg", 0]], "test": []}', "not enough values"),
     ('{"train": [["a.jpg", 0, "a"]], "test": [["b.jpg", 0, "b"]]}', r"class 0 is 'a' and, for b\.jpg, 'b'")],
)  # fmt: skip
def test_another_file_is_no_split_of_coop(tmp_path, content, why):
    make_coop(tmp_path)
    (tmp_path / "split_zhou_Animals.json").write_text(content)
    with pytest.raises(
        InputError, match=rf"split_zhou_Animals\.json is not a split file of CoOp \(.*{why}.*\): download it again"
    ):
        load_dataset("coop", path=str(tmp_path))


def test_two_splits_of_coop_are_refused(tmp_path):
    make_coop(tmp_path)
    (tmp_path / "split_zhou_Plants.json").write_text(json.dumps({}))
    with pytest.raises(
        InputError, match=r"must contain one split file; found split_zhou_Animals\.json and split_zhou_Plants\.json"
    ):
        load_dataset("coop", path=str(tmp_path))


@pytest.mark.parametrize("name", MTIL)
def test_class_folders_are_read_with_their_own_names(tmp_path, name):
    split_folder(tmp_path, {"lotus": 2, "pink rose": 2}, {"lotus": 1, "pink rose": 1})
    data = load_dataset(name, path=str(tmp_path))
    assert (data.name, data.class_names) == (name, ("lotus", "pink rose"))
    assert (data.train.labels.tolist(), data.test.labels.tolist()) == ([0, 0, 1, 1], [0, 1])
    assert load_dataset(name, path=str(tmp_path), test_only=True).test.labels.tolist() == [0, 1]


def test_missing_images_of_a_list_are_reported(tmp_path, mgclip):
    make_dtd(tmp_path)
    make_flowers(tmp_path)
    (tmp_path / "dtd" / "images" / "polka-dotted" / "polka-dotted_0001.jpg").unlink()
    (tmp_path / "flowers-102" / "jpg" / "image_00001.jpg").unlink()
    code, out, _ = mgclip("data", "check", "dtd", tmp_path, "--quick")
    assert code == 1
    assert "missing class: train: the class 'polka-dotted' has no image" in out
    assert "missing file: polka-dotted/polka-dotted_0001.jpg is in the published list" in out
    assert "wrong count: train: 46 images; published are 1,880" in out
    code, out, _ = mgclip("data", "check", "flowers102", tmp_path, "--quick")
    assert "missing file: image_00001.jpg is in the published list" in out


def test_the_labels_of_cars_without_classes_are_refused(tmp_path):
    make_cars_devkit(tmp_path)
    place = tmp_path / "stanford_cars"
    rows = np.zeros((1, 3), dtype=[("bbox_x1", object), ("fname", object)])  # those published without the classes
    for i in range(3):
        rows[0, i] = (1, f"{i + 1:05}.jpg")
    savemat(place / "cars_test_annos_withlabels.mat", {"annotations": rows})
    with pytest.raises(InputError, match=r"has no classes of the images: download cars_test_annos_withlabels\.mat"):
        load_dataset("stanford-cars", path=str(tmp_path))
