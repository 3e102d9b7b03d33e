"""A model that reads shards once learns what one learns that has all images at hand, in any number of processes and attempts."""

import pytest
from icon_shards import SETTINGS, Shard, new, same, shards
from icon_tasks import task

from mgclip import MGCLIP
from mgclip.clip.backbone import Backbone
from mgclip.errors import AlikeTexts, InputError
from mgclip.images import MemberImage, UnreadableImage


@pytest.fixture
def expected(tiny_clip, icons):
    model = new(tiny_clip)
    model.learn(*task(icons, list(range(6))))
    return model


def test_shards_in_any_order_teach_what_images_at_hand_teach(tiny_clip, icons, expected, monkeypatch):
    model = new(tiny_clip)
    result = model.learn_shards(shards(icons))
    assert (result.images, result.task, result.grown, result.known, result.skipped) == (72, 0, (), 0, ())
    assert model.class_names == result.new == tuple(sorted(expected.class_names))
    same(model, expected)
    monkeypatch.setattr("mgclip.method.shards.one_pass.CHUNK", 8)  # sums are added often
    other = MGCLIP.from_pretrained(tiny_clip, settings={**SETTINGS, "encode_batch_size": 5})
    other.learn_shards(shards(icons, number=3, seed=1))
    same(other, expected)


@pytest.mark.parametrize("representation", ["pre-projection", "both", "auto"])
def test_the_representation_is_the_one_of_images_at_hand(tiny_clip, icons, representation):
    model, expected = (new(tiny_clip, representation=representation) for _ in range(2))
    expected.learn(*task(icons, list(range(6))))
    model.learn_shards(shards(icons))
    assert model.solved.fourier.representation == expected.solved.fourier.representation
    # A feature that is taken out of both representations is normalised twice, in single precision.
    same(model, expected, within=1e-6 if representation == "auto" else 1e-8)


def test_images_and_texts_weigh_as_with_images_at_hand(tiny_clip, icons):
    """Classes have different numbers of images, so that class balance matters."""
    parts, settings = shards(icons)[:2], {"class_balance": False, "text_weight": 0.2}
    model, expected, balanced = new(tiny_clip, **settings), new(tiny_clip, **settings), new(tiny_clip)
    images, names = zip(*(item for part in parts for item in part.items), strict=True)
    for each in (expected, balanced):
        each.learn(list(images), list(names), sorted(set(names)))
    model.learn_shards(parts)
    same(model, expected)
    assert model.solved.calibration.text == expected.solved.calibration.text == 0.2
    assert not model.solved.sums.class_balance
    assert (model.solved.weights - balanced.solved.weights).abs().max() > 1e-3


def test_known_classes_grow_and_known_images_are_left_out(tiny_clip, icons):
    model, expected, parts = new(tiny_clip, gamma=2.0), new(tiny_clip, gamma=2.0), shards(icons)
    expected.learn(*task(icons, list(range(6))))
    model.learn_shards(parts[:2], class_texts={str(icons["class_names"][0]): "a drawing", "other": "x"})
    first = str(icons["class_names"][0])
    assert model.class_texts[model.class_names.index(first)] == "a drawing"
    model.relabel(first, first)  # the text of the others
    result = model.learn_shards(parts)
    assert result.known == sum(len(part.items) for part in parts[:2])
    assert set(result.grown) | set(result.new) == set(model.class_names)
    same(model, expected)
    with pytest.raises(InputError, match="There is no new image in the shards: 72 images were learned before"):
        model.learn_shards(parts)
    same(model, expected)


def test_a_later_task_has_the_shards_of_new_classes(tiny_clip, icons):
    model, expected = new(tiny_clip), new(tiny_clip)
    for classes in (range(3), range(3, 6)):
        expected.learn(*task(icons, list(classes)))
    model.learn(*task(icons, [0, 1, 2]))
    model.learn_shards(shards(icons, classes=range(3, 6)))
    assert model.task_sizes == (3, 3)
    same(model, expected)


def test_images_that_occur_again_are_learned_again_and_counted(tiny_clip, icons):
    images, labels, names = task(icons, [0, 1])
    items = [(image, names[label]) for image, label in zip(images, labels, strict=True)]
    repeated = [items[0], items[0], items[3]]
    moved = [(items[1][0], names[1]), (items[1][0], names[1]), (items[2][0], names[1])]
    model, whole = new(tiny_clip, gamma=2.0), new(tiny_clip, gamma=2.0)
    result = model.learn_shards([Shard("a", items), Shard("b", repeated), Shard("c", moved)])
    assert (result.images, result.repeated, result.in_several) == (len(items) + 6, 6, 2)
    everything = [*items, *repeated, *moved]
    whole.learn([image for image, _ in everything], [name for _, name in everything], names)
    same(model, whole, within=1e-5)  # some processors round the features of three images differently from those of thirty
    result = new(tiny_clip).learn_shards(shards(icons))
    assert (result.repeated, result.in_several) == (0, 0)


