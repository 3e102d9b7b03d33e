"""Which settings of a recipe decide what is measured, so that two recipes with the same ones are the same experiment."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from mgclip.clip.published import same_clip
from mgclip.experiment.recipe import Recipe, load_recipe
from mgclip.experiment.recipe_files import shipped_recipes
from mgclip.method.baselines import options
from mgclip.method.methods import MEMORY, METHODS
from mgclip.method.setting_effects import SOLVED_HEAD
from mgclip.method.settings import RUNTIME_SETTINGS
from mgclip.stream.datasets import ICON_SETS, TEST_PER_CLASS, TRAIN_PER_CLASS

DESCRIPTIONS = {"about", "expected_source"}
"""Settings that only describe: a run with other words, or of a version without them, is the same one."""

NOT_PART_OF_IDENTITY = {"clip", "data_path", "seed", "methods", "retention", "log_with", *RUNTIME_SETTINGS}
"""Settings that may differ from a shipped recipe: it is still the same experiment. The CLIP may have another path only."""


def as_shipped(recipe: Recipe) -> bool:
    """Whether a recipe equals a shipped one in every setting that matters, so that its published accuracies apply."""
    if recipe.name not in shipped_recipes():
        return False
    original = load_recipe(recipe.name)
    here, shipped = effective_settings(recipe), effective_settings(original, recipe.methods)
    same = all(here[key] == shipped[key] for key in here.keys() - NOT_PART_OF_IDENTITY)
    return same and same_clip(recipe.clip, original.clip)


def effective_settings(recipe: Recipe, methods: Collection[str] | None = None) -> dict[str, Any]:
    """A recipe's settings that its methods, or other ``methods``, use. Equal ones mean the same experiment."""
    methods = recipe.methods if methods is None else methods
    shared = {key: getattr(recipe, key) for key in Recipe.model_fields.keys() - DESCRIPTIONS - _unused(methods)}
    mine = {key: value for key, value in recipe.own.items() if options.owner(key) in methods}
    train, test = recipe.train_per_class, recipe.test_per_class
    if set(recipe.data_names) & set(ICON_SETS):
        train, test = train or TRAIN_PER_CLASS, test or TEST_PER_CLASS
    own = {**options.check(methods, mine)[0], "train_per_class": train, "test_per_class": test}
    sets = [each.model_dump(exclude={"data_path"}) for each in recipe.datasets]  # data may move
    return {**shared, **own, "memory": recipe.memory or MEMORY, "datasets": sets, "retention": sorted(recipe.retention)}


def _unused(methods: Collection[str]) -> set[str]:
    """Settings of the solved head that none of these methods has."""
    solved = any(METHODS[method].changes.get("compensation") == "analytic" for method in methods)
    return set() if solved else SOLVED_HEAD
