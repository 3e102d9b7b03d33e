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
from mgclip.image_lists import image_list
from mgclip.method.labels import is_missing, texts_by_name
from mgclip.method.learner import MGCLIP
from mgclip.method.predictions import Predictions
from mgclip.method.settings import Settings
from mgclip.names import same
from mgclip.saving.store import expanded, is_saved

FITTED = ("model_", "labels_", "classes_")
"""Attributes of what was learned."""


class MGCLIPClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier of images. ``X`` is a sequence of Pillow images, paths or uint8 arrays ``(h, w, 3)``, a column of a table, or
    one array ``(n, h, w, 3)``; ``y`` holds their labels, which prompts use as texts unless ``class_texts`` has others. Labels
    that mean nothing to a reader, such as numbers, mean nothing to the text branch: give texts, or set ``branches: image``.

    Parameters
    ----------
    clip : str or Path
        A CLIP (hub id, folder, OpenAI ``.pt`` file, ``iconclip``), or a saved MG-CLIP model, which predicts at once and can
        learn more classes.
    settings : mapping or Settings, optional
        Settings of the method (docs/recipes.md), such as ``{"epochs": 2}``; ``set_params(settings__epochs=2)`` sets one of them.
    class_texts : mapping, optional
        What prompts call a label. Keys are labels, as they are or as text; a label without a text is called by its name.
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
        settings: Settings | Mapping[str, Any] | None = None,
        class_texts: Mapping[Any, str] | None = None,
        sharp: bool = False,
    ) -> None:
        self.clip, self.settings, self.class_texts, self.sharp = clip, settings, class_texts, sharp

    def set_params(self, **params: Any) -> MGCLIPClassifier:
        """Set parameters, and single settings of the method as ``settings__NAME``.

        Args:
            **params: Parameters by name.

        Returns:
            The classifier.

        Raises:
            InputError: If a setting is to be changed and ``settings`` is neither a mapping nor ``Settings``.
        """
        changes = {
            key.removeprefix("settings__"): params.pop(key) for key in list(params) if key.startswith("settings__")
        }
        super().set_params(**params)
        if changes:
            given = self.settings if isinstance(self.settings, Mapping | None) else dict(build_settings(self.settings))
            self.settings = {**(given or {}), **changes}
        return self

    def __getattr__(self, name: str) -> Any:
        """What a saved model has learned is there from the beginning, read at its first use."""
        if name not in FITTED or not is_saved(expanded(self.clip)):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        model = self._open()
        labels = np.asarray(model.class_names, dtype=object)
        self.model_, self.labels_, self.classes_ = model, labels, np.sort(labels)
        return self.__dict__[name]

    def __sklearn_is_fitted__(self) -> bool:
        return "model_" in vars(self) or is_saved(expanded(self.clip))

    def fit(self, X: Any, y: ArrayLike) -> MGCLIPClassifier:
        """Learn all classes of ``y`` at once, from ``clip`` as it is.

        Args:
            X: The images.
            y: Their labels.

        Returns:
            The classifier.

        Raises:
            InputError: If this cannot be learned, or if a key of ``class_texts`` is not a label.
            ValueError: If a label is missing, or the numbers of images and labels differ.
        """
        for name in FITTED:
            self.__dict__.pop(name, None)
        return self._learn(X, y, later=False, classes=None)

    def partial_fit(self, X: Any, y: ArrayLike, classes: ArrayLike | None = None) -> MGCLIPClassifier:
        """Learn the classes of ``y`` as the next task. A class is learned once: ``y`` must hold new ones only.

        Args:
            X: The images.
            y: Their labels.
            classes: All labels of all calls, as scikit-learn's convention has it. They are not needed, for classes may always
                be added; keys of ``class_texts`` are checked against them.

        Returns:
            The classifier.

        Raises:
            InputError: If a class was learned before, if this cannot be learned for another reason, or if a key of
                ``class_texts`` is not a label.
            ValueError: If a label is missing, or the numbers of images and labels differ.
        """
        return self._learn(X, y, later=True, classes=classes)

    def _learn(self, X: Any, y: ArrayLike, *, later: bool, classes: ArrayLike | None) -> MGCLIPClassifier:
        images, labels = self._images(X), self._labels(y)
        if len(images) != len(labels):
            raise ValueError(
                f"FoundDataset input variables with inconsistent numbers of samples: {[len(images), len(labels)]}"
            )
        new = np.unique(labels)
        model = self.model_ if hasattr(self, "model_") else None
        known = new[:0] if model is None else self.labels_
        if len(known) and (new.dtype.kind in "OU") != (known.dtype.kind in "OU"):
            raise InputError(
                f"All labels must have the same type: {known[0]!r} was learned before, now found {new[0]!r}."
            )
        if len(again := np.intersect1d(new, known)):
            advice = (
                "partial_fit takes new classes only"
                if later
                else f"give fit other classes, or a CLIP instead of {self.clip}"
            )
            raise InputError(f"The class {again[0]!r} was learned before: {advice}.")
        names = tuple(map(str, new))
        texts = self._texts(
            names, [*names, *map(str, known), *map(str, () if classes is None else np.ravel(classes))], later
        )
        model = model or self._open()
        model.learn(images, list(map(str, labels)), names, class_texts=texts)
        self.model_ = model
        self.labels_ = np.concatenate([known, new]) if len(known) else new
        self.classes_ = np.sort(self.labels_)
        return self

    def _texts(self, names: tuple[str, ...], known: list[str], later: bool) -> tuple[str, ...]:
        """What prompts call the labels. If more classes come ``later``, keys may be theirs as long as no label lacks a text: a
        label without one beside a key without a label is likely a misspelling.
        """
        given = self.class_texts
        if given is None:
            return names
        if not isinstance(given, Mapping):
            raise InputError(f"class_texts must be a mapping from label to text; found {type(given).__name__}.")
        if later and {same(str(key)) for key in given}.issuperset(map(same, names)):
            known = [*known, *map(str, given)]
        return texts_by_name(given, names, known)

    def predict(self, X: Any) -> NDArray[Any]:
        """Predict the label of each image.

        Args:
            X: The images.

        Returns:
            Labels ``(n,)``.

        Raises:
            NotFittedError: If nothing was learned.
            InputError: If these are not images.
        """
        found = self._predict(X)
        return np.asarray(self.labels_[found.labels])

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Predict the probability of each class.

        Args:
            X: The images.

        Returns:
            Probabilities ``(n, classes)``, columns in the order of ``classes_``; rows sum to 1.

        Raises:
            NotFittedError: If nothing was learned.
            InputError: If these are not images.
        """
        found = self._predict(X)
        values = np.asarray(found.confidence if self.sharp else found.probabilities, dtype=np.float64)
        values = values[:, np.argsort(self.labels_, kind="stable")]
        return np.asarray(values / values.sum(1, keepdims=True))

    def _predict(self, X: Any) -> Predictions:
        if not hasattr(self, "model_"):
            raise NotFittedError("This MGCLIPClassifier has learned nothing yet: call fit or partial_fit first.")
        return self.model_.predict(self._images(X))

    def _open(self) -> MGCLIP:
        if is_saved(expanded(self.clip)) and self.settings is not None:
            raise InputError(f"{self.clip} is a saved model and keeps its own settings: leave settings out.")
        return MGCLIP.from_pretrained(
            self.clip, settings=None if self.settings is None else build_settings(self.settings)
        )

    def _images(self, X: Any) -> Sequence[Any]:
        """The images one by one. Raises ``InputError`` if there is none."""
        images = image_list(X)
        if not len(images):
            raise InputError("There is no image: X is empty.")
        return images

    def _labels(self, y: Any) -> NDArray[Any]:
        """Labels ``(n,)``. Raises ``ValueError``, as scikit-learn does, if one is missing."""
        if y is None:
            raise ValueError("This MGCLIPClassifier estimator requires y to be passed, but the target y is None.")
        listed = y if isinstance(y, list | tuple) else np.asarray(y, dtype=object).ravel()
        if gaps := [place for place, label in enumerate(listed) if is_missing(label)]:
            raise ValueError(f"Input y contains NaN: y[{gaps[0]}] is missing; give every image a label.")
        if hasattr(y, "to_numpy"):  # scikit-learn would make floats of pandas' nullable whole numbers
            y = y.to_numpy()
            if y.dtype == object and all(isinstance(label, int) for label in listed):
                y = y.astype(np.int64)
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
