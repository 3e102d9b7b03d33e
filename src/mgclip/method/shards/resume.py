"""Resume an interrupted run from its partial sums, if reading all shards now would give the same sums."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import torch

from mgclip.clip import parallel
from mgclip.clip.adapters import adapter_state, adapters_have_effect
from mgclip.clip.encoder import Encoder
from mgclip.method.analytic.solved_head import SolvedHead
from mgclip.method.settings import RUNTIME_SETTINGS, Settings
from mgclip.method.shards.partial_sums import PARTS, ShardSums, read_sums
from mgclip.saving.checked_file import checksum


def identity(head: SolvedHead | None, class_names: Sequence[str], encoder: Encoder, settings: Settings) -> str:
    """A digest of everything but the shards that decides the sums over them.

    Args:
        head: The head of the model so far; None for a new model.
        class_names: Its classes.
        encoder: The CLIP.
        settings: The settings of the model.
    """
    backbone = encoder.backbone
    facts = backbone.fingerprint, backbone.image_precision, settings.model_dump_json(exclude=RUNTIME_SETTINGS)
    tensors = adapter_state(backbone) if adapters_have_effect(backbone) else {}
    if head is not None:
        tensors["known"] = head.learned.marks
    return checksum(repr((*facts, *class_names)), tensors)


def resumable(folder: Path | None, model: str, versions: Collection[str], device: torch.device, *, skip: bool) -> list[ShardSums]:
    """Read the partial sums of an earlier run, from all its processes, and drop those that cannot be resumed. All processes must
    call this, and get the same sums.

    Args:
        folder: Their folder; None if there is none.
        model: What identifies the model. Sums of another model are dropped.
        versions: What identifies the shards. Sums over any other shard, such as one that has changed, are dropped.
        device: The device for the sums.
        skip: Whether to leave out what cannot be read. Otherwise sums without something unreadable are dropped.
    """
    files = sorted(folder.glob(PARTS)) if folder is not None else []
    read = [sums for file in files if (sums := read_sums(file, device)) is not None]
    valid = [sums for sums in read if sums.model == model and {*sums.shards} <= {*versions} and (skip or not sums.skipped)]
    kept: list[ShardSums] = []
    for part in sorted(valid, key=lambda sums: -len(sums.shards)):
        # A command that stopped while it started may have left files whose sums another file includes.
        if part.shards and not {*part.shards} & {version for other in kept for version in other.shards}:
            kept.append(part)
    return _read_by_all(kept)


def _read_by_all(parts: Sequence[ShardSums]) -> list[ShardSums]:
    """The sums that all processes have read, in one order. A process on another machine may see another folder, or not yet the
    latest files; shards would be added twice or not at all if processes resumed different sums.
    """
    own = [_content(part) for part in parts]
    first, *others = parallel.gather_items([own])
    return [parts[own.index(content)] for content in first if all(content in each for each in others)]


def _content(part: ShardSums) -> tuple[Any, ...]:
    return part.shards, part.chosen_from, part.gamma, part.representation, len(part.images)
