"""A model that reads shards once learns what one learns that has all images at hand, in any number of processes and attempts."""

import json
import signal
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from forked import programs
from icon_tasks import task

from mgclip import MGCLIP
from mgclip.clip.backbone import Backbone
from mgclip.errors import AlikeTexts, DamagedShard, InputError
from mgclip.images import MemberImage, UnreadableImage
from mgclip.method.baselines.table import ANALYTIC

SETTINGS = {**ANALYTIC, "features": 64}


@dataclass
class Shard:
    """Images in memory with the names of their classes. It notes what was read, and may break when it is read again: each shard
    is opened first for the width of the kernel.
    """

    name: str
    items: list
    breaks_after: int | None = None
    read: list = field(default_factory=list)
    opened: int = 0

    def __iter__(self):
        self.opened += 1
        for number, item in enumerate(self.items):
            if number == self.breaks_after and self.opened > 1:
                raise DamagedShard(self.name, "to its end", "torn")
            self.read.append(number)
            yield item


def shards(icons, number=5, classes=range(6), seed=0):
    images, labels, names = task(icons, list(classes))
    order = np.random.default_rng(seed).permutation(len(images))
    parts = np.array_split(order, number)
    return [Shard(f"shard {i}", [(images[k], names[labels[k]]) for k in part]) for i, part in enumerate(parts)]


def new(clip, **more):
    return MGCLIP.from_pretrained(clip, settings={**SETTINGS, **more})


def same(found, expected, within=1e-8):
    """The same classes, images, answers and weights, whatever the order of the classes."""
    order = [found.class_names.index(name) for name in expected.class_names]
    one, two = found.solved.weights[:, order], expected.solved.weights
    assert (one - two).abs().max() <= within * two.abs().max()
    assert sorted(found.solved.learned.marks.tolist()) == sorted(expected.solved.learned.marks.tolist())
    assert found.solved.calibration.accuracy == expected.solved.calibration.accuracy
    assert found.solved.calibration.head == pytest.approx(expected.solved.calibration.head, rel=1e-5)


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
    monkeypatch.setattr("mgclip.method.learn_shards.CHUNK", 8)  # sums are added often
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


def test_a_failure_loses_the_shard_in_hand_only(tiny_clip, icons, expected, tmp_path):
    model, parts = new(tiny_clip), shards(icons)
    parts[3].breaks_after = 7
    with pytest.raises(InputError, match="The shard shard 3 cannot be read"):
        model.learn_shards(parts, progress=tmp_path)
    assert (model.class_names, model.solved) == ((), None)
    again = shards(icons)
    model.learn_shards(again, progress=tmp_path)
    assert [bool(part.read) for part in again] == [False, False, False, True, True]
    same(model, expected)


def test_sums_over_a_changed_shard_are_not_resumed(tiny_clip, icons, expected, tmp_path):
    parts, versions = shards(icons), {f"shard {number}": "first" for number in range(5)}
    old = [Shard(parts[0].name, parts[0].items[:3]), *parts[1:]]
    old[1].breaks_after = 2
    with pytest.raises(InputError, match="The shard shard 1 cannot be read"):
        new(tiny_clip).learn_shards(old, progress=tmp_path, versions=versions)
    again, model = shards(icons), new(tiny_clip)
    model.learn_shards(again, progress=tmp_path, versions={**versions, "shard 0": "second"})
    same(model, expected)


def test_a_shard_that_was_not_finished_may_change_or_be_left_out(tiny_clip, icons, tmp_path):
    versions = {f"shard {number}": "first" for number in range(5)}
    parts = shards(icons)
    parts[3].opened, parts[3].breaks_after = 1, 2
    settings = {"gamma": 2.0}  # otherwise it depends on the first images of all shards
    with pytest.raises(InputError, match="The shard shard 3 cannot be read"):
        new(tiny_clip, **settings).learn_shards(parts, progress=tmp_path, versions=versions)
    left, model, whole = [*shards(icons)[:3], shards(icons)[4]], new(tiny_clip, **settings), new(tiny_clip, **settings)
    model.learn_shards(left, progress=tmp_path, versions={**versions, "shard 4": "second"})
    assert [bool(part.read) for part in left] == [False, False, False, True]
    whole.learn_shards([*shards(icons)[:3], shards(icons)[4]])
    same(model, whole)


