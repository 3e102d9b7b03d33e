"""Labels as scikit-learn takes them: in a list, an array or a column, none of them missing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from mgclip.names import canonical, is_missing


def label_array(y: Any) -> NDArray[Any]:
    """Labels ``(n,)``. Raises ``ValueError``, as scikit-learn does, if one is missing."""
    if y is None:
        raise ValueError("This MGCLIPClassifier estimator requires y to be passed, but the target y is None.")
    listed = y if isinstance(y, list | tuple) else np.asarray(y, dtype=object).ravel()
    if missing := [index for index, label in enumerate(listed) if is_missing(label)]:
        raise ValueError(f"Input y contains NaN: y[{missing[0]}] is missing; give every image a label.")
    if hasattr(y, "to_numpy"):  # scikit-learn would convert pandas' nullable integers to floats
        y = y.to_numpy()
        if y.dtype == object and all(isinstance(label, int) for label in listed):
            y = y.astype(np.int64)
    if getattr(getattr(y, "dtype", None), "kind", "") == "T":  # scikit-learn does not know NumPy's StringDType
        y = np.array(y.tolist())
    labels: NDArray[Any] = column_or_1d(y, warn=True)
    check_classification_targets(labels)
    return labels


def unify_forms(labels: NDArray[Any], known: Iterable[Any]) -> NDArray[Any]:
    """The labels, each text in the Unicode form in which it was given first, among the ``known`` labels or these."""
    if labels.dtype.kind not in "OU":
        return labels
    given = [*known, *labels.tolist()]
    first = {canonical(label): label for label in reversed(given) if isinstance(label, str)}
    texts = [first[canonical(label)] if isinstance(label, str) else label for label in labels.tolist()]
    return np.array(texts, dtype=object if labels.dtype.kind == "O" else None)
