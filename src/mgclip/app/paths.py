"""``~`` in the paths that commands take: the home folder, also where the shell does not replace it (quoted, or after ``=``)."""

from __future__ import annotations

import os
from typing import Any

from typer.core import TyperCommand

MAY_BE_PATHS = frozenset({"images", "base", "clip", "data", "path", "names", "arguments"})
"""Parameters that are texts because they take other things too, such as the name of a data set or recipe."""


class Command(TyperCommand):
    """A command that expands ``~`` in all its paths."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the command line."""
        rest = super().parse_args(ctx, args)
        paths = {
            param.name for param in self.params if getattr(getattr(param, "type", None), "name", "") == "path"
        } | MAY_BE_PATHS
        for name in ctx.params.keys() & paths:
            ctx.params[name] = _expanded(ctx.params[name])
        return rest


def _expanded(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(map(_expanded, value))
    home = isinstance(value, str) and (value == "~" or value.startswith(("~/", "~\\")))
    return os.path.expanduser(value) if home else value  # noqa: PTH111
