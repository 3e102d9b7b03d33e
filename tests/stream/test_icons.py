"""The icon data sets are as defined, and do not depend on how many images are drawn."""

from collections import Counter

import numpy as np
import pytest

from mgclip.errors import InputError
from mgclip.experiment.open_run import build_stream
from mgclip.experiment.recipe import load_recipe
from mgclip.stream import icons
from mgclip.stream.data import Split, few_of_each
from mgclip.stream.datasets import load_dataset
from mgclip.stream.files import image_group
from mgclip.stream.glyphs import catalogue, render


def test_icons100_is_as_defined():
    names = icons.class_names()
    assert len(names) == 100
    assert list(names) == sorted(names)
    families = {}
    for glyph in catalogue():
        families.setdefault(glyph.concept, []).append((glyph.family, glyph.style))
    for name in names:
        drawn = families[name]
        assert sum(family == "phosphor" for family, _ in drawn) >= 5
        assert any(family == "remix" for family, _ in drawn)
        assert any(family not in ("phosphor", "remix") for family, _ in drawn)
    train, test = icons.renditions(icons.TRAIN_STYLES), icons.renditions(icons.TEST_STYLES)
    assert list(train) == list(test) == list(names)
    assert {g.style for drawings in train.values() for g in drawings} <= {
        "thin",
        "light",
        "regular",
        "bold",
        "line",
        "plain",
    }
    assert {g.style for drawings in test.values() for g in drawings} <= {"fill", "duotone"}
    assert {g.family for part in (train, test) for drawings in part.values() for g in drawings} == {"phosphor", "remix"}


def test_icons_do_not_depend_on_how_many_are_drawn():
    few, many = icons.load(3, 2), icons.load(7, 5)
    for short, long, a, b in ((few[0], many[0], 3, 7), (few[1], many[1], 2, 5)):
        assert np.array_equal(np.asarray(short[4 * a + 1]), np.asarray(long[4 * b + 1]))
    assert not np.array_equal(np.asarray(many[0][0]), np.asarray(many[0][5]))
    assert len(many[0]) == 700
    assert np.asarray(many[0][699]).shape == (64, 64, 3)
    with pytest.raises(IndexError):
        many[0][700]


def test_the_group_of_an_image_is_the_drawing_that_it_shows():
    _, test = icons.load(1, 6)
    assert len({test.group_of(place) for place in range(len(test))}) == 196  # four classes have one drawing, the others two
    drawn = [glyph for drawings in test.glyphs.values() for glyph in drawings]
    assert len({(glyph.family, glyph.style, glyph.concept) for glyph in drawn}) == 196
    stream = build_stream(load_recipe("icons100", ["test_per_class=6", "tasks=1"]))
    names = [stream[0].texts[label] for label in stream[0].test.labels]
    groups = [image_group(stream[0].test.images, place) for place in range(len(names))]
    assert all(group.endswith(name) for group, name in zip(groups, names, strict=True))
    assert {len(places) for places in by_value(groups)} <= {3, 6}


def by_value(values):
    """The positions of each value."""
    return [np.flatnonzero(np.array(values) == value) for value in set(values)]


def test_every_glyph_of_the_stream_draws_something():
    for part in (icons.TRAIN_STYLES, icons.TEST_STYLES):
        for drawings in icons.renditions(part).values():
            for glyph in drawings:
                cover = np.asarray(render(glyph))
                assert cover.max() == 255
                assert 0.01 < (cover > 127).mean() < 0.8, glyph


