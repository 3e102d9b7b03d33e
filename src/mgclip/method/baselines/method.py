"""What is known of a way to learn a stream before it runs; nothing here waits for PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Method:
    """A method: one line about it, where it is defined, and what it changes.

    ``changes`` are settings of the learner that differ from the recipe's; ``frozen`` learns a classifier on frozen features
    instead; ``joint`` learns the whole stream as one task; ``replays`` keeps a memory of old images, which no other method does.
    """

    about: str
    source: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    frozen: bool = False
    joint: bool = False
    replays: bool = False
