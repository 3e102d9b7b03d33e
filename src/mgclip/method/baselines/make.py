"""Make the learner of a method, new or from what it saved."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import torch

from mgclip.clip.ambient import in_ordinary_modes
from mgclip.clip.backbone import Backbone
from mgclip.clip.load import load_base
from mgclip.clip.parallel import checked_device
from mgclip.errors import InputError, first_line
from mgclip.home import in_home
from mgclip.method.baselines.feature_classifier import FeatureClassifier
from mgclip.method.baselines.feature_learner import BASELINE, FeatureLearner
from mgclip.method.baselines.method_code import method_code
from mgclip.method.baselines.options import own_settings, prefix
from mgclip.method.learner import MGCLIP
from mgclip.method.methods import METHODS, method_settings
from mgclip.method.settings import Settings
from mgclip.saving.store import MANIFEST, damaged, is_saved, read_manifest
from mgclip.saving.versions import check_saved

Learner = MGCLIP | FeatureLearner
"""What the runner works with."""


@in_ordinary_modes
def make_learner(
    method: str,
    backbone: Backbone,
    settings: Settings,
    given: Mapping[str, Any] | None = None,
    saved: Path | None = None,
) -> Learner:
    """The learner of a method, resumed from ``saved`` if something was saved there.

    Args:
        method: The name of the method.
        backbone: The CLIP.
        settings: The settings that all methods share.
        given: Settings of methods as recipes name them: ``{"rapf_epochs": 3}``. Those of other methods are ignored.
        saved: The folder where it saves.

    Raises:
        InputError: If there is no such method, or what was saved does not fit.
        MGCLIPError: If the code of a method of another package fails.
    """
    settings = method_settings(method, settings)
    found = saved if saved is not None and is_saved(saved) else None
    if not METHODS[method].has_classifier:
        if found is None:
            return MGCLIP(backbone, settings)
        return MGCLIP.from_pretrained(found, base=backbone, runtime=settings.runtime())
    own = own_settings(method, given or {})
    with method_code(method, "was set up", backbone, seed=settings.seed, step=0):
        classifier = classifier_of(method)(backbone, settings, own)
    written = {} if own is None else {prefix(method) + key: value for key, value in own.model_dump(mode="json").items()}
    learner = FeatureLearner(method, backbone, settings, classifier, written)
    if found is not None:
        learner.restore(found)
    return learner


def classifier_of(method: str) -> type[FeatureClassifier]:
    """The class of a method with its own code. Raises ``InputError`` if it cannot be one."""
    named = METHODS[method].classifier
    with METHODS.naming_errors(method, "was imported"):
        kind = resolve_name(named) if isinstance(named, str) else named
    if not (isinstance(kind, type) and issubclass(kind, FeatureClassifier)):
        raise InputError(
            f"The classifier of {METHODS.described(method)} must be a subclass of FeatureClassifier; found {kind!r}."
        )
    if isinstance(kind.learned, str):
        raise InputError(
            f"The method {method} of the package {METHODS.package(method)} needs a tuple in `learned`, such as "
            f"{(kind.learned,)!r}; found {kind.learned!r}."
        )
    return kind


@in_ordinary_modes
def load_learner(folder: str | Path, *, base: str | Path | None = None, device: str | torch.device | None = None) -> Learner:
    """A saved model of any method, also of another package: an ``MGCLIP``, or a learner with the same ``predict`` and ``learn``.

    Args:
        folder: The folder of the model, such as ``runs/icons100/ranpac/model``.
        base: The path of its CLIP, if that has moved.
        device: Device to compute on; a GPU by default, if there is one.

    Raises:
        InputError: If there is no saved model, it cannot be loaded, its method is not installed, or there is no such device.
    """
    folder = Path(in_home(folder))
    check_saved(folder)
    device = None if device is None else checked_device(device)
    manifest = read_manifest(folder)[0]
    if BASELINE not in manifest:
        return MGCLIP.from_pretrained(folder, base=base, device=device)
    method = str(manifest[BASELINE])
    if method not in METHODS or not METHODS[method].has_classifier:
        raise InputError(f"{folder} holds the method {method}, which is not installed: install its package.")
    if "settings" not in manifest:
        raise InputError(f"{folder} holds the method {method}, saved by version 0.1: only `mgclip run --resume` can use it.")
    try:
        settings, own = Settings(**manifest["settings"]), dict(manifest["own"])
        reference = str(manifest["base"]["reference"])
    except (InputError, KeyError, TypeError, ValueError) as error:
        raise damaged(folder / MANIFEST, first_line(error)) from None
    return make_learner(method, load_base(folder, base or "", reference, device), settings, own, folder)
