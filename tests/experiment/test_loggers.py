"""Loggers: off by default, one sentence if a package is missing, and one count of steps over a resume."""

import pytest
from accelerate import PartialState
from learned import SMALL_RUN
from runs import run, stop_after, stop_at

from mgclip.errors import InputError, MGCLIPError
from mgclip.experiment.recipe import Recipe, load_recipe


@pytest.fixture
def small(tiny_clip):
    return Recipe(**SMALL_RUN, clip=str(tiny_clip), epochs=1, methods=["mg-clip"], log_with=["tensorboard"])


class Fake:
    """A tracker that keeps what it is given."""

    made = ()

    def __init__(self, *names, **places):
        self.values, self.ended = [], False
        Fake.made += (self,)

    def store_init_configuration(self, values):
        assert PartialState._shared_state, "the trackers of accelerate need its state"
        self.settings = values

    def log(self, values, step):
        self.values.append((step, values))

    def finish(self):
        self.ended = True


@pytest.fixture
def fake(monkeypatch):
    from accelerate import tracking

    PartialState._reset_state()
    monkeypatch.setattr(tracking, "TensorBoardTracker", Fake)
    monkeypatch.setattr("mgclip.experiment.loggers.find_spec", lambda name: name)
    Fake.made = ()
    return Fake


def test_a_missing_package_is_one_sentence_and_nothing_is_written(small, tmp_path, monkeypatch):
    monkeypatch.setattr("mgclip.experiment.loggers.find_spec", lambda name: None)
    with pytest.raises(
        InputError, match="log_with tensorboard needs the package tensorboard, which is not installed: run `pip install"
    ):
        run(small, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert load_recipe("icons100").log_with == []
    assert load_recipe("icons100", ["log_with=wandb, mlflow"]).log_with == ["wandb", "mlflow"]
    with pytest.raises(InputError, match=r"log_with\.0 must be 'tensorboard', 'wandb' or 'mlflow'; found 'board'"):
        load_recipe("icons100", ["log_with=board"])


def test_steps_are_counted_over_tasks_and_over_a_resume(small, fake, tmp_path):
    run(small, tmp_path / "complete")
    stop_at(lambda step: (step.task, step.phase, step.step) == (1, "adapter", 2), small, tmp_path / "part", checkpoint_every=1)
    run(small.model_copy(update={"log_with": ["tensorboard"]}), tmp_path / "part", resume=True)
    complete, first, second = fake.made
    numbers = [step for step, values in complete.values if "accuracy" not in values]
    assert numbers == list(range(1, len(numbers) + 1))
    both = {(step, *values.items()) for part in (first, second) for step, values in part.values}
    assert both == {(step, *values.items()) for step, values in complete.values}
    assert {key for _, values in complete.values for key in values} >= {"loss/adapter", "loss/head", "accuracy", "gap/negative"}
    assert (complete.ended, complete.settings["method"], complete.settings["log_with"]) == (True, "mg-clip", '["tensorboard"]')


def test_every_task_of_a_method_without_steps_has_a_step_of_its_own(small, fake, tmp_path):
    small = small.model_copy(update={"methods": ["zero-shot"]})
    run(small, tmp_path / "complete")
    stop_after(2, small, tmp_path / "part")
    run(small, tmp_path / "part", resume=True)
    steps = [[step for step, values in log.values if "accuracy" in values] for log in fake.made]
    assert steps == [[1, 2, 3], [1, 2], [3]]


def test_a_logger_that_cannot_start_is_named(small, fake, tmp_path, monkeypatch):
    def no_server(self, values):
        raise ConnectionError("no server")

    monkeypatch.setattr(Fake, "store_init_configuration", no_server)
    with pytest.raises(
        MGCLIPError, match=r"The logger tensorboard cannot start \(no server\): repair it, or leave it out of log_with"
    ):
        run(small, tmp_path / "run")


def test_tensorboard_reads_the_log(small, tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run(small, tmp_path / "run")
    log = EventAccumulator(str(tmp_path / "run" / "logs" / "mg-clip")).Reload()
    assert len(log.Scalars("accuracy")) == 3
    assert log.Scalars("loss/adapter")
