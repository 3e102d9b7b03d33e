"""``mgclip learn`` with shards, as a user calls it."""

import json

import pytest
from PIL import Image
from shards import members, png, write_tar

from mgclip import MGCLIP
from mgclip.workflows.held_out import read_held_out


def test_learn_shards_then_more_then_predict(mgclip, place, icons):
    model, shards = place / "model", place / "shards"
    code, out, _ = mgclip("learn", shards, "--model", model, "--base", "iconclip", "--dry-run")
    assert (code, out) == (0, "to learn: 2 shards; to measure on: 1 shard\n")
    assert not model.exists()
    code, out, _ = mgclip("learn", shards, "--model", model, "--base", "iconclip", "features=64", "--json", "--quiet")
    report = json.loads(out)
    assert (code, report["images"], report["classes_in_all"], report["epochs"]) == (0, 24, 3, 0)
    assert report["test_images"] == {"new": 12, "old": 0, "gone": 0}  # the fourth class is not known
    assert report["accuracy"]["new"] == report["branches"]["model"] > 0.7
    assert report["leave_one_out"] > 0.7
    code, out, _ = mgclip("learn", place / "more.parquet", "--model", model, "--test", shards / "test-0.tar")
    assert code == 0
    assert "learned 2 classes from 8 images, no adapters trained" in out and f"{model} knows 5 classes" in out
    assert " of 16 test images" in out and "leave-one-out accuracy" in out
    code, out, _ = mgclip("learn", f"{shards}/train-{{0..1}}.tar", "--model", model)
    assert code == 2
    Image.fromarray(icons["x_train"][0]).save(place / "one.png")
    code, out, _ = mgclip("predict", model, place / "one.png")
    assert code == 0 and str(icons["class_names"][0]) in out
    versions = json.loads(mgclip("history", model, "--json")[1])["versions"]
    assert [version["note"]["what"] for version in versions] == ["learned 3 classes", "learned 2 classes"]
    assert not list(model.glob(".mgclip-progress-*"))


def test_test_images_that_were_learned_are_counted(mgclip, place):
    words = ("learn", place / "shards", "--model", place / "model", "--base", "iconclip", "features=64")
    code, out, _ = mgclip(*words, "--test", place / "shards" / "train-0.tar")
    assert code == 0
    assert "12 of 12 test images are also among the training images, so accuracy there says little" in out
    code, out, _ = mgclip("learn", place / "more.parquet", "--model", place / "model", "--test", place / "shards")
    assert code == 0 and "accuracy" in out and "test images" in out
    assert "also among the training images" not in out


