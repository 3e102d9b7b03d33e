"""Learning from folders by command, and what is measured."""

import json

import numpy as np
import pytest
from icon_tasks import month_folders
from layouts import class_folders
from PIL import Image

from mgclip import MGCLIP, Settings
from mgclip.errors import InputError
from mgclip.workflows.held_out import paths, read_held_out
from mgclip.workflows.source import read_source

QUICK = Settings(epochs=1, adapter_batch_size=8, head_batch_size=8)


def test_learn_and_measure_by_command(mgclip, tiny_clip, icons, tmp_path):
    """The printed accuracies are those that a program measures on the held-out images."""
    month_folders(icons, tmp_path, {"march": (0, 1), "april": (2, 3)}, 10)
    shop, words = tmp_path / "shop", ("--method", "mg-clip", "epochs=1", "adapter_batch_size=8", "head_batch_size=8")
    code, out, _ = mgclip("learn", tmp_path / "march", "--model", shop, "--base", tiny_clip, *words, "--dry-run", "--json")
    assert code == 0
    assert json.loads(out)["test_images"] == 4
    assert not shop.exists()
    code, out, _ = mgclip("learn", tmp_path / "march", "--model", shop, "--base", tiny_clip, *words, "--json", "--quiet")
    assert code == 0
    code, out, _ = mgclip("learn", tmp_path / "april", "--model", shop, "--retention", tmp_path / "march", "--json", "--quiet")
    done = json.loads(out)
    assert code == 0
    held = paths(read_held_out(shop))
    assert {name: len(files) for name, files in held.items()} == dict.fromkeys(map(str, icons["class_names"][:4]), 2)
    model = MGCLIP.from_pretrained(shop)
    for part, names in (("old", model.class_names[:2]), ("new", model.class_names[2:])):
        hits = [name == answer for name in names for answer in model.predict(held[name]).names]
        assert done["accuracy"][part] == np.mean(hits)
    bare = MGCLIP.from_pretrained(tiny_clip, settings=QUICK)
    new = [file for name in model.class_names[2:] for file in held[name]]
    logits = bare.text_logits(bare.encoder.images(bare.encoder.pixels(new)), model.class_names[2:]).detach().numpy()
    own = [logits[i, i // 2] for i in range(4)]
    assert done["untuned"]["gap"]["positive"] == pytest.approx(np.mean(own), abs=1e-3)
    assert done["untuned"]["gap"]["negative"] == pytest.approx((logits.sum() - np.sum(own)) / 4, abs=1e-3)
    assert 0 <= done["tuned"]["retention"] <= 1
    code, out, _ = mgclip("evaluate", shop, tmp_path / "april", "--json", "--csv", tmp_path / "measured.csv")
    found = json.loads(out)
    assert code == 0
    assert found["images"] == 20
    likeness = model.predict(sorted((tmp_path / "april").rglob("*.png"))).likeness
    assert found["likeness"]["95"] == pytest.approx(np.quantile(likeness, 0.05), abs=1e-5)
    assert (tmp_path / "measured.csv").read_text().count("\n") == 1 + found["images"]
    answers = model.predict(
        [file for name in sorted(map(str, icons["class_names"][2:4])) for file in sorted((tmp_path / "april" / name).iterdir())]
    )
    truth = [name for name in sorted(map(str, icons["class_names"][2:4])) for _ in range(10)]
    assert found["accuracy"] == np.mean(np.array(answers.names) == truth)
    code, _, err = mgclip("evaluate", shop, tmp_path)
    assert code == 2
    assert "contains folders of folders (april, march" in err


def test_files_whose_names_are_not_utf8_are_learned_and_predicted(mgclip, tiny_clip, icons, tmp_path):
    import os

    for c in range(2):
        folder = tmp_path / "march" / str(icons["class_names"][c])
        folder.mkdir(parents=True)
        for i in range(6):
            name = os.fsdecode(b"k\xe4se%d.png" % i)
            Image.fromarray(icons["x_train"][12 * c + i]).save(folder / "x.png")
            (folder / "x.png").rename(folder / name)
    words = ("features=64", "--json", "--quiet")
    code, out, err = mgclip("learn", tmp_path / "march", "--model", tmp_path / "shop", "--base", tiny_clip, *words)
    assert (code, err) == (0, "")
    assert json.loads(out)["test_images"]["new"] == 2
    (tmp_path / "march" / os.fsdecode(b"k\xe4se")).mkdir()
    with pytest.raises(InputError, match="is not valid UTF-8: rename it"):
        read_source(tmp_path / "march")


def test_held_out_images_that_became_unreadable_do_not_stop_the_next_learn(tiny_clip, icons, tmp_path, mgclip):
    month_folders(icons, tmp_path, {"march": (0, 1), "april": (2, 3)}, 6)
    shop, words = tmp_path / "shop", ("features=64", "--json", "--quiet")
    mgclip("learn", tmp_path / "march", "--model", shop, "--base", tiny_clip, *words)
    next(iter(read_held_out(shop).values()))[0].path.write_bytes(b"cut")
    code, out, _ = mgclip("learn", tmp_path / "april", "--model", shop, "--json", "--quiet")
    assert code == 0
    assert json.loads(out)["test_images"] == {"new": 2, "old": 1, "gone": 1}
    code, _, err = mgclip(
        "learn", tmp_path / "april", "--model", tmp_path / "x", "--base", tiny_clip, "--test", tmp_path / "march"
    )
    assert code == 2
    assert "has none of the classes to learn" in err


@pytest.mark.parametrize("prompt", ["a {} #1 icon", "{}", "an icon: {}"])
def test_a_prompt_is_used_as_given(mgclip, tiny_clip, tmp_path, prompt):
    folder = class_folders(tmp_path / "data", cat=2, dog=2)
    words = ("features=16", "--prompt", prompt, "--json", "--quiet")
    code, _, err = mgclip("learn", folder, "--model", tmp_path / "shop", "--base", tiny_clip, *words)
    assert (code, err) == (0, "")
    assert MGCLIP.from_pretrained(tmp_path / "shop").settings.prompt == prompt


def test_the_second_of_two_first_learns_continues_from_the_first(tiny_clip, icons, tmp_path):
    """Both start before the model exists. The one that waits must not start a new model."""
    import time
    from concurrent.futures import ThreadPoolExecutor

    import forked

    from mgclip.saving.lock import only_writer

    month_folders(icons, tmp_path, {"march": (0, 1), "april": (2, 3)}, 3)
    shop = tmp_path / "shop"
    words = ("learn", tmp_path / "april", "--model", shop, "--base", tiny_clip, "--wait", "120")
    forked.mgclip("--version")  # from now on a process starts at once
    with ThreadPoolExecutor(1) as background, only_writer(shop):
        waiting = background.submit(forked.mgclip, *words)
        time.sleep(3)  # so that it has begun and waits
        model = MGCLIP.from_pretrained(tiny_clip, settings=QUICK)
        picked = np.isin(icons["y_train"], [0, 1])
        names = [str(name) for name in icons["class_names"][:2]]
        model.learn(icons["x_train"][picked], icons["y_train"][picked], names)
        model.save_pretrained(shop, note={"what": "march"})
    done = waiting.result()
    assert done.returncode == 0, done.stderr
    assert len(MGCLIP.from_pretrained(shop).class_names) == 4


def test_the_accuracy_of_a_model_of_one_class_is_not_what_a_later_one_is_compared_with(mgclip, tiny_clip, icons, tmp_path):
    """A single class is always right, so the next class would always seem to lower the accuracy."""
    month_folders(icons, tmp_path, {"march": [0], "april": [1], "may": [2]}, 6)
    accuracies = []
    for month in ("march", "april", "may"):
        words = ("--model", tmp_path / "shop", "--base", tiny_clip, "--json", "--quiet")
        code, out, _ = mgclip("learn", tmp_path / month, *words)
        assert code == 0
        accuracies.append(json.loads(out)["accuracy"])
    assert set(accuracies[0].values()) == {None}
    assert accuracies[1]["old_before"] is None and accuracies[1]["old"] is not None
    assert accuracies[2]["old_before"] == accuracies[1]["all"]
