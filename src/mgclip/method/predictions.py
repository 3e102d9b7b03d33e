"""What ``predict`` returns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Predictions:
    """Predictions for ``n`` images over ``c`` learned classes.

    ``probabilities`` is ``(n, c)``, columns in the order of ``classes``. They are the method's own
    (docs/method.md 7): flat by design, so their order says more than their size.
    """

    classes: tuple[str, ...]
    probabilities: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.probabilities)

    @property
    def labels(self) -> NDArray[np.int64]:
        """Position of the most probable class of each image, ``(n,)``."""
        return np.asarray(self.probabilities.argmax(1), dtype=np.int64)

    @property
    def names(self) -> list[str]:
        """Name of the most probable class of each image."""
        return [self.classes[label] for label in self.labels]

    def top(self, k: int) -> Iterator[list[tuple[str, float]]]:
        """For each image its ``k`` most probable classes, name and probability, best first."""
        for row in self.probabilities:
            best = np.argsort(-row, kind="stable")[:k]
            yield [(self.classes[label], float(row[label])) for label in best]
