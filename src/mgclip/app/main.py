"""The command ``mgclip``: its subcommands, and how errors end it (2: wrong input, 1: failure)."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from mgclip._version import __version__
from mgclip.app import (
    backbones,
    bench,
    conform,
    corrections,
    data,
    evaluate,
    export,
    gap,
    learn,
    predict,
    recipes,
    report,
    reproduce,
    run,
    versions,
)
from mgclip.app.options import Command, with_device
from mgclip.app.paths import with_home
from mgclip.app.streams import prepare_streams, show_log
from mgclip.app.studio import command as studio
from mgclip.errors import AlikeTexts, ChangedCode, DamagedFeatures, InputError, MGCLIPError

app = typer.Typer(
    name="mgclip",
    help="Teach CLIP new classes, task after task, with less forgetting, and see why it works.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help, which does not wait for rich to be imported
)
COMPUTING: tuple[Callable[..., Any], ...] = (
    run.run_command,
    reproduce.reproduce_command,
    learn.learn_command,
    predict.predict_command,
    evaluate.evaluate_command,
    corrections.correct_command,
    corrections.merge_command,
    versions.set_command,
    versions.relabel_command,
    versions.forget_command,
    export.export_command,
    studio.studio_command,
    gap.gap_command,
    conform.conform_command,
    bench.bench_command,
)
OTHERS: tuple[Callable[..., Any], ...] = (
    versions.history_command,
    versions.undo_command,
    report.report_command,
    recipes.recipes_command,
    backbones.backbones_command,
    backbones.fetch_command,
)
for command in (*map(with_device, COMPUTING), *OTHERS):
    app.command(command.__name__.removesuffix("_command"), cls=Command)(with_home(command))
app.add_typer(data.app, name="data", short_help="List and check data sets, or show the stream of a recipe.")


def _version(context: typer.Context, wanted: bool) -> None:
    if not wanted:
        return
    if context.params.get("as_json"):
        from mgclip.environment import installed_versions

        typer.echo(json.dumps(installed_versions(), indent=1))
    else:
        typer.echo(f"mgclip {__version__}")
    raise typer.Exit


_debug = False


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show what was chosen for this machine.")] = False,
    version: Annotated[bool, typer.Option("--version", callback=_version, help="Print the version and exit.")] = False,
    as_json: Annotated[
        bool,
        typer.Option("--json", is_eager=True, help="With --version: print all versions that a bug report needs."),
    ] = False,
) -> None:
    global _debug
    _debug = debug
    show_log(shown=verbose)
    if as_json:
        raise typer.BadParameter("before a command it applies to --version only: put it after the command.", param_hint="--json")


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Show a warning of the package as one line, and any other warning as Python does."""
    if not issubclass(category, AlikeTexts | ChangedCode | DamagedFeatures):
        return _python_shows_warning(message, category, filename, lineno, file, line)
    from mgclip.app.display import screen

    return screen.print(str(message))


_python_shows_warning = warnings.showwarning


def _check_current_folder() -> None:
    """Raise ``InputError`` if the current folder was removed: no relative path works there, and PyTorch cannot be loaded."""
    try:
        Path.cwd()
    except FileNotFoundError:
        raise InputError("The current folder no longer exists: change to another one and run the command again.") from None


def main() -> None:
    """Run the command line and exit with its code: 0, 1 (failure) or 2 (wrong input)."""
    prepare_streams()
    warnings.showwarning = _show_warning
    try:
        _check_current_folder()
        app()
    except MGCLIPError as error:
        if _debug:
            raise
        typer.echo(f"mgclip: {error}", err=True)
        sys.exit(error.exit_code)
    except Exception as error:  # a bug, or a fault of the machine: one line too, unless --debug asks for the traceback
        if _debug:
            raise
        from mgclip.app.error_messages import describe_error

        typer.echo(f"mgclip: {describe_error(error)}", err=True)
        sys.exit(1)
