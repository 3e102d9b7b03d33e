"""Published results in the setting of a recipe, to show next to those of a run."""

from __future__ import annotations

from mgclip.experiment.recipe import Recipe, load_recipe
from mgclip.experiment.reproduce import SOURCE_UNKNOWN, PublishedResult, load_table, shipped_tables
from mgclip.experiment.same_experiment import as_shipped


def published_results(recipe: Recipe) -> dict[str, PublishedResult]:
    """The published result of each method in the setting of a recipe.

    That of mg-clip is in the shipped recipe, those of other methods are in the shipped tables.

    Args:
        recipe: The recipe of a run.

    Returns:
        The results by method; none if the recipe is not a shipped one, or if its CLIP or a setting that matters was changed.
    """
    if not as_shipped(recipe):
        return {}
    entries = [entry for name in shipped_tables() for entry in load_table(name).published if entry.recipe == recipe.name]
    found = {entry.method: entry for entry in entries}
    shipped = load_recipe(recipe.name)
    if shipped.expected_avg is not None or shipped.expected_last is not None:
        avg, last, source = shipped.expected_avg, shipped.expected_last, shipped.expected_source or SOURCE_UNKNOWN
        own = PublishedResult(recipe=recipe.name, method="mg-clip", avg=avg, last=last, source=source)
        found.setdefault("mg-clip", own)
    return found
