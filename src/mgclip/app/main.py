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
from mgclip.app.error_messages import describe_error
from mgclip.app.paths import with_home
from mgclip.app.streams import prepare_streams
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
app.command("run")(with_home(run.run_command))
app.command("reproduce")(with_home(reproduce.reproduce_command))
app.command("learn")(with_home(learn.learn_command))
app.command("predict")(with_home(predict.predict_command))
app.command("evaluate")(with_home(evaluate.evaluate_command))
app.command("history")(with_home(versions.history_command))
app.command("undo")(with_home(versions.undo_command))
app.command("relabel")(with_home(versions.relabel_command))
app.command("forget")(with_home(versions.forget_command))
app.command("report")(with_home(report.report_command))
app.command("export")(with_home(export.export_command))
app.command("studio")(with_home(studio.studio_command))
app.command("gap")(with_home(gap.gap_command))
app.command("bench")(with_home(bench.bench_command))
app.command("conform")(with_home(conform.conform_command))
app.command("recipes")(with_home(recipes.recipes_command))
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
    prepare_streams()
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
        typer.echo(f"mgclip: {describe_error(error)}", err=True)
        sys.exit(1)
