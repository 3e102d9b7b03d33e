"""Folders of images: names, held-out images, measurements, and learning from them."""

import json

import numpy as np
import pytest
from conftest import month_folders
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mgclip import MGCLIP, Settings
from mgclip.errors import InputError
from mgclip.experiment.evaluation import calibration
from mgclip.workflows.source import read_images, read_source
from mgclip.workflows.split import hold_out

QUICK = Settings(epochs=1, adapter_batch_size=8, head_batch_size=8)


def classes(folder, **images):
    for name, count in images.items():
        (folder / name).mkdir(parents=True)
        for i in range(count):
            Image.new("RGB", (40, 30), (i * 9, 80, 200)).save(folder / name / f"{i}.png")
    return folder


def test_names_come_from_folders_a_table_or_the_command(tmp_path):
    folder = classes(tmp_path / "data", n01=2, n02=1)
    assert list(read_source(folder).train) == ["n01", "n02"]
    named = read_source(folder, names="n01=tench, n02=a goldfish")
    assert list(named.train) == ["tench", "a goldfish"]
    assert named.texts == {"tench": "tench", "a goldfish": "a goldfish"}
    (folder / "classes.csv").write_text("\ufefffolder,name,text\nn01,tench,a tench (a fish)\n", encoding="utf-8")
    assert read_source(folder).texts == {"tench": "a tench (a fish)"}
    assert list(read_source(folder).train) == ["tench", "n02"]
    assert list(read_images(folder)) == ["tench", "n02"]
    assert list(read_source(folder, names=str(folder / "classes.csv")).train) == ["tench", "n02"]


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        ("n01=x,n02=x", "have the name 'x': give each class its own name"),
        ("n03=x", "There is no class folder 'n03'"),
        ("n01", "takes a CSV file or folder=name,folder=name; found 'n01'"),
        ("none.csv", "There is no table of class names none.csv"),
        ("TABLE", "The first line of .* must be  folder,name  or  folder,name,text; found 'place,called'"),
    ],
)
def test_names_that_do_not_fit(tmp_path, names, sentence):
    folder = classes(tmp_path / "data", n01=1, n02=1)
    if names == "TABLE":
        (folder / "classes.csv").write_text("place,called\nn01,x\n")
        names = ""
    with pytest.raises(InputError, match=sentence):
        read_source(folder, names=names)


def test_an_empty_class_is_refused(tmp_path):
    folder = classes(tmp_path / "data", full=1, empty=0)
    with pytest.raises(InputError, match="The class 'empty' has no image"):
        read_source(folder)


@given(
    st.dictionaries(st.text(min_size=1, max_size=3), st.integers(0, 40), max_size=6),
    st.floats(0, 0.9),
    st.integers(0, 9),
)
def test_holding_out_loses_no_image_and_takes_none_twice(sizes, share, seed):
    from pathlib import Path

    every = {name: [Path(f"{name}-{i}") for i in range(count)] for name, count in sizes.items()}
    kept, held = hold_out(every, share=share, seed=seed)
    for name, files in every.items():
        out = held.get(name, [])
        assert sorted([*kept[name], *out]) == sorted(files)
        assert kept[name] or not files
        assert len(out) == (max(1, round(share * len(files))) if share and len(files) >= 5 else 0)
    assert hold_out(every, share=share, seed=seed) == (kept, held)


def test_calibration_by_hand():
    found = calibration(np.array([0.95, 0.85, 1.0, 0.15]), np.array([True, False, True, False]))
    filled = {row["low"]: (row["count"], row["confidence"], row["accuracy"]) for row in found["bins"] if row["count"]}
    assert filled == {
        0.1: (1, pytest.approx(0.15), 0.0),
        0.8: (1, pytest.approx(0.85), 0.0),
        0.9: (2, pytest.approx(0.975), 1.0),
    }
    assert found["error"] == pytest.approx((0.15 + 0.85 + 2 * 0.025) / 4)


def test_learn_and_measure_by_command(mgclip, tiny_clip, icons, tmp_path):
    """What is printed is what a program would measure on the images that were held out."""
    for c in range(4):
        folder = tmp_path / ("march" if c < 2 else "april") / str(icons["class_names"][c])
        folder.mkdir(parents=True)
        for i in range(10):
            Image.fromarray(icons["x_train"][12 * c + i]).save(folder / f"{i}.png")
    shop, words = tmp_path / "shop", ("epochs=1", "adapter_batch_size=8", "head_batch_size=8")
    code, out, _ = mgclip(
        "learn", tmp_path / "march", "--model", shop, "--base", tiny_clip, *words, "--dry-run", "--json"
    )
    assert code == 0
    assert json.loads(out)["test_images"] == 4
    assert not shop.exists()
    code, out, _ = mgclip(
        "learn", tmp_path / "march", "--model", shop, "--base", tiny_clip, *words, "--json", "--quiet"
    )
    assert code == 0
    code, out, _ = mgclip(
        "learn", tmp_path / "april", "--model", shop, "--retention", tmp_path / "march", "--json", "--quiet"
    )
    done = json.loads(out)
    assert code == 0
    held = json.loads(
        next(shop.glob(f"{json.loads((shop / 'mgclip.json').read_text())['state']}/held-out.json")).read_text()
    )
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
    assert (tmp_path / "measured.csv").read_text().count("\n") == 1 + len(found["classes"])
    answers = model.predict(
        [
            file
            for name in sorted(map(str, icons["class_names"][2:4]))
            for file in sorted((tmp_path / "april" / name).iterdir())
        ]
    )
    truth = [name for name in sorted(map(str, icons["class_names"][2:4])) for _ in range(10)]
    assert found["accuracy"] == np.mean(np.array(answers.names) == truth)
    code, _, err = mgclip("evaluate", shop, tmp_path)
    assert code == 2
    assert "contains folders of folders (april, march" in err


