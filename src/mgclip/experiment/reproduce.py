"""Tables of experiments: recipes, each with several seeds and changes, run or gone on with, and put together.

A table is a YAML file in ``recipes/tables``. Each of its cells is an ordinary run in a folder of its own, so a table that was
stopped goes on where it was, and one asked for again with more seeds runs only what is missing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mgclip.errors import InputError
from mgclip.experiment import records
from mgclip.experiment.recipe import Recipe, as_shipped, change_recipe, load_recipe, nearest, read_yaml

Scalar = str | int | float | bool | None


class Published(BaseModel):
    """A number of the literature to stand beside ours: Avg and Last in percent; ``recipe`` says which cell it belongs to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: str
    method: str
    avg: float | None = None
    last: float | None = None


class Table(BaseModel):
    """What a table runs: its recipes with its methods, each as it is, or with one key changed to each of several values."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    about: str
    recipes: list[str] = Field(min_length=1)
    methods: list[str] | None = None
    """In place of the recipes' own."""
    changes: dict[str, Scalar] = Field(default_factory=dict)
    """Changes to all of its recipes."""
    vary: dict[str, list[Scalar]] = Field(default_factory=dict)
    """Key -> values; a run for each of them."""
    published: list[Published] = Field(default_factory=list)


@dataclass(frozen=True)
class Cell:
    """One recipe with one change (or none) and one seed, and its folder below the table's."""

    recipe: Recipe
    change: str
    folder: Path


@dataclass(frozen=True)
class Row:
    """One line of a finished table: a method in a recipe with a change, over seeds. Values are shares of 1, ``(mean, spread)``;
    spread is the standard deviation over seeds, None for one seed.
    """

    recipe: str
    change: str
    method: str
    seeds: int
    values: Mapping[str, tuple[float, float | None]]
    epochs: tuple[int, ...]
    seconds: float
    accuracy_after: tuple[tuple[float, ...], ...]
    as_published: bool = True
    """Whether the recipe ran as shipped, but for seed, paths and what changes no result: else no published value fits it."""


def shipped_tables() -> dict[str, Path]:
    """Name -> file of every table inside the package."""
    folder = Path(str(files("mgclip") / "recipes" / "tables"))
    return {file.stem: file for file in sorted(folder.glob("*.yaml"))}


def load_table(name: str) -> Table:
    """A table by name or file. Raises ``InputError`` naming what is wrong, with the nearest name."""
    tables = shipped_tables()
    file = tables.get(name, Path(name))
    if not file.is_file():
        raise InputError(f"There is no table {name}{nearest(name, tables)}")
    try:
        return Table.model_validate(read_yaml(file))
    except ValidationError as error:
        said = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'all of it'}: {e['msg']}" for e in error.errors())
        raise InputError(f"In table {name}: {said}.") from None


def table_cells(table: Table, folder: Path, *, seeds: int, twin: bool, changes: Sequence[str] = ()) -> list[Cell]:
    """The cells of a table, seed by seed, so that a table stopped early has whole seeds. Seeds count up from the recipe's own.

    ``twin`` takes each recipe's twin on icons100; ``changes`` are ``key=value`` for all. Raises ``InputError`` for a recipe
    without a twin, or settings that do not fit.
    """
    sources = list(dict.fromkeys(_twin(name) if twin else name for name in table.recipes))
    varied = [f"{key}={json.dumps(value)}" for key, values in table.vary.items() for value in values] or [""]
    own = [f"methods={','.join(table.methods)}"] if table.methods else []
    own += [f"{key}={json.dumps(value)}" for key, value in table.changes.items()]
    cells = []
    for seed in range(seeds):
        for source in sources:
            base = change_recipe(load_recipe(source), [*own, *changes], source=source)
            for change in varied:
                words = [*([change] if change else []), f"seed={base.seed + seed}"]
                recipe = change_recipe(base, words, source=source)
                name = f"{recipe.name} {change.replace('/', '-')}".rstrip()
                cells.append(Cell(recipe, change, folder / name / f"seed-{recipe.seed}"))
    return cells


def _twin(name: str) -> str:
    twin = load_recipe(name).twin
    if twin is None:
        raise InputError(f"The recipe {name} has no twin on icons100: leave --twin out.")
    return twin


def finished(cell: Cell) -> dict[str, dict[str, Any]] | None:
    """The summaries of a cell that was run to its end; None where it was not.

    Raises ``InputError`` where its folder holds a run with other settings.
    """
    if not (cell.folder / records.RECIPE).is_file():
        return None
    records.check_same(cell.folder, cell.recipe, "give another --out, or remove that folder")
    return records.read_summaries(cell.folder) or None


def collect(cells: Sequence[Cell], summaries: Sequence[Mapping[str, Mapping[str, Any]]]) -> list[Row]:
    """Rows of a table from the summaries of its cells: recipes, changes and methods in the order they first come."""
    groups: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    recipes = {cell.recipe.name: cell.recipe for cell in cells}
    for cell, summary in zip(cells, summaries, strict=True):
        for method, found in summary.items():
            groups.setdefault((cell.recipe.name, cell.change, method), []).append(found)
    return [
        Row(
            *key,
            seeds=len(found),
            values={
                name: value for name in _values(found[0]) if (value := _spread([_values(one)[name] for one in found]))
            },
            epochs=tuple(int(one["epochs"]) for one in found),
            seconds=float(np.median([one["seconds"] for one in found])),
            accuracy_after=tuple(tuple(one["accuracy_after"]) for one in found),
            as_published=not key[1] and as_shipped(recipes[key[0]]),
        )
        for key, found in groups.items()
    ]


def _values(summary: Mapping[str, Any]) -> dict[str, float | None]:
    """The metrics of one run by the names a table shows."""
    names = {
        "Avg": "average",
        "Last": "last",
        "forgetting": "forgetting",
        "BWT": "backward_transfer",
        "FWT": "forward_transfer",
    }
    kept: dict[str, float | None] = {}
    for data, found in summary.get("retention", {}).items():
        kept |= {data: found["accuracy"], f"{data} drop": found["drop"]}
    return {name: summary[key] for name, key in names.items()} | kept


def _spread(values: Sequence[float | None]) -> tuple[float, float | None] | None:
    found = [value for value in values if value is not None]
    if not found:
        return None
    return float(np.mean(found)), float(np.std(found, ddof=1)) if len(found) > 1 else None
