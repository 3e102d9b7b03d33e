"""Checkpoints within a task: stopped anywhere, training resumes to exactly the same weights."""

import shutil
from dataclasses import replace
from functools import partial

import pytest
import torch
from icon_tasks import task

from mgclip import MGCLIP, Settings
from mgclip.clip.adapters import adapter_state
from mgclip.saving.checked_file import checksum
from mgclip.saving.checkpoints import FILES, Checkpoint, Stopped, TaskCheckpoints, read_checkpoint, write_checkpoint

PLAIN = Settings(epochs=2, adapter_batch_size=8, head_batch_size=8, head_epochs=1, adapter_lr=5e-3)
PROBED = PLAIN.model_copy(update={"epochs": "auto", "max_epochs": 3, "alpha": 0.004})
COMPLETED = PLAIN.model_copy(update={"epochs": "auto", "max_epochs": 2, "alpha": None})
REPLAY = PLAIN.model_copy(update={"memory": 12, "balanced": True, "balanced_epochs": 2})


class Stop:
    """Asks to stop after N steps."""

    def __init__(self, after):
        self.left = after

    def __call__(self):
        self.left -= 1
        return self.left == 0


def fresh(clip, settings, icons, folder):
    """A model that has learned nothing, or one task for a memory; it is learned once, and then loaded from its folder."""
    if folder.exists():
        return MGCLIP.from_pretrained(folder)
    model = MGCLIP.from_pretrained(clip, settings=settings)
    if settings.memory:
        model.learn(*task(icons, [0, 1]))
        model.save_pretrained(folder)
    return model


def state(model):
    return {**adapter_state(model.backbone), "head": model.head}


def begun(folder, task=0):
    """The checkpoints of a task whose adapters are a single matrix."""
    checkpoints = TaskCheckpoints(folder)
    checkpoints.begin_task(task, lambda: {"a": torch.ones(2)})
    return checkpoints


def refuse(*_):
    raise AssertionError("must not be called")


def test_a_phase_runs_and_its_start_is_saved(tmp_path):
    checkpoints = begun(tmp_path)
    checkpoints.notes["scaler"] = {"scale": 2.0}
    checkpoints.carried["head"] = torch.zeros(3)
    assert checkpoints.run("adapter", lambda: "done", recall=refuse) == "done"
    (saved,) = filter(None, (read_checkpoint(tmp_path / name) for name in FILES))
    assert (saved.task, saved.phase, saved.epoch, saved.step) == (0, "adapter", 1, 0)
    assert set(saved.tensors) == {"adapter/a", "head"}
    assert saved.notes == {}  # each phase has a gradient scaler of its own


def test_a_finished_phase_is_recalled_and_the_current_one_runs_without_another_checkpoint(tmp_path):
    begun(tmp_path).run("head", lambda: None, recall=refuse)
    resumed = begun(tmp_path)
    assert resumed.run("adapter", refuse, recall=lambda done: done.part("adapter")["a"].tolist()) == [1.0, 1.0]
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert resumed.run("head", lambda: "done", recall=refuse) == "done"
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    assert resumed.run("balance-head", lambda: "done", recall=refuse) == "done"
    assert begun(tmp_path).is_past("head")


def test_a_task_that_is_interrupted_again_resumes_from_its_last_checkpoint(tmp_path):
    for step in range(1, 7):
        begun(tmp_path).save("adapter", 1, step, {"a": torch.ones(step)})
        found = begun(tmp_path).found
        assert (found.step, found.number, found.tensors["a"].tolist()) == (step, step, [1.0] * step)


def test_a_step_is_saved_if_it_is_due_or_the_last_of_its_epoch(tmp_path):
    checkpoints, saved = TaskCheckpoints(tmp_path, every=4), []
    checkpoints.begin_task(0, dict)
    for epoch in (1, 2):
        for step in (1, 2, 3):
            checkpoints.after_step("adapter", epoch, step, dict, last=step == 3)
            found = [read_checkpoint(tmp_path / name) for name in FILES]
            saved.append(max(((c.epoch, c.step) for c in found if c), default=None))
    assert saved == [None, None, (1, 3), (2, 1), (2, 1), (2, 3)]


@pytest.mark.parametrize("change", [{"phase": "another"}, {"step": "1"}, {"task": None}, {"notes": []}])
def test_a_checkpoint_that_this_version_does_not_know_is_ignored(tmp_path, change):
    valid = Checkpoint(1, 0, "adapter", 1, 2, {}, {"adapter/a": torch.ones(2)})
    for checkpoint, known in ((valid, True), (replace(valid, **change), False)):
        write_checkpoint(tmp_path / FILES[0], checkpoint)
        assert (read_checkpoint(tmp_path / FILES[0]) is not None) == known == (begun(tmp_path).found is not None)


