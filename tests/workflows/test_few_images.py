"""What learning says about few images, a single class, and branches that are better alone; and settings that change later."""

import json

import numpy as np
import pytest
from icon_tasks import month_folders
from layouts import class_folders

from mgclip import MGCLIP, history
from mgclip.errors import InputError
from mgclip.method.methods import ANALYTIC
from mgclip.workflows.branches import better_alone, left_out_branches

TRAINED = ("--method", "mg-clip", "epochs=1", "adapter_batch_size=8", "head_batch_size=8")


@pytest.fixture
def few(icons, tmp_path):
    """Three images of each of four classes, of which none is held out."""
    month_folders(icons, tmp_path, {"march": range(4)}, 3)
    return tmp_path


def learn(mgclip, place, *words):
    code, out, err = mgclip("learn", place / "march", "--model", place / "shop", *words)
    assert code == 0, err
    return out


def test_three_images_of_a_class_are_measured_by_leaving_each_out(mgclip, few, tiny_clip):
    out = learn(mgclip, few, "--base", tiny_clip, "features=64")
    model = MGCLIP.from_pretrained(few / "shop")
    found = model.solved.calibration
    assert f"leave-one-out accuracy: {100 * found.accuracy:.2f} % of the learned images, each left out in turn" in out
    assert f"text branch only {100 * found.text_accuracy:.2f} %, image branch only {100 * found.head_accuracy:.2f} %" in out
    assert "no adapters trained" in out and "epoch" not in out


def test_each_branch_is_left_out_alone(tiny_clip, icons):
    """The slow way: learn all images but one, and ask each branch."""
    settings = {**ANALYTIC, "features": 64}
    images, labels = list(icons["x_train"][24:72:3]), (icons["y_train"][24:72:3] - 2).tolist()
    names = [str(name) for name in icons["class_names"][2:6]]
    model = MGCLIP.from_pretrained(tiny_clip, settings=settings)
    model.learn(images, labels, names)
    right = {"text": [], "head": []}
    for out in range(len(images)):
        others = [i for i in range(len(images)) if i != out]
        left_out = MGCLIP.from_pretrained(tiny_clip, settings={**settings, "gamma": model.solved.fourier.gamma})
        left_out.learn([images[i] for i in others], [labels[i] for i in others], names)
        found = left_out.predict([images[out]])
        right["text"].append(found.text_probabilities.argmax() == labels[out])
        right["head"].append(found.head_scores.argmax() == labels[out])
    branches = left_out_branches(model)
    assert branches["images"] == len(images)
    assert branches["text"] == np.mean(right["text"])
    assert branches["head"] == pytest.approx(np.mean(right["head"]), abs=0.1)  # the ridge is chosen again for each


def test_a_trained_head_says_that_nothing_was_measured_and_why(mgclip, few, tiny_clip):
    out = learn(mgclip, few, "--base", tiny_clip, *TRAINED)
    assert (
        "accuracy: not measured, because no image was held out: hold some out (--hold-out, of classes with 5 images or more)"
        in out
    )
    assert "--test" in out and "leave-one-out" not in out and "in 1 epoch," in out


@pytest.mark.parametrize("words", [("features=16",), TRAINED])
def test_a_class_taught_alone_reports_no_accuracy_and_no_epoch(mgclip, tmp_path, tiny_clip, words):
    class_folders(tmp_path / "march", cat=8)
    out = learn(mgclip, tmp_path, "--base", tiny_clip, *words)
    assert "learned 1 class from 6 images, no adapters trained" in out and "knows 1 class" in out
    assert "accuracy: not measured, because with a single class every answer is that class" in out
    assert "100.00" not in out and "epoch" not in out
    assert ("there is no second class to distinguish this one from" in out) == (words is TRAINED)
    assert history(tmp_path / "shop")[-1].note["epochs"] == 0


def test_the_accuracy_of_each_branch_is_printed_and_is_true(mgclip, icons, tmp_path, tiny_clip):
    month_folders(icons, tmp_path, {"march": range(4)}, 10)
    out = learn(mgclip, tmp_path, "--base", tiny_clip, *TRAINED)
    from mgclip.workflows.held_out import paths, read_held_out

    held = paths(read_held_out(tmp_path / "shop"))
    files, truth = [file for own in held.values() for file in own], [name for name, own in held.items() for _ in own]
    model = MGCLIP.from_pretrained(tmp_path / "shop")
    found = model.predict(files)
    names = np.array(model.class_names)
    shares = [
        np.mean(part == np.array(truth)) for part in (found.names, names[found.text.argmax(1)], names[found.image.argmax(1)])
    ]
    both, text, head = (f"{100 * share:.2f} %" for share in shares)
    assert f"accuracy: {both} of 8 test images (text branch only {text}, image branch only {head})" in out


