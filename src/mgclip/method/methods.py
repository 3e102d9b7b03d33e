"""Every method by name: the ones that only change settings of MG-CLIP are defined here. Nothing here imports PyTorch."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from mgclip.errors import InputError
from mgclip.method.baselines.settings import ACILSettings, RanPACSettings, RAPFSettings
from mgclip.method.settings import Settings
from mgclip.registry import Registry, caller_package
from mgclip.words import ended, nearest

if TYPE_CHECKING:
    from mgclip.method.baselines.feature_classifier import FeatureClassifier

PAPER = "Mind the Gap (Huang et al., ICCV 2025, arXiv 2507.09118)"

MEMORY = 2000
"""Images in the published memory."""

ANALYTIC: Mapping[str, Any] = {"compensation": "analytic", "fusion": "calibrated", "adapt": "never"}
"""Settings of the solved head on an unchanged CLIP."""

NEW_MODELS = "mg-clip-analytic"
"""The method of a new model of ``mgclip learn``, the studio and the classifier, unless another one is chosen."""

FROZEN_CLIP: Mapping[str, Any] = {"epochs": 0, "adapter_init": None}
"""Settings that leave CLIP unchanged."""


@dataclass(frozen=True)
class Method:
    """One way to learn a stream: MG-CLIP with other settings, or a classifier with its own code.

    Attributes:
        about: One line about it.
        source: Where it was published.
        changes: Settings of MG-CLIP that differ from those of the recipe.
        classifier: Its own code: a subclass of ``FeatureClassifier``, or ``"module:Class"``, which is imported when it is used.
        settings: The pydantic model of its own settings. In a recipe each name begins with that of the method.
        joint: It learns the complete stream as one task.
        replays: It keeps a memory of old images. No other method does.
        grows: For a method with its own code: it can learn more images of classes that it knows, as blurry streams need.

    Example:
        >>> from mgclip import Method, register_method
        >>> register_method("strict", Method(about="MG-CLIP with a strict limit", source="ours", changes={"alpha": 0.05}))
    """

    about: str
    source: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    classifier: type[FeatureClassifier] | str | None = None
    settings: type[BaseModel] | None = None
    joint: bool = False
    replays: bool = False
    grows: bool = False

    @property
    def has_classifier(self) -> bool:
        """Whether it has its own classifier instead of MG-CLIP's learner."""
        return self.classifier is not None


def check_method(method: Method) -> None:
    """Raise ``ValueError`` or ``InputError`` if a method of another package cannot be used."""
    if Settings(**method.changes).jpeg_draft:
        raise ValueError("jpeg_draft applies to all methods of a run, which share their images, so leave it out of changes")
    if method.replays and method.has_classifier:
        raise ValueError("replays applies to MG-CLIP's learner only, so leave it out or leave classifier out")
    if method.classifier is not None and not isinstance(method.classifier, str) and not _is_classifier(method.classifier):
        raise ValueError(f"classifier must be a subclass of FeatureClassifier; found {method.classifier!r}")
    if method.settings is not None and not (isinstance(method.settings, type) and issubclass(method.settings, BaseModel)):
        raise ValueError(f"settings must be a pydantic model; found {method.settings!r}")
    if method.grows and not method.has_classifier:
        raise ValueError("grows applies to a method with a classifier only, so leave it out: of others the settings decide")
    if method.settings is not None and not method.has_classifier:
        raise ValueError("only a method with a classifier can have settings of its own, so leave settings out")


def _is_classifier(kind: object) -> bool:
    """Whether it is a subclass of ``FeatureClassifier``, whose module, with PyTorch, is imported already if there is one."""
    base = getattr(sys.modules.get("mgclip.method.baselines.feature_classifier"), "FeatureClassifier", None)
    return base is not None and isinstance(kind, type) and issubclass(kind, base)


