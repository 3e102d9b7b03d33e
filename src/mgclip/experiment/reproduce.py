"""Tables of experiments: recipes, each with several seeds, class orders and changes, run or resumed.

A table is a YAML file in ``recipes/tables``. Each of its runs is an ordinary run in its own folder. So a table that was stopped
resumes where it stopped, and a table that is run again with more seeds runs only what is missing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import product
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from mgclip.errors import InputError
from mgclip.experiment import run_folder
from mgclip.experiment.recipe import Recipe, change_recipe, load_recipe, parse_change
from mgclip.experiment.recipe_files import read_yaml, shipped_recipes
from mgclip.experiment.schemas import Summary, read_run_file
from mgclip.validation import Text, TrueNumbers, problems
from mgclip.words import ended, nearest

NOT_IN_NAMES = re.compile(r'[<>:"\\|?*]')
"""Characters that Windows does not allow in the name of a folder; it may not end with a space or a dot either."""

SOURCE_UNKNOWN = "source unknown"
"""Where a result was published that came without its source."""

Scalar = str | int | float | bool | None


class PublishedResult(TrueNumbers):
    """A published result of a method in a recipe, to compare with: Avg and Last in percent."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: str
    method: str
    avg: float | None = None
    last: float | None = None
    source: Text = SOURCE_UNKNOWN
    """Where it was published, and what its setting has that the recipe does not show."""


