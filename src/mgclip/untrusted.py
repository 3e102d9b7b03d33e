"""What comes from elsewhere as plain values: JSON, YAML and pickles, without what no file needs and a hostile one may use."""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path
from typing import Any, ClassVar

import yaml


def read_json(file: Path) -> Any:
    """What a JSON file holds.

    Raises ``ValueError`` where it holds none: NaN and infinity are none, nor is what is nested too deep.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8"), parse_constant=_no_number)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def parse_yaml(text: str) -> Any:
    """What a YAML text says. Raises ``ValueError`` where it says nothing, is nested too deep, or uses an alias."""
    try:
        return yaml.load(text, Loader=_NoAliases)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from None


class _NoAliases(yaml.SafeLoader):
    """A few lines of aliases of aliases stand for more than fits in memory."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.get_event().start_mark
            raise yaml.composer.ComposerError(None, None, "an alias (*name) is not read here: write it out", mark)
        return super().compose_node(parent, index)


class RestrictedUnpickler(pickle._Unpickler):
    """The base of readers of one kind of pickle each: what they may name is theirs to say, in ``find_class``.

    It is Python's own reader and not the faster one, which makes room for as much as a pickle only says it has.
    """

    stack: list[Any]
    dispatch: ClassVar[dict[int, Any]] = {
        code: load for code, load in pickle._Unpickler.dispatch.items() if code != pickle.BYTEARRAY8[0]
    }

    def __init__(self, content: bytes, encoding: str = "ASCII") -> None:
        super().__init__(io.BytesIO(content), encoding=encoding)

    def find_class(self, module: str, name: str) -> Any:
        """Refuse every name."""
        raise pickle.UnpicklingError(f"it names {module}.{name}, which is no plain data")


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number")
