"""``mgclip recipes``: what can be run."""

from __future__ import annotations

import json
from typing import Annotated

import typer


def recipes_command(
    as_json: Annotated[bool, typer.Option("--json", help="Print name, description and settings as JSON.")] = False,
) -> None:
    """List the experiments that can be run by name, and what each needs."""
    from mgclip.experiment.recipe import load_recipe, shipped_recipes

    recipes = {name: load_recipe(name) for name in shipped_recipes()}
    if as_json:
        typer.echo(json.dumps({name: recipe.model_dump() for name, recipe in recipes.items()}))
        return
    from rich.table import Table

    from mgclip.app.display import out

    table = Table()
    for column in ("recipe", "what it is and needs"):
        table.add_column(column)
    for name, recipe in recipes.items():
        table.add_row(name, recipe.about)
    out.print(table)
