"""Data sets from the hub, and as folders of its parquet files."""

import io
from dataclasses import replace

import layouts
import pytest
from layouts import make_parquet
from PIL import Image

from mgclip.errors import InputError
from mgclip.images import UnreadableImage, find_unreadable_images, to_rgb
from mgclip.stream import metadata
from mgclip.stream.datasets import DATASETS, load_dataset
from mgclip.stream.hub import HubSource


def test_parquet_classes_are_matched_by_name(tmp_path):
    ours = metadata.class_names("oxford_pet_classes.tsv")
    theirs = [name.replace("_", " ").title() for name in reversed(ours)]
    for part in ("train", "test"):
        make_parquet(tmp_path / "data [1]", part, "image", "label", theirs, list(range(37)))
    data = load_dataset("oxford-pets", path=str(tmp_path))
    assert data.class_names == ours
    assert data.train.labels.tolist() == list(range(36, -1, -1))
    assert data.test.images[5].getpixel((0, 0)) == (5, 0, 0)
    for part in ("train", "test"):
        make_parquet(tmp_path / "data [1]", part, "image", "label", ["Cow", *theirs[1:]], list(range(37)))
    with pytest.raises(InputError, match=r"The class names in .* do not match: 'yorkshire_terrier' is missing"):
        load_dataset("oxford-pets", path=str(tmp_path))


@pytest.fixture
def imagenet_parquet(tmp_path):
    """ImageNet-1K as on the hub: a test split without labels, and other class names in the same order."""
    theirs = [f"{name}, Genus species" for name in metadata.class_names("imagenet1k_classes.tsv")]
    theirs = list(dict.fromkeys(name if theirs.count(name) == 1 else f"{name} {i}" for i, name in enumerate(theirs)))
    make_parquet(tmp_path / "data", "validation", "image", "label", theirs, [0, 999, *range(100), 1, 100])
    make_parquet(tmp_path / "data", "test", "image", "label", theirs, [-1, -1])
    return tmp_path


def test_parquet_classes_are_matched_by_index(imagenet_parquet):
    data = load_dataset("imagenet100", path=str(imagenet_parquet), test_only=True)
    assert data.class_names == metadata.class_names("imagenet1k_classes.tsv")[:100]
    assert data.test.labels.tolist() == [0, *range(100), 1]
    assert data.test.images[1].getpixel((0, 0)) == (2, 0, 0)  # the row of class 999 is left out
    with pytest.raises(InputError, match=r"There is no imagenet100 at .*, or a folder of parquet files of ILSVRC"):
        load_dataset("imagenet100", path=str(imagenet_parquet))
    others = [f"class {i}" for i in range(1000)]
    make_parquet(imagenet_parquet / "data", "validation", "image", "label", others, list(range(100)))
    with pytest.raises(InputError, match=r"do not match: [0-9] of their 1000 agree with the 100 expected"):
        load_dataset("imagenet100", path=str(imagenet_parquet), test_only=True)


def test_data_sets_are_loaded_from_the_hub(imagenet_parquet, tmp_path, monkeypatch):
    # The library accepts a folder instead of an id and loads both in the same way.
    hub = replace(DATASETS["imagenet100"].hub, id=str(imagenet_parquet))
    monkeypatch.setitem(DATASETS._entries, "imagenet100", replace(DATASETS["imagenet100"], hub=hub))
    data = load_dataset("imagenet100", path=None, test_only=True)
    assert data.test.labels.tolist() == [0, *range(100), 1]
    names = metadata.class_names("oxford_pet_classes.tsv")
    for part in ("train", "test"):
        make_parquet(tmp_path / "pets", part, "image", "label", names, list(range(37)))
    pets = replace(DATASETS["oxford-pets"], hub=HubSource(str(tmp_path / "pets")))
    monkeypatch.setitem(DATASETS._entries, "oxford-pets", pets)
    assert load_dataset("oxford-pets", path=None).train.labels.tolist() == list(range(37))
    for gated, advice in (
        (False, "check the network, or give the folder"),
        (True, "accept its terms at https://hugging"),
    ):
        missing = replace(pets, hub=HubSource(str(tmp_path / "none"), gated=gated))
        monkeypatch.setitem(DATASETS._entries, "oxford-pets", missing)
        with pytest.raises(InputError, match=f"oxford-pets cannot be loaded from .*none .*: {advice}"):
            load_dataset("oxford-pets", path=None)
    monkeypatch.setitem(DATASETS._entries, "oxford-pets", replace(pets, hub=HubSource("x/y", image="picture")))
    with pytest.raises(InputError, match="expected the columns picture and label, the latter with class names"):
        load_dataset("oxford-pets", path=str(tmp_path / "pets"))


