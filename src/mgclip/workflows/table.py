"""Read a small table that a person wrote or edited: a CSV file in UTF-8 with named columns."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from mgclip.errors import InputError, first_line
from mgclip.words import count


def read_table(table: Path, what: str, *, errors: str = "strict") -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    """Read a table.

    Args:
        table: The file.
        what: What it is, for error messages.
        errors: How bytes are read that are not UTF-8.

    Returns:
        The cells of the first line, and the line number and cells of each further line that is not blank.

    Raises:
        InputError: If the file cannot be read, or a line has more cells than the first one.
    """
    try:
        content = table.read_bytes().decode("utf-8-sig", errors)
        spaced = ", " in content.lstrip().partition("\n")[0]  # this table has a space after each comma
        reader = csv.reader(io.StringIO(content, newline=""), strict=True, skipinitialspace=spaced)
        rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"The {what} {table} cannot be read ({first_line(error)}): save it as CSV in UTF-8.") from None
    columns = [cell.strip() for cell in rows[0][1]] if rows else []
    return columns, _checked(rows[1:], columns, table)


def _checked(rows: Sequence[tuple[int, list[str]]], columns: Sequence[str], table: Path) -> Iterator[tuple[int, list[str]]]:
    for number, row in rows:
        if len(row) > len(columns):
            raise InputError(
                f"Line {number} of {table} has {count(len(row), 'cell')} for the {count(len(columns), 'column')} "
                f"{','.join(columns)}: put a name that contains a comma in quotation marks."
            )
        yield number, row
