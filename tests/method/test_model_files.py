"""Saving and loading a model."""

import json

import pytest
import torch
from icon_tasks import task
from learned import state

from mgclip import MGCLIP
from mgclip.errors import InputError


def test_a_loaded_model_predicts_and_learns_like_the_saved_one(learned, icons, tmp_path):
    learned.save_pretrained(tmp_path / "shop")
    loaded = MGCLIP.from_pretrained(tmp_path / "shop")
    images = list(icons["x_test"])
    assert state(loaded) == state(learned)
    assert learned.predict(images).probabilities.tobytes() == loaded.predict(images).probabilities.tobytes()
    for one in (learned, loaded):
        one.learn(*task(icons, [4, 8]))
    assert state(loaded) == state(learned)
    assert learned.predict(images).probabilities.tobytes() == loaded.predict(images).probabilities.tobytes()
    learned.save_pretrained(tmp_path / "shop")
    assert MGCLIP.from_pretrained(tmp_path / "shop").task_sizes == (3, 2)
    assert [entry.name for entry in tmp_path.iterdir()] == ["shop"]


def test_no_path_of_this_machine_is_next_to_the_adapter(learned, tiny_clip, tmp_path):
    """A path would mean nothing elsewhere. The manifest has the path of a base that is a folder, so that it is found again."""
    for model, name in ((learned, tiny_clip.name), (MGCLIP.from_pretrained("iconclip"), "iconclip")):
        model.save_pretrained(tmp_path / name)
        text = (inside(tmp_path / name, "adapter") / "adapter_config.json").read_text()
        assert json.loads(text)["base_model_name_or_path"] == name
        assert "/" not in text.replace("\\/", "")


def test_an_adapter_is_saved_without_a_model_card(learned, tmp_path, monkeypatch):
    def slow(*_):
        pytest.fail("peft makes a model card")

    monkeypatch.setattr("peft.PeftModel.create_or_update_model_card", slow)
    learned.save_pretrained(tmp_path / "shop")
    files = {file.name for file in inside(tmp_path / "shop", "adapter").iterdir()}
    assert files == {"adapter_config.json", "adapter_model.safetensors"}


def test_peft_reads_the_adapter(learned, icons, tmp_path, tiny_clip):
    from peft import PeftModel
    from transformers import CLIPModel

    learned.save_pretrained(tmp_path / "shop")
    theirs = PeftModel.from_pretrained(CLIPModel.from_pretrained(tiny_clip), inside(tmp_path / "shop", "adapter")).eval()
    pixels = learned.backbone.processor(list(icons["x_test"][:3]), return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        features = theirs.base_model.model.visual_projection(
            theirs.base_model.model.vision_model(pixel_values=pixels).pooler_output
        )
    ours = learned.encoder.images(learned.encoder.pixels(list(icons["x_test"][:3])))
    torch.testing.assert_close(torch.nn.functional.normalize(features, dim=-1), ours, rtol=1e-4, atol=1e-5)


def test_a_different_clip_is_refused(learned, tmp_path):
    learned.save_pretrained(tmp_path / "shop")
    with pytest.raises(InputError, match=r"was trained on the CLIP .* iconclip is a different CLIP"):
        MGCLIP.from_pretrained(tmp_path / "shop", base="iconclip")


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda f: inside(f, "head.safetensors").unlink(), r"The head .* cannot be read"),
        (lambda f: inside(f, "head.safetensors").write_bytes(b"x" * 40), r"The head .* cannot be read"),
        (lambda f: inside(f, "adapter/adapter_model.safetensors").unlink(), r"There is no adapter file"),
        (lambda f: (f / "mgclip.json").write_text("{"), r"mgclip\.json cannot be read"),
        (lambda f: edit(f, format=3), r"has format 3; this version reads formats up to 2: upgrade mg-clip"),
        (lambda f: edit(f, class_names=["only one"]), r"is damaged \(1 class name for 3 classes\)"),
        (lambda f: edit(f, settings={"rank": "x"}), r"mgclip\.json is damaged"),
        (lambda f: edit(f, state="../elsewhere"), r"is damaged \(state '\.\./elsewhere'\)"),
    ],
)
def test_a_damaged_model_is_refused(learned, tmp_path, damage, sentence):
    learned.save_pretrained(tmp_path / "shop")
    damage(tmp_path / "shop")
    with pytest.raises(InputError, match=sentence):
        MGCLIP.from_pretrained(tmp_path / "shop")


def inside(folder, name):
    return next(folder.glob("mgclip-state-*")) / name


def edit(folder, **changes):
    manifest = json.loads((folder / "mgclip.json").read_text())
    (folder / "mgclip.json").write_text(json.dumps({**manifest, **changes}))


def test_saving_never_overwrites_something_else(learned, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.txt").write_text("mine")
    with pytest.raises(InputError, match="exists and is not a saved model"):
        learned.save_pretrained(tmp_path / "photos")
    assert (tmp_path / "photos" / "a.txt").read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 1


def test_other_files_in_the_model_folder_are_not_touched(learned, tmp_path, monkeypatch):
    shop = tmp_path / "shop"
    learned.save_pretrained(shop)
    (shop / "photos").mkdir()
    (shop / "photos" / "a.txt").write_text("mine")
    monkeypatch.chdir(shop)
    learned.save_pretrained(".")
    (tmp_path / "link").symlink_to(shop)
    learned.save_pretrained(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (shop / "photos" / "a.txt").read_text() == "mine"
    assert sorted(entry.name[:12] for entry in shop.iterdir()) == [
        ".mgclip-lock",
        "mgclip-state",
        "mgclip.json",
        "photos",
    ]
    assert MGCLIP.from_pretrained(tmp_path / "link").class_names == learned.class_names
    modes = {oct(file.stat().st_mode & 0o777) for file in shop.rglob("*") if file.is_file() and file.name != "a.txt"}
    assert modes == {"0o644"}


@pytest.mark.parametrize("moment", ["mgclip.disk.json.dumps", "safetensors.torch.save_file"])
def test_a_failed_save_keeps_the_previous_model(learned, icons, tmp_path, monkeypatch, moment):
    shop = tmp_path / "shop"
    learned.save_pretrained(shop)
    before = {str(file): file.read_bytes() for file in shop.rglob("*") if file.is_file()}
    learned.learn(*task(icons, [4, 8]))

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(moment, full)
    with pytest.raises(OSError, match="No space left"):
        learned.save_pretrained(shop)
    assert {str(file): file.read_bytes() for file in shop.rglob("*") if file.is_file()} == before
