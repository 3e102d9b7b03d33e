"""The command ``mgclip``: its subcommands, and how errors end it (2: wrong input, 1: failure)."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from mgclip._version import __version__
from mgclip.app import (
    bench,
    conform,
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
from mgclip.app.failure import sentence
from mgclip.app.studio import command as studio
from mgclip.environment import installed_versions
from mgclip.errors import MGCLIPError

app = typer.Typer(
    name="mgclip",
    help="Teach CLIP new classes, task after task, without forgetting the old ones, and see why it works.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("run")(run.run_command)
app.command("reproduce")(reproduce.reproduce_command)
app.command("learn")(learn.learn_command)
app.command("predict")(predict.predict_command)
app.command("evaluate")(evaluate.evaluate_command)
app.command("history")(versions.history_command)
app.command("undo")(versions.undo_command)
app.command("relabel")(versions.relabel_command)
app.command("forget")(versions.forget_command)
app.command("report")(report.report_command)
app.command("export")(export.export_command)
app.command("studio")(studio.studio_command)
app.command("gap")(gap.gap_command)
app.command("bench")(bench.bench_command)
app.command("conform")(conform.conform_command)
app.command("recipes")(recipes.recipes_command)
app.add_typer(data.app, name="data")


def _version(context: typer.Context, wanted: bool) -> None:
    if wanted:
        typer.echo(
            json.dumps(installed_versions(), indent=1) if context.params.get("as_json") else f"mgclip {__version__}"
        )
        raise typer.Exit


_debug = False


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[bool, typer.Option("--version", callback=_version, help="Show the version.")] = False,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", is_eager=True, help="With --version: show all versions that a bug report needs, as JSON."
        ),
    ] = False,
) -> None:
    global _debug
    _debug = debug
    if as_json:
        raise typer.BadParameter(
            "it belongs to --version here; for a command's output put it after the command.", param_hint="--json"
        )


def main() -> None:
    """Run the command line and exit with its code."""
    try:
        app()
    except MGCLIPError as error:
        if _debug:
            raise
        typer.echo(f"mgclip: {error}", err=True)
        sys.exit(error.exit_code)
    except Exception as error:  # a fault of ours or of the machine: one line too, the traceback on request
        if _debug:
            raise
        typer.echo(f"mgclip: {sentence(error)}", err=True)
        sys.exit(1)
