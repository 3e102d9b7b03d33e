"""Shards as a data set: every image can be looked up, and a run gives what it gives with the same images in class folders."""

import json
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image
from shards import members, write_parquet, write_tar

from mgclip import image_formats
from mgclip.errors import InputError, MGCLIPError
from mgclip.images import to_rgb
from mgclip.stream import tar_shards
from mgclip.stream.data import Dataset, Split
from mgclip.stream.datasets import find_dataset, load_dataset
from mgclip.stream.domains import join_datasets
from mgclip.stream.fingerprint import difference, fingerprint
from mgclip.stream.shards import Shard
from mgclip.stream.tasks import make_tasks

LABELS = ["owl", "cat", "dog", "cat", "owl", "dog"]
IMAGES = [np.full((4, 6, 3), 20 * value, np.uint8) for value in range(12)]


def write(folder, kind, part, images, labels, size=2):
    folder.mkdir(parents=True, exist_ok=True)
    for start in range(0, len(labels), size):
        rows = slice(start, start + size)
        if kind == "tar":
            write_tar(folder / f"{part}-{start:03}.tar", members(images[rows], labels[rows]))
        else:
            write_parquet(folder / f"{part}-{start:03}.parquet", images[rows], labels[rows])


@pytest.fixture(params=["tar", "parquet"])
def place(request, tmp_path):
    for part, images in (("train", IMAGES[:6]), ("test", IMAGES[6:])):
        write(tmp_path / "shards", request.param, part, images, LABELS)
    return tmp_path / "shards"


def seen(split, names):
    return [
        (names[label], int(np.asarray(to_rgb(image))[0, 0, 0]) // 20)
        for image, label in zip(split.images, split.labels, strict=True)
    ]


def test_the_images_of_all_shards_are_one_data_set(place):
    data = load_dataset("folder", path=str(place))
    assert data.class_names == ("cat", "dog", "owl")
    assert seen(data.train, data.class_names) == list(zip(LABELS, range(6), strict=True))
    assert seen(data.test, data.class_names) == list(zip(LABELS, range(6, 12), strict=True))
    assert seen(data.train.take(np.array([5, 0])), data.class_names) == [("dog", 5), ("owl", 0)]
    tested = find_dataset("folder", path=str(place), test_only=True).dataset
    assert (len(tested.train.labels), len(tested.test.labels)) == (0, 6)


def test_names_with_other_spaces_or_another_unicode_form_are_one_class(tmp_path):
    write(tmp_path, "tar", "train", IMAGES[:3], ["cafe\u0301", "t  shirt", "t shirt"])
    write(tmp_path, "parquet", "test", IMAGES[3:6], ["t   shirt", "caf\u00e9", "cafe\u0301"])
    data = load_dataset("folder", path=str(tmp_path))
    assert data.class_names == ("caf\u00e9", "t shirt")
    assert [data.class_names[label] for label in data.train.labels] == ["caf\u00e9", "t shirt", "t shirt"]
    assert [data.class_names[label] for label in data.test.labels] == ["t shirt", "caf\u00e9", "caf\u00e9"]


@pytest.mark.parametrize("joined", [False, True])
def test_a_changed_shard_is_noticed_before_a_run_resumes(place, joined):
    def now():
        data = load_dataset("folder", path=str(place))
        if joined:  # in a stream of several data sets
            other = Split([np.zeros((4, 4, 3), np.uint8)], np.array([0]))
            data = join_datasets({"other": Dataset("other", ("one",), other, other), "shards": data})
        first = len(data.class_names) - 3
        return fingerprint(make_tasks(data, [first, first + 1, first + 2], [2, 1]))

    before = now()
    assert difference(before, now()) is None
    file = sorted(place.glob("train-*"))[0]
    file.rename(file.with_name(f"train-9{file.suffix}"))
    assert difference(before, now()) == "task 1: its train images are different, or in another order"
    file.with_name(f"train-9{file.suffix}").rename(file)
    assert difference(before, now()) is None
    shutil.copy(file, file.with_name(f"train-9{file.suffix}"))
    assert difference(before, now()) is not None
    file.with_name(f"train-9{file.suffix}").unlink()
    images = [np.zeros((40, 40, 3), np.uint8)] * 2
    if file.suffix == ".tar":
        write_tar(file, members(images, LABELS[:2]))
    else:
        write_parquet(file, images, LABELS[:2])
    assert difference(before, now()) == "task 1: its train images are different, or in another order"


@pytest.mark.parametrize("removed", [False, True])
def test_an_image_is_not_looked_up_in_a_shard_that_has_changed_since(place, removed):
    data, file = load_dataset("folder", path=str(place)), sorted(place.glob("train-*"))[0]
    if removed:
        file.unlink()
    else:  # the labels would be those of the other order
        write(place, file.suffix.removeprefix("."), "train", IMAGES[1::-1], LABELS[1::-1])
    assert seen(data.test, data.class_names) == list(zip(LABELS, range(6, 12), strict=True))
    with pytest.raises(MGCLIPError, match=rf"The shard {file} was changed, moved or removed during the command: restore it and"):
        seen(data.train, data.class_names)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda place: [file.unlink() for file in place.glob("test*")], "contains no test shards: expected files or folders"),
        (lambda place: write(place, "tar", "test-x", IMAGES[:1], ["fox"]), "The class 'fox' is in the test shards of"),
        (
            lambda place: write_tar(place / "train-9.tar.gz", members(IMAGES[:1], ["cat"])),
            "put the shards on this machine, as .tar or",
        ),
        (lambda place: (place / "train-9.tar").write_bytes(b"none" * 400), r"The shard .*train-9\.tar cannot be read to its end"),
        (lambda place: write(place, "tar", "train-9", IMAGES[:1], ["emu"]), r"The class 'emu' of shards has no test image"),
        (lambda place: write(place, "tar", "train-9", IMAGES[:1], ["ｏｗｌ"]), r"The class names 'owl' and .* look alike"),
    ],
)
def test_what_is_wrong_with_shards_is_said(place, change, why):
    change(place)
    with pytest.raises(InputError, match=why):
        load_dataset("folder", path=str(place))


