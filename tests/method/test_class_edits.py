"""Renaming and removing classes."""

import math

import pytest
import torch
from icon_tasks import task
from learned import same

from mgclip import MGCLIP
from mgclip.errors import InputError


def test_classes_are_renamed_and_removed(shop):
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
    model.forget(names[2])  # the first class of the second task
    assert (model.class_names, model.task_sizes) == (("ÄÖÜ <b>", names[3]), (1, 1))


@pytest.mark.parametrize("name", [None, math.nan, "", " "])
def test_a_class_is_not_renamed_to_a_missing_name(shop, name):
    model = MGCLIP.from_pretrained(shop)
    with pytest.raises(InputError, match="needs a name: give a new one that is not empty"):
        model.relabel(model.class_names[0], name)


def test_a_removed_class_leaves_the_memory(tiny_clip, quick, icons):
    settings = quick.model_copy(update={"memory": 12})
    model = MGCLIP.from_pretrained(tiny_clip, settings=settings)
    model.learn(*task(icons, [0, 1, 2]))
    kept = {label: model.memory.pixels[model.memory.labels == label] for label in (0, 2)}
    model.forget(model.class_names[1])
    assert sorted(set(model.memory.labels.tolist())) == [0, 1]
    assert torch.equal(model.memory.pixels[model.memory.labels == 0], kept[0])
    assert torch.equal(model.memory.pixels[model.memory.labels == 1], kept[2])


def test_a_model_without_classes_learns_again(tiny_clip, quick, icons):
    model = MGCLIP.from_pretrained(tiny_clip, settings=quick.model_copy(update={"memory": 6}))
    model.learn(*task(icons, [0, 1]))
    for name in model.class_names:
        model.forget(name)
    model.learn(*task(icons, [2, 3]))
    assert len(model.class_names) == 2


def test_a_class_is_not_given_a_name_that_cannot_be_stored(shop):
    model = MGCLIP.from_pretrained(shop)
    with pytest.raises(InputError, match="is not valid UTF-8"):
        model.relabel(model.class_names[0], "x\udcff")
