"""Kept features are those that would be computed, are computed once, and survive damage."""

import errno
import multiprocessing
import warnings

import numpy as np
import pytest
import torch
from kept import features_of, open_model
from learned import SMALL_RUN
from PIL import Image

from mgclip.errors import DamagedFeatures, InputError
from mgclip.experiment import run_folder, runner
from mgclip.experiment.open_run import open_run
from mgclip.experiment.recipe import Recipe

METHODS = [
    "zero-shot",
    "simplecil",
    "compensation-only",
    "ranpac",
    "rapf",
    "mg-clip-analytic",
    "mg-clip",
    "mg-clip-analytic-auto",
]


def recorded(folder, method):
    """The records of a method without their times, and its saved weights."""
    records = [{**record, "seconds": None} for record in run_folder.read_records(folder / method)]
    return records, {file.name: file.read_bytes() for file in (folder / method / "model").rglob("*.safetensors")}


def test_runs_with_kept_features_have_the_numbers_of_runs_without(tiny_clip, tmp_path, encoded):
    recipe = Recipe(
        **SMALL_RUN, clip=str(tiny_clip), epochs=1, features=64, ranpac_width=30, methods=METHODS, retention=["icons-concepts"]
    )
    passes = {}
    for name, folder in (("without", None), ("first", tmp_path / "features"), ("second", tmp_path / "features")):
        encoded.clear()
        runner.run(open_run(recipe, tmp_path / name, keep_features=folder))
        passes[name] = sum(encoded)
    for method in METHODS:
        without = recorded(tmp_path / "without", method)
        assert recorded(tmp_path / "first", method) == recorded(tmp_path / "second", method) == without
    assert passes["second"] < passes["first"] < passes["without"]


def test_frozen_methods_of_all_seeds_and_class_orders_encode_an_image_once(tiny_clip, tmp_path, encoded):
    small = {**SMALL_RUN, "classes_per_task": 50, "tasks": None, "train_per_class": 1, "test_per_class": 1}
    for seed in (0, 1):
        recipe = Recipe(**small, clip=str(tiny_clip), features=64, ranpac_width=30, methods=METHODS[:6], seed=seed)
        runner.run(open_run(recipe, tmp_path / f"run-{seed}", keep_features=tmp_path / "features"))
        assert sum(encoded) == 1 + 100 + 100 + seed
    orders = [run_folder.read_records(tmp_path / f"run-{seed}" / "simplecil")[0]["classes"] for seed in (0, 1)]
    assert orders[0] != orders[1]


def test_an_image_is_encoded_once(tiny_clip, files, tmp_path, encoded):
    wanted = features_of(open_model(tiny_clip), files)
    encoded.clear()
    assert torch.equal(features_of(open_model(tiny_clip, tmp_path / "features"), files), wanted)
    assert encoded == [1, 4, 4, 3], "one image when a CLIP is loaded"
    encoded.clear()
    again = open_model(tiny_clip, tmp_path / "features")
    assert torch.equal(features_of(again, files[::-1]), wanted.flip(0))
    images = [np.asarray(Image.open(file)) for file in files]
    assert encoded == [1]
    torch.testing.assert_close(features_of(again, images), wanted)
    features_of(open_model(tiny_clip, tmp_path / "features"), images)
    assert encoded == [1, 4, 4, 3, 1], "images without files are recognised by their pixels"


@pytest.mark.parametrize("representation", ["projected", "pre-projection", "both"])
def test_every_representation_is_kept(tiny_clip, files, tmp_path, encoded, representation):
    analytic = {"compensation": "analytic", "fusion": "calibrated", "representation": representation}
    features_of(open_model(tiny_clip, tmp_path / "features"), files)
    encoded.clear()
    kept = features_of(open_model(tiny_clip, tmp_path / "features", **analytic), files)
    assert encoded == [1]
    assert torch.equal(kept, features_of(open_model(tiny_clip, **analytic), files))


@pytest.mark.parametrize("damage", ["truncated", "empty", "one byte", "header"])
def test_a_damaged_file_is_reported_and_its_images_are_encoded_again(tiny_clip, files, tmp_path, damage, encoded):
    wanted = features_of(open_model(tiny_clip, tmp_path / "features"), files)
    (shard,) = (tmp_path / "features").iterdir()
    content = bytearray(shard.read_bytes())
    if damage == "one byte":
        content[-5] ^= 1
    elif damage == "header":
        content[9] = 0xFF
    shard.write_bytes({"truncated": content[:-7], "empty": b""}.get(damage, content))
    encoded.clear()
    with pytest.warns(
        DamagedFeatures, match=rf"The features in .*{shard.name} are damaged \(.*\), so their images are encoded again"
    ):
        assert torch.equal(features_of(open_model(tiny_clip, tmp_path / "features"), files), wanted)
    assert sum(encoded) == 12
    encoded.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(features_of(open_model(tiny_clip, tmp_path / "features"), files), wanted)
    assert sum(encoded) == 1