def test_file_names_that_are_no_utf8_are_learned_and_answered(mgclip, tiny_clip, icons, tmp_path):
    import os

    for c in range(2):
        folder = tmp_path / "march" / str(icons["class_names"][c])
        folder.mkdir(parents=True)
        for i in range(6):
            name = os.fsdecode(b"k\xe4se%d.png" % i)
            Image.fromarray(icons["x_train"][12 * c + i]).save(folder / "x.png")
            (folder / "x.png").rename(folder / name)
    words = ("epochs=1", "adapter_batch_size=8", "head_batch_size=8", "--json", "--quiet")
    code, out, err = mgclip("learn", tmp_path / "march", "--model", tmp_path / "shop", "--base", tiny_clip, *words)
    assert (code, err) == (0, "")
    assert json.loads(out)["test_images"]["new"] == 2
    (tmp_path / "march" / os.fsdecode(b"k\xe4se")).mkdir()
    with pytest.raises(InputError, match="is not valid UTF-8: rename it"):
        read_source(tmp_path / "march")


def test_held_out_images_that_became_unreadable_do_not_stop_the_next_month(tiny_clip, icons, tmp_path, mgclip):
    for c in range(4):
        folder = tmp_path / ("march" if c < 2 else "april") / str(icons["class_names"][c])
        folder.mkdir(parents=True)
        for i in range(6):
            Image.fromarray(icons["x_train"][12 * c + i]).save(folder / f"{i}.png")
    shop, words = tmp_path / "shop", ("epochs=1", "adapter_batch_size=8", "head_batch_size=8", "--json", "--quiet")
    mgclip("learn", tmp_path / "march", "--model", shop, "--base", tiny_clip, *words)
    held = json.loads(next(shop.glob("*/held-out.json")).read_text())
    from pathlib import Path

    Path(next(iter(held.values()))[0]).write_bytes(b"cut")
    code, out, _ = mgclip("learn", tmp_path / "april", "--model", shop, "--json", "--quiet")
    assert code == 0
    assert json.loads(out)["test_images"] == {"new": 2, "old": 1, "gone": 1}
    code, _, err = mgclip(
        "learn", tmp_path / "april", "--model", tmp_path / "x", "--base", tiny_clip, "--test", tmp_path / "march"
    )
    assert code == 2
    assert "has none of the classes to learn" in err


def test_a_series_is_taken_by_place(tiny_clip, icons):
    import pandas as pd

    from mgclip import MGCLIPClassifier

    x, y = [Image.fromarray(image) for image in icons["x_train"][:36]], icons["class_names"][icons["y_train"][:36]]
    frame = pd.DataFrame({"image": x, "label": y}).sample(frac=1, random_state=0)
    settings = {"epochs": 1, "head_epochs": 1}
    shuffled = MGCLIPClassifier(str(tiny_clip), settings=settings).fit(frame.image, frame.label)
    listed = MGCLIPClassifier(str(tiny_clip), settings=settings).fit(list(frame.image), list(frame.label))
    assert shuffled.predict_proba(x) == pytest.approx(listed.predict_proba(x), abs=1e-6)


@pytest.mark.parametrize("prompt", ["a {} #1 icon", "{}", "an icon: {}"])
def test_a_prompt_is_taken_as_it_stands(mgclip, tiny_clip, tmp_path, prompt):
    folder = classes(tmp_path / "data", cat=2, dog=2)
    words = ("epochs=0", "head_epochs=0", "--prompt", prompt, "--json", "--quiet")
    code, _, err = mgclip("learn", folder, "--model", tmp_path / "shop", "--base", tiny_clip, *words)
    assert (code, err) == (0, "")
    assert MGCLIP.from_pretrained(tmp_path / "shop").settings.prompt == prompt


@pytest.mark.parametrize(("size", "sentence"), [((12000, 11000), "are more than"), ((400, 0), "cannot be read")])
def test_what_would_fill_the_memory_is_refused(tmp_path, size, sentence):
    from mgclip.images import open_image

    file = tmp_path / "x.png"
    if size[1]:
        Image.new("1", size).save(file)
        assert file.stat().st_size < 1 << 20
    else:
        file.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")
    with pytest.raises(InputError, match=sentence):
        open_image(file)


def test_the_second_of_two_first_learns_finds_what_the_first_one_learned(tiny_clip, icons, tmp_path):
    """Both begin before there is a model; the one that waits must not begin anew."""
    import subprocess
    import sys
    import time

    from mgclip.saving.lock import only_writer

    month_folders(icons, tmp_path, {"march": (0, 1), "april": (2, 3)}, 3)
    shop = tmp_path / "shop"
    words = [sys.executable, "-m", "mgclip", "learn"]
    with only_writer(shop):
        waiting = subprocess.Popen(
            [*words, tmp_path / "april", "--model", shop, "--base", tiny_clip, "--wait", "120"], stderr=subprocess.PIPE
        )
        time.sleep(6)  # so that it has begun and waits
        model = MGCLIP.from_pretrained(tiny_clip, settings=QUICK)
        picked = np.isin(icons["y_train"], [0, 1])
        names = [str(name) for name in icons["class_names"][:2]]
        model.learn(icons["x_train"][picked], icons["y_train"][picked], names)
        model.save_pretrained(shop, note={"what": "march"})
    _, said = waiting.communicate(timeout=120)
    assert waiting.returncode == 0, said
    assert len(MGCLIP.from_pretrained(shop).class_names) == 4
