"""Kept features are served only for the same image, CLIP, transform and precision."""

import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from kept import features_of, open_model
from PIL import Image
from shards import png, write_tar

from mgclip.clip.adapters import adapter_weights, without_adapters
from mgclip.clip.auto_precision import Choice
from mgclip.images import UnrotatedPath
from mgclip.saving import kept_features
from mgclip.stream.shard_images import find_shard_dataset


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


def test_files_of_another_clip_or_format_are_not_opened(tiny_clip, files, tmp_path, encoded, monkeypatch):
    folder, opened = tmp_path / "features", []
    real = kept_features.load_checked
    monkeypatch.setattr(kept_features, "load_checked", lambda file: opened.append(file) or real(file))
    model = open_model(tiny_clip, folder)
    features_of(model, files)
    (first,) = folder.iterdir()
    earlier = folder / "features-0123456789abcdef0123456789abcdef.safetensors"
    earlier.write_bytes(first.read_bytes())
    model.backbone.fingerprint = "0" * 32
    features_of(model, files)
    monkeypatch.setattr(kept_features, "FORMAT", kept_features.FORMAT + 1)
    encoded.clear()
    features_of(model, files)
    assert sum(encoded) == 11
    assert opened == []


def test_a_file_with_the_name_of_another_one_is_not_served(tiny_clip, files, tmp_path, encoded):
    model = open_model(tiny_clip, tmp_path / "features")
    features_of(model, files)
    (first,) = (tmp_path / "features").iterdir()
    model.backbone.fingerprint = "0" * 32
    first.rename(first.with_name(f"{kept_features.prefix(kept_features.description(model.backbone))}0.safetensors"))
    encoded.clear()
    features_of(model, files)
    assert sum(encoded) == 11


def test_another_version_of_the_package_that_opens_images_is_not_served(tiny_clip, files, tmp_path, encoded, monkeypatch):
    model = open_model(tiny_clip, tmp_path / "features")
    features_of(model, files)
    monkeypatch.setattr("mgclip.saving.kept_features.version_of", lambda package: f"a newer {package}")
    encoded.clear()
    features_of(model, files)
    assert sum(encoded) == 11


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
