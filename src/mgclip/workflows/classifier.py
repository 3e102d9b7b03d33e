"""MG-CLIP as a scikit-learn classifier of images: ``fit``, ``partial_fit`` for later classes, ``predict_proba``."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import NotFittedError

from mgclip.errors import InputError
from mgclip.experiment.recipe import build_settings, parse_change
from mgclip.home import in_home
from mgclip.image_lists import image_list
from mgclip.method.labels import check_same_type, plain, texts_by_name
from mgclip.method.learner import MGCLIP
from mgclip.method.methods import NEW_MODELS, settings_of_new_model
from mgclip.method.predictions import Predictions
from mgclip.method.setting_effects import without_effect
from mgclip.method.settings import Settings
from mgclip.names import canonical
from mgclip.saving.store import is_saved
from mgclip.workflows.classifier_labels import label_array, unify_forms
from mgclip.workflows.growth import grows_classes

FITTED = ("model_", "given_")
"""Attributes of a fitted classifier: the model, and the label behind each name that the classifier gave it."""
NESTED = "settings__"
"""The start of a parameter that is one of the settings."""


class MGCLIPClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier of images that can learn more classes later.

    ``X`` is a sequence of Pillow images, paths or uint8 arrays ``(h, w, 3)``, a column of a table, or an array ``(n, h, w, 3)``.
    ``y`` contains their labels, which prompts use as texts unless ``class_texts`` has others. The text branch cannot use labels
    without meaning, such as numbers: give texts, or set ``branches: image``.

    Args:
        clip: A CLIP (hub id, folder, checkpoint file, ``iconclip``), or a saved MG-CLIP model, which can predict at once and
            learn more classes.
        method: The method of a new model, one of those that ``mgclip learn --method`` takes. The default is ``mg-clip-analytic``.
        settings: Settings that replace those of the method (docs/recipes.md), such as ``{"features": 4096}``;
            ``set_params(settings__features=4096)`` changes one of them. Of ``Settings(...)``, those that were given count.
        class_texts: What prompts call a label. Keys are labels, as they are or as text; the default is the label itself.
        **nested: Single settings as ``settings__NAME``, such as ``settings__epochs=2``, as a grid search sets them.

    Attributes:
        classes_: Labels learned so far, sorted, ``(classes,)``.
        labels_: The same labels in the order of the classes of the model.
        model_: The model, an ``MGCLIP``. If you change it, such as with ``model_.forget``, the labels follow: a class that it
            learned or renamed itself has its name as its label.

    Example:
        >>> import numpy as np
        >>> images = np.full((8, 32, 32, 3), 255, dtype=np.uint8)
        >>> images[:4, 14:18] = images[4:, :, 14:18] = 0
        >>> classifier = MGCLIPClassifier("iconclip")
        >>> classifier.fit(images, ["minus"] * 4 + ["bar"] * 4).predict(images[3:5]).tolist()
        ['minus', 'bar']
    """

    def __init__(
        self,
        clip: str | Path = "openai/clip-vit-base-patch16",
        *,
        method: str | None = None,
        settings: Settings | Mapping[str, Any] | None = None,
        class_texts: Mapping[Any, str] | None = None,
        **nested: Any,
    ) -> None:
        self.clip, self.method, self.settings, self.class_texts = clip, method, settings, class_texts
        if wrong := [name for name in nested if not name.startswith(NESTED)]:
            raise TypeError(f"MGCLIPClassifier() got an unexpected keyword argument {wrong[0]!r}")
        if nested:
            self.set_params(**nested)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters by name.

        Args:
            deep: Also each given setting as ``settings__NAME``.
        """
        settings = self.settings  # anything, because scikit-learn sets parameters without a check
        given = _given(settings) if deep and isinstance(settings, Settings) else settings
        given = given if deep and isinstance(given, Mapping) else {}
        return {**super().get_params(deep=False), **{f"{NESTED}{name}": value for name, value in given.items()}}

    def set_params(self, **params: Any) -> MGCLIPClassifier:
        """Set parameters; ``settings__NAME`` sets one of the method's settings.

        Args:
            **params: Parameters by name.

        Returns:
            The classifier.

        Raises:
            InputError: If a setting is given and ``settings`` is neither a mapping nor ``Settings``.
        """
        changes = {key.removeprefix(NESTED): params.pop(key) for key in list(params) if key.startswith(NESTED)}
        super().set_params(**params)
        if changes:
            self.settings = {**_given(self.settings), **changes}
        return self

    def __getattr__(self, name: str) -> Any:
        """Load the fitted attributes of a saved model at their first use."""
        if name == "given_" and "labels_" in (stored := vars(self)):  # unpickled from an earlier version
            self.given_: dict[str, Any] = {canonical(str(label)): label for label in stored["labels_"]}
            return self.given_
        if name not in FITTED or not is_saved(in_home(self.clip)):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        self.model_ = self._open()
        self.given_ = {}
        return self.__dict__[name]

    @property
    def labels_(self) -> NDArray[Any]:
        """The label of each class of the model, in its order."""
        return self._labels_of(self.model_.class_names)

    def _labels_of(self, names: Sequence[str]) -> NDArray[Any]:
        given = self.given_
        labels = np.array([given.get(canonical(name), name) for name in names])
        if own := [name for name in names if canonical(name) not in given]:
            check_same_type(np.array(list(given.values())), np.array(own))
        return labels

    @property
    def classes_(self) -> NDArray[Any]:
        """The labels, sorted."""
        return np.sort(self.labels_)

    def __sklearn_is_fitted__(self) -> bool:
        return "model_" in vars(self) or is_saved(in_home(self.clip))

    def fit(self, X: Any, y: ArrayLike) -> MGCLIPClassifier:
        """Learn all classes of ``y`` at once, starting from ``clip``. If this fails or is interrupted, the classifier keeps what
        it has learned before.

        Args:
            X: The images.
            y: Their labels.

        Returns:
            The classifier.

        Raises:
            InputError: If the images cannot be learned, or a key of ``class_texts`` is not a label.
            ValueError: If a label is missing, or the numbers of images and labels differ.
        """
        fresh = copy(self)
        for name in FITTED:
            fresh.__dict__.pop(name, None)
        fresh._learn(X, y, later=False, classes=None)
        self.__dict__.update(fresh.__dict__)
        return self

    def partial_fit(self, X: Any, y: ArrayLike, classes: ArrayLike | None = None) -> MGCLIPClassifier:
        """Learn the images of ``y``: new classes as the next task, and more images of known classes if the head is a solved one.
        If this fails or is interrupted, the classifier is unchanged.

        Args:
            X: The images.
            y: Their labels.
            classes: All labels of all calls, following scikit-learn. They are optional, and only used to check the keys of
                ``class_texts``.

        Returns:
            The classifier.

        Raises:
            InputError: If a class was learned before by a trained head, the images cannot be learned, or a key of ``class_texts``
                is not a label.
            ValueError: If a label is missing, or the numbers of images and labels differ.
        """
        return self._learn(X, y, later=True, classes=classes)

    def _learn(self, X: Any, y: ArrayLike, *, later: bool, classes: ArrayLike | None) -> MGCLIPClassifier:
        images, labels = self._images(X), label_array(y)
        if len(images) != len(labels):
            raise ValueError(f"Found input variables with inconsistent numbers of samples: {[len(images), len(labels)]}")
        model = self.model_ if hasattr(self, "model_") else None
        known = labels[:0] if model is None else self.labels_
        labels = unify_forms(labels, known)
        new = np.unique(labels)
        check_same_type(known, new)
        grows = model is not None and grows_classes(model)
        if not grows and len(again := np.intersect1d(new, known)):
            advice = (
                "with a trained head, partial_fit takes new classes only"
                if later
                else f"call fit with other classes, or with a CLIP instead of {self.clip}"
            )
            raise InputError(f"The class {plain(again[0])!r} was learned before: {advice}.")
        names = tuple(map(str, new))
        texts = self._texts(names, [*names, *map(str, known), *map(str, () if classes is None else np.ravel(classes))], later)
        given = {canonical(str(label)): label for label in new}
        if model is None:
            model = self._open()
        else:  # the labels come before the classes, because other threads may predict
            self.given_ = given = self.given_ | given
        model.learn(images, list(map(str, labels)), names, class_texts=texts)
        self.__dict__.update(model_=model, given_=given)
        return self

    def _texts(self, names: tuple[str, ...], known: list[str], later: bool) -> tuple[str, ...]:
        """What prompts call the labels.

        If more classes can come ``later``, keys may be theirs, unless a label lacks a text: a label without a text and a key
        without a label are probably a misspelling.
        """
        given = self.class_texts
        if given is None:
            return names
        if not isinstance(given, Mapping):
            raise InputError(f"class_texts must be a mapping from label to text; found {type(given).__name__}.")
        if later and {canonical(str(key)) for key in given}.issuperset(map(canonical, names)):
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
            InputError: If ``X`` does not contain images.
        """
        found = self._predict(X)
        return np.asarray(self._labels_of(found.classes)[found.labels])

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Predict the probability of each class: the confidences of ``Predictions``. ``predict`` gives the largest one.

        Args:
            X: The images.

        Returns:
            Probabilities ``(n, classes)``, columns in the order of ``classes_``; rows sum to 1.

        Raises:
            NotFittedError: If nothing was learned.
            InputError: If ``X`` does not contain images.
        """
        found = self._predict(X)
        values = np.asarray(found.confidence, dtype=np.float64)
        values = values[:, np.argsort(self._labels_of(found.classes), kind="stable")]
        return np.asarray(values / values.sum(1, keepdims=True))

    def _predict(self, X: Any) -> Predictions:
        if not hasattr(self, "model_"):
            raise NotFittedError("This MGCLIPClassifier has learned nothing yet: call fit or partial_fit first.")
        return self.model_.predict(self._images(X))

    def _open(self) -> MGCLIP:
        if is_saved(in_home(self.clip)):
            for name, value in (("method", self.method), ("settings", self.settings)):
                if value is not None:
                    raise InputError(f"{self.clip} is a saved model and keeps its own {name}: leave {name} out.")
            return MGCLIP.from_pretrained(self.clip)
        given = _given(self.settings)
        settings = build_settings(settings_of_new_model(self.method or "", given))
        if unused := without_effect(settings, given):
            warnings.warn(
                f"{self.method or NEW_MODELS} does not use these settings, so they have no effect: {', '.join(unused)}.",
                stacklevel=4,  # the line that calls fit or partial_fit
            )
        return MGCLIP.from_pretrained(self.clip, settings=settings)

    def _images(self, X: Any) -> Sequence[Any]:
        """The images as a sequence. Raises ``InputError`` if it is empty."""
        images = image_list(X)
        if not len(images):
            raise InputError("There are no images: X is empty.")
        return images


def _given(settings: Any) -> dict[str, Any]:
    """The settings that were given, by name. Raises ``InputError`` if one is wrong."""
    checked = build_settings(settings)  # raises an error for anything else than settings
    if isinstance(settings, Mapping):
        return dict(settings)
    if isinstance(settings, list | tuple):
        return dict(map(parse_change, settings))
    return {name: getattr(checked, name) for name in checked.model_fields_set}
