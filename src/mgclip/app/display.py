"""What a person sees while something runs, and the tables at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from mgclip.errors import one_line

if TYPE_CHECKING:
    from mgclip.method.training import Step

Item = TypeVar("Item")


class _Plain(Console):
    """A console on which a text, or a table's title, which may hold anybody's names, is one visible line."""

    def print(self, *objects: Any, **how: Any) -> None:
        for table in (what for what in objects if isinstance(what, Table) and isinstance(what.title, str)):
            table.title = one_line(str(table.title))
        super().print(*(one_line(what) if isinstance(what, str) else what for what in objects), **how)


screen = _Plain(stderr=True, markup=False, highlight=False)
"""Progress goes to standard error, results to standard output."""
out = _Plain(soft_wrap=True, markup=False, highlight=False)


def require_single_process(command: str) -> None:
    """Refuse a command that works alone in one of several processes."""
    from mgclip.clip.parallel import is_distributed
    from mgclip.errors import InputError

    if is_distributed():
        raise InputError(f"mgclip {command} runs in one process: start it without torchrun or accelerate launch.")


class _Speed(ProgressColumn):
    """Images per second of a row that counts images."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f} images/s" if speed and task.fields.get("images") else "")


class RunDisplay:
    """Two bars: the whole run with its time left, and the phase at work with task, epoch, speed and time left."""

    def __init__(self, total_tasks: int, *, quiet: bool) -> None:
        self.bars = Progress(
            SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"),
            _Speed(), TimeRemainingColumn(), console=screen, disable=quiet, transient=True,
        )  # fmt: skip
        self.whole = self.bars.add_task("whole run", total=total_tasks)
        self.phase = self.bars.add_task("loading", total=None, images=True)
        self.at: tuple[int, str] | None = None

    def __enter__(self) -> RunDisplay:
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bars.stop()

    def on_step(self, step: Step) -> None:
        """Move the phase's bar by one optimizer step."""
        if self.at != (step.task, step.phase):
            self.at = step.task, step.phase
            total = step.steps * step.epochs * step.images
            self.bars.reset(self.phase, total=total, images=True)
        label = f"task {step.task + 1}  {step.phase}  epoch {step.epoch}/{step.epochs}"
        self.bars.update(self.phase, advance=step.images, description=label)

    def on_task(self, method: str, done: int, tasks: int, record: Mapping[str, Any]) -> None:
        """Count a finished task and say how it went."""
        self.bars.update(self.whole, advance=1)
        if not self.bars.disable:
            screen.print(
                f"{method:<18} task {done:>2}/{tasks}  {record['classes_seen']:>4} classes  "
                f"accuracy {100 * record['accuracy']:5.1f} %"
            )


def with_progress_bar(answers: Iterable[Item], total: int | None, *, quiet: bool) -> Iterator[Item]:
    """The same items, counted before the eyes of whoever waits; nothing is shown where output is not to a screen."""
    with Progress(
        SpinnerColumn(), TextColumn("{task.completed} images"), BarColumn(), _Speed(), TimeRemainingColumn(),
        console=screen, disable=quiet or not screen.is_terminal, transient=True,
    ) as bar:  # fmt: skip
        row = bar.add_task("images", total=total, images=True)
        for answer in answers:
            yield answer
            bar.update(row, advance=1)


@contextmanager
def opening_images(*, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """A bar while images are opened before anything else; it is told how many were, of how many."""
    with Progress(
        TextColumn("opening images"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        console=screen, transient=True, disable=quiet or not screen.is_terminal,
    ) as bar:  # fmt: skip
        row = bar.add_task("", total=None, visible=False)
        yield lambda done, total: bar.update(row, completed=done, total=total, visible=True)


def percent(share: float | None) -> str:
    """A share of 1 as percent; a dash where there is none."""
    return "-" if share is None else f"{100 * share:.2f}"


def summary_table(title: str, summaries: Mapping[str, Mapping[str, Any]]) -> Table:
    """The final table of a run: one row per method."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    table.add_column("method", no_wrap=True)
    for column in ("Avg %", "Last %", "forget", "BWT", "FWT", "E", "seconds"):
        table.add_column(column, justify="right", no_wrap=True)
    for method, s in summaries.items():
        transfers = [percent(s[key]) for key in ("forgetting", "backward_transfer", "forward_transfer")]
        accuracy = [percent(s["average"]), percent(s["last"])]
        table.add_row(method, *accuracy, *transfers, str(s["epochs"]), f"{s['seconds']:.0f}")
    return table


def retention_table(summaries: Mapping[str, Mapping[str, Any]]) -> Table | None:
    """Zero-shot accuracy on data never trained on, and its drop from the un-tuned CLIP's; None where it was not measured."""
    sets = list(dict.fromkeys(name for s in summaries.values() for name in s.get("retention", {})))
    if not sets:
        return None
    table = Table(title="zero-shot on data never trained on, % (drop)", title_justify="left", box=SIMPLE_HEAD)
    for column in ("method", *sets):
        table.add_column(column, justify="left" if column == "method" else "right")
    for method, s in summaries.items():
        kept = s.get("retention", {})
        cells = [f"{percent(kept[n]['accuracy'])} ({percent(kept[n]['drop'])})" if n in kept else "-" for n in sets]
        table.add_row(method, *cells)
    return table
