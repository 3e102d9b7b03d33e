"""Read a small table that a person wrote or edited: a CSV file in UTF-8 with named columns.

Spreadsheets separate cells by semicolons where numbers have a decimal comma, and save empty columns if these were once in use.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from mgclip.errors import InputError, first_line
from mgclip.words import count

SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab"}
"""What may separate the cells of a table: the one that is most often in its first line."""


def read_table(table: Path, what: str, *, errors: str = "strict") -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    """Read a table.

    Args:
        table: The file.
        what: What it is, for error messages.
        errors: How bytes are read that are not UTF-8.

    Returns:
        The cells of the first line, and the line number and cells of each further line that is not blank. Columns that are
        empty in all lines are left out.

    Raises:
        InputError: If the file cannot be read, or a line has more cells than the first one.
    """
    try:
        content = table.read_bytes().decode("utf-8-sig", errors)
        head = next(iter(content.lstrip().splitlines()), "")
        separator = max(SEPARATORS, key=head.count)
        spaced = separator != "," or ", " in head  # this table has a space after each comma
        reader = csv.reader(io.StringIO(content, newline=""), strict=True, delimiter=separator, skipinitialspace=spaced)
        rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"The {what} {table} cannot be read ({first_line(error)}): save it as CSV in UTF-8.") from None
    if not rows:
        return [], iter(())
    used = {place for _, row in rows for place, cell in enumerate(row) if cell.strip()}
    wide = range(len(rows[0][1]), max(len(row) for _, row in rows))  # cells without a column are refused
    kept = [(number, [cell for place, cell in enumerate(row) if place in {*used, *wide}]) for number, row in rows]
    columns = [cell.strip() for cell in kept[0][1]]
    return columns, _checked(kept[1:], columns, table, SEPARATORS[separator])


def _checked(
    rows: Sequence[tuple[int, list[str]]], columns: Sequence[str], table: Path, separator: str
) -> Iterator[tuple[int, list[str]]]:
    for number, row in rows:
        if len(row) > len(columns):
            raise InputError(
                f"Line {number} of {table} has {count(len(row), 'cell')} for the {count(len(columns), 'column')} "
                f"{','.join(columns)}: put a name that contains a {separator} in quotation marks."
            )
        yield number, row
