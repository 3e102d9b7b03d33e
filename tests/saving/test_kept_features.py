"""Kept features are those that would be computed, and are served only for the same image, CLIP, transform and precision."""

import errno
import multiprocessing
import os
import warnings

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from learned import SMALL_RUN
from PIL import Image
from shards import png, write_tar

from mgclip import MGCLIP
from mgclip.clip.adapters import adapter_weights, without_adapters
from mgclip.clip.auto_precision import Choice
from mgclip.clip.backbone import Backbone
from mgclip.errors import DamagedFeatures, InputError
from mgclip.experiment import run_folder, runner
from mgclip.experiment.open_run import open_run
from mgclip.experiment.recipe import Recipe
from mgclip.images import UnrotatedPath
from mgclip.saving.kept_features import KeptFeatures
from mgclip.stream.shard_images import find_shard_dataset


@pytest.fixture
def encoded(monkeypatch):
    """The number of images in each pass of the image tower."""
    seen = []

    def counted(real):
        return lambda self, pixels, **options: seen.append(len(pixels)) or real(self, pixels, **options)

    for name in ("image_features", "both_features"):
        monkeypatch.setattr(Backbone, name, counted(getattr(Backbone, name)))
    return seen


@pytest.fixture
def files(icons, tmp_path):
    found = [tmp_path / "images" / f"{number}.png" for number in range(11)]
    found[0].parent.mkdir()
    for file, image in zip(found, icons["x_train"], strict=False):
        Image.fromarray(image).save(file)
    return found


def open_model(clip, folder=None, **settings):
    model = MGCLIP.from_pretrained(clip, settings={"epochs": 0, "encode_batch_size": 4, **settings})
    model.encoder.kept = None if folder is None else KeptFeatures(folder)
    return model


def features_of(model, images):
    return model.encoder.images(model.encoder.pixels(images))


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


def test_a_changed_file_is_not_served(tiny_clip, files, tmp_path, icons):
    """Not even if its name, its size and its time are the same."""
    size = max(file.stat().st_size for file in files)
    contents = [file.read_bytes().ljust(size, b"\0") for file in files]  # bytes after the end of a PNG are ignored

    def write(contents):
        for file, content in zip(files, contents, strict=True):
            file.write_bytes(content)
            os.utime(file, ns=(0, 0))

    write(contents)
    wanted = features_of(open_model(tiny_clip, tmp_path / "features"), files)
    write(contents[1:] + contents[:1])
    assert torch.equal(features_of(open_model(tiny_clip, tmp_path / "features"), files), wanted.roll(-1, 0))
    Image.fromarray(icons["x_train"][60]).save(tmp_path / "other.png")
    write([(tmp_path / "other.png").read_bytes().ljust(size, b"\0"), *contents[1:]])
    found = features_of(open_model(tiny_clip, tmp_path / "features"), files)
    assert torch.equal(found[1:], wanted[1:])
    torch.testing.assert_close(found[:1], features_of(open_model(tiny_clip), files[:1]))
    assert (found[0] - wanted[0]).abs().max() > 1e-2


@pytest.mark.parametrize("kind", ["tar", "parquet"])
def test_a_changed_shard_is_not_served(tiny_clip, tmp_path, icons, kind):
    """Not even if its name, its size, its time and the places of its images are the same."""
    shard = tmp_path / "data" / f"train.{kind}"
    shard.parent.mkdir()
    size = max(len(png(image)) for image in icons["x_train"][:7])

    def features(rows):
        """Features of the images of the shard, written again."""
        contents = [png(icons["x_train"][row]).ljust(size, b"\0") for row in rows]  # bytes after the end of a PNG are ignored
        if kind == "tar":
            write_tar(shard, [part for n, each in enumerate(contents) for part in ((f"{n}.png", each), (f"{n}.cls", "cat"))])
        else:
            pq.write_table(pa.table({"image": pa.array(contents, pa.binary()), "label": ["cat"] * 6}), shard)
        os.utime(shard, ns=(0, 0))
        found = find_shard_dataset(shard.parent, test_only=True).dataset.test.images
        return features_of(open_model(tiny_clip, tmp_path / "features"), found)

    for rows in ([0, 1, 2, 3, 4, 5], [1, 0, 2, 3, 4, 5], [6, 1, 2, 3, 4, 5]):
        torch.testing.assert_close(features(rows), features_of(open_model(tiny_clip), icons["x_train"][rows]))


def test_an_image_that_was_opened_before_its_file_changed_does_not_stand_for_the_new_file(tiny_clip, files, tmp_path, icons):
    model = open_model(tiny_clip, tmp_path / "features")
    opened = model.encoder.pixels(files[:1])
    opened.batch(torch.tensor([0]))
    before = features_of(open_model(tiny_clip), files[:1])
    Image.fromarray(icons["x_train"][60]).save(files[0])
    assert torch.equal(model.encoder.images(opened), before)
    after = features_of(open_model(tiny_clip), files[:1])
    assert not torch.equal(before, after)
    assert torch.equal(features_of(open_model(tiny_clip, tmp_path / "features"), files[:1]), after)


