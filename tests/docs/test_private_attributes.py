"""docs/extending.md lists every private attribute of another library that the package uses."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def is_private(name):
    return name.startswith("_") and not name.startswith("__")


def test_every_private_attribute_of_another_library_is_listed():
    used, own = set(), set()
    for file in (ROOT / "src" / "mgclip").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                own.add(node.name)
            elif isinstance(node, ast.Attribute) and is_private(node.attr):
                if isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"):
                    own.add(node.attr)
                elif node.attr not in ("_version",):  # a module of the package
                    used.add(node.attr)
    text = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8").partition("## Private attributes")[2]
    listed = {name for name in re.findall(r"\.(_\w+)", text) if not name.startswith(("_utils", "_rebuild", "_pickle", "_core"))}
    assert used - own == listed
