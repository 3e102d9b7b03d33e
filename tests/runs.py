"""Run recipes, and read the folders of runs."""

import pytest

from mgclip.experiment import run_folder, runner
from mgclip.experiment.open_run import open_run


class Stopped(Exception):
    """The error that stops a run in the tests."""


def run(recipe, folder, resume=False, **watchers):
    """Run a recipe, or resume it; returns the summaries."""
    return runner.run(open_run(recipe, folder, resume=resume), **watchers)


def stop_after(done, recipe, folder, method=None, resume=False):
    """Start a run, or resume it, and stop it after a number of tasks of a method (by default of any)."""

    def on_task(name, tasks_done, tasks, record):
        if tasks_done == done and method in (None, name):
            raise Stopped

    with pytest.raises(Stopped):
        run(recipe, folder, resume, on_task=on_task)


def stop_at(step, recipe, folder, **options):
    """Start a run and stop it at the first step for which the function ``step`` returns True."""

    def on_step(each):
        if step(each):
            raise Stopped

    with pytest.raises(Stopped):
        run(recipe, folder, on_step=on_step, **options)


def read(folder, method):
    """The records without their times, and the saved weights as bytes."""
    kept = [{k: v for k, v in record.items() if k != "seconds"} for record in run_folder.read_records(folder / method)]
    state = next((folder / method / "model").glob("mgclip-state-*"))
    weights = {str(file.relative_to(state)): file.read_bytes() for file in sorted(state.rglob("*.safetensors"))}
    assert "adapter/adapter_model.safetensors" in weights
    assert {"head.safetensors", "solved.safetensors"} & weights.keys()
    return kept, weights
