"""Write tables as CSV. File names with line ends, or bytes that are not UTF-8, are unchanged when the table is read again."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Rows as CSV, each ended by a line feed. A cell that contains any line end is in quotation marks."""
    return "".join(map(_line, rows))


def _line(row: Sequence[object]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerow(row)  # it quotes the line ends that it writes itself
    return text.getvalue().removesuffix("\r\n") + "\n"


def csv_bytes(rows: Iterable[Sequence[object]]) -> bytes:
    """Rows as CSV in UTF-8, with the bytes of file names that are not UTF-8."""
    text = csv_text(rows)
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # on Windows, half of a character
        return text.encode("utf-8", "backslashreplace")
