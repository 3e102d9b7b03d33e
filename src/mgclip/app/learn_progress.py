"""The progress of ``mgclip learn``: one bar with the time that remains, which starts at the estimate of the plan."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeRemainingColumn

from mgclip.app.display import progress_bar
from mgclip.workflows.cost import TRAINING_COST

if TYPE_CHECKING:
    from mgclip.method.training import Step
    from mgclip.workflows.plan import Plan

TRAINED = ("probe", "adapter")
"""Phases that take as long as the plan says; the others take next to no time."""


class LearnProgress:
    """A bar on the terminal. Its unit is one second of the plan's estimate; the time left follows how fast these pass."""

    def __init__(self, plan: Plan, *, quiet: bool) -> None:
        self._cost = plan.cost
        columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%")
        self._bar = progress_bar(*columns, TimeRemainingColumn(), quiet=quiet)
        self._row = self._bar.add_task("opening images", total=plan.cost.seconds)
        self._phase = ""

    def __enter__(self) -> LearnProgress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def on_images(self, number: int) -> None:
        """Advance the bar by images that were encoded."""
        self._bar.update(self._row, advance=number * self._cost.per_image, description="encoding images")

    def on_step(self, step: Step) -> None:
        """Advance the bar by a training step. The first step of the adapter phase tells how many epochs there are."""
        each = TRAINING_COST * self._cost.per_image if step.phase in TRAINED else 0.0
        if step.phase == "adapter" and self._phase != step.phase:
            left = (step.epochs - step.epoch + 1) * step.steps * step.images * each + self._cost.after_training
            self._bar.update(self._row, total=self._bar.tasks[0].completed + left)
        self._phase = step.phase
        label = f"{step.phase}, epoch {step.epoch} of {step.epochs}"
        self._bar.update(self._row, advance=step.images * each, description=label)
