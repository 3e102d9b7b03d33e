"""Send losses and measurements of a run to TensorBoard, Weights & Biases or MLflow, through the trackers of accelerate."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mgclip.clip import parallel
from mgclip.errors import InputError, MGCLIPError, first_line
from mgclip.experiment.recipe import Logger, Recipe
from mgclip.experiment.schemas import Record
from mgclip.method.training import Step

FOLDER = "logs"
"""The folder of local logs in that of the run; a method has a folder in it."""


def check_loggers(names: Sequence[Logger]) -> None:
    """Raise ``InputError`` if the package of a logger is not installed."""
    for name in names:
        if find_spec(name) is None:
            raise InputError(f"log_with {name} needs the package {name}, which is not installed: run `pip install {name}`.")


class Log:
    """The log of one method, written by the first process. Steps are counted over all tasks; a task without any counts as one,
    because loggers keep one value of a step.

    Args:
        recipe: The recipe of the run, whose ``log_with`` names the loggers.
        folder: The folder of the run.
        method: The name of the method.
        steps: Optimizer steps of each task that it has finished.

    Raises:
        MGCLIPError: If a logger cannot start.
    """

    def __init__(self, recipe: Recipe, folder: Path, method: str, steps: Sequence[int]) -> None:
        self.steps = sum(max(1, each) for each in steps)
        names = recipe.log_with if parallel.is_main() else []
        self._trackers = [_tracker(name, recipe, folder, method) for name in names]

    def step(self, step: Step, number: int) -> None:
        """Log the loss of step ``number`` of the current task, counted from 1."""
        self._log({f"loss/{step.phase}": step.loss}, self.steps + number)

    def task(self, record: Record, steps: int) -> None:
        """Log what was measured after a task of ``steps`` steps."""
        self.steps += max(1, steps)
        gap = {f"gap/{side}": value for side, value in record["gap"].items() if value is not None}
        domains = {f"accuracy/{name}": share for name, share in record.get("accuracy_per_domain", {}).items()}
        self._log({"accuracy": record["accuracy"], "classes": record["classes_seen"], **domains, **gap}, self.steps)

    def end(self) -> None:
        """Finish the log."""
        for tracker in self._trackers:
            tracker.finish()

    def _log(self, values: dict[str, Any], step: int) -> None:
        for tracker in self._trackers:
            tracker.log(values, step=step)


def _tracker(name: Logger, recipe: Recipe, folder: Path, method: str) -> Any:
    from accelerate import PartialState, tracking

    PartialState()  # the trackers write messages of their own, which needs it
    title = f"{recipe.name} {method} seed {recipe.seed}"
    try:
        if name == "tensorboard":
            tracker: Any = tracking.TensorBoardTracker(method, logging_dir=str(folder / FOLDER))
        elif name == "wandb":
            (folder / FOLDER).mkdir(exist_ok=True)
            tracker = tracking.WandBTracker("mgclip", name=title, dir=str(folder / FOLDER))
        else:
            tracker = tracking.MLflowTracker("mgclip", run_name=title)
        if hasattr(tracker, "start"):  # trackers of older versions start when they are made
            tracker.start()
        settings = {**recipe.model_dump(mode="json"), "method": method}
        tracker.store_init_configuration({key: _plain(value) for key, value in settings.items()})
    except Exception as error:  # each library has errors of its own: no network, no login, no server
        raise MGCLIPError(
            f"The logger {name} cannot start ({first_line(error)}): repair it, or leave it out of log_with."
        ) from error
    return tracker


def _plain(value: Any) -> str | int | float | bool:
    return value if isinstance(value, str | int | float | bool) else json.dumps(value)