def test_a_shard_is_learned_once(tiny_clip, icons):
    """Of two shards with one name, sums that are resumed would not tell whether they have both."""
    parts = shards(icons)
    with pytest.raises(InputError, match=r"2 shards are called shard 0, .*: give each shard once"):
        new(tiny_clip).learn_shards([*parts, Shard("shard 0", parts[1].items)])
    with pytest.raises(InputError, match="There is no shard to learn"):
        new(tiny_clip).learn_shards([])
    assert not any(part.opened for part in parts)


def test_the_images_of_the_other_shards_are_expected_to_be_as_many_as_those_of_one(tiny_clip, icons, monkeypatch):
    asked = []
    monkeypatch.setattr(Backbone, "expect", lambda backbone, images, batch: asked.append(images))
    new(tiny_clip, gamma=2.0, encode_batch_size=100).learn_shards(shards(icons, number=4))
    assert asked == [18, 3 * 18, 18, 2 * 18, 18, 18, 18, 0], "the batches of each shard, and the shards that are left"


def test_what_cannot_be_read_is_named_or_skipped(tiny_clip, icons):
    parts = shards(icons)
    parts[1].items[2] = ("absent.png", parts[1].items[2][1])
    parts[4].breaks_after = 5
    with pytest.raises(InputError, match=r"There is no image file absent\.png"):
        new(tiny_clip).learn_shards(parts)
    parts[1].items[2] = (MemberImage(b"none", "shard 1: 2.png"), parts[1].items[2][1])
    with pytest.raises(UnreadableImage, match=r"The image shard 1: 2\.png cannot be read"):
        new(tiny_clip).learn_shards(parts)
    model = new(tiny_clip)
    result = model.learn_shards(parts, skip_unreadable=True)
    assert result.images == 72 - 1 - (len(parts[4].items) - 5)
    assert result.skipped == (
        ("shard 1: 2.png", "not an image in a supported format"),
        ("shard 4", "5 images of it were learned, and the rest cannot be read: torn"),
    )
    parts = [Shard("shard 0", [(MemberImage(b"none", "0.png"), "owl")]), Shard("shard 1", [], breaks_after=0)]
    with pytest.raises(InputError, match=r"No image of the shards can be read, such as 0\.png \(not an image"):
        new(tiny_clip).learn_shards(parts, skip_unreadable=True)


def test_only_damage_is_skipped(tiny_clip, icons):
    """A shard without classes, or one that needs another package, is a mistake that can be mended."""

    class Unlabelled(Shard):
        def __iter__(self):
            yield self.items[0]
            raise InputError("The image 1.png has no class.")

    parts = shards(icons)
    parts[2] = Unlabelled(parts[2].name, parts[2].items)
    with pytest.raises(InputError, match=r"1\.png has no class"):
        new(tiny_clip).learn_shards(parts, skip_unreadable=True)


def test_the_known_images_of_a_damaged_shard_do_not_count_as_learned(tiny_clip, icons):
    parts, model = shards(icons), new(tiny_clip, gamma=2.0)
    model.learn_shards(parts[:1])
    torn = [*parts[0].items[:3], *parts[1].items]
    result = model.learn_shards([Shard("torn", torn, breaks_after=5, opened=1)], skip_unreadable=True)
    assert (result.images, result.known) == (2, 3)
    assert result.skipped == (("torn", "2 images of it were learned, and the rest cannot be read: torn"),)
    result = model.learn_shards([Shard("gone", torn, breaks_after=0, opened=1), *parts[2:3]], skip_unreadable=True)
    assert result.skipped == (("gone", "it cannot be read: torn"),)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"epochs": 1}, "A trained head needs each image several times"),
        (
            {"compensation": "analytic", "fusion": "calibrated", "adapt": "first", "epochs": 1},
            "With adapt: first adapters are trained",
        ),
        ({"compensation": "analytic", "fusion": "calibrated", "adapt": "auto"}, "With adapt: auto adapters are trained"),
    ],
)
def test_a_model_that_needs_several_passes_says_so_before_anything_is_read(tiny_clip, icons, settings, why):
    parts = shards(icons)
    with pytest.raises(InputError, match=f"{why}.* shards are read once"):
        MGCLIP.from_pretrained(tiny_clip, settings=settings).learn_shards(parts)
    assert not any(part.read for part in parts)


def test_names_that_look_alike_are_refused_after_the_first_shard_with_both(tiny_clip, icons):
    parts = shards(icons, classes=range(2))
    parts[0].items[0] = (parts[0].items[0][0], "ﬁsh")
    parts[0].items[1] = (parts[0].items[1][0], "fish")
    with pytest.raises(InputError, match="look alike"):
        new(tiny_clip).learn_shards(parts)
    assert len(parts[4].read) <= 14  # the first images of each shard, for the width of the kernel


def test_names_that_are_probably_one_are_warned_of(tiny_clip, icons):
    parts = shards(icons, classes=range(2))
    for part, name in zip(parts, ("sea fish", "Sea-Fish"), strict=False):
        part.items[0] = (part.items[0][0], name)
    with pytest.warns(AlikeTexts, match=r"'Sea-Fish' and 'sea fish' are probably those of one class") as found:
        new(tiny_clip).learn_shards(parts)
    assert found[0].filename == __file__