def test_a_branch_that_is_better_alone_is_recommended(learned):
    few = {"images": 100, "model": 0.5, "text": 0.4}
    assert (
        "the image branch alone is more accurate (60.00 %) than both branches together (50.00 %): `mgclip set shop branches=image`"
        in (better_alone(learned, {**few, "head": 0.6}, "shop"))
    )
    assert "`mgclip set shop branches=text`" in better_alone(learned, {**few, "text": 0.7, "head": 0.6}, "shop")
    assert "`mgclip set 'my shop' branches=image`" in better_alone(learned, {**few, "head": 0.6}, "my shop")
    assert better_alone(learned, {**few, "head": 0.51}, "shop") is None, "one image more may be chance"
    assert better_alone(learned, {**few, "head": None, "text": None}, "shop") is None


def test_settings_that_need_no_training_change_as_a_new_version(mgclip, few, tiny_clip):
    learn(mgclip, few, "--base", tiny_clip, "features=64")
    shop, images = few / "shop", sorted((few / "march").rglob("*.png"))
    before = MGCLIP.from_pretrained(shop).predict(images)
    code, out, _ = mgclip("set", shop, "branches=image")
    assert (code, out) == (0, "branches: both -> image\n")
    after = MGCLIP.from_pretrained(shop)
    assert after.predict(images).names == [after.class_names[label] for label in before.head_scores.argmax(1)]
    assert history(shop)[-1].note["what"] == "set branches=image"
    assert left_out_branches(after)["model"] == left_out_branches(after)["head"]
    code, out, _ = mgclip("set", shop, "branches=image")
    assert (code, len(history(shop))) == (0, 2) and "all settings already have these values" in out
    mgclip("set", shop, "branches=both", "text_weight=0")
    after = MGCLIP.from_pretrained(shop)
    assert after.predict(images).names == [after.class_names[label] for label in before.head_scores.argmax(1)]
    assert left_out_branches(after)["model"] == left_out_branches(after)["head"], "the accuracy is that of the new weight"
    assert mgclip("set", shop, "text_weight=none")[1] == "text_weight: 0.0 -> none\n", "as the documentation calls it"
    assert history(shop)[-1].note["what"] == "set text_weight=none"
    assert MGCLIP.from_pretrained(shop).predict(images).confidence == pytest.approx(before.confidence, abs=1e-6)
    assert mgclip("undo", shop, "--to", "1")[0] == 0
    assert MGCLIP.from_pretrained(shop).predict(images).names == before.names


def test_a_stored_threshold_is_used_by_predict(mgclip, few, tiny_clip):
    learn(mgclip, few, "--base", tiny_clip, "features=64")
    assert mgclip("set", few / "shop", "unknown_below=1")[0] == 0
    lines = mgclip("predict", few / "shop", few / "march", "--json")[1].splitlines()
    unknown = [json.loads(line)["class"] == "unknown" for line in lines]
    assert unknown == [json.loads(line)["likeness"] < 1 for line in lines] and any(unknown)
    lines = mgclip("predict", few / "shop", few / "march", "--json", "--unknown-below", 0)[1].splitlines()
    assert not any(json.loads(line)["class"] == "unknown" for line in lines)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("rank=4", "rank cannot change without training, because it decides how the adapters are trained"),
        ("features=32", "because it decides how the head is computed"),
        ("prompt='a {}'", "because it decides how texts are encoded"),
        ("memory=10", "because it decides which old images are kept"),
        ("vision_weight=2", "vision_weight has no effect on a model with a solved head: set text_weight"),
        ("vision_weight=heavy", "vision_weight has no effect on a model with a solved head: set text_weight"),
        ("branch=text", "did you mean branches"),
        ("branches=head", "branches must be"),
        ("fusion=published", "belong together"),
        ("unknown_below=2", "unknown_below must be"),
    ],
)
def test_other_settings_are_refused_with_the_reason(mgclip, few, tiny_clip, change, sentence):
    learn(mgclip, few, "--base", tiny_clip, "features=16")
    before = (few / "shop" / "mgclip.json").read_bytes()
    code, _, err = mgclip("set", few / "shop", change)
    assert code == 2 and sentence in err
    assert (few / "shop" / "mgclip.json").read_bytes() == before


def test_a_head_that_was_never_computed_cannot_be_turned_on(tiny_clip, icons):
    from icon_tasks import task

    model = MGCLIP.from_pretrained(tiny_clip, settings={"branches": "text", "epochs": 0})
    model.learn(*task(icons, [0, 1]))
    with pytest.raises(InputError, match="2 classes of this model were learned with branches=text"):
        model.change_settings(branches="both")
    assert model.settings.branches == "text"
