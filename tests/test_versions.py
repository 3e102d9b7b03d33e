"""The versions of a model folder: kept, listed, gone back to, pruned; one writer at a time."""

import json
import multiprocessing
import shutil

import pytest
import torch

from mgclip import MGCLIP, Settings, history, undo
from mgclip.errors import InputError
from mgclip.saving.lock import only_writer
from mgclip.saving.versions import prune

QUICK = Settings(epochs=1, adapter_batch_size=8, head_batch_size=8)


def months(icons, *classes):
    import numpy as np

    names = [str(icons["class_names"][c]) for c in classes]
    picked = np.isin(icons["y_train"], classes)
    return icons["x_train"][picked], [str(icons["class_names"][c]) for c in icons["y_train"][picked]], names


@pytest.fixture
def shop(tiny_clip, icons, tmp_path):
    """Two versions: classes 0 and 1, then 2 and 3 too."""
    model = MGCLIP.from_pretrained(tiny_clip, settings=QUICK)
    for number, classes in enumerate(((0, 1), (2, 3)), start=1):
        model.learn(*months(icons, *classes))
        model.save_pretrained(tmp_path / "shop", note={"what": f"month {number}"})
    return tmp_path / "shop"


def same(a, b):
    return a.class_names == b.class_names and torch.equal(a.head, b.head)


def test_history_undo_and_forward_again(shop, icons):
    first, second = history(shop)
    assert (first.number, first.parent, first.active, first.note) == (1, None, False, {"what": "month 1"})
    assert (second.number, second.parent, second.active) == (2, 1, True)
    newest = MGCLIP.from_pretrained(shop)
    assert undo(shop).number == 1
    older = MGCLIP.from_pretrained(shop)
    assert len(older.class_names) == 2
    assert torch.equal(older.head, newest.head[:2])
    with pytest.raises(InputError, match="is the first one"):
        undo(shop)
    older.learn(*months(icons, 4, 5))
    older.save_pretrained(shop, note={"what": "another month"})
    assert [(v.number, v.parent, v.active) for v in history(shop)] == [(1, None, False), (2, 1, False), (3, 1, True)]
    assert undo(shop, 2).note == {"what": "month 2"}
    assert same(MGCLIP.from_pretrained(shop), newest)
    with pytest.raises(InputError, match=r"has no version 7: there are 1, 2, 3"):
        undo(shop, 7)


def test_a_plain_save_among_versions_loses_none(shop):
    MGCLIP.from_pretrained(shop).save_pretrained(shop)
    assert [v.note["what"] for v in history(shop)] == ["month 1", "month 2", "saved"]


def test_a_plain_model_keeps_no_versions_until_one_is_noted(tiny_clip, icons, tmp_path):
    model = MGCLIP.from_pretrained(tiny_clip, settings=QUICK)
    model.learn(*months(icons, 0, 1))
    for _ in range(2):
        model.save_pretrained(tmp_path / "plain")
    assert history(tmp_path / "plain") == []
    assert len(list((tmp_path / "plain").glob("mgclip-state-*"))) == 1
    with pytest.raises(InputError, match="keeps no versions"):
        undo(tmp_path / "plain")
    model.learn(*months(icons, 2, 3))
    model.save_pretrained(tmp_path / "plain", note={"what": "month"})
    assert [v.note["what"] for v in history(tmp_path / "plain")] == ["saved", "month"]
    undo(tmp_path / "plain")
    assert len(MGCLIP.from_pretrained(tmp_path / "plain").class_names) == 2


def test_prune_keeps_the_latest_and_the_one_in_force(shop):
    model = MGCLIP.from_pretrained(shop)
    for number in (3, 4, 5):
        model.save_pretrained(shop, note={"what": f"version {number}"})
    undo(shop, 2)
    assert prune(shop, 2) == [1, 3]
    assert [v.number for v in history(shop)] == [2, 4, 5]
    assert len(list(shop.glob("mgclip-state-*"))) == 3
    assert same(MGCLIP.from_pretrained(shop), model)
    assert [v.number for v in history(shop) if v.active] == [2]


