"""The folder of a saved model: atomic saves, and files that do not belong there."""

import json
from pathlib import Path

import pytest
from learned import same

from mgclip import MGCLIP, undo
from mgclip.errors import InputError


def test_a_failed_save_keeps_the_active_version(shop, monkeypatch):
    before = {file: file.read_bytes() for file in shop.rglob("*") if file.is_file()}
    model = MGCLIP.from_pretrained(shop)

    def full(*_, **__):
        raise OSError("no space left")

    monkeypatch.setattr("mgclip.saving.store.activate", full)
    with pytest.raises(OSError, match="no space"):
        model.save_pretrained(shop, note={"what": "never"})
    after = {file: file.read_bytes() for file in shop.rglob("*") if file.is_file()}
    assert {f: b for f, b in after.items() if "lock" not in f.name} == {f: b for f, b in before.items() if "lock" not in f.name}


def test_an_interruption_right_after_saving_keeps_what_was_saved(shop, monkeypatch):
    from mgclip import disk

    model = MGCLIP.from_pretrained(shop)
    model.relabel(model.class_names[0], "new name")
    replace = disk.replace_file

    def interrupted(file, content):
        replace(file, content)
        if file == shop / "mgclip.json":
            raise KeyboardInterrupt

    monkeypatch.setattr(disk, "replace_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.save_pretrained(shop, note={"what": "relabelled"})
    assert same(MGCLIP.from_pretrained(shop), model)


@pytest.mark.parametrize("state", ["../outside", "/tmp", "mgclip-state-x/../../outside", "", None, 3])
def test_states_outside_the_folder_are_refused(shop, state):
    manifest = json.loads((shop / "mgclip.json").read_text())
    versions = [{**manifest["versions"][0], "state": state}, manifest["versions"][1]]
    (shop / "mgclip.json").write_text(json.dumps({**manifest, "versions": versions}))
    before = (shop / "mgclip.json").read_bytes()
    with pytest.raises(InputError, match="is damaged"):
        undo(shop)
    assert (shop / "mgclip.json").read_bytes() == before
    assert len(MGCLIP.from_pretrained(shop).class_names) == 4


def test_links_in_a_model_folder_are_not_followed(shop, tmp_path):
    victims = [tmp_path / "victim-a", tmp_path / "victim-b"]
    for victim, name in zip(victims, (".mgclip-lock-owner", ".mgclip.json-new"), strict=True):
        victim.write_text("mine")
        (shop / name).symlink_to(victim)
    assert undo(shop).number == 1
    assert [victim.read_text() for victim in victims] == ["mine", "mine"]
    assert not (shop / "mgclip.json").is_symlink()
    state = json.loads((shop / "mgclip.json").read_text())["state"]
    (shop / state).rename(tmp_path / "elsewhere")
    (shop / state).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="is damaged"):
        MGCLIP.from_pretrained(shop)


@pytest.mark.parametrize("name", ["mgclip.json", "head.safetensors", "adapter_model.safetensors"])
def test_a_file_that_the_machine_does_not_open_is_neither_missing_nor_damaged(shop, monkeypatch, mgclip, name):
    """As that of another user: restoring the model from a backup, or training it again, would not help."""
    opened = Path.open

    def refused(self, *words, **options):
        if self.name == name:
            raise PermissionError(13, "Permission denied", str(self))
        return opened(self, *words, **options)

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(PermissionError):
        MGCLIP.from_pretrained(shop)
    code, _, message = mgclip("export", shop, "--to", shop.parent / "clip")
    assert code == 1
    assert message.startswith(f"mgclip: The system does not allow reading or writing at {shop}")
    assert message.endswith(f"{name}'): fix the permissions and run the command again.\n")