def test_a_checksum_is_that_of_the_facts_the_names_and_the_values():
    one, two = torch.ones(2), torch.zeros(2)
    found = checksum("facts", {"a": one, "b": two})
    assert found == checksum("facts", {"b": two.clone(), "a": one.clone()})
    for about, tensors in (
        ("other", {"a": one, "b": two}),
        ("facts", {"a": two, "b": one}),
        ("facts", {"a": one, "c": two}),
        ("facts", {"a": one}),
    ):
        assert checksum(about, tensors) != found


def test_another_task_or_one_without_a_folder_runs_every_phase(tmp_path):
    begun(tmp_path).run("head", lambda: None, recall=refuse)
    assert begun(tmp_path, task=1).run("adapter", lambda: "done", recall=refuse) == "done"
    nowhere = TaskCheckpoints()
    nowhere.begin_task(0, refuse)  # adapters that nothing saves are not copied
    assert nowhere.run("adapter", lambda: "done", recall=refuse) == "done"


@pytest.mark.parametrize("seen", ["both", "the older one", "none"])
def test_processes_resume_from_a_checkpoint_that_all_of_them_have_read(tmp_path, monkeypatch, seen):
    """One on another machine may not see the latest file yet."""
    for phase in ("probe", "adapter"):
        begun(tmp_path).run(phase, lambda: None, recall=lambda found: None)
    numbers = {"both": (1, 2), "the older one": (1,), "none": ()}[seen]
    monkeypatch.setattr(
        "mgclip.clip.parallel.gather_items",
        lambda own: [*own, [position for position in own[0] if position[0] in numbers]],
    )
    checkpoints = begun(tmp_path)
    assert (checkpoints.found and checkpoints.found.number) == max(numbers, default=None)
    assert checkpoints.notes == {}


def test_a_failed_phase_runs_again(tmp_path):
    with pytest.raises(ZeroDivisionError):
        begun(tmp_path).run("adapter", lambda: 1 / 0, recall=refuse)
    assert begun(tmp_path).run("adapter", lambda: "done", recall=refuse) == "done"


@pytest.mark.parametrize("settings", [PLAIN, PROBED, COMPLETED, REPLAY], ids=["plain", "probed", "completed", "replay"])
def test_training_stopped_after_any_step_resumes_to_the_same_weights(tiny_clip, icons, tmp_path, settings):
    steps, phases = [], []
    model = fresh(tiny_clip, settings, icons, tmp_path / "model")
    learned = model.learn(*task(icons, [2, 3, 4]), on_step=lambda step: steps.append(step))
    uninterrupted, phases = state(model), {step.phase for step in steps}
    kept = [step for step in steps if "head" not in step.phase]
    assert len(kept) >= 9
    if settings is REPLAY:
        assert list(dict.fromkeys(step.phase for step in steps)) == [
            "adapter",
            "balance-adapter",
            "head",
            "balance-head",
        ]
    if settings is PROBED:
        assert phases == {"probe", "adapter", "head"}
        assert not learned.probe.completed
    for after in range(1, len(kept) + 1):
        folder = tmp_path / f"stop-{after}"
        begun = fresh(tiny_clip, settings, icons, tmp_path / "model")
        with pytest.raises(Stopped):
            begun.learn(*task(icons, [2, 3, 4]), checkpoints=TaskCheckpoints(folder, 0, Stop(after)))
        again = fresh(tiny_clip, settings, icons, tmp_path / "model")
        seen = []
        found = again.learn(*task(icons, [2, 3, 4]), checkpoints=TaskCheckpoints(folder), on_step=seen.append)
        assert found == learned
        trained = [step for step in seen if "head" not in step.phase]
        assert trained == kept[after:]  # no step twice, none left out, and the same losses
        assert all(torch.equal(uninterrupted[name], value) for name, value in state(again).items())


