"""Run the code of a method, so that it cannot change the results of others: not their random numbers, and not the CLIP."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch

from mgclip.clip.adapters import adapter_weights
from mgclip.clip.backbone import Backbone
from mgclip.errors import MGCLIPError
from mgclip.method.methods import METHODS
from mgclip.registry import OWN_PACKAGE


@contextlib.contextmanager
def method_code(method: str, action: str, backbone: Backbone, *, seed: int, step: int) -> Iterator[None]:
    """Run code of a method. An error in the code of another package names the method and its package.

    The code of another package may draw from the global generators of PyTorch, NumPy and Python, as layers and dropout do. What
    it draws depends on the seed and the step only: not on the methods that ran before, nor on whether the run was resumed. The
    methods of this package have generators of their own.

    Args:
        method: The name of the method.
        action: What the code does; completes the sentence *the method failed when it ...*.
        backbone: The CLIP, on whose device it may draw too.
        seed: The seed of the run.
        step: 0 when the method is set up, and after that 1 more than the number of tasks that it has learned.

    Raises:
        MGCLIPError: If the code of another package fails.
    """
    with METHODS.naming_errors(method, action):
        if METHODS.package(method) == OWN_PACKAGE:
            yield
        else:
            with _seeded(int(np.random.default_rng([seed, step]).integers(2**32)), backbone.device):
                yield


@contextlib.contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the global generators; afterwards they continue where they were."""
    of_numpy, of_python = np.random.get_state(), random.getstate()
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            np.random.seed(seed)
            random.seed(seed)
            yield
    finally:
        np.random.set_state(of_numpy)
        random.setstate(of_python)


@contextlib.contextmanager
def weights_unchanged(method: str, backbone: Backbone) -> Iterator[None]:
    """Let a method learn. Raises ``MGCLIPError`` if it changed weights of the CLIP other than the adapters, which would change
    the results of the methods after it, and which no model saves.
    """
    if METHODS.package(method) == OWN_PACKAGE:
        yield
        return
    before = _sums(backbone)
    yield
    after = _sums(backbone)
    if changed := [name for name, value in before.items() if after.get(name) != value]:
        source = METHODS.described(method)
        raise MGCLIPError(
            f"{source[0].upper()}{source[1:]} changed the weight {changed[0]} of the CLIP, which all methods of a run share and "
            "no model saves: let it train the adapters, or tensors of its own that are named in `learned`."
        )


def _sums(backbone: Backbone) -> dict[str, float]:
    """The sum of each weight of the CLIP but the adapters. It finds training at a fraction of the time of a digest."""
    adapters = {id(weight) for _, weight in adapter_weights(backbone)}
    weights = [(name, weight) for name, weight in backbone.model.named_parameters() if id(weight) not in adapters]
    sums = torch.stack([weight.detach().sum(dtype=torch.float64) for _, weight in weights]).tolist()
    return {name.replace("base_layer.", ""): value for (name, _), value in zip(weights, sums, strict=True)}