@pytest.mark.parametrize("change", ["replaced", "left out", "added"])
def test_the_width_of_the_kernel_is_never_one_of_other_shards(tiny_clip, icons, tmp_path, change):
    """It is chosen from the first images of all shards, so sums over unchanged shards do not always fit those that follow."""
    versions, parts = {f"shard {number}": "first" for number in range(6)}, shards(icons, number=6)
    first = parts[:5] if change == "added" else shards(icons, number=6)
    if change == "replaced":
        first[4].items = first[4].items[:3]
    first[3].breaks_after = 2
    with pytest.raises(InputError, match="The shard shard 3 cannot be read"):
        new(tiny_clip).learn_shards(first, progress=tmp_path, versions=versions)
    now = [Shard(part.name, part.items) for part in shards(icons, number=6) if change != "left out" or part.name != "shard 4"]
    model, expected = new(tiny_clip), new(tiny_clip)
    expected.learn_shards(now)
    model.learn_shards(now, progress=tmp_path, versions={**versions, "shard 4": "second"})
    assert model.solved.fourier.gamma == expected.solved.fourier.gamma
    assert torch.equal(model.solved.weights, expected.solved.weights)


def test_a_shard_that_was_damaged_may_be_replaced_if_its_first_images_stay(tiny_clip, icons, expected, tmp_path, monkeypatch):
    """The width of the kernel is then the same."""
    monkeypatch.setattr("mgclip.method.learn_shards.SAMPLE", 10)
    versions, parts = {f"shard {number}": "first" for number in range(5)}, shards(icons)
    parts[3].breaks_after = 7
    with pytest.raises(InputError, match="The shard shard 3 cannot be read"):
        new(tiny_clip).learn_shards(parts, progress=tmp_path, versions=versions)
    model, now = new(tiny_clip), shards(icons)
    model.learn_shards(now, progress=tmp_path, versions={**versions, "shard 3": "second"})
    assert [len(part.read) for part in now] == [2, 2, 2, 2 + len(now[3].items), 2 + len(now[4].items)]


@pytest.mark.parametrize("other", ["seed", "features", "skip", "known"])
def test_sums_of_another_model_are_not_resumed(tiny_clip, icons, tmp_path, other):
    """Nor those that miss an image that could not be read, unless such are skipped again."""
    parts = shards(icons)
    parts[3].opened, parts[3].breaks_after = 1, 2
    parts[1].items[2] = (MemberImage(b"none", "2.png"), parts[1].items[2][1]) if other == "skip" else parts[1].items[2]
    parts[3].items[1] = (MemberImage(b"none", "1.png"), parts[3].items[1][1]) if other == "skip" else parts[3].items[1]
    before = new(tiny_clip, gamma=2.0)
    if other == "skip":
        dying = [*parts[:2], Dying(parts[2].name, parts[2].items)]
        with pytest.raises(KeyboardInterrupt):
            before.learn_shards(dying, progress=tmp_path, skip_unreadable=True)
        with pytest.raises(UnreadableImage, match=r"2\.png cannot be read"):
            new(tiny_clip, gamma=2.0).learn_shards(parts[:3], progress=tmp_path)
        return
    with pytest.raises(InputError, match="The shard shard 3 cannot be read"):
        before.learn_shards(parts, progress=tmp_path)
    settings = {"seed": {"seed": 5}, "features": {"features": 32}, "known": {}}[other]
    model, expected = (new(tiny_clip, gamma=2.0, **settings) for _ in range(2))
    for each in (model, expected):
        if other == "known":
            each.learn_shards(shards(icons)[:1])
    expected.learn_shards(shards(icons))
    model.learn_shards(shards(icons), progress=tmp_path)
    assert torch.equal(model.solved.weights, expected.solved.weights)