def test_a_run_on_shards_is_the_run_on_folders(mgclip, icons, tmp_path):
    names = [str(name) for name in icons["class_names"]]
    for part, each in (("train", 12), ("test", 4)):
        rows = [each * c + i for i in range(4) for c in range(4)]
        images, labels = icons[f"x_{part}"][rows], [names[row // each] for row in rows]
        write(tmp_path / "shards", "tar", part, images, labels, size=6)
        for image, label, row in zip(images, labels, rows, strict=True):
            folder = tmp_path / "folders" / part / label
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / f"{row}.png")
    records = []
    for data in ("folders", "shards"):
        words = (
            "classes_per_task=2",
            "clip=iconclip",
            "methods=mg-clip-analytic,mg-clip",
            "epochs=1",
            "adapter_batch_size=16",
            "features=64",
        )
        code, _, err = mgclip(
            "run", "folder", f"data_path={tmp_path / data}", *words, "--out", tmp_path / f"run-{data}", "--quiet"
        )
        assert code == 0, err
        lines = (tmp_path / f"run-{data}" / "mg-clip-analytic" / "records.jsonl").read_text().splitlines()
        records.append([json.loads(line)["accuracy_per_task"] for line in lines])
    assert records[0] == records[1]


@pytest.mark.parametrize("form", ["gnu", "posix"])
def test_an_image_that_is_stored_without_its_zeros_is_not_read_from_the_wrong_place(tmp_path, form):
    picture = np.zeros((200, 200, 3), np.uint8)
    picture[100:120] = 200
    Image.fromarray(picture).save(tmp_path / "0.bmp")
    content = (tmp_path / "0.bmp").read_bytes()
    with (tmp_path / "0.bmp").open("wb") as file:
        for start in range(0, len(content), 4096):
            part = content[start : start + 4096]
            file.seek(start)
            file.write(part if any(part) else b"")
        file.truncate(len(content))
    (tmp_path / "0.cls").write_text("cat")
    shard = tmp_path / "shards" / "train.tar"
    shard.parent.mkdir()
    words = ["tar", "--sparse", f"--format={form}", "-C", tmp_path, "-cf", shard, "0.bmp", "0.cls"]
    if subprocess.run(words, check=False, capture_output=True).returncode or shard.stat().st_size > len(content):
        pytest.skip("this tar or this disk has no sparse files")
    ((image, label),) = Shard(str(shard))
    assert label == "cat"
    assert (np.asarray(to_rgb(image)) == picture).all()
    shutil.copy(shard, shard.with_name("test.tar"))
    with pytest.raises(
        InputError, match=r"The member 0\.bmp of the shard .*train\.tar is stored as a sparse file, .* `--sparse`"
    ):
        load_dataset("folder", path=str(shard.parent))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ([("4.svg", "<svg/>"), ("4.cls", "owl")], r"4\.cls, 4\.svg without an image in a supported format: add the image, or"),
        ([("4.heic", b"x"), ("4.txt", "owl")], r"4\.heic, 4\.txt without an image in a .* format: run `pip install .*\[heic\]'`"),
        (
            [("4.heic", b"x"), ("4.json", {"label": "owl"})],
            r"4\.heic, 4\.json .*: run `pip install .*\[heic\]'` to read HEIC images",
        ),
    ],
)
def test_an_image_in_another_format_is_not_left_out_silently(tmp_path, monkeypatch, content, why):
    monkeypatch.setattr(image_formats, "formats", lambda: ("JPEG", "PNG"))  # a Pillow without plugins
    monkeypatch.setattr(tar_shards, "file_extensions", lambda: frozenset((".jpg", ".png")))
    for part in ("train", "test"):
        write_tar(tmp_path / f"{part}.tar", [*members(IMAGES[:2], LABELS[:2]), *content])
    with pytest.raises(InputError, match=rf"The shard .*train\.tar has {why}"):
        list(Shard(str(tmp_path / "train.tar")))
    with pytest.raises(InputError, match=why):
        load_dataset("folder", path=str(tmp_path))
