"""The versions that a result or a bug report depends on. They are read without importing the packages."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import TypedDict

from mgclip._version import __version__

PACKAGES = (
    "torch transformers peft accelerate datasets fsspec safetensors filelock numpy pillow pydantic pyyaml typing-extensions "
    "typer rich matplotlib pandas pyarrow scipy scikit-learn jinja2 qtawesome pillow-heif onnx onnxruntime onnxscript gradio"
)
"""All packages that this package or one of its extras for users requires."""


class InstalledVersions(TypedDict):
    """The versions of Python and of packages, and the platform."""

    python: str
    platform: str
    packages: dict[str, str]


def installed_versions() -> InstalledVersions:
    """Return the versions of Python, MG-CLIP and its packages, and the platform."""
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "packages": {package: version_of(package) for package in ("mg-clip", *PACKAGES.split())},
    }


def version_of(package: str) -> str:
    """The version of a package, or ``not installed``."""
    if package == "mg-clip":
        return __version__  # that of the code: a copy installed with ``pip install -e`` may have changed since
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
