"""What was decided about adapters with ``adapt: auto``, and why (docs/method.md 12). Nothing here imports PyTorch."""

from __future__ import annotations

from dataclasses import dataclass

from mgclip.words import count

DEVIATIONS = 1.0
"""Adapters continue to learn if they lower the error by more than this number of standard errors."""


@dataclass(frozen=True)
class Decision:
    """What was decided about the adapters before a task.

    Attributes:
        kept: Whether they continue to learn; otherwise they were removed.
        images: The images that were compared so far, none of which the adapters had seen.
        deviations: By how many standard errors the adapters lower the mean error of these images.
    """

    kept: bool
    images: int
    deviations: float


def describe_decision(decision: Decision) -> str:
    """What was decided, and why, in one sentence."""
    act = "raise" if round(decision.deviations, 1) < 0 else "lower"
    compared = f"{act} the error of {count(decision.images, 'image')} that they had not seen"
    change = f"by {abs(decision.deviations):.1f} standard errors"
    if decision.kept:
        return f"The adapters continue to learn, because they {compared} {change}."
    needed = "" if act == "raise" else f" only; more than {DEVIATIONS:.0f} is needed"
    return f"The adapters were removed, because they {compared} {change}{needed}."
