"""Images that cannot be read: they stop a command, or are left out and listed, as if they had never been there."""

import json
import shutil

import pytest
from PIL import Image

from mgclip.experiment.records import read_records

RUN = ("folder", "epochs=1", "class_order=[0, 1, 2, 3]", "classes_per_task=2", "adapter_batch_size=4", "--quiet")


@pytest.fixture
def folders(tmp_path, icons):
    """The same pictures twice: whole, and with four files more that are none."""
    for part, count in (("train", 6), ("test", 2)):
        for c, name in enumerate(("cat", "dog", "cow", "owl")):
            place = tmp_path / "whole" / part / name
            place.mkdir(parents=True)
            for i in range(count):
                Image.fromarray(icons["x_train"][12 * c + i]).save(place / f"{i}.png")
    shutil.copytree(tmp_path / "whole", tmp_path / "bad")
    torn = (tmp_path / "whole" / "train" / "cat" / "0.png").read_bytes()[:200]
    bad = {"train/cat/0a.png": torn, "train/owl/9.jpg": b"", "test/dog/0a.gif": b"GIF89a", "test/dog/x.png": b"<html>"}
    for name, content in bad.items():
        (tmp_path / "bad" / name).write_bytes(content)
    return tmp_path, sorted(str(tmp_path / "bad" / name) for name in bad)


def weights(run, method):
    state = run / method / "model" / json.loads((run / method / "model" / "mgclip.json").read_text())["state"]
    return {str(file.relative_to(state)): file.read_bytes() for file in sorted(state.rglob("*.safetensors"))}


def test_a_run_stops_at_a_bad_image_or_leaves_it_out_and_lists_it(folders, tiny_clip, mgclip):
    place, bad = folders
    methods = "methods=mg-clip,joint"
    words = (*RUN, methods, f"clip={tiny_clip}")
    assert mgclip("run", *words, f"data_path={place / 'whole'}", "--out", place / "a")[0] == 0
    code, _, said = mgclip("run", *words, f"data_path={place / 'bad'}", "--out", place / "b")
    assert (code, "Traceback" in said) == (2, False)
    assert f"The image {bad[2]} cannot be read" in said or f"The image {bad[3]} cannot be read" in said
    skip = (*words, f"data_path={place / 'bad'}", "on_bad_image=skip")
    assert mgclip("run", *skip, "--out", place / "c")[0] == 0
    for method in ("mg-clip", "joint"):
        assert weights(place / "c", method) == weights(place / "a", method)
        listed = [each["image"] for record in read_records(place / "c" / method) for each in record["skipped"]]
        assert sorted(listed) == bad
    assert sorted(each["image"] for each in json.loads((place / "c" / "skipped.json").read_text())) == bad
    first, second = read_records(place / "c" / "mg-clip")
    assert [each["image"] for each in first["skipped"]] == [bad[2]]
    reasons = {each["image"]: each["reason"] for each in second["skipped"]}
    assert reasons == dict.fromkeys((bad[0], bad[1], bad[3]), "not a picture of a format that is read")
    assert (first["train_images"], first["test_images"]) == (12, 4)


def test_a_resumed_run_leaves_out_what_it_did(folders, tiny_clip, mgclip):
    place, _ = folders
    words = ("run", *RUN, f"clip={tiny_clip}", f"data_path={place / 'bad'}", "on_bad_image=skip")
    assert mgclip(*words, "--out", place / "a")[0] == 0
    shutil.copytree(place / "a", place / "b")
    shutil.rmtree(place / "b" / "mg-clip")
    assert mgclip("run", "--resume", place / "b", "--quiet")[0] == 0
    assert weights(place / "b", "mg-clip") == weights(place / "a", "mg-clip")
    (place / "b" / "skipped.json").write_text("[{}]")
    shutil.rmtree(place / "b" / "mg-clip")
    code, _, said = mgclip("run", "--resume", place / "b", "--quiet")
    assert code == 2
    assert "skipped.json is not what a run writes" in said


def test_a_class_of_which_nothing_can_be_read_is_refused(folders, tiny_clip, mgclip):
    place, _ = folders
    for file in (place / "bad" / "train" / "cow").iterdir():
        file.write_bytes(b"no")
    skip = (*RUN, f"clip={tiny_clip}", f"data_path={place / 'bad'}", "on_bad_image=skip", "--out", place / "x")
    code, _, said = mgclip("run", *skip)
    assert (code, "No training image of the class 'cow' can be read" in said) == (2, True)
    assert not (place / "x").exists()
    learn = ("learn", place / "bad", "--model", place / "m", "--base", tiny_clip, "epochs=1", "--on-bad-image", "skip")
    code, _, said = mgclip(*learn)
    assert (code, "No image of the class 'cow' can be read" in said, (place / "m").exists()) == (2, True, False)


def test_retention_leaves_out_what_cannot_be_read(folders, tiny_clip, mgclip):
    place, bad = folders
    words = ("run", *RUN, "tasks=1", f"clip={tiny_clip}", f"data_path={place / 'whole'}")
    sets = f"retention={{folder: '{place / 'bad'}'}}"
    assert mgclip(*words, sets, "--out", place / "a")[0] == 2
    assert mgclip(*words, sets, "on_bad_image=skip", "--out", place / "b")[0] == 0
    listed = json.loads((place / "b" / "skipped.json").read_text())
    assert [each["image"] for each in listed] == [name for name in bad if "/test/" in name]
    assert {each["part"] for each in listed} == {"folder"}


def test_learn_and_evaluate_leave_out_what_cannot_be_read(folders, tiny_clip, mgclip):
    place, bad = folders
    learn = ("--base", tiny_clip, "epochs=1", "head_epochs=1", "--json", "--quiet")
    assert mgclip("learn", place / "whole", "--model", place / "a", *learn)[0] == 0
    code, _, said = mgclip("learn", place / "bad", "--model", place / "b", *learn)
    assert (code, "cannot be read" in said) == (2, True)
    code, said, _ = mgclip("learn", place / "bad", "--model", place / "b", *learn, "--on-bad-image", "skip")
    assert code == 0
    assert sorted(each["image"] for each in json.loads(said)["skipped"]) == bad
    first, second = (json.loads((place / name / "mgclip.json").read_text()) for name in "ab")
    for file in ("head.safetensors", "adapter/adapter_model.safetensors"):
        assert (place / "a" / first["state"] / file).read_bytes() == (place / "b" / second["state"] / file).read_bytes()
    code, _, said = mgclip("evaluate", place / "b", place / "bad")
    assert (code, "cannot be read" in said) == (2, True)
    code, said, _ = mgclip("evaluate", place / "b", place / "bad", "--on-bad-image", "skip", "--json")
    assert code == 0
    assert [each["image"] for each in json.loads(said)["skipped"]] == [name for name in bad if "/test/" in name]
    assert json.loads(said)["images"] == 8
