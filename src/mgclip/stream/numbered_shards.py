"""Shards with their number and the number of all shards in their names, as in ``train-00001-of-00003.tar``."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable

NUMBERED = re.compile(r"(.*\D|)(\d+)-of-(\d{1,6})(?!\d)(.*)", re.DOTALL)


def missing_shards(names: Iterable[str]) -> list[str]:
    """The shards that are missing between the first and the last one, as the numbers in the names of the others say.

    Args:
        names: The paths or addresses of the shards that exist. They are numbered from 0, or from 1 if the last number occurs.

    Returns:
        The names of the missing ones, sorted.
    """
    numbered: dict[tuple[str, str, str], dict[int, int]] = defaultdict(dict)
    for name in names:
        if (found := NUMBERED.fullmatch(name)) is not None:
            before, number, total, after = found.groups()
            numbered[before, total, after][int(number)] = len(number)
    missing = []
    for (before, total, after), widths in numbered.items():
        first = int(int(total) in widths)
        width = min(widths.values())
        numbers = set(range(first, int(total) + first)) - widths.keys()
        missing += [f"{before}{number:0{width}}-of-{total}{after}" for number in numbers]
    return sorted(missing)
