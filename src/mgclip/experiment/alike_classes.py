"""Warn of classes that a CLIP cannot tell apart by text before a run starts, if the user can change that.

The class names of published data sets cannot be changed. In a published stream of several data sets, such as X-TAIL, a name that
occurs in two of them means two classes on purpose.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter

from mgclip.clip.backbone import Backbone
from mgclip.errors import AlikeTexts
from mgclip.experiment.recipe import Recipe, load_recipe
from mgclip.experiment.recipe_files import shipped_recipes
from mgclip.method.alike_texts import and_others, find_alike_texts, warn_of_alike_names, warn_of_alike_texts
from mgclip.names import loose_form
from mgclip.registry import OWN_PACKAGE
from mgclip.stream.datasets import DATASETS
from mgclip.stream.tasks import Task


def warn_of_alike_classes(recipe: Recipe, stream: Sequence[Task], backbone: Backbone) -> None:
    """Warn of classes of the user's own data that have the same text or nearly the same name, of different data sets with the
    same text that compete, and of a prompt that is too long for the texts of any data.
    """
    settings, own = recipe.settings(), _own_data(recipe)
    names, texts = ([each for task in stream for each in getattr(task, kind)] for kind in ("names", "texts"))
    sources = [source for task in stream for source in task.sources] or [recipe.data] * len(names)
    alike = find_alike_texts(backbone, settings.templates, texts)
    if alike.cut:
        warn_of_alike_texts(backbone, settings, (), texts)
        return
    for source, classes in groupby(zip(sources, names, texts, strict=True), key=itemgetter(0)):
        if source in own:
            called = {name: text for _, name, text in classes}
            warn_of_alike_names((), [*called])
            different = {loose_form(name): text for name, text in called.items()}
            warn_of_alike_texts(backbone, settings, (), [*different.values()], f"rename one of the classes in {source}")
    across = [(one, other) for one, other in alike.same if sources[one] != sources[other]]
    if across and not recipe.task_known and not _is_published(recipe):
        one, other = across[0]
        warnings.warn(
            f"The texts {texts[one]!r} of {sources[one]} and {texts[other]!r} of {sources[other]} are the same to this CLIP"
            f"{and_others(across)}, so the text branch answers with the class that is learned first: for different prompts, set "
            '`text` of one of the data sets in the recipe, such as text: "{}, a type of flower".',
            AlikeTexts,
            stacklevel=2,
        )


def _own_data(recipe: Recipe) -> set[str]:
    """The data sets of a recipe, by their names in the stream, whose classes the user can rename."""
    names = {each.name: each.data for each in recipe.datasets} or {recipe.data: recipe.data}
    return {name for name, data in names.items() if data == "folder" or DATASETS.package(data) != OWN_PACKAGE}


def _is_published(recipe: Recipe) -> bool:
    """Whether a stream has the data sets and texts of a shipped recipe, so that other texts would be another experiment."""
    if recipe.name not in shipped_recipes():
        return False
    here, shipped = ([(each.data, each.name, each.text) for each in of.datasets] for of in (recipe, load_recipe(recipe.name)))
    return here == shipped
