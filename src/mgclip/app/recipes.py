"""``mgclip recipes``: the experiments that can be run by name."""

from __future__ import annotations

from mgclip.app.options import Json
from mgclip.app.streams import print_json


def recipes_command(as_json: Json = False) -> None:
    """List the experiments that can be run by name, and what each needs."""
    from mgclip.app.display import make_table, out
    from mgclip.experiment.recipe import load_recipe
    from mgclip.experiment.recipe_files import shipped_recipes

    recipes = {name: load_recipe(name) for name in shipped_recipes()}
    if as_json:
        print_json({name: recipe.model_dump() for name, recipe in recipes.items()})
        return
    table = make_table("recipe", "content and requirements", text=("content and requirements",))
    for name, recipe in recipes.items():
        table.add_row(name, recipe.about)
    out.print(table)
