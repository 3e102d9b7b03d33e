"""A model in daily use: three months of new classes, corrections and predictions, through the command line."""

import csv
import io
import json

import forked
import pytest
from PIL import Image

from mgclip.images import to_rgb

MONTHS = ("march", "april", "may")
FORGETTING = 0.10
"""The largest loss allowed: icons100 forgets 9.6 points over ten tasks (docs/results.md), and three must not forget more."""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Ten icon classes a month: line drawings to learn, solid ones to check."""
    from mgclip.stream.datasets import load_dataset

    folder = tmp_path_factory.mktemp("story")
    data = load_dataset("icons100", path=None, train_per_class=20, test_per_class=5)
    for split, kind in ((data.train, "photos"), (data.test, "check")):
        for number, label in enumerate(split.labels.tolist()):
            if label < 30:
                to = folder / kind / MONTHS[label // 10] / data.class_names[label]
                to.mkdir(parents=True, exist_ok=True)
                to_rgb(split.images[number]).save(to / f"{number}.png")
    return folder


def mgclip(place, *words, given=""):
    done = forked.mgclip(*words, cwd=place, given=given)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_three_months_of_learning_predicting_and_correcting(place):
    learned, alone = [], []
    for number, month in enumerate(MONTHS):
        base = () if number else ("--base", "iconclip", "features=512")
        printed = mgclip(place, "learn", f"photos/{month}", "--model", "shop", *base, "--json", "--quiet")
        learned.append(json.loads(printed))
        found = json.loads(mgclip(place, "evaluate", "shop", f"check/{month}", "--json"))
        alone.append(found["accuracy"])
    assert [note["classes_in_all"] for note in learned] == [10, 20, 30]
    for note in learned:
        assert note["accuracy"]["new"] > 0.8
        assert abs(note["tuned"]["gap"]["negative"] / note["untuned"]["gap"]["negative"] - 1) < 0.1
    for note in learned[1:]:
        assert note["accuracy"]["old"] > note["accuracy"]["old_before"] - FORGETTING
        assert note["test_images"] == {"new": 40, "old": 40 * (note["classes_in_all"] // 10 - 1), "gone": 0}
    later = [json.loads(mgclip(place, "evaluate", "shop", f"check/{m}", "--json"))["accuracy"] for m in MONTHS[:2]]
    assert sum(alone[:2]) / 2 - sum(later) / 2 < FORGETTING

    listed = sorted((place / "check" / "may").rglob("*.png"))
    lines = mgclip(place, "predict", "shop", "-", "--csv", "--top", "2", given="\n".join(map(str, listed)))
    rows = list(csv.DictReader(io.StringIO(lines)))
    assert [row["image"] for row in rows[::2]] == list(map(str, listed))
    right = sum(row["class"] in row["image"] for row in rows[::2]) / len(listed)
    assert right > 0.6
    corrected = [f"{file},{file.parent.name}" for file in listed]
    (place / "answers.csv").write_text("\n".join(["image,class", *corrected]) + "\n")
    done = json.loads(mgclip(place, "correct", "shop", "answers.csv", "--json"))
    assert (done["added"], done["moved"], done["unchanged"]) == (len(listed), {}, 0)
    again = json.loads(mgclip(place, "evaluate", "shop", "check/may", "--json"))["accuracy"]
    assert again > right, "the model has learned these images now"
    mgclip(place, "undo", "shop")
    found = json.loads(mgclip(place, "evaluate", "shop", "check/may", "--json"))
    least = found["likeness"]["99"]
    assert least == json.loads(mgclip(place, "evaluate", "shop", "--json"))["likeness"]["99"]
    unsure = mgclip(place, "predict", "shop", "check/may", "--unknown-below", least).splitlines()
    assert sum("\tunknown " in line for line in unsure) == round(len(unsure) * (1 - found["reached"]["99"]))
    assert found["reached"]["99"] > 0.5, "solid drawings are less alike than the line drawings that were learned"

    newest = json.loads(mgclip(place, "history", "shop", "--json"))["versions"]
    assert [(v["number"], v["active"]) for v in newest] == [(1, False), (2, False), (3, True), (4, False)]
    assert "version 2 of shop is active" in mgclip(place, "undo", "shop")
    assert json.loads(mgclip(place, "evaluate", "shop", "check/april", "--json"))["accuracy"] == alone[1]
    mgclip(place, "undo", "shop", "--to", "3")

    first = sorted(entry.name for entry in (place / "check" / "march").iterdir())[0]
    mgclip(place, "relabel", "shop", first, "<b>wake & up</b> ⏰", "--text", first)
    answer = mgclip(place, "predict", "shop", f"check/march/{first}", "--json").splitlines()[0]
    assert json.loads(answer)["class"] == "<b>wake & up</b> ⏰"
    output = mgclip(place, "forget", "shop", "<b>wake & up</b> ⏰")
    assert "The scatter of its images around their mean remains" in output
    answer = mgclip(place, "predict", "shop", f"check/march/{first}", "--json").splitlines()[0]
    assert json.loads(answer)["class"] != "<b>wake & up</b> ⏰"
    page = place / "evaluation.html"
    mgclip(place, "evaluate", "shop", "check/may", "--page", page)
    assert page.read_text().count("<svg") >= 1


def test_after_a_failed_first_learn_the_next_one_works(place):
    bad = place / "bad" / "one"
    bad.mkdir(parents=True)
    for name in ("a", "b"):
        Image.new("RGB", (50, 50)).save(bad / f"{name}.png")
    (bad / "c.png").write_bytes(b"cut short")
    done = forked.mgclip("learn", "bad", "--model", "new", "--base", "iconclip", "features=64", cwd=place)
    assert done.returncode == 2
    assert "c.png cannot be read" in done.stderr
    assert not (place / "new" / "mgclip.json").exists()
    (bad / "c.png").unlink()
    assert "learned 1 class" in mgclip(place, "learn", "bad", "--model", "new", "--base", "iconclip")
