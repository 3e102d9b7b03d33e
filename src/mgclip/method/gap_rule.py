"""The paper's rule: for how many epochs the gap stays near its initial value (docs/method.md 4). It needs numbers only."""

from __future__ import annotations

from collections.abc import Sequence

LEAST_SIMILARITY = 5.0
"""With a CLIP trained with a sigmoid loss, changes are relative to at least this many logits, a cosine of about 0.05."""


def relative_change(value: float, initial: float, least: float) -> float:
    """Change of a similarity, as a share of the size of its initial value or of ``least``, whichever is larger."""
    return (value - initial) / max(abs(initial), least)


def epochs_within(alpha: float | None, initial: float, after: Sequence[float], least: float = 0.0) -> int | None:
    """For how many epochs the negative similarity stays within ``alpha`` of its initial value.

    Args:
        alpha: The largest relative change allowed; None allows any.
        initial: The value before the first epoch.
        after: The values after the first, second, ... epoch.
        least: Changes are relative to at least this many logits. The published rule has no such limit.

    Returns:
        The epochs before the first one that crosses the limit, at least 1; None while no epoch has crossed it.
    """
    for epochs, negative in enumerate(after):
        if alpha is not None and abs(relative_change(negative, initial, least)) > alpha:
            return max(1, epochs)
    return None
