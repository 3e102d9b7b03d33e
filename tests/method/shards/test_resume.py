"""Sums over shards are resumed if reading all shards now would give them again, and only then."""

import json
import shutil
import signal
import sys
from pathlib import Path

import pytest
import torch
from forked import programs
from icon_shards import Shard, new, same, shards
from icon_tasks import task

from mgclip import MGCLIP
from mgclip.clip.adapters import adapter_state, initialise_adapters, set_adapter_state
from mgclip.errors import InputError
from mgclip.images import MemberImage, UnreadableImage
from mgclip.method.shards.resume import identity


@pytest.fixture
def expected(tiny_clip, icons):
    model = new(tiny_clip)
    model.learn(*task(icons, list(range(6))))
    return model


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


def test_sums_over_a_changed_shard_are_not_resumed_if_the_width_of_the_kernel_is_given(tiny_clip, icons, tmp_path):
    versions = {f"shard {number}": "first" for number in range(5)}
    old = [Shard(part.name, part.items[: 3 if number == 0 else None]) for number, part in enumerate(shards(icons))]
    old[1].opened, old[1].breaks_after = 1, 2
    with pytest.raises(InputError, match="The shard shard 1 cannot be read"):
        new(tiny_clip, gamma=2.0).learn_shards(old, progress=tmp_path, versions=versions)
    model, expected = new(tiny_clip, gamma=2.0), new(tiny_clip, gamma=2.0)
    model.learn_shards(shards(icons), progress=tmp_path, versions={**versions, "shard 0": "second"})
    expected.learn_shards(shards(icons))
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


def test_a_shard_that_was_damaged_may_be_replaced_if_its_first_images_stay(tiny_clip, icons, tmp_path, monkeypatch):
    """The width of the kernel is then the same."""
    monkeypatch.setattr("mgclip.method.shards.one_pass.SAMPLE", 10)
    versions, parts = {f"shard {number}": "first" for number in range(5)}, shards(icons)
    parts[3].breaks_after = 7
    with pytest.raises(InputError, match="The shard shard 3 cannot be read"):
        new(tiny_clip).learn_shards(parts, progress=tmp_path, versions=versions)
    model, now = new(tiny_clip), shards(icons)
    model.learn_shards(now, progress=tmp_path, versions={**versions, "shard 3": "second"})
    assert [len(part.read) for part in now] == [2, 2, 2, 2 + len(now[3].items), 2 + len(now[4].items)]


@pytest.mark.parametrize("other", ["seed", "features", "known"])
def test_sums_of_another_model_are_not_resumed(tiny_clip, icons, tmp_path, other):
    parts = shards(icons)
    parts[3].opened, parts[3].breaks_after = 1, 2
    with pytest.raises(InputError, match="The shard shard 3 cannot be read"):
        new(tiny_clip, gamma=2.0).learn_shards(parts, progress=tmp_path)
    settings = {"seed": {"seed": 5}, "features": {"features": 32}, "known": {}}[other]
    model, expected = (new(tiny_clip, gamma=2.0, **settings) for _ in range(2))
    for each in (model, expected):
        if other == "known":
            each.learn_shards(shards(icons)[:1])
    expected.learn_shards(shards(icons))
    model.learn_shards(shards(icons), progress=tmp_path)
    assert torch.equal(model.solved.weights, expected.solved.weights)


def test_all_that_decides_the_sums_besides_the_shards_identifies_a_model(tiny_clip, icons):
    model = new(tiny_clip, gamma=2.0)
    backbone, plain = model.backbone, model.settings

    def found(settings=plain, names=("a", "b"), head=None):
        return identity(head, names, model.encoder, settings)

    first = found()
    assert found(plain.model_copy(update={"encode_batch_size": 3, "micro_batch_size": 2})) == first  # rounding only
    others = [found(plain.model_copy(update={"seed": 5})), found(names=("b", "a")), found(names=("a",))]
    backbone.fingerprint, own = "another CLIP", backbone.fingerprint
    others.append(found())
    backbone.fingerprint = own
    backbone.configure(precision="bfloat16", micro_batch=None, compiled=False, checkpointing=False)
    others.append(found())
    backbone.configure(precision="float32", micro_batch=None, compiled=False, checkpointing=False)
    assert found() == first
    set_adapter_state(backbone, {name: weight + 1 for name, weight in adapter_state(backbone).items()})
    others.append(found())
    initialise_adapters(backbone, seed=9)  # they have no effect
    assert found() == first
    model.learn(*task(icons, [0, 1]))
    others.append(found(head=model.solved))
    assert len({first, *others}) == 1 + len(others) == 8


