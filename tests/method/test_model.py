"""What a model is, in one line, and predictions for single images."""

from pathlib import Path

import numpy as np
import pytest
from icon_shards import new, shards
from icon_tasks import task
from PIL import Image

from mgclip import MGCLIP, Settings, load_learner
from mgclip.clip.load import load_backbone
from mgclip.errors import AlikeTexts, InputError, MGCLIPError
from mgclip.method.analytic.solved_head import SolvedHead
from mgclip.method.methods import ANALYTIC


def test_the_text_form_of_a_model_says_what_it_is(tiny_clip, icons):
    model = MGCLIP.from_pretrained(tiny_clip, settings={**ANALYTIC, "features": 16})
    assert repr(model) == f"<MGCLIP of {tiny_clip}, texts and solved head, 0 classes>"
    images, labels, names = task(icons, [0, 1])
    model.learn(images, labels, names)
    assert repr(model).endswith(f"texts and solved head, 2 classes: '{names[0]}', '{names[1]}'>")
    model.change_settings(branches="image")
    assert ", solved head, 2 classes" in repr(model)


def test_a_reference_that_is_nothing_names_saved_models_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    with pytest.raises(InputError, match="There is neither a saved model nor a CLIP at shopp: give"):
        MGCLIP.from_pretrained("shopp")
    with pytest.raises(InputError, match="photos is neither a saved model nor a CLIP: it has neither a config"):
        MGCLIP.from_pretrained(tmp_path / "photos")


@pytest.mark.parametrize("reference", [None, 3, b"shop", ["shop"]])
def test_a_reference_or_a_folder_is_a_text_or_a_path(learned, reference):
    calls = (
        lambda: MGCLIP.from_pretrained(reference),
        lambda: load_learner(reference),
        lambda: learned.save_pretrained(reference),
    )
    for call in calls:
        kind = type(reference).__name__
        with pytest.raises(
            InputError, match=f"^Expected a path or the name of a CLIP; found {kind}: give it as text or as a Path"
        ):
            call()


def test_another_spelling_of_a_name_is_a_warning(learned, icons):
    images, labels, _ = task(icons, [3])
    own = learned.class_names[0]
    with pytest.warns(AlikeTexts, match=f"'{own}' and '{own.upper()}_' are probably those of one class"):
        learned.learn(images, labels, [f"{own.upper()}_"])


@pytest.mark.parametrize("kind", [str, Path, Image.open])
def test_a_single_image_gives_a_single_answer(learned, icons, tmp_path, kind):
    file = tmp_path / "a.png"
    Image.fromarray(icons["x_train"][0]).save(file)
    found = learned.predict(kind(str(file)))
    assert len(found) == 1
    assert found.names == learned.predict([file]).names


def test_messages_name_texts_of_numpy_as_texts(learned, icons):
    images, labels, names = task(icons, [3])
    calls = (
        lambda: learned.relabel(np.str_("none"), np.str_("new")),
        lambda: learned.forget(np.str_("none")),
        lambda: learned.predict(images, candidates=[np.str_(learned.class_names[0])]),
        lambda: learned.learn(images, labels, np.array([" "])),
        lambda: learned.learn(images, labels, names, class_texts={np.str_("none"): "text"}),
        lambda: learned.learn(images, [np.str_("none")] * len(images), names),
        lambda: learned.learn(images, np.array(["none"] * len(images)), np.array(names)),
    )
    for call in calls:
        with pytest.raises(InputError) as error:
            call()
        assert "np." not in str(error.value)


def test_models_are_merged_only_with_their_own_adapters(tiny_clip, icons):
    backbone = load_backbone(tiny_clip)
    settings = Settings(**{**ANALYTIC, "features": 16, "adapt": "first", "epochs": 1})
    first = MGCLIP(backbone, settings)
    first.learn(*task(icons, [0, 1]))
    second = MGCLIP(backbone, settings)
    second.learn(*task(icons, [2, 3]))
    with pytest.raises(MGCLIPError, match="now carries the adapters of another model"):
        second.merge(first)
    assert len(second.class_names) == 2


def test_class_texts_of_shards_are_checked(tiny_clip, icons):
    model, parts = new(tiny_clip), shards(icons)
    for name, text in ((str(icons["class_names"][0]), " "), ("of no shard", None)):
        with pytest.raises(InputError, match="text of the class"):
            model.learn_shards(parts, class_texts={name: text})
    assert (model.class_names, sum(part.opened for part in parts)) == ((), 0), "no shard was opened"
    model.learn_shards(parts, class_texts={7: "of no shard"})


def test_models_without_adapters_that_share_a_clip_are_merged(tiny_clip, icons):
    backbone, settings = load_backbone(tiny_clip), Settings(**{**ANALYTIC, "features": 16, "gamma": 2.0})
    first, second = MGCLIP(backbone, settings), MGCLIP(backbone, settings)
    second.learn(*task(icons, [2, 3]))
    other = MGCLIP.from_pretrained(tiny_clip, settings=settings)
    other.learn(*task(icons, [0, 1]))
    other.merge(second)
    assert len(other.class_names) == 4
    with pytest.raises(MGCLIPError, match="now carries the adapters of another model"):
        first.merge(other)


def test_a_thread_predicts_with_the_model_as_it_was_while_another_one_edits_it(tiny_clip, icons, monkeypatch):
    model = MGCLIP.from_pretrained(tiny_clip, settings={**ANALYTIC, "features": 16})
    images, labels, names = task(icons, [0, 1, 2])
    model.learn(images, labels, names)
    before, compare = model.predict(images), model.text_logits

    def compare_then_forget(features, texts):
        logits = compare(features, texts)
        if len(model.class_names) == 3:
            model.forget(names[0])
        return logits

    monkeypatch.setattr(model, "text_logits", compare_then_forget)
    found = model.predict(images)
    assert model.class_names == tuple(names[1:])
    assert (found.classes, found.names) == (before.classes, before.names)
    assert np.array_equal(found.confidence, before.confidence)


def test_a_change_that_is_interrupted_leaves_the_whole_model_as_it_was(tiny_clip, icons, monkeypatch):
    model = MGCLIP.from_pretrained(tiny_clip, settings={**ANALYTIC, "features": 16})
    model.learn(*task(icons, [0, 1]))
    before = vars(model).copy()

    def interrupt(head, device):
        raise KeyboardInterrupt

    monkeypatch.setattr(SolvedHead, "to", interrupt)
    for change in (lambda: model.change_settings(branches="image"), lambda: model.learn(*task(icons, [2, 3]))):
        with pytest.raises(KeyboardInterrupt):
            change()
        assert all(value is before[name] for name, value in vars(model).items())