def test_the_icon_sets_for_testing_are_as_defined():
    concepts, families = icons.held_out_glyphs(), icons.family_glyphs()
    for groups in (concepts, families):
        assert len(groups) == 100
        assert list(groups) == sorted(groups)
        assert set(groups).isdisjoint(icons.class_names())
    assert set(concepts).isdisjoint(families)
    assert {g.family for drawings in concepts.values() for g in drawings} == {"phosphor"}
    for drawings in families.values():
        drawn = {g.family for g in drawings}
        assert drawn.isdisjoint(icons.STREAM_FAMILIES)
        assert len({family.rstrip("56") for family in drawn}) >= 2
    # The training log of iconclip was measured on these.
    assert list(concepts)[:4] == ["address book", "airplane landing", "arrow circle down", "arrow circle right"]
    assert list(concepts)[-1] == "spade"
    initials = Counter(name[0] for name in families)
    assert len(initials) >= 15
    assert max(initials.values()) <= 25
    for name, groups in (("icons-concepts", concepts), ("icons-families", families)):
        data = load_dataset(name, path=None, train_per_class=1, test_per_class=7, test_only=True)
        assert data.class_names == tuple(groups)
        assert len(data.train.labels) == 0
        assert data.test.labels.tolist() == [label for label in range(100) for _ in range(7)]
        few = load_dataset(name, path=None, train_per_class=1, test_per_class=2, test_only=True)
        assert np.array_equal(np.asarray(few.test.images[2 * 31 + 1]), np.asarray(data.test.images[7 * 31 + 1]))
        covers = [np.asarray(render(g)).max() for drawings in groups.values() for g in drawings]
        assert min(covers) > 200
    first, second = icons.load_retention("icons-concepts", 1), icons.load_retention("icons-families", 1)
    assert not np.array_equal(np.asarray(first[0]), np.asarray(second[0]))


@pytest.mark.parametrize("name", ["icons-concepts", "icons-families"])
def test_the_training_images_of_a_retention_set_show_the_drawings_of_its_test_images_in_other_pictures(name):
    data = load_dataset(name, path=None, train_per_class=3, test_per_class=2)
    assert data.train.labels.tolist() == [label for label in range(100) for _ in range(3)]
    assert data.train.images.glyphs == data.test.images.glyphs
    pictures = [{np.asarray(part.images[index]).tobytes() for index in range(0, 60)} for part in (data.train, data.test)]
    assert [len(each) for each in pictures] == [60, 60]
    assert not pictures[0] & pictures[1]


def test_the_edge_filter_is_applied_to_every_image_of_icons100():
    plain, edges = (load_dataset("icons100", path=None, train_per_class=2, test_per_class=1, filter=f) for f in ("none", "edges"))
    for part in ("train", "test"):
        before, after = getattr(plain, part), getattr(edges, part)
        assert np.array_equal(before.labels, after.labels)
        for index in (0, 57, 99):
            found = np.asarray(after.images[index], dtype=int)
            image = np.asarray(before.images[index], dtype=int)
            neighbours = sum(image[1 + y : 63 + y, 1 + x : 63 + x] for y in (-1, 0, 1) for x in (-1, 0, 1))
            assert np.array_equal(found[1:-1, 1:-1], np.clip(9 * image[1:-1, 1:-1] - neighbours, 0, 255))
    with pytest.raises(InputError, match="filter = edges applies to icons100 only, and the data set is icons-concepts"):
        load_dataset("icons-concepts", path=None, test_only=True, filter="edges")


def test_a_run_on_folders_refuses_the_filter():
    with pytest.raises(InputError, match="filter = edges applies to icons100 only, and the data set is folder: leave"):
        build_stream(load_recipe("icons100-edges", ["data=folder", "data_path=somewhere"]))


def test_recipes_with_few_images_choose_some_of_icons100():
    few, again, other, many = (
        build_stream(load_recipe(name, ["tasks=1", "class_order=dataset", *changes]))
        for name, changes in (
            ("icons100-few", []),
            ("icons100-few", []),
            ("icons100-few", ["seed=1"]),
            ("icons100", []),
        )
    )
    labels = few[0].train.labels
    assert Counter(labels.tolist()) == dict.fromkeys(range(10), 4)
    pictures = [[np.asarray(image).tobytes() for image in stream[0].train.images] for stream in (few, again, other, many)]
    assert pictures[0] == pictures[1] != pictures[2]
    for label in range(10):
        own, all_of = (
            {pictures[n][i] for i in np.flatnonzero(stream[0].train.labels == label)} for n, stream in ((0, few), (3, many))
        )
        assert len(own) == 4 and own < all_of
    for one, two in zip(few[0].test.images, many[0].test.images, strict=True):
        assert np.array_equal(np.asarray(one), np.asarray(two))


def test_a_class_with_fewer_images_keeps_them_all():
    split = Split(list("abcde"), np.array([0, 0, 0, 1, 0]))
    found = few_of_each(split, 2, seed=3)
    assert Counter(found.labels.tolist()) == {0: 2, 1: 1}
    assert list(found.images) == sorted(found.images)