class TableSpec(BaseModel):
    """The content of a table's file: recipes and methods, and optionally one key with the values to try."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    about: str
    recipes: list[str] = Field(min_length=1)
    methods: list[str] | None = None
    """Replaces the methods of the recipes."""
    changes: dict[str, Scalar] = Field(default_factory=dict)
    """Changes to all recipes."""
    vary: dict[str, list[Scalar]] = Field(default_factory=dict)
    """Key -> values; one run for each different value."""
    class_orders: list[Annotated[int, Field(ge=0)]] = Field(default_factory=list)
    """Numbered class orders, one run each; with several seeds, one run of each with every seed."""
    published: list[PublishedResult] = Field(default_factory=list)

    @field_validator("vary")
    @classmethod
    def _without_seed(cls, vary: dict[str, list[Scalar]]) -> dict[str, list[Scalar]]:
        if "seed" in vary:
            raise ValueError("must have keys other than seed; found seed: use --seeds")
        return vary


@dataclass(frozen=True)
class TableRun:
    """One run of a table: a recipe with one change (or none), one seed and possibly one class order, and its folder inside that
    of the table.
    """

    recipe: Recipe
    change: str
    folder: Path


def shipped_tables() -> dict[str, Path]:
    """Name -> file of every table inside the package."""
    folder = Path(str(files("mgclip") / "recipes" / "tables"))
    return {file.stem: file for file in sorted(folder.glob("*.yaml"))}


def load_table(name: str) -> TableSpec:
    """Load a shipped table by its name, or a file; a shipped recipe is a table of itself. Raises ``InputError`` if there is none
    (with the nearest name), or it is not valid.
    """
    tables, recipes = shipped_tables(), shipped_recipes()
    if name in recipes.keys() - tables.keys():
        return TableSpec(about=load_recipe(name).about, recipes=[name])
    file = tables.get(name, Path(name))
    if not file.is_file():
        raise InputError(ended(f"There is no table {name}{nearest(name, [*tables, *recipes])}"))
    values = read_yaml(file)
    if "recipes" not in values and values.keys() & {"extends", *Recipe.model_fields} - TableSpec.model_fields.keys():
        raise InputError(
            f"{name} is a recipe, not a table: run it with `mgclip run {name}`, or write a table with the lines `about: ...` and "
            f"`recipes: [{name}]`."
        )
    try:
        return TableSpec.model_validate(values)
    except ValidationError as error:
        raise InputError(ended(f"In table {name}: {'; '.join(problems(error, TableSpec.model_fields))}")) from None


def table_runs(
    table: TableSpec,
    folder: Path,
    *,
    seeds: int,
    twin: bool,
    changes: Sequence[str] = (),
    class_orders: Sequence[int] = (),
) -> list[TableRun]:
    """The runs of a table, class order by class order and seed by seed, so that a table that is stopped early has complete ones.

    Args:
        table: The table.
        folder: The folder of its runs.
        seeds: Number of seeds, starting with the seed of the recipe; each class order is run with every seed.
        twin: Whether to replace each recipe by its twin on icons100.
        changes: Changes to all recipes, ``key=value``.
        class_orders: Numbered class orders; by default those of the table.

    Raises:
        InputError: If a recipe has no twin, a change is not valid or has no effect, two runs have the same folder, or a published
            result belongs to no recipe of the table.
    """
    orders = list(dict.fromkeys(class_orders or table.class_orders))
    _check_keys(table, changes, ordered=bool(orders))
    _check_published(table)
    sources = list(dict.fromkeys(_twin(name) if twin else name for name in table.recipes))
    varied = list(dict.fromkeys(f"{key}={json.dumps(value)}" for key, values in table.vary.items() for value in values)) or [""]
    own = [f"methods={','.join(table.methods)}"] if table.methods else []
    own += [f"{key}={json.dumps(value)}" for key, value in table.changes.items()]
    runs: dict[Path, TableRun] = {}
    for order, number in product(orders or (None,), range(seeds)):
        ordered = [] if order is None else [f"class_order={order}"]
        for source in sources:
            base = change_recipe(load_recipe(source), [*own, *changes], source=source)
            known: list[tuple[str, Recipe]] = []
            for change in varied:
                seed = f"seed={base.seed + number}"
                recipe = change_recipe(base, [*filter(None, [change]), *ordered, seed], source=source)
                varies = change.partition("=")[0], recipe
                if varies in known:
                    continue  # the same value in another form, such as 1 and 1.0
                known.append(varies)
                # The first seed of a class order is not in the name, so that more seeds can follow a table that had one.
                named = "-".join([*ordered, *([seed] if number or not ordered else [])])
                place = _folder_of(recipe, change, folder) / re.sub("[_=]", "-", named)
                if place in runs:
                    raise InputError(
                        f"Two runs of the table have the folder {place}: give the recipe {source} another name with a line "
                        "`name: ...`, or leave one value of vary out."
                    )
                runs[place] = TableRun(recipe, change, place)
    return list(runs.values())


def _check_keys(table: TableSpec, changes: Sequence[str], *, ordered: bool) -> None:
    """Check that no change is replaced by a value that the table varies, or by a class order if the runs differ in it."""
    changed = {*table.changes, *(parse_change(change)[0] for change in changes)}
    if len(table.vary) == 1 and (both := changed & table.vary.keys()):  # with more keys, the others' runs have the changed value
        raise InputError(f"The table varies {min(both)} in all its runs, so it cannot be changed too: leave that change out.")
    if ordered and "class_order" in changed | table.vary.keys():
        raise InputError("The runs differ in their class orders, so class_order cannot be changed or varied: leave it out.")


def _check_published(table: TableSpec) -> None:
    """Check that each published result belongs to a recipe of the table."""
    names = [load_recipe(source).name for source in table.recipes] if table.published else []
    if wrong := [entry.recipe for entry in table.published if entry.recipe not in names]:
        raise InputError(ended(f"A published result of the table names the recipe {wrong[0]}{nearest(wrong[0], names)}"))


def _folder_of(recipe: Recipe, change: str, folder: Path) -> Path:
    """The folder of the runs with a change: a name that every system allows, unless an earlier version made another one."""
    earlier = folder / f"{recipe.name} {change.replace('/', '-')}".rstrip()
    return earlier if earlier.is_dir() else folder / NOT_IN_NAMES.sub("", earlier.name).rstrip(" .")


def _twin(name: str) -> str:
    twin = load_recipe(name).twin
    if twin is None:
        raise InputError(f"The recipe {name} has no twin on icons100: leave --twin out.")
    return twin


def finished(run: TableRun) -> dict[str, Summary] | None:
    """The summaries of the methods of a run; None if it has not finished. Raises ``InputError`` if its folder contains a run
    with different settings.
    """
    if not (run.folder / run_folder.RECIPE).is_file():
        return None
    run_folder.check_same(run.folder, run.recipe, "give another --out, or remove that folder")
    summaries = read_run_file(dict[str, Summary], run.folder / run_folder.SUMMARY) or None
    if summaries is not None:
        run_folder.check_code(run.folder, run.recipe.methods)
    return summaries