class Dying(Shard):
    """A shard during which the process is interrupted."""

    def __iter__(self):
        yield self.items[0]
        raise KeyboardInterrupt


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
    same(model, whole)
    result = new(tiny_clip).learn_shards(shards(icons))
    assert (result.repeated, result.in_several) == (0, 0)


def test_the_images_of_the_other_shards_are_expected_to_be_as_many_as_those_of_one(tiny_clip, icons, monkeypatch):
    asked = []
    monkeypatch.setattr(Backbone, "expect", lambda backbone, images, batch: asked.append(images))
    new(tiny_clip, gamma=2.0, encode_batch_size=100).learn_shards(shards(icons, number=4))
    assert asked == [18, 3 * 18, 18, 2 * 18, 18, 18, 18, 0], "the batches of each shard, and the shards that are left"


@pytest.mark.parametrize("damage", [b"", b"not a file of tensors", None])
def test_damaged_sums_are_computed_again(tiny_clip, icons, expected, tmp_path, damage):
    model, parts = new(tiny_clip), shards(icons)
    parts[3].breaks_after = 0
    with pytest.raises(InputError):
        model.learn_shards(parts, progress=tmp_path)
    (file,) = tmp_path.iterdir()
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]) if damage is None else damage)
    model.learn_shards(shards(icons), progress=tmp_path)
    same(model, expected)


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
    with pytest.warns(AlikeTexts, match=r"'Sea-Fish' and 'sea fish' are probably those of one class"):
        new(tiny_clip).learn_shards(parts)


PROGRAM = """
import json, os, signal, sys
sys.path[:0] = sys.argv[1].split(":")
import numpy as np
from test_learn_shards import Shard, new, shards
from mgclip.stream import icons
train, _ = icons.load(12, 4)
drawings = np.stack([np.asarray(train[i]) for i in range(120)])
parts = shards({"x_train": drawings, "y_train": np.arange(10).repeat(12), "class_names": np.array(icons.class_names()[:10])}, 7)

class Deadly(Shard):
    def __iter__(self):
        for number, item in enumerate(super().__iter__()):
            if self.name == sys.argv[4] and number == 4 and os.environ["RANK"] == "1":
                os.kill(os.getpid(), signal.SIGKILL)
            yield item

model, parts = new(sys.argv[2]), [Deadly(part.name, part.items) for part in parts]
model.learn_shards(parts, progress=f"{sys.argv[3]}/progress")
model.save_pretrained(f"{sys.argv[3]}/model")
print(json.dumps([part.name for part in parts if part.read]))
"""


@pytest.mark.parametrize("then", [2, 1, 3])
def test_a_killed_process_loses_the_shard_in_hand_only(tiny_clip, icons, expected, tmp_path, then):
    """Whatever the number of processes that resume."""
    import sys
    from pathlib import Path

    where = ":".join(
        [str(Path(__file__).parent), *(path for path in sys.path if path.startswith(str(Path(__file__).parents[2])))]
    )
    words = where, tiny_clip, tmp_path
    killed = programs(2, PROGRAM, *words, "shard 5")  # the third one of process 1
    assert killed[1].returncode == -signal.SIGKILL
    assert not (tmp_path / "model").exists()
    done = programs(then, PROGRAM, *words, "none")
    assert [each.returncode for each in done] == [0] * then, done[0].stderr[-3000:]
    same(MGCLIP.from_pretrained(tmp_path / "model"), expected)
    read = {name for each in done for name in json.loads(each.stdout)}
    assert not read & {"shard 1", "shard 3"}
    assert "shard 5" in read