BUILT_IN: Mapping[str, Method] = {
    "zero-shot": Method(
        about="unchanged CLIP",
        source="Continual-CLIP (Thengane et al., 2022, arXiv 2210.03114)",
        changes={**FROZEN_CLIP, "branches": "text"},
    ),
    "fine-tune": Method(
        about="adapters trained for 10 epochs on each task, without preservation",
        source="sequential fine-tuning",
        changes={"epochs": 10, "branches": "text"},
    ),
    # It pulls each image to the text of its class and pushes nothing away, which closes the gap (docs/method.md 3).
    "align": Method(
        about="fine-tuning with a direct alignment loss",
        source="the opposite change of the gap, as studied in the paper",
        changes={"epochs": 10, "branches": "text", "adapter_loss": "align"},
    ),
    # The rows of the head start as class means (docs/method.md 6), so this is MG-CLIP with neither half trained.
    "simplecil": Method(
        about="class means of frozen image features",
        source="SimpleCIL (Zhou et al., IJCV 2024, arXiv 2303.07338)",
        changes={**FROZEN_CLIP, "head_epochs": 0, "branches": "image"},
    ),
    "ranpac": Method(
        about="ridge regression on random projections of frozen image features",
        source="RanPAC (McDonnell et al., NeurIPS 2023, arXiv 2307.02251)",
        classifier="mgclip.method.baselines.ranpac:RanPAC",
        grows=True,
        settings=RanPACSettings,
    ),
    "acil": Method(
        about="ridge regression on random ReLU features of frozen image features",
        source="ACIL (Zhuang et al., NeurIPS 2022, arXiv 2205.14922)",
        classifier="mgclip.method.baselines.acil:ACIL",
        grows=True,
        settings=ACILSettings,
    ),
    "rapf": Method(
        about="a linear adapter with Gaussian feature replay",
        source="RAPF (Huang et al., ECCV 2024, arXiv 2407.14143)",
        classifier="mgclip.method.baselines.rapf:RAPF",
        settings=RAPFSettings,
    ),
    "preservation-only": Method(
        about="first half of MG-CLIP: adapters trained while the gap is preserved, texts predict",
        source=PAPER,
        changes={"branches": "text"},
    ),
    "compensation-only": Method(
        about="second half of MG-CLIP: an image-space head on unchanged CLIP",
        source=PAPER,
        changes=FROZEN_CLIP,
    ),
    "mg-clip": Method(about="the complete method", source=PAPER),
    "mg-clip-replay": Method(about="the complete method with a memory of old images", source=PAPER, replays=True),
    "mg-clip-analytic": Method(
        about="a solved image-space head on unchanged CLIP, fused with calibrated weights",
        source="beyond the paper (docs/method.md 10, 11)",
        changes=ANALYTIC,
    ),
    "mg-clip-analytic-adapt": Method(
        about="the solved head on a CLIP whose adapters keep learning; stored features follow them",
        source="beyond the paper (docs/method.md 10 to 12)",
        changes={**ANALYTIC, "adapt": "always"},
    ),
    "mg-clip-analytic-auto": Method(
        about="the solved head; adapters keep learning as long as they help images that they have not seen",
        source="beyond the paper (docs/method.md 10 to 12)",
        changes={**ANALYTIC, "adapt": "auto"},
    ),
    "mg-clip-analytic-relu": Method(
        about="an ablation of the solved head: ReLU features instead of Fourier features",
        source="the random features of RanPAC, and of ACIL (Zhuang et al., NeurIPS 2022, arXiv 2205.14922)",
        changes={**ANALYTIC, "kernel": "relu"},
    ),
    "mg-clip-analytic-unbalanced": Method(
        about="an ablation of the solved head: every image weighs the same, so large classes weigh more",
        source="ridge regression",
        changes={**ANALYTIC, "class_balance": False},
    ),
    "mg-clip-analytic-image": Method(
        about="an ablation of the solved head: it predicts without the texts",
        source="beyond the paper (docs/method.md 10)",
        changes={**ANALYTIC, "branches": "image"},
    ),
    "joint": Method(
        about="MG-CLIP with all classes in one task: a reference for mg-clip",
        source="joint training",
        joint=True,
    ),
}

METHODS = Registry("method", "mgclip.methods", Method, BUILT_IN, check_method)
"""All methods: those above, registered ones, and those of installed packages (entry points in the group ``mgclip.methods``)."""


def register_method(name: str, method: Method) -> None:
    """Make a method known to this process under a name: to recipes, runs, predictions and reports.

    An installed package needs no call: it offers its ``Method`` as an entry point in the group ``mgclip.methods``.

    Args:
        name: Its name: lower-case letters, digits and hyphens.
        method: The method.

    Raises:
        InputError: If MG-CLIP has a method of that name, or this one cannot be used.
    """
    METHODS.register(name, method, caller_package())


def method_settings(method: str, settings: Settings) -> Settings:
    """The settings of a method.

    Args:
        method: Its name.
        settings: The settings of the recipe. Its memory, or one of ``MEMORY`` images if it has none, is only for the method
            that replays, and its representation only for methods with a solved head.

    Returns:
        The settings with the changes of this method.
    """
    found = METHODS[method]
    memory = {"memory": settings.memory or MEMORY} if found.replays else {"memory": 0, "balanced": False}
    own = settings.model_copy(update={**memory, **found.changes})
    return own if own.compensation == "analytic" else own.model_copy(update={"representation": "projected"})


def leaves_clip_unchanged(method: str, settings: Settings) -> bool:
    """Whether a method learns from features of the pre-trained CLIP only, with the settings of a recipe. A method with a
    classifier of its own is taken for one that does, although it may train adapters.
    """
    own = method_settings(method, settings)
    return METHODS[method].has_classifier or own.adapt == "never" or own.epochs == 0


def is_joint(method: str) -> bool:
    """Whether a method learns all classes at once. A method whose package is not installed does not."""
    return method in METHODS and METHODS[method].joint


def can_grow(method: str, settings: Settings) -> bool:
    """Whether a method can learn more images of classes that it knows, or learns everything at once.

    Args:
        method: Its name.
        settings: The settings of the recipe.
    """
    found = METHODS[method]
    return found.joint or (found.grows if found.has_classifier else method_settings(method, settings).grows)


def settings_of_new_model(method: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a new model that people teach with their own images.

    A model that only encodes images does so in the precision that is fastest on the machine, unless another one is given.

    Args:
        method: The name of its method; ``""`` for ``NEW_MODELS``.
        given: Settings that were given by name. They replace those of the method.

    Raises:
        InputError: If there is no such method, or it only runs on a stream.
    """
    method = method or NEW_MODELS
    found = METHODS.get(method)
    if found is None:
        raise InputError(ended(f"There is no method {method!r}{nearest(method, METHODS)}"))
    if found.has_classifier:
        raise InputError(
            f"{method} runs on streams only (`mgclip run`), because its models keep no versions: choose another method, such as "
            f"{NEW_MODELS}, which also solves its classifier on frozen features."
        )
    if found.joint:
        raise InputError(
            f"{method} learns all classes at once, so a model could not learn more: choose mg-clip and one folder of all classes."
        )
    memory = {"memory": MEMORY} if found.replays else {}
    settings = {**memory, **found.changes, **given}
    only_encodes = settings.get("adapt") == "never" or settings.get("epochs") == 0
    return {"precision": "auto", **settings} if only_encodes else settings
