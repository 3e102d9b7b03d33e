"""Names of classes: a table ``classes.csv`` with the columns folder, name and text, or ``folder=name,folder=name``."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from mgclip.errors import InputError, first_line
from mgclip.names import canonical

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
    if names and not names.endswith(".csv"):
        return _parse_pairs(names)
    table = Path(names) if names else folder / TABLE
    if not table.is_file():
        if names:
            raise InputError(f"There is no table of class names {table}.")
        return {}
    called: Naming = {}
    for number, (class_folder, name, text) in _lines(table):
        if not class_folder or not name:
            raise InputError(
                f"Line {number} of {table} needs a folder and a name; the first line of the table is `folder,name`."
            )
        if canonical(class_folder) in called:
            raise InputError(
                f"Line {number} of {table} names the folder {class_folder!r} again: give each folder one line."
            )
        called[canonical(class_folder)] = name, text or name
    return called


def _parse_pairs(names: str) -> Naming:
    called: Naming = {}
    for pair in names.split(","):
        class_folder, equals, name = (part.strip() for part in pair.partition("="))
        if not class_folder or not equals or not name:
            raise InputError(f"--names takes a CSV file or folder=name,folder=name; found {pair.strip()!r}.")
        if canonical(class_folder) in called:
            raise InputError(f"--names names the folder {class_folder!r} twice: give each folder one name.")
        called[canonical(class_folder)] = name, name
    return called


def _lines(table: Path) -> Iterator[tuple[int, tuple[str, str, str]]]:
    """Yield line number, folder, name and text of each line that is not blank."""
    try:
        content = table.read_bytes().decode("utf-8-sig")
        spaced = ", " in content.lstrip().partition("\n")[0]  # this table has a space after each comma
        reader = csv.reader(io.StringIO(content, newline=""), strict=True, skipinitialspace=spaced)
        rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"The table of class names {table} cannot be read ({first_line(error)}): save it as CSV in UTF-8."
        ) from None
    columns = _columns([cell.strip() for cell in rows[0][1]] if rows else [], table)
    for number, row in rows[1:]:
        if len(row) > len(columns):
            raise InputError(
                f"Line {number} of {table} has {len(row)} cells for the {len(columns)} columns {','.join(columns)}: "
                "put a name that contains a comma in quotation marks."
            )
        found = dict(zip(columns, row, strict=False))
        if found.get("text", "").startswith(" "):  # the rest of a name, such as `n01,tench, Tinca tinca`
            raise InputError(
                f"Line {number} of {table} has a space after a comma, so that the comma may belong to a name: put the name "
                "in quotation marks, or remove the space."
            )
        class_folder, name, text = (found.get(column, "").strip() for column in COLUMNS)
        yield number, (class_folder, name, text)


def _columns(cells: list[str], table: Path) -> list[str]:
    columns = [cell.casefold() for cell in cells]
    if len(set(columns)) < len(columns) or not {"folder", "name"} <= set(columns) <= set(COLUMNS):
        raise InputError(
            f"The first line of {table} must be `folder,name` or `folder,name,text`; found {','.join(cells)[:80]!r}."
        )
    return columns