class Killed(BaseException):
    pass


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler")
def test_a_phase_killed_at_its_start_resumes_with_a_fresh_gradient_scaler(tiny_clip, icons, tmp_path, monkeypatch):
    large = partial(torch.amp.GradScaler, init_scale=2.0**24)  # so large that the first phase leaves another
    monkeypatch.setattr("torch.amp.GradScaler", large)
    settings = REPLAY.model_copy(update={"precision": "float16"})

    def learn(kill, progress):
        model = fresh(tiny_clip, settings, icons, tmp_path / "model")

        def on_step(step):
            if kill and step.phase == "balance-adapter":
                raise Killed

        model.learn(*task(icons, [2, 3, 4]), checkpoints=progress, on_step=on_step)
        return state(model)

    uninterrupted = learn(False, TaskCheckpoints(tmp_path / "uninterrupted", 1))
    with pytest.raises(Killed):
        learn(True, TaskCheckpoints(tmp_path / "killed", 1))
    at = max((read_checkpoint(tmp_path / "killed" / name) for name in FILES), key=lambda c: c.number)
    assert (at.phase, at.step) == ("balance-adapter", 0)
    found = learn(False, TaskCheckpoints(tmp_path / "killed", 1))
    assert all(torch.equal(uninterrupted[name], value) for name, value in found.items())


@pytest.mark.parametrize("phase", ["head", "balance-head"])
def test_training_killed_in_the_head_resumes_to_the_same_weights(tiny_clip, icons, tmp_path, phase):
    def learn(kill, progress):
        model = fresh(tiny_clip, REPLAY, icons, tmp_path / "model")

        def on_step(step):
            if kill and step.phase == phase:
                raise Killed

        model.learn(*task(icons, [2, 3, 4]), checkpoints=progress, on_step=on_step)
        return {**state(model), "memory": model.memory.pixels}

    uninterrupted = learn(False, TaskCheckpoints(tmp_path / "uninterrupted", 3))
    with pytest.raises(Killed):
        learn(True, TaskCheckpoints(tmp_path / "killed", 3))
    at = max((read_checkpoint(tmp_path / "killed" / name) for name in FILES), key=lambda c: c.number)
    assert at.phase == phase
    found = learn(False, TaskCheckpoints(tmp_path / "killed", 3))
    assert all(torch.equal(uninterrupted[name], value) for name, value in found.items())


def test_checkpoints_are_written_every_n_steps_and_discarded(tiny_clip, icons, tmp_path):
    model = MGCLIP.from_pretrained(tiny_clip, settings=PLAIN)
    progress = TaskCheckpoints(tmp_path / "run", every=2)
    numbers = []

    def look(step):
        numbers.append([c.number for c in (read_checkpoint(tmp_path / "run" / name) for name in FILES) if c])

    model.learn(*task(icons, [0, 1, 2]), checkpoints=progress, on_step=look)
    assert max(map(len, numbers)) == 2
    assert sorted(numbers[-1]) == [progress._number - 1, progress._number]
    assert not list((tmp_path / "run").glob(".*"))
    progress.discard()
    assert list((tmp_path / "run").iterdir()) == []


def test_a_damaged_checkpoint_is_ignored(tiny_clip, icons, tmp_path):
    uninterrupted = MGCLIP.from_pretrained(tiny_clip, settings=PLAIN)
    uninterrupted.learn(*task(icons, [0, 1, 2]))
    begun = MGCLIP.from_pretrained(tiny_clip, settings=PLAIN)
    with pytest.raises(Stopped):
        begun.learn(*task(icons, [0, 1, 2]), checkpoints=TaskCheckpoints(tmp_path / "stopped", 1, Stop(6)))
    for damage in (
        lambda b: b[: len(b) // 2],
        lambda b: b[:-9] + b"x" + b[-8:],
        lambda b: b"",
        lambda b: b"{}" + b[2:],
    ):
        for files in (FILES[:1], FILES[1:], FILES):
            folder = tmp_path / "run"
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(tmp_path / "stopped", folder)
            for name in files:
                content = (folder / name).read_bytes()
                (folder / name).write_bytes(damage(content))
                assert read_checkpoint(folder / name) is None
            again = MGCLIP.from_pretrained(tiny_clip, settings=PLAIN)
            again.learn(*task(icons, [0, 1, 2]), checkpoints=TaskCheckpoints(folder))
            assert all(torch.equal(state(uninterrupted)[name], value) for name, value in state(again).items())


def test_a_checkpoint_of_another_task_is_ignored(tiny_clip, icons, tmp_path):
    begun = MGCLIP.from_pretrained(tiny_clip, settings=PLAIN)
    with pytest.raises(Stopped):
        begun.learn(*task(icons, [0, 1, 2]), checkpoints=TaskCheckpoints(tmp_path, 1, Stop(3)))
    model = MGCLIP.from_pretrained(tiny_clip, settings=PLAIN)
    model.learn(*task(icons, [0, 1, 2]))
    steps = []
    model.learn(*task(icons, [3, 4]), checkpoints=TaskCheckpoints(tmp_path), on_step=steps.append)
    assert (steps[0].phase, steps[0].epoch, steps[0].step) == ("adapter", 1, 1)
