"""Names of classes: a table ``classes.csv`` with the columns folder, name and text, or ``folder=name,folder=name``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mgclip.errors import InputError
from mgclip.missing import not_found
from mgclip.names import canonical, check_readable, tidy
from mgclip.workflows.table import read_table

TABLE = "classes.csv"
COLUMNS = ("folder", "name", "text")

Naming = dict[str, tuple[str, str]]
"""Name and text of the class of each folder, whose name is in the form in which names are compared."""


def read_naming(folder: Path, names: str) -> Naming:
    """Read the names of the classes.

    Args:
        folder: The folder of class folders; its ``classes.csv`` is read if ``names`` is empty.
        names: A CSV file, or ``folder=name,folder=name``.

    Returns:
        Name and text of the class of each folder that is listed.

    Raises:
        InputError: If there is no such table, its columns are wrong, it lists a folder twice, or a name is missing.
    """
    if names and Path(names).suffix.lower() != ".csv":
        return _parse_pairs(names)
    table = Path(names) if names else folder / TABLE
    if not table.is_file():
        if names:
            raise not_found("table of class names", table)
        return {}
    called: Naming = {}
    for number, (class_folder, name, text) in _lines(table):
        if not class_folder or not name:
            raise InputError(f"Line {number} of {table} needs a folder and a name; the first line of the table is `folder,name`.")
        if canonical(class_folder) in called:
            raise InputError(f"Line {number} of {table} names the folder {class_folder!r} again: give each folder one line.")
        called[canonical(class_folder)] = tidy(name), tidy(text or name)
    return called


def _parse_pairs(names: str) -> Naming:
    called: Naming = {}
    for pair in names.split(","):
        class_folder, equals, name = (part.strip() for part in pair.partition("="))
        if not class_folder or not equals or not name:
            raise InputError(f"--names takes a CSV file or folder=name,folder=name; found {pair.strip()!r}.")
        if canonical(class_folder) in called:
            raise InputError(f"--names names the folder {class_folder!r} twice: give each folder one name.")
        check_readable(name)
        called[canonical(class_folder)] = tidy(name), tidy(name)
    return called


def _lines(table: Path) -> Iterator[tuple[int, tuple[str, str, str]]]:
    """Yield line number, folder, name and text of each line that is not blank."""
    cells, rows = read_table(table, "table of class names")
    columns = _columns(cells, table)
    for number, row in rows:
        found = dict(zip(columns, row, strict=False))
        if found.get("text", "").startswith(" "):  # the rest of a name, such as `n01,tench, Tinca tinca`
            raise InputError(
                f"Line {number} of {table} has a space after a comma, so that the comma may belong to a name: put the name "
                "in quotation marks, or remove the space."
            )
        class_folder, name, text = (found.get(column, "").strip() for column in COLUMNS)
        if several := next((each for each in (name, text) if len(each.splitlines()) > 1), ""):
            raise InputError(f"Line {number} of {table} ends a name of several lines ({several!r}): write it on one line.")
        yield number, (class_folder, name, text)


def _columns(cells: list[str], table: Path) -> list[str]:
    columns = [cell.casefold() for cell in cells]
    if len(set(columns)) < len(columns) or not {"folder", "name"} <= set(columns) <= set(COLUMNS):
        raise InputError(
            f"The first line of {table} must be `folder,name` or `folder,name,text`; found {','.join(cells)[:80]!r}."
        )
    return columns
