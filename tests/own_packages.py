"""The packages in examples/, made importable with their entry points as if they were installed."""

import importlib
import re
import shutil
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"
NAMES = sorted(folder.name for folder in EXAMPLES.iterdir() if (folder / "pyproject.toml").is_file())


def entry_points(project):
    """The entry points in a pyproject.toml, as an installed package lists them."""
    sections = re.findall(r'^\[project\.entry-points\."(.+?)"\]\n((?:.+\n)*)', project, re.MULTILINE)
    return "".join(f"[{group}]\n{lines.replace(chr(34), '')}\n" for group, lines in sections)


def put_package(place, name, module, text, offers):
    """Write a package of one module, with its entry points, into a folder of sys.path."""
    (place / f"{module}.py").write_text(text)
    about = place / f"{name.replace('-', '_')}-0.1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1.0\n")
    (about / "entry_points.txt").write_text(offers)


def put_examples(place):
    """Make all examples importable from a folder."""
    for name in NAMES:
        module = name.replace("-", "_")
        project = (EXAMPLES / name / "pyproject.toml").read_text()
        put_package(place, name, module, (EXAMPLES / name / f"{module}.py").read_text(), entry_points(project))


def forget_registered():
    """Remove all methods and data sets that are not of this package."""
    from mgclip.method.methods import METHODS
    from mgclip.stream.datasets import DATASETS

    for registry in (METHODS, DATASETS):
        for name in registry._entries.keys() - registry._built_in:
            del registry._entries[name], registry._packages[name]


def forget(place):
    """Remove everything that came from a folder: modules, and what they registered."""
    forget_registered()
    for module in [name for name, each in sys.modules.items() if str(getattr(each, "__file__", "")).startswith(str(place))]:
        del sys.modules[module]
    importlib.invalidate_caches()
    shutil.rmtree(place, ignore_errors=True)