FINE = ["apple", "aquarium_fish", "baby"]


LABELS = {"train": [0, 1, 2, 2, 1, 0, 1], "test": [2, 1, 0, 0]}


def test_cifar100_is_read_from_parquet_files(tmp_path):
    for split in ("train", "test"):
        make_parquet(tmp_path / "cifar100", split, "img", "fine_label", FINE, LABELS[split])
    dataset = load_dataset("cifar100", path=str(tmp_path))
    assert dataset.class_names == tuple(FINE)
    assert dataset.train.labels.tolist() == LABELS["train"]
    assert dataset.train.images[6].getpixel((0, 0)) == (6, 0, 0)


def test_the_crab_of_cifar100_has_its_published_name(tmp_path):
    for split in ("train", "test"):
        make_parquet(tmp_path, split, "img", "fine_label", ["couch", "cra", "crocodile"], [0, 1, 2])
    assert load_dataset("cifar100", path=str(tmp_path)).class_names == ("couch", "crab", "crocodile")


def test_a_row_without_an_image_is_an_unreadable_image(tmp_path):
    import datasets

    for split in ("train", "test"):
        make_parquet(tmp_path, split, "img", "fine_label", FINE, LABELS[split])
    file = next(tmp_path.rglob("train*.parquet"))
    table = datasets.Dataset.from_parquet(str(file), cache_dir=str(tmp_path / "cache")).to_pandas()
    table.at[1, "img"] = None
    kinds = {"img": datasets.Image(), "fine_label": datasets.ClassLabel(names=FINE)}
    datasets.Dataset.from_pandas(table, features=datasets.Features(kinds)).to_parquet(str(file))
    images = load_dataset("cifar100", path=str(tmp_path)).train.images
    assert find_unreadable_images(images) == {1: "it is empty"}
    with pytest.raises(UnreadableImage, match=r"^The image of row 1 cannot be read \(it is empty\): give another"):
        to_rgb(images[1])


@pytest.mark.parametrize("kind", ["files", "parquet", "folder"])
def test_published_images_ignore_orientation_tags_and_user_images_apply_them(tmp_path, kind):
    exif = Image.Exif()
    exif[274] = 6
    names = metadata.class_names("oxford_pet_classes.tsv")
    buffer = io.BytesIO()
    Image.new("RGB", (30, 20), "red").save(buffer, "jpeg", exif=exif)
    if kind == "parquet":
        from datasets import ClassLabel, Features
        from datasets import Dataset as Table
        from datasets import Image as Column

        features = Features({"image": Column(), "label": ClassLabel(names=list(names))})
        rows = {"image": [{"bytes": buffer.getvalue(), "path": "x.jpg"}] * 37, "label": list(range(37))}
        for part in ("train", "test"):
            Table.from_dict(rows, features=features).to_parquet(tmp_path / f"{part}-00000-of-00001.parquet")
        data = load_dataset("oxford-pets", path=str(tmp_path))
    elif kind == "files":
        layouts.MAKE["oxford-pets"](tmp_path)
        for file in tmp_path.rglob("*.jpg"):
            file.write_bytes(buffer.getvalue())
        data = load_dataset("oxford-pets", path=str(tmp_path))
    else:
        for part in ("train", "test"):
            (tmp_path / part / "cat").mkdir(parents=True)
            (tmp_path / part / "cat" / "x.jpg").write_bytes(buffer.getvalue())
        data = load_dataset("folder", path=str(tmp_path))
    wanted = (20, 30) if kind == "folder" else (30, 20)
    assert to_rgb(data.test.images[0]).size == to_rgb(data.train.images[0]).size == wanted
