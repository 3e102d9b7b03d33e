"""Read JSON, YAML and pickles from other sources, without the features that no file needs and a hostile file can abuse."""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path
from typing import Any, ClassVar

import yaml

from mgclip.errors import first_line


def read_json(file: Path) -> Any:
    """Read a JSON file. Raises ``ValueError`` if it is not JSON, contains NaN or Infinity, or is nested too deeply."""
    try:
        return json.loads(file.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def parse_yaml(text: str) -> Any:
    """Parse a YAML text. Raises ``ValueError`` if it is not YAML, contains an alias or a key twice, or is nested too
    deeply.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(" ".join(str(error).split()) or first_line(error)) from None


class _Loader(yaml.SafeLoader):
    """Refuses aliases: with aliases of aliases, a text of a few lines expands to more than fits in memory. It also refuses a key
    that occurs twice, of which PyYAML would drop the first one.
    """

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.get_event().start_mark
            raise yaml.composer.ComposerError(None, None, "aliases (*name) are not allowed: write the value out", mark)
        return super().compose_node(parent, index)

    def compose_mapping_node(self, anchor: dict[Any, yaml.Node]) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if str(key.value) in seen:
                line = key.start_mark.line + 1
                raise yaml.composer.ComposerError(problem=f"line {line} has the key {key.value} again: leave one out")
            seen.add(str(key.value))
        return node


class RestrictedUnpickler(pickle._Unpickler):
    """Base of unpicklers for one kind of file each. A subclass lists the names it allows in ``find_class``.

    It extends Python's own implementation, because the C implementation allocates as much memory as a pickle claims to need.
    """

    stack: list[Any]
    dispatch: ClassVar[dict[int, Any]] = {
        code: load for code, load in pickle._Unpickler.dispatch.items() if code != pickle.BYTEARRAY8[0]
    }

    def __init__(self, content: bytes, encoding: str = "ASCII") -> None:
        super().__init__(io.BytesIO(content), encoding=encoding)

    def find_class(self, module: str, name: str) -> Any:
        """Refuse every name."""
        raise pickle.UnpicklingError(f"{module}.{name} is not allowed in this file")


def _refuse_constant(name: str) -> Any:
    raise ValueError("NaN and Infinity are not allowed")
