"""What ``mgclip data`` lists and reports."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from layouts import (
    IMAGENET,
    MAKE,
    SIZES,
    make_caltech,
    make_cifar,
    make_cub,
    make_imagenet,
    make_parquet,
    make_vtab,
    named_vtab,
    write,
)
from PIL import Image

from mgclip.stream import check, metadata
from mgclip.stream.datasets import DATASETS, load_dataset
from mgclip.stream.entry import Published


def test_the_list_has_every_data_set(mgclip):
    code, output, _ = mgclip("data", "list")
    assert code == 0
    assert all(name in output for name in DATASETS)
    assert "https://people.eecs.berkeley.edu/~hendrycks/imagenet-r.tar" in output
    code, output, _ = mgclip("data", "list", "--json")
    table = json.loads(output)
    assert list(table) == list(DATASETS)
    assert table["imagenet1k"]["train_images"] == 1_281_167
    assert table["food101"]["hub"] == "ethz/food101"


@pytest.mark.parametrize("name", MAKE)
def test_the_check_finds_no_problem_in_a_complete_data_set(copies, as_small, mgclip, name):
    as_small(name)
    quick = ["--quick"] if name in ("imagenet-r", "imagenet1k") else []
    code, output, error = mgclip("data", "check", name, copies / name, "--json", *quick)
    assert code == 0, output + error
    report = json.loads(output)
    classes, train, test = SIZES[name]
    assert report["ok"] is True
    assert len(report["classes"]) == classes
    assert report["parts"]["test"]["images"] == test
    assert report["parts"].get("train", {"images": 0})["images"] == train
    assert report["opened"] == (0 if quick else train + test)


def test_the_check_reports_every_problem(tmp_path, as_small, mgclip):
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
    code, output, _ = mgclip("data", "check", "cub200", tmp_path, "--json")
    assert code == 1
    report = json.loads(output)
    found = {}
    for finding in report["findings"]:
        found.setdefault(finding["kind"], []).append(finding["what"])
    assert list(found) == ["missing class", "wrong count", "extra folder", "missing file", "unreadable"]
    assert [what[: what.index(" in ")] for what in found["missing class"]] == [
        "train: the class 'Laysan_Albatross' has no image",
        "test: the class 'Laysan_Albatross' has no image",
    ]
    assert found["wrong count"] == ["train: 199 images; published are 200", "test: 397 images; published are 400"]
    assert found["extra folder"] == ["images/999.Dodo is not a class of cub200"]
    assert len(found["missing file"]) == 4
    assert "200.Common_Yellowthroat/Bird_0005_199.jpg is in the published list and not in" in found["missing file"][-1]
    assert len(found["unreadable"]) == 2
    assert f"{torn} (image file is truncated" in found["unreadable"][0]
    assert f"{text} (not an image in a supported format)" in found["unreadable"][1]
    assert report["classes"][1] == {"class": "Laysan_Albatross", "train": 0, "test": 0}
    assert report["parts"]["train"] == {"images": 199, "min": 0, "median": 1, "max": 1}
    code, output, _ = mgclip("data", "check", "cub200", tmp_path)
    assert code == 1
    assert "596 images opened, 11 problems found; recipes for it:" in output
    assert "unreadable" not in mgclip("data", "check", "cub200", tmp_path, "--quick")[1]


def test_the_check_compares_class_folders_with_the_published_counts(tmp_path, mgclip):
    make_imagenet(tmp_path, IMAGENET[:100])
    write(tmp_path, "train/n00000000/a.JPEG", "val/n01440764/a.JPEG")
    code, output, _ = mgclip("data", "check", "imagenet100", tmp_path, "--quick", "--json")
    found = [finding["what"] for finding in json.loads(output)["findings"]]
    assert code == 1
    assert found[0] == "train: the class 'tench' has 2 images; published are 732 to 1300"
    assert "test: 101 images; published are 5,000" in found
    assert "test: the class 'tench' has 2 images; published are 50" in found
    assert found[-1] == "train/n00000000 is not a class of imagenet100"
    code, output, _ = mgclip("data", "check", "imagenet100", tmp_path, "--quick", "--json", "--test-only")
    assert not any(finding["what"].startswith("train") for finding in json.loads(output)["findings"])
    make_vtab(tmp_path, named_vtab())
    write(tmp_path, "vtab/test/Sea Lake/a.jpg")
    code, output, _ = mgclip("data", "check", "vtab", tmp_path, "--quick")
    assert "extra folder: test/SeaLake is not a class of vtab" in output
    make_caltech(tmp_path)
    (tmp_path / "101_ObjectCategories" / "Faces").rename(tmp_path / "101_ObjectCategories" / "Visages")
    code, output, _ = mgclip("data", "check", "caltech101", tmp_path, "--quick")
    assert "missing class: test: the class 'faces' has no image" in output
    assert "extra folder: Visages is not a class of caltech101" in output
    assert "BACKGROUND" not in output


def test_the_check_reads_a_folder_of_the_user(tmp_path, mgclip):
    write(tmp_path, "train/cat/a.jpg", "train/dog/a.jpg", "test/cat/b.jpg", "test/dog/b.jpg", "val/cat/c.jpg")
    code, output, _ = mgclip("data", "check", "folder", tmp_path)
    assert code == 0
    assert "note: test/ is tested on; not used: val/" in output
    assert "note: 2 of 2 test images are also among the training images, such as" in output
    assert "2 of 2" not in mgclip("data", "check", "folder", tmp_path, "--quick")[1]
    assert "4 images opened, no problems; recipes for it: folder" in output
    write(tmp_path, "test/cow/b.jpg")
    (tmp_path / "train" / "cat" / "a.jpg").write_bytes(b"")
    code, output, _ = mgclip("data", "check", "folder", tmp_path)
    assert code == 1
    assert "extra folder: test/cow is not a class of" in output
    assert "a.jpg (not an image" in output
    assert len(load_dataset("folder", path=str(tmp_path), test_only=True).class_names) == 3
    assert load_dataset("folder", path=str(tmp_path / "train"), test_only=True).class_names == ("cat", "dog")


def test_the_check_reads_icons_and_parquet_files(tmp_path, mgclip):
    code, output, _ = mgclip("data", "check", "icons100", "--quick", "--json")
    assert code == 0
    assert "icons100" in json.loads(output)["recipes"]
    report = check.check_dataset("icons-concepts", None, quick=True)
    assert report.counts == {"train": [100] * 100, "test": [20] * 100}
    names = metadata.class_names("oxford_pet_classes.tsv")
    for part in ("train", "test"):
        make_parquet(tmp_path, part, "image", "label", names, list(range(37)))
    code, output, _ = mgclip("data", "check", "oxford-pets", tmp_path, "--json")
    assert code == 1
    assert [finding["kind"] for finding in json.loads(output)["findings"]] == ["wrong count", "wrong count"]
    assert json.loads(output)["opened"] == 74


def test_the_check_reads_cifar_100(tmp_path, monkeypatch, mgclip):
    make_cifar(tmp_path)
    small = Published(100, (1, 1))
    monkeypatch.setitem(DATASETS._entries, "cifar100", replace(DATASETS["cifar100"], train=small, test=small))
    code, output, _ = mgclip("data", "check", "cifar100", tmp_path, "--json")
    assert code == 0
    report = json.loads(output)
    assert (len(report["classes"]), report["opened"], report["ok"]) == (100, 200, True)
    assert {"cifar100", "cifar100-laion", "cifar100-laion-b50"} <= set(report["recipes"])


def test_the_check_reports_missing_data(tmp_path, mgclip):
    code, _, error = mgclip("data", "check", "cub20", tmp_path)
    assert (code, error) == (2, "mgclip: There is no data set cub20: did you mean cub200?\n")
    code, _, error = mgclip("data", "check", "cub200", tmp_path / "none")
    assert (code, error) == (2, f"mgclip: There is no folder {tmp_path / 'none'}.\n")
    code, _, error = mgclip("data", "check", "imagenet-r")
    assert code == 2
    assert "imagenet-r cannot be downloaded automatically: get it from" in error
    code, _, error = mgclip("data", "check", "icons100", tmp_path)
    assert code == 2
    assert "icons100 is generated from fonts and takes no path" in error
    code, output, _ = mgclip("data", "check", "cub200", tmp_path)
    assert code == 1
    assert f"layout: There is no cub200 at {tmp_path}: get it from" in output


def test_the_check_reports_its_progress(copies, as_small):
    as_small("food101")
    reported = []
    check.check_dataset("food101", str(copies / "food101"), on_images=lambda done, total: reported.append((done, total)))
    assert reported[-1] == (303, 303)
    assert [done for done, _ in reported] == sorted(done for done, _ in reported)
