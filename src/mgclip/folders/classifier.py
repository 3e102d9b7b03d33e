"""MG-CLIP as a scikit-learn classifier of images: ``fit``, ``partial_fit`` for the classes that come later, ``predict_proba``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import NotFittedError
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from mgclip.errors import InputError
from mgclip.experiment.recipe import build_settings
from mgclip.method.learner import MGCLIP
from mgclip.method.predictions import Predictions
from mgclip.method.store import is_saved
from mgclip.names import same


class MGCLIPClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier of images. ``X`` is a sequence of Pillow images, paths or uint8 arrays ``(h, w, 3)``, or one array
    ``(n, h, w, 3)``; ``y`` holds their labels, which prompts use as texts unless ``class_texts`` says something else. Labels that
    mean nothing to a reader, such as numbers, mean nothing to the text branch: give texts, or the setting ``branches: image``.

    Parameters
    ----------
    clip : str or Path
        A CLIP (hub id, folder, OpenAI ``.pt`` file, ``iconclip``), or a saved MG-CLIP model to go on with.
    settings : mapping, optional
        Settings of the method (docs/recipes.md), such as ``{"epochs": 2}``.
    class_texts : mapping, optional
        What prompts call a label.
    sharp : bool
        ``predict_proba`` gives confidences rather than the method's own flat probabilities; their order may differ in rare cases.

    Attributes
    ----------
    classes_ : ndarray
        Labels learned so far, sorted.
    model_ : MGCLIP
        The model itself.
    """

    def __init__(
        self,
        clip: str | Path = "openai/clip-vit-base-patch16",
        *,
        settings: Mapping[str, Any] | None = None,
        class_texts: Mapping[Any, str] | None = None,
        sharp: bool = False,
    ) -> None:
        self.clip, self.settings, self.class_texts, self.sharp = clip, settings, class_texts, sharp

    def fit(self, X: Sequence[Any], y: ArrayLike) -> MGCLIPClassifier:
        """Learn all classes of ``y`` at once, from the CLIP as it is."""
        for name in ("model_", "labels_", "classes_"):
            if hasattr(self, name):
                delattr(self, name)
        return self.partial_fit(X, y)

    def partial_fit(self, X: Sequence[Any], y: ArrayLike, classes: ArrayLike | None = None) -> MGCLIPClassifier:
        """Learn the classes of ``y`` as the next task. A class is learned once: ``y`` must hold new ones only.

        ``classes`` is accepted as scikit-learn's convention has it, and not needed: classes may always be added. Raises
        ``InputError`` for a class learned before.
        """
        images, labels = self._images(X), self._labels(y)
        if len(images) != len(labels):
            raise ValueError(
                f"Found input variables with inconsistent numbers of samples: {[len(images), len(labels)]}"
            )
        new, places = np.unique(labels, return_inverse=True)
        if not hasattr(self, "model_"):
            self.model_ = self._open()
            self.labels_ = np.asarray(self.model_.class_names, dtype=object if self.model_.class_names else new.dtype)
        if len(self.labels_) and (new.dtype.kind in "OU") != (self.labels_.dtype.kind in "OU"):
            raise InputError(
                f"Labels stay of one kind: {self.labels_[0]!r} was learned before, and now comes {new[0]!r}."
            )
        if len(again := np.intersect1d(new, self.labels_)):
            raise InputError(f"The class {again[0]!r} was learned before: partial_fit takes classes that are new.")
        texts = [str((self.class_texts or {}).get(label, label)) for label in new.tolist()]
        self.model_.learn(images, places, [str(label) for label in new.tolist()], class_texts=texts)
        self.labels_ = np.concatenate([self.labels_, new]) if len(self.labels_) else new
        self.classes_ = np.sort(self.labels_)
        return self

    def predict(self, X: Sequence[Any]) -> NDArray[Any]:
        """The label of each image, ``(n,)``."""
        found = self._predict(X)
        return np.asarray(self.labels_[found.labels])

    def predict_proba(self, X: Sequence[Any]) -> NDArray[np.float64]:
        """Probability of each class, ``(n, classes)``, columns in the order of ``classes_``; rows sum to 1."""
        found = self._predict(X)
        values = np.asarray(found.confidence if self.sharp else found.probabilities, dtype=np.float64)
        values = values[:, np.argsort(self.labels_, kind="stable")]
        return np.asarray(values / values.sum(1, keepdims=True))

    def _predict(self, X: Sequence[Any]) -> Predictions:
        if not hasattr(self, "model_"):
            raise NotFittedError("This MGCLIPClassifier has learned nothing yet: call fit or partial_fit first.")
        return self.model_.predict(self._images(X))

    def _open(self) -> MGCLIP:
        if is_saved(self.clip):
            if self.settings is not None:
                raise InputError(f"{self.clip} is a saved model and keeps its own settings: leave settings out.")
            return MGCLIP.from_pretrained(self.clip)
        return MGCLIP.from_pretrained(self.clip, settings=build_settings(self.settings or {}))

    def _images(self, X: Sequence[Any]) -> Sequence[Any]:
        """The images one by one. Raises ``InputError`` where there is none."""
        if not len(X):
            raise InputError("There is no image: X is empty.")
        return X

    def _labels(self, y: ArrayLike) -> NDArray[Any]:
        if y is None:
            raise ValueError("This MGCLIPClassifier estimator requires y to be passed, but the target y is None.")
        labels: NDArray[Any] = column_or_1d(y, warn=True)
        check_classification_targets(labels)
        if labels.dtype.kind in "OU":
            return self._one_form(labels)
        return labels

    def _one_form(self, labels: NDArray[Any]) -> NDArray[Any]:
        """The labels with each text in the form in which it was first given: Unicode may write one name in several forms."""
        given = [*getattr(self, "labels_", ()), *labels.tolist()]
        first = {same(label): label for label in reversed(given) if isinstance(label, str)}
        texts = [first[same(label)] if isinstance(label, str) else label for label in labels.tolist()]
        return np.array(texts, dtype=object if labels.dtype.kind == "O" else None)
