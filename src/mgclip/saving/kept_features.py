"""Features of images under a pre-trained CLIP, kept in a folder: all methods, seeds and class orders encode an image once.

A file is written once and never changed, so any number of processes can use a folder at the same time. A file has the key of each
image (``PreparedImages.keys``) and names all else that decides its features: the CLIP, the transform, the precision, and the
versions of the packages that open images. Features are served only if all of these are the same. A digest of them is in the name
of the file, so that other files are not opened.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import uuid
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mgclip._version import __version__
from mgclip.clip.backbone import Backbone
from mgclip.clip.pixels import KEY, PreparedImages, prefetch
from mgclip.environment import version_of
from mgclip.errors import DamagedFeatures, InputError, MGCLIPError, first_line
from mgclip.saving.checked_file import load_checked, write_checked
from mgclip.saving.writable import check_writable

FORMAT = 2
PREFIX = "features-"
ROWS = 4096
"""Images whose features are written together. A process that is killed loses at most these."""


@dataclass(frozen=True)
class Rows:
    """Images with their keys ``(n,)``, the fingerprints of their pixels ``(n,)`` and their features after and before the
    projection ``(n, d + w)``.
    """

    keys: NDArray[np.bytes_]
    marks: Tensor
    features: Tensor

    def __len__(self) -> int:
        return len(self.keys)

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """The rows in the order of their keys."""
        return np.argsort(self.keys, kind="stable")

    @cached_property
    def sorted_keys(self) -> NDArray[np.bytes_]:
        """The keys in order."""
        return self.keys[self.order]

    def find(self, keys: NDArray[np.bytes_]) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """Return which of these keys have a row ``(b,)``, and the rows of those that have one."""
        places = np.searchsorted(self.sorted_keys, keys).clip(max=len(self) - 1)
        found = self.sorted_keys[places] == keys
        return found, self.order[places[found]]


class KeptFeatures:
    """Features of images, kept in a folder.

    Args:
        folder: The folder. It can hold features of several CLIPs, and is created with the first file.

    Raises:
        InputError: If the folder cannot be written, or has other files.

    Example:
        >>> from mgclip import MGCLIP
        >>> model = MGCLIP.from_pretrained("iconclip", settings={"epochs": 0})
        >>> model.encoder.kept = KeptFeatures(Path("features"))
    """

    def __init__(self, folder: Path) -> None:
        check_writable(folder)
        names = [file.name for file in folder.iterdir()] if folder.is_dir() else []
        if others := [name for name in names if not name.startswith((PREFIX, "."))]:
            raise InputError(f"{folder} has other files, such as {min(others)}: keep features in a folder of their own.")
        self.folder = folder
        self._read: dict[tuple[str, str], Rows | None] = {}

    def features(self, backbone: Backbone, pixels: PreparedImages, parts: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield what ``backbone.both_features`` returns for the images at each part ``(b,)`` of positions. Images that are not in
        the folder are encoded, and their features are written to it.
        """
        about, marks, new = description(backbone), pixels.record_marks(), list[Rows]()
        stored, width = self._stored(about), backbone.image_dim("both")
        parts = list(parts)
        total, seen, encoded = sum(map(len, parts)), 0, 0

        def load(part: Tensor) -> tuple[Rows, Tensor, Tensor]:
            found, missing = rows_of(stored, pixels.keys(part), width)
            return found, missing, pixels.batch(part[missing]) if len(missing) else missing

        try:
            for part, (found, missing, prepared) in prefetch(load, parts):
                seen, encoded = seen + len(part), encoded + len(missing)
                if len(missing):
                    # The same share of the images to come is expected to be missing as of those so far.
                    backbone.expect(len(missing) + (total - seen) * encoded // seen, batch=len(parts[0]))
                    features = backbone.both_features(prepared).cpu()
                    found.features[missing], found.marks[missing] = features, marks[part[missing]]
                    new.append(Rows(pixels.keys(part[missing]), found.marks[missing], features))
                marks[part] = found.marks
                if sum(map(len, new)) >= ROWS:
                    self._write(about, new)
                    new = []
                yield found.features.to(backbone.device)
        finally:
            if new:
                self._write(about, new)

    def _stored(self, about: str) -> list[Rows]:
        """All files of the folder with features of this CLIP, each read once."""
        for file in sorted(self.folder.glob(f"{prefix(about)}*.safetensors")):
            if (file.name, about) not in self._read:
                self._read[file.name, about] = read_rows(file, about)
        return [rows for (_, of), rows in self._read.items() if of == about and rows is not None]

    def _write(self, about: str, parts: Sequence[Rows]) -> None:
        keys = np.concatenate([part.keys for part in parts]).view(np.uint8).reshape(-1, KEY)
        tensors = {
            "keys": torch.from_numpy(keys),
            "marks": torch.cat([part.marks for part in parts]),
            "features": torch.cat([part.features for part in parts]),
        }
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_checked(self.folder / f"{prefix(about)}{uuid.uuid4().hex}.safetensors", {"of": about}, tensors)
        except OSError as error:
            raise MGCLIPError(
                f"Features cannot be written to {self.folder} ({error.strerror}): free space there, or keep them in another "
                "folder, and run the command again."
            ) from error


def description(backbone: Backbone) -> str:
    """Everything besides an image that decides its features, as JSON."""
    config = backbone.model.config.vision_config.to_json_string(use_diff=False)
    about = {
        "format": FORMAT,
        "mg-clip": __version__,
        "pillow": version_of("pillow"),
        "clip": backbone.fingerprint,
        "tower": hashlib.sha256(config.encode()).hexdigest()[:16],
        "transform": repr(backbone.transform),
        "colours": [list(backbone.processor.image_mean), list(backbone.processor.image_std)],
        "precision": [backbone.image_precision, backbone.uses_encoding_tower],
    }
    return json.dumps(about, sort_keys=True)


def prefix(about: str) -> str:
    """How the names of files with features of this description begin."""
    return f"{PREFIX}{hashlib.sha256(about.encode()).hexdigest()[:16]}-"


def rows_of(stored: Sequence[Rows], keys: NDArray[np.bytes_], width: int) -> tuple[Rows, Tensor]:
    """Return rows for these keys, with features of length ``width``, and the positions of those that are not stored."""
    marks, features = torch.zeros(len(keys), dtype=torch.long), torch.zeros(len(keys), width)
    missing: NDArray[np.int64] = np.arange(len(keys))
    for rows in stored:
        if len(missing) == 0:
            break
        found, places = rows.find(keys[missing])
        marks[missing[found]], features[missing[found]] = rows.marks[places], rows.features[places]
        missing = missing[~found]
    return Rows(keys, marks, features), torch.from_numpy(missing)


def read_rows(file: Path, about: str) -> Rows | None:
    """Read a file of features; None if it has those of something else, or if another process has removed it.

    A damaged file is removed. One that the machine cannot read at the moment stays.

    Warns:
        DamagedFeatures: If the file is damaged or cannot be read.
    """
    try:
        facts, tensors = load_checked(file)
        if facts["of"] != about:
            return None
        keys = np.ascontiguousarray(tensors["keys"].numpy()).view(f"S{KEY}")[:, 0]
        return Rows(keys, tensors["marks"], tensors["features"])
    except FileNotFoundError:
        return None
    except OSError as error:
        _warn(f"The features in {file} cannot be read ({first_line(error)})")
    except ValueError as error:
        _warn(f"The features in {file} are damaged ({first_line(error)})")
        with contextlib.suppress(OSError):
            file.unlink()
    return None


def _warn(what: str) -> None:
    warnings.warn(f"{what}, so their images are encoded again.", DamagedFeatures, stacklevel=3)