def test_a_failed_save_leaves_the_version_in_force(shop, monkeypatch):
    before = {file: file.read_bytes() for file in shop.rglob("*") if file.is_file()}
    model = MGCLIP.from_pretrained(shop)

    def full(*_, **__):
        raise OSError("no space left")

    monkeypatch.setattr("mgclip.saving.store.activate", full)
    with pytest.raises(OSError, match="no space"):
        model.save_pretrained(shop, note={"what": "never"})
    after = {file: file.read_bytes() for file in shop.rglob("*") if file.is_file()}
    assert {f: b for f, b in after.items() if "lock" not in f.name} == {
        f: b for f, b in before.items() if "lock" not in f.name
    }


def test_a_version_whose_files_are_gone_is_not_gone_back_to(shop):
    state = json.loads((shop / "mgclip.json").read_text())["versions"][0]["state"]
    shutil.rmtree(shop / state)
    newest = MGCLIP.from_pretrained(shop)
    with pytest.raises(InputError, match=r"Version 1 of .* is gone or damaged"):
        undo(shop)
    assert same(MGCLIP.from_pretrained(shop), newest)


def _hold(folder, holding, enough):
    with only_writer(folder):
        holding.set()
        enough.wait(60)


def test_one_writer_at_a_time_and_a_dead_one_is_none(shop):
    context = multiprocessing.get_context("spawn")
    holding, enough = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(shop, holding, enough))
    other.start()
    assert holding.wait(60)
    with pytest.raises(InputError, match=f"is being written by process {other.pid} on "), only_writer(shop):
        pass
    assert [v.number for v in history(shop)] == [1, 2]  # reading goes on
    other.kill()
    other.join()
    with only_writer(shop), only_writer(shop):  # and whoever has the lock goes through
        assert json.loads((shop / ".mgclip-lock-owner").read_text())["process"] != other.pid


def test_relabel_and_forget(shop):
    model = MGCLIP.from_pretrained(shop)
    names, head = model.class_names, model.head.clone()
    model.relabel(names[1], "ÄÖÜ <b>", "a thing")
    assert model.class_names == (names[0], "ÄÖÜ <b>", *names[2:])
    assert model.class_texts[1] == "a thing"
    with pytest.raises(InputError, match="is learned already"):
        model.relabel(names[0], names[2])
    with pytest.raises(InputError, match="did you mean"):
        model.relabel(names[0][:-1] + "x", "new")
    model.forget(names[0])
    assert model.class_names == ("ÄÖÜ <b>", *names[2:])
    assert torch.equal(model.head, head[1:])
    assert model.task_sizes == (1, 2)
    model.save_pretrained(shop, note={"what": "forgot"})
    assert same(MGCLIP.from_pretrained(shop), model)
    with pytest.raises(InputError, match="has not learned the class"):
        model.forget("none")


def test_forgetting_takes_images_out_of_the_memory(tiny_clip, icons):
    settings = QUICK.model_copy(update={"memory": 12})
    model = MGCLIP.from_pretrained(tiny_clip, settings=settings)
    model.learn(*months(icons, 0, 1, 2))
    kept = {label: model.memory.pixels[model.memory.labels == label] for label in (0, 2)}
    model.forget(model.class_names[1])
    assert sorted(set(model.memory.labels.tolist())) == [0, 1]
    assert torch.equal(model.memory.pixels[model.memory.labels == 0], kept[0])
    assert torch.equal(model.memory.pixels[model.memory.labels == 1], kept[2])


def test_an_interruption_right_after_saving_leaves_what_was_saved(shop, monkeypatch):
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


def test_links_in_a_model_folder_lead_to_no_other_file(shop, tmp_path):
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


def test_a_parent_that_was_removed_is_said_to_be(shop):
    MGCLIP.from_pretrained(shop).save_pretrained(shop, note={"what": "third"})
    prune(shop, 1)
    with pytest.raises(InputError, match=r"Version 2 of .*, from which 3 was made, was removed"):
        undo(shop)


def test_forgetting_everything_is_not_the_end(tiny_clip, icons):
    model = MGCLIP.from_pretrained(tiny_clip, settings=QUICK.model_copy(update={"memory": 6}))
    model.learn(*months(icons, 0, 1))
    for name in model.class_names:
        model.forget(name)
    model.learn(*months(icons, 2, 3))
    assert len(model.class_names) == 2