def test_a_file_that_changes_while_it_is_encoded_is_kept_under_what_was_encoded(tiny_clip, files, tmp_path, icons, monkeypatch):
    model = open_model(tiny_clip, tmp_path / "features")
    old = files[0].read_bytes()
    pixels = model.encoder.pixels(files[:1])
    keys = pixels.keys(torch.tensor([0]))
    Image.fromarray(icons["x_train"][60]).save(files[0])
    assert torch.equal(model.encoder.images(pixels), features_of(open_model(tiny_clip), files[:1]))
    assert keys != pixels.keys(torch.tensor([0]))
    files[0].write_bytes(old)
    again = features_of(open_model(tiny_clip, tmp_path / "features"), files[:1])
    assert torch.equal(again, features_of(open_model(tiny_clip), files[:1]))


def test_orientation_tags_are_part_of_what_an_image_is(tiny_clip, files, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(files[0]).save(tmp_path / "turned.png", exif=exif)
    for file in (tmp_path / "turned.png", UnrotatedPath(tmp_path / "turned.png")):
        wanted = features_of(open_model(tiny_clip), [file])
        assert torch.equal(features_of(open_model(tiny_clip, tmp_path / "features"), [file]), wanted)


def test_another_clip_transform_or_precision_is_not_served(tiny_clip, files, tmp_path, encoded):
    def count(change=lambda backbone: None, **settings):
        model = open_model(tiny_clip, tmp_path / "features", **settings)
        change(model.backbone)
        encoded.clear()
        features_of(model, files)
        return sum(encoded)

    assert (count(), count()) == (11, 0)
    changes = [
        lambda backbone: setattr(backbone, "fingerprint", "0" * 32),
        lambda backbone: setattr(backbone.processor, "resample", Image.Resampling.NEAREST),
        lambda backbone: setattr(backbone.processor, "image_mean", [0.1, 0.2, 0.3]),
        lambda backbone: setattr(backbone.model.config.vision_config, "hidden_act", "gelu"),
    ]
    for change in changes:
        assert (count(change), count(change)) == (11, 0)
    for setting in ({"precision": "bfloat16"}, {"jpeg_draft": True}):
        assert (count(**setting), count(**setting)) == (11, 0)
    assert count() == 0, "one folder keeps the features of all of them"
    chosen = Choice("bfloat16", "images", 1.0, 2.0)
    assert count(lambda backbone: setattr(backbone, "_choice", chosen), precision="auto") == 11, "it rounds in other places"


def test_another_version_of_the_package_that_opens_images_is_not_served(tiny_clip, files, tmp_path, encoded, monkeypatch):
    model = open_model(tiny_clip, tmp_path / "features")
    features_of(model, files)
    monkeypatch.setattr("mgclip.saving.kept_features.version_of", lambda package: f"a newer {package}")
    encoded.clear()
    features_of(model, files)
    assert sum(encoded) == 11


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


def test_a_file_that_the_machine_cannot_read_at_the_moment_stays(tiny_clip, files, tmp_path, monkeypatch):
    import safetensors

    wanted = features_of(open_model(tiny_clip, tmp_path / "features"), files)
    (shard,) = (tmp_path / "features").iterdir()
    content = shard.read_bytes()

    def fails(*given, **more):
        raise OSError("Cannot allocate memory (os error 12)")

    monkeypatch.setattr(safetensors, "safe_open", fails)
    with pytest.warns(DamagedFeatures, match=rf"The features in .*{shard.name} cannot be read"):
        assert torch.equal(features_of(open_model(tiny_clip, tmp_path / "features"), files), wanted)
    assert shard.read_bytes() == content


def test_a_full_disk_is_that_of_the_features(mgclip, tiny_clip, tmp_path, monkeypatch):
    """Another one than that of the run, perhaps."""

    def full(file, content):
        raise OSError(errno.ENOSPC, "No space left on device", str(file))

    monkeypatch.setattr("mgclip.saving.kept_features.replace_file", full)
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


def test_adapted_features_are_neither_kept_nor_served(tiny_clip, files, tmp_path):
    model, plain = (open_model(tiny_clip, folder) for folder in (tmp_path / "features", None))
    pretrained = features_of(model, files)
    for each in (model, plain):
        torch.manual_seed(0)
        with torch.no_grad():
            for name, weight in adapter_weights(each.backbone):
                if name.endswith(".B"):
                    weight.normal_()
    number = len(list((tmp_path / "features").iterdir()))
    adapted = features_of(model, files)
    assert torch.equal(adapted, features_of(plain, files))
    assert (adapted - pretrained).abs().max() > 1e-2
    assert len(list((tmp_path / "features").iterdir())) == number
    with without_adapters(model.backbone):
        assert torch.equal(features_of(model, files), pretrained)
    assert torch.equal(features_of(model, files), adapted)


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