@pytest.mark.parametrize("error", [OSError("Cannot allocate memory (os error 12)"), RuntimeError("unable to mmap 9 bytes")])
def test_a_file_that_the_machine_cannot_read_at_the_moment_stays(tiny_clip, files, tmp_path, monkeypatch, error):
    import safetensors

    wanted = features_of(open_model(tiny_clip, tmp_path / "features"), files)
    (shard,) = (tmp_path / "features").iterdir()
    content = shard.read_bytes()

    def fails(*given, **more):
        raise error

    monkeypatch.setattr(safetensors, "safe_open", fails)
    with pytest.warns(DamagedFeatures, match=rf"The features in .*{shard.name} cannot be read"):
        assert torch.equal(features_of(open_model(tiny_clip, tmp_path / "features"), files), wanted)
    assert shard.read_bytes() == content


def test_a_full_disk_is_that_of_the_features(mgclip, tiny_clip, tmp_path, monkeypatch):
    """Another one than that of the run, perhaps."""

    def full(file, about, tensors):
        raise OSError(errno.ENOSPC, "No space left on device", str(file))

    monkeypatch.setattr("mgclip.saving.kept_features.write_checked", full)
    changes = ["icons100", f"clip={tiny_clip}", "tasks=1", "classes_per_task=2", "train_per_class=3", "test_per_class=2"]
    words = (
        "run",
        *changes,
        "methods=simplecil",
        "retention={}",
        "--keep-features",
        tmp_path / "kept",
        "--out",
        tmp_path / "run",
    )
    code, _, err = mgclip(*words)
    assert code == 1
    assert f"Features cannot be written to {tmp_path / 'kept'} (No space left on device): free space there" in err


def test_an_interrupted_pass_keeps_what_it_has_encoded(tiny_clip, files, tmp_path, encoded):
    model, done = open_model(tiny_clip, tmp_path / "features"), []

    def stop(number):
        done.append(number)
        if len(done) == 2:
            raise KeyboardInterrupt

    model.encoder.on_images = stop
    with pytest.raises(KeyboardInterrupt):
        features_of(model, files)
    encoded.clear()
    features_of(open_model(tiny_clip, tmp_path / "features"), files)
    assert sum(encoded) <= 1 + 11 - 8


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="the system cannot fork")
def test_several_processes_write_the_same_folder(tiny_clip, files, tmp_path, encoded):
    wanted = features_of(open_model(tiny_clip), files)

    def work():
        torch.set_num_threads(1)
        assert torch.equal(features_of(open_model(tiny_clip, tmp_path / "features"), files), wanted)

    children = [multiprocessing.get_context("fork").Process(target=work) for _ in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0, 0, 0]
    encoded.clear()
    assert torch.equal(features_of(open_model(tiny_clip, tmp_path / "features"), files), wanted)
    assert sum(encoded) == 1
    assert not list((tmp_path / "features").glob(".*"))


def test_an_unreadable_image_has_its_usual_error(tiny_clip, files, tmp_path):
    model = open_model(tiny_clip, tmp_path / "features")
    files[2].write_bytes(b"no image")
    with pytest.raises(InputError, match=r"2\.png cannot be read \(not an image in a supported format\)"):
        features_of(model, files)
    with pytest.raises(InputError, match=r"There is no image file .*none\.png"):
        features_of(model, [files[0], tmp_path / "none.png"])


def test_commands_keep_features_in_the_folder_that_they_are_given(mgclip, tiny_clip, tmp_path, encoded, files):
    changes = ["icons100", f"clip={tiny_clip}", "tasks=1", "classes_per_task=2", "train_per_class=3", "test_per_class=2"]
    kept = ["--keep-features", tmp_path / "features"]
    for name in ("one", "two"):
        encoded.clear()
        assert mgclip("run", *changes, "methods=simplecil", "retention={}", *kept, "--out", tmp_path / name)[0] == 0
    assert sum(encoded) == 1
    code, _, error = mgclip("run", *changes, "--keep-features", files[0], "--out", tmp_path / "three")
    assert (code, f"{files[0]} is not a folder; give another folder" in error) == (2, True)
    assert not (tmp_path / "three").exists()


def test_features_are_not_kept_among_other_files(mgclip, tiny_clip, tmp_path, files):
    images = files[0].parent
    images.rename(tmp_path / "cat")
    (tmp_path / "april").mkdir()
    (tmp_path / "cat").rename(tmp_path / "april" / "cat")
    before = sorted(tmp_path.rglob("*"))
    for folder, sentence in (
        ("april", "april has other files, such as cat: keep features in a folder of their own."),
        ("april/cat", "has other files, such as 0.png"),
        ("april/new", "april/new is in"),
        ("mod", "mod: keep features outside of it."),
        ("mod/new", "mod: keep features outside of it."),
    ):
        words = ("--model", tmp_path / "mod", "--base", tiny_clip, "--keep-features", tmp_path / folder)
        code, out, err = mgclip("learn", tmp_path / "april", *words)
        assert (code, out, sentence in err) == (2, "", True), err
    assert sorted(tmp_path.rglob("*")) == before
