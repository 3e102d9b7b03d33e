"""What a command shows on a terminal: progress, and tables of results."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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

from mgclip.app.streams import discard_output, writing
from mgclip.errors import one_line
from mgclip.experiment.domain_metrics import metrics_of
from mgclip.experiment.metrics import EPOCHS, SECONDS, Metric, uneven
from mgclip.method.analytic.decision import Decision, describe_decision
from mgclip.words import count

if TYPE_CHECKING:
    from mgclip.experiment.schemas import Record, Summary
    from mgclip.method.training import Step

Item = TypeVar("Item")

LEAST_TEXT = 12
"""The least width of a column of text. If a terminal is narrower than a table, it breaks the lines of the table."""


class _OneLineConsole(Console):
    """A console that prints a text or the title of a table, which may contain any name, as one visible line."""

    def on_broken_pipe(self) -> None:
        """Print nothing more if the reader has closed the pipe. The command itself continues its work."""
        discard_output(self.file)

    def print(self, *objects: Any, **options: Any) -> None:
        for table in (each for each in objects if isinstance(each, Table)):
            if isinstance(table.title, str):
                table.title = one_line(table.title)
            self._keep_readable(table)
        with writing(self.file):
            super().print(*(one_line(each) if isinstance(each, str) else each for each in objects), **options)

    def _keep_readable(self, table: Table) -> None:
        """Make a table wider than a narrow terminal: its numbers stay complete, and its texts are ``LEAST_TEXT`` wide."""
        texts = [column for column in table.columns if not column.no_wrap]
        for column in texts:
            column.max_width = LEAST_TEXT
        least = self.measure(table, options=self.options.update(max_width=sys.maxsize)).maximum
        for column in texts:
            column.max_width = None
        if least > self.width:
            table.width = least


screen = _OneLineConsole(stderr=True, soft_wrap=True, markup=False, highlight=False)
"""Standard error: progress and notes."""
out = _OneLineConsole(soft_wrap=True, markup=False, highlight=False)
"""Standard output: results."""


def require_single_process(command: str) -> None:
    """Raise ``InputError`` if a command that runs in one process was started in several."""
    from mgclip.clip.parallel import is_distributed
    from mgclip.errors import InputError

    if is_distributed():
        raise InputError(f"`mgclip {command}` runs in one process: start it without `torchrun` or `accelerate launch`.")


class _Speed(ProgressColumn):
    """Images per second of a bar that counts images."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f} images/s" if speed and task.fields.get("images") else "")


class RunDisplay:
    """Two bars: the run with its remaining time, and the current phase with its task, epoch and speed."""

    def __init__(self, total_tasks: int, *, quiet: bool) -> None:
        percentage = TextColumn("{task.percentage:>3.0f}%")
        columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), percentage, _Speed()
        self._bars = Progress(*columns, TimeRemainingColumn(), console=screen, disable=quiet, transient=True)
        self._run = self._bars.add_task("run", total=total_tasks)
        self._phase = self._bars.add_task("loading", total=None, images=True)
        self._current: tuple[int, str] | None = None

    def __enter__(self) -> RunDisplay:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def on_step(self, step: Step) -> None:
        """Advance the bar of the phase by one optimizer step."""
        if self._current != (step.task, step.phase):
            self._current = step.task, step.phase
            self._bars.reset(self._phase, total=step.steps * step.epochs * step.images, images=True)
        label = f"task {step.task + 1}  {step.phase}  epoch {step.epoch}/{step.epochs}"
        self._bars.update(self._phase, advance=step.images, description=label)

    def advance(self) -> None:
        """Advance the bar of the run by one task."""
        self._bars.update(self._run, advance=1)

    def on_task(self, method: str, done: int, tasks: int, record: Record) -> None:
        """Advance the bar of the run, and print the accuracy after the task."""
        self.advance()
        if not self._bars.disable:
            seen = count(record["classes_seen"], "class", "classes")
            screen.print(f"{method:<21} task {done:>2}/{tasks}  {seen:>11}  accuracy {100 * record['accuracy']:5.1f} %")
            if "adapters" in record:
                screen.print(f"{'':<21} {describe_decision(Decision(**record['adapters']))}")


def progress_bar(*columns: ProgressColumn, quiet: bool) -> Progress:
    """A bar that is shown on a terminal only, and removed at its end."""
    return Progress(*columns, console=screen, disable=quiet or not screen.is_terminal, transient=True)


def with_progress_bar(items: Iterable[Item], total: int | None, *, quiet: bool) -> Iterator[Item]:
    """Yield the items while showing a progress bar on a terminal."""
    columns = SpinnerColumn(), TextColumn("{task.completed} images"), BarColumn(), _Speed(), TimeRemainingColumn()
    with progress_bar(*columns, quiet=quiet) as bar:
        row = bar.add_task("images", total=total, images=True)
        for item in items:
            yield item
            bar.update(row, advance=1)


@contextmanager
def opening_images(*, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """A bar while images are opened before anything else. Yields a function that takes the number opened and the total."""
    columns = TextColumn("opening images"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with progress_bar(*columns, quiet=quiet) as bar:
        row = bar.add_task("", total=None, visible=False)
        yield lambda done, total: bar.update(row, completed=done, total=total, visible=True)


def percent(share: float | None) -> str:
    """A share of 1 in percent; a dash for None."""
    return "-" if share is None else f"{100 * share:.2f}"


def make_table(*columns: str, text: Iterable[str] = (), title: str | None = None) -> Table:
    """An empty table. Its first column and those in ``text`` contain text, which is folded if too long, the others numbers."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, collapse_padding=True)
    for column in columns:
        if column in (columns[0], *text):
            table.add_column(column, overflow="fold")
        else:
            table.add_column(column, justify="right", no_wrap=True)
    return table


def summary_table(title: str, summaries: Mapping[str, Summary]) -> Table:
    """The final table of a run: one row per method, the columns of every table of methods."""
    return _metrics_table(title, [*metrics_of(summaries.values()), EPOCHS, SECONDS], summaries)


def uneven_table(summaries: Mapping[str, Summary]) -> Table | None:
    """The accuracies that only long-tailed or blurry streams have; None for other streams."""
    columns = uneven(summaries.values())
    return _metrics_table("accuracy on groups of classes", columns, summaries) if columns else None


def _metrics_table(title: str, columns: Sequence[Metric], summaries: Mapping[str, Summary]) -> Table:
    """A row for each method, and a column for each metric."""
    table = make_table("method", *(metric.column for metric in columns), title=title)
    for method, summary in summaries.items():
        table.add_row(method, *(_cell(metric, metric.of(summary)) for metric in columns))
    return table


def _cell(metric: Metric, value: float | None) -> str:
    return f"{value:.0f}" if metric in (EPOCHS, SECONDS) and value is not None else percent(value)


def retention_table(summaries: Mapping[str, Summary]) -> Table | None:
    """Zero-shot accuracy on data never trained on, and the drop from the pre-trained CLIP; None if it was not measured."""
    sets = list(dict.fromkeys(name for summary in summaries.values() for name in summary.get("retention", {})))
    if not sets:
        return None
    table = make_table("method", *sets, title="zero-shot accuracy on data never trained on, % (drop)")
    for method, summary in summaries.items():
        kept = summary.get("retention", {})
        cells = [f"{percent(kept[n]['accuracy'])} ({percent(kept[n]['drop'])})" if n in kept else "-" for n in sets]
        table.add_row(method, *cells)
    return table