def test_held_out_images_that_shards_contain_are_no_longer_measured(mgclip, place, icons):
    names = [str(name) for name in icons["class_names"][:2]]
    for row in range(24):
        (place / "march" / names[row // 12]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(icons["x_train"][row]).save(place / "march" / names[row // 12] / f"{row}.png")
    model = place / "model"
    assert mgclip("learn", place / "march", "--model", model, "--base", "iconclip", "features=64")[0] == 0
    held = [image.path for own in read_held_out(model).values() for image in own]
    assert len(held) == 4
    gone = held.pop()
    gone.unlink()
    rows = [int(path.stem) for path in held]
    write_tar(place / "may.tar", members(icons["x_train"][rows], [names[row // 12] for row in rows]))
    code, out, _ = mgclip("learn", place / "may.tar", "--model", model)
    assert code == 0
    assert "no longer held out, because learned now or unreadable: 3 images" in " ".join(out.split())
    assert [image.path for own in read_held_out(model).values() for image in own] == [gone]


def test_without_anything_to_measure_on_no_option_is_advised_that_shards_refuse(mgclip, place, icons):
    write_tar(place / "few.tar", members(icons["x_train"][[0, 12]], ["bell", "cat"]))
    code, out, _ = mgclip("learn", place / "few.tar", "--model", place / "model", "--base", "iconclip", "features=64")
    assert code == 0
    assert "accuracy: not measured, because no image was held out: give test images with --test" in " ".join(out.split())


def test_names_of_classes_that_are_not_in_the_shards_are_listed(mgclip, place, icons):
    known = str(icons["class_names"][0])
    words = ("learn", place / "shards", "--model", place / "model", "--base", "iconclip", "features=64")
    code, out, _ = mgclip(*words, "--names", f"{known}=first,n0001=tench")
    assert code == 0
    assert "in the table of class names, but not in the shards: tench" in out
    assert "first" in MGCLIP.from_pretrained(place / "model").class_names


def test_shards_that_are_left_out_are_counted(mgclip, place, icons):
    write_tar(place / "shards" / "extra.tar", members(icons["x_train"][:1], ["bell"]))
    code, out, _ = mgclip("learn", place / "shards", "--model", place / "model", "--base", "iconclip", "--dry-run")
    assert (code, out.splitlines()[1:]) == (0, ["left out, with neither train nor test in their names: 1 shard"])


def test_copies_in_shards_are_counted(mgclip, place, icons):
    names = [str(name) for name in icons["class_names"]]
    rows = [0, 0, 12, 1]
    write_tar(place / "shards" / "train-2.tar", members(icons["x_train"][rows], [names[0], names[0], names[1], names[2]]))
    code, out, _ = mgclip("learn", place / "shards", "--model", place / "model", "--base", "iconclip", "gamma=2.0")
    assert code == 0 and "learned 3 classes from 28 images" in out
    assert "learned again, because other images in the shards have the same pixels: 4 images" in out
    assert "learned in more than one class each: 1 image" in out


def test_a_shard_of_which_nothing_is_known_is_mentioned(mgclip, place, monkeypatch):
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe({f"/unknown/train-{n}.tar": (place / "shards" / f"train-{n}.tar").read_bytes() for n in range(2)})
    words = ("learn", "memory://unknown/*.tar", "--model", place / "model", "--base", "iconclip", "--dry-run")
    assert "cannot detect changes" not in mgclip(*words)[1]
    monkeypatch.setattr(type(memory), "info", lambda system, path: {"name": path, "size": 10240, "type": "file"})
    code, out, _ = mgclip(*words)
    assert code == 0
    assert "it cannot detect changes in 2 shards, of which only the name or the size is known" in " ".join(out.split())


def test_a_missing_shard_of_a_range_ends_the_command_before_anything_is_learned(mgclip, place):
    model, folder = place / "model", place / "shards"
    code, out, err = mgclip(
        "learn", f"{folder}/train-{{0..2}}.tar", "--model", model, "--base", "iconclip", "--on-bad-image", "skip"
    )
    assert (code, out) == (2, "")
    assert f"The shard {folder}/train-2.tar cannot be opened (No such file or directory): restore it, or leave it out" in err
    words = ("learn", folder, "--model", model, "--base", "iconclip", "--test", f"{folder}/test-{{0..1}}.tar")
    code, out, err = mgclip(*words)
    assert (code, out) == (2, "")
    assert f"The shard {folder}/test-1.tar cannot be opened" in err
    assert not model.exists()


def test_a_folder_without_one_of_its_numbered_shards_is_noticed_in_the_plan(mgclip, place):
    folder, words = place / "part", ("--model", place / "model", "--base", "iconclip", "--dry-run")
    folder.mkdir()
    for number in range(2):
        (place / "shards" / f"train-{number}.tar").rename(folder / f"train-{number:05}-of-00003.tar")
    code, out, _ = mgclip("learn", folder, *words)
    sentence = f"missing, by the numbers in the names of the others: 1 shard ({folder}/train-00002-of-00003.tar)"
    assert (code, sentence in out) == (0, True), out
    assert json.loads(mgclip("learn", folder, *words, "--json")[1])["missing_shards"] == 1
    assert "missing" not in mgclip("learn", f"{folder}/*.tar", *words)[1], "a pattern says what is wanted"


def test_a_shard_without_classes_is_not_skipped(mgclip, place, icons):
    folder = place / "shards"
    write_tar(folder / "train-2.tar", [("cat/7.png", png(icons["x_train"][0]))])
    words = ("learn", folder, "--model", place / "model", "--base", "iconclip", "gamma=2.0", "--on-bad-image", "skip")
    code, _, err = mgclip(*words)
    assert code == 2
    assert "train-2.tar has no class: expected its name in 7.cls or 7.txt, or in 7.json as one of the keys" in err


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--retention", "x"), "--retention applies to folders of images only, and"),
        (("--keep-features", "x"), "--keep-features applies to folders of images only, and"),
        (("--hold-out", "0.5"), "--hold-out applies to folders of images only, and"),
        (("--checkpoint-every", "5"), "--checkpoint-every applies to folders of images only, and"),
        (("--merge-names",), "--merge-names applies to folders of images only, and"),
        (("--test", "nowhere"), "There are no shards at nowhere: if you learn from shards, give --test shards too."),
        (("--method", "mg-clip"), "A trained head needs each image several times, and shards are read once: start a new model"),
        (("adapt=first",), "With adapt: first adapters are trained, which needs each image several times"),
        (
            ("--label", "kind"),
            "has no class: expected the member 0.kind, or the key 'kind' in 0.json; found 0.cls: add the class",
        ),
    ],
)
def test_what_shards_cannot_do_is_said_before_anything_is_written(mgclip, place, words, why):
    code, _, err = mgclip("learn", place / "shards", "--model", place / "model", "--base", "iconclip", *words)
    assert code == 2
    assert why in err
    assert not (place / "model" / "mgclip.json").exists()


def test_models_of_separate_shards_merge_into_the_model_of_all(mgclip, place):
    """They share the width of the kernel: that of the first one."""
    folder, learn = place / "shards", lambda shards, to, *more: mgclip("learn", shards, "--model", place / to, *more)[0]
    assert learn(folder / "train-0.tar", "a", "--base", "iconclip", "features=64") == 0
    assert learn(folder / "train-1.tar", "b", "--like", place / "a") == 0
    assert mgclip("merge", place / "a", place / "b", "--to", place / "both")[0] == 0
    width = MGCLIP.from_pretrained(place / "a").solved.fourier.gamma
    assert learn(f"{folder}/train-*.tar", "all", "--base", "iconclip", "features=64", f"gamma={width!r}") == 0
    merged, expected = (MGCLIP.from_pretrained(place / name) for name in ("both", "all"))
    assert set(merged.class_names) == set(expected.class_names)
    order = [merged.class_names.index(name) for name in expected.class_names]
    largest = expected.solved.weights.abs().max()
    assert (merged.solved.weights[:, order] - expected.solved.weights).abs().max() <= 1e-8 * largest
    assert merged.solved.calibration.head == pytest.approx(expected.solved.calibration.head, rel=1e-5)
    assert sorted(merged.solved.learned.marks.tolist()) == sorted(expected.solved.learned.marks.tolist())


def test_folders_and_addresses_without_shards(mgclip, place):
    (place / "photos" / "cat").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(place / "photos" / "cat" / "1.png")
    code, _, err = mgclip("learn", place / "photos", "--model", place / "model", "--base", "iconclip", "--label", "x")
    assert (code, "--label applies to shards only, and" in err) == (2, True)
    code, _, err = mgclip("learn", "https://example.org/images.zip", "--model", place / "model", "--base", "iconclip")
    assert code == 2
    assert "No shard matches https://example.org/images.zip: expected files that end with .parquet, .tar" in err