def test_sums_without_an_unreadable_image_are_resumed_only_if_such_images_are_skipped_again(tiny_clip, icons, tmp_path):
    parts = shards(icons)
    parts[1].items[2] = (MemberImage(b"none", "2.png"), parts[1].items[2][1])
    expected = new(tiny_clip, gamma=2.0).learn_shards(parts, skip_unreadable=True)
    dying = [*parts[:2], Dying(parts[2].name, parts[2].items)]
    with pytest.raises(KeyboardInterrupt):
        new(tiny_clip, gamma=2.0).learn_shards(dying, progress=tmp_path / "one", skip_unreadable=True)
    shutil.copytree(tmp_path / "one", tmp_path / "other")
    with pytest.raises(UnreadableImage, match=r"2\.png cannot be read"):
        new(tiny_clip, gamma=2.0).learn_shards(parts, progress=tmp_path / "one")
    again = [*(Unread(part.name, part.items) for part in parts[:2]), *parts[2:]]
    assert new(tiny_clip, gamma=2.0).learn_shards(again, progress=tmp_path / "other", skip_unreadable=True) == expected


class Unread(Shard):
    """A shard that must not be read again."""

    def __iter__(self):
        raise AssertionError


class Dying(Shard):
    """A shard during which the process is interrupted."""

    def __iter__(self):
        yield self.items[0]
        raise KeyboardInterrupt


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


PROGRAM = """
import json, os, signal, sys
sys.path[:0] = sys.argv[1].split(":")
import numpy as np
from icon_shards import Shard, new, shards
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
folder = sys.argv[5].replace("RANK", os.environ.get("RANK", "0"))
model.learn_shards(parts, progress=f"{sys.argv[3]}/{folder}")
model.save_pretrained(f"{sys.argv[3]}/model")
print(json.dumps([part.name for part in parts if part.read]))
"""


def words_of(clip, place, dies_in="none", folder="progress"):
    here = Path(__file__)
    paths = ":".join([str(here.parent), *(path for path in sys.path if path.startswith(str(here.parents[3])))])
    return paths, clip, place, dies_in, folder


@pytest.mark.parametrize("then", [2, 1, 3])
def test_a_killed_process_loses_the_shard_in_hand_only(tiny_clip, expected, tmp_path, then):
    """Whatever the number of processes that resume."""
    killed = programs(2, PROGRAM, *words_of(tiny_clip, tmp_path, "shard 5"))  # the third one of process 1
    assert killed[1].returncode == -signal.SIGKILL
    assert not (tmp_path / "model").exists()
    done = programs(then, PROGRAM, *words_of(tiny_clip, tmp_path))
    assert [each.returncode for each in done] == [0] * then, done[0].stderr[-3000:]
    same(MGCLIP.from_pretrained(tmp_path / "model"), expected)
    read = {name for each in done for name in json.loads(each.stdout)}
    assert not read & {"shard 1", "shard 3"}
    assert "shard 5" in read


def test_processes_that_see_different_sums_resume_none_of_them(tiny_clip, icons, expected, tmp_path):
    """They are on two machines without a common folder. Each would leave out other shards, and read some that are in the sums."""
    programs(2, PROGRAM, *words_of(tiny_clip, tmp_path, "shard 5", "progress-RANK"))
    assert all(list((tmp_path / f"progress-{rank}").iterdir()) for rank in range(2))
    done = programs(2, PROGRAM, *words_of(tiny_clip, tmp_path, "none", "progress-RANK"))
    assert [each.returncode for each in done] == [0, 0], done[0].stderr[-3000:]
    same(MGCLIP.from_pretrained(tmp_path / "model"), expected)


@pytest.mark.parametrize("step", ["partial_sums.write_checked", "one_pass.remove_parts"])
def test_a_process_that_is_killed_while_it_resumes_loses_no_sums(tiny_clip, icons, expected, tmp_path, monkeypatch, step):
    """It is stopped when it saves the sums of two processes together, or when it has saved them."""

    def stop(*_, **__):
        raise KeyboardInterrupt

    programs(2, PROGRAM, *words_of(tiny_clip, tmp_path, "shard 5"))
    with monkeypatch.context() as patch:
        patch.setattr(f"mgclip.method.shards.{step}", stop)
        with pytest.raises(KeyboardInterrupt):
            new(tiny_clip).learn_shards(shards(icons, 7), progress=tmp_path / "progress")
    model, parts = new(tiny_clip), shards(icons, 7)
    model.learn_shards(parts, progress=tmp_path / "progress")
    read = {part.name for part in parts if part.read}
    assert not read & {"shard 1", "shard 3"}
    assert len(list((tmp_path / "progress").iterdir())) == 1
    same(model, expected)
