"""Recipes: an experiment as one flat list of typed settings, read from YAML and changed with ``key=value``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic.functional_validators import ModelWrapValidatorHandler  # older versions have it only there

from mgclip.errors import InputError
from mgclip.experiment.recipe_files import recipe_values, shipped_recipes
from mgclip.home import in_home
from mgclip.method.baselines import options
from mgclip.method.build_settings import build
from mgclip.method.methods import METHODS, can_grow
from mgclip.method.settings import Positive, Settings, as_settings
from mgclip.missing import is_file
from mgclip.stream.data import Filter
from mgclip.stream.datasets import DATASETS
from mgclip.stream.domains import DomainData
from mgclip.stream.orders import KEYWORDS, read_order
from mgclip.untrusted import parse_yaml
from mgclip.validation import Text
from mgclip.words import nearest

Logger = Literal["tensorboard", "wandb", "mlflow"]


class Recipe(Settings):
    """The data, the order of its classes, the methods, and the settings of the methods.

    Settings that belong to one method only (``method/baselines/options.py``) are further attributes.
    """

    model_config = ConfigDict(extra="allow")

    name: str
    about: str = ""
    """One line for the list of recipes: what it is, how long it takes, what it needs."""
    clip: str = "iconclip"
    data: str = "icons100"
    data_path: str | None = None
    datasets: list[DomainData] = Field(default_factory=list)
    """Instead of ``data``: a stream of several data sets, each learned in one task or more."""
    task_known: bool = False
    """With ``datasets``: only the classes of its own data set compete for a test image (MTIL), not all of them (X-TAIL)."""
    train_per_class: Positive | None = None
    """Training images per class: the number drawn of generated data (null: 100), the largest number of other data (null: all)."""
    test_per_class: Positive | None = None
    """Test images per class, in the same way (null: 20 or all). Which ones does not depend on the seed."""
    images_per_class: Positive | None = None
    """Learn at most this number of training images of each class; null: all. A larger number includes those of a smaller one."""
    filter: Filter = "none"
    """icons100 only: what every image passes through."""
    imbalance: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 1.0
    """Long tail: the training images of the most frequent class over those of the rarest; 1: as the data are."""
    imbalance_order: Literal["shuffled", "ordered"] = "shuffled"
    """Which classes are rare: drawn by the seed, or those that come last in the stream."""
    blurry: Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)] = 0.0
    """Share of the training images of each class that come in later tasks."""
    class_order: str | int | list[int | str] = "shuffled"
    """``dataset``, ``published``, ``shuffled``, a seed, a list of positions or names, or a file with such a list."""
    initial_classes: Annotated[int, Field(ge=0)] = 0
    """Classes of the first task; 0 means classes_per_task."""
    classes_per_task: Positive = 10
    tasks: Positive | None = None
    """Stop after this number of tasks."""
    methods: list[str] = Field(default_factory=lambda: ["mg-clip"])
    retention: dict[str, str | None] = Field(default_factory=dict)
    """Data sets to measure zero-shot retention on after the stream -> the path of their data, or null."""
    memory: Annotated[int, Field(ge=0)] = 0
    """Total number of images that mg-clip-replay keeps, 0 for the published 2,000; the other methods keep none."""
    on_bad_image: Literal["error", "skip"] = "error"
    """``error``: an unreadable image stops the run. ``skip``: all are opened first; unreadable ones are skipped and listed."""
    log_with: list[Logger] = Field(default_factory=list)
    """Loggers that also receive the losses and measurements of the run."""
    twin: str | None = None
    """The recipe with the same protocol on icons100."""
    expected_avg: float | None = None
    """Published average accuracy of mg-clip, percent."""
    expected_last: float | None = None
    expected_source: Text | None = None
    """Where both were published."""

    @model_validator(mode="wrap")
    @classmethod
    def _with_settings_of_methods(cls, values: Any, build: ModelWrapValidatorHandler[Recipe]) -> Recipe:
        """Check the settings that belong to one method, and add those of all methods that run. All errors are raised at once."""
        given = {key: value for key, value in dict(values).items() if key not in cls.model_fields}
        _, wrong = options.check((), given)
        try:
            recipe = build(values)
        except ValidationError as error:
            raise ValidationError.from_exception_data(cls.__name__, [*error.errors(), *wrong]) from None  # type: ignore[list-item]
        if taken := [key for method in recipe.methods for key in options.keys_of(method) if key in cls.model_fields]:
            raise ValueError(
                f"the setting {taken[0]} of a method has the name of a setting of recipes: its package must rename it"
            )
        if not wrong:
            own, wrong = options.check(recipe.methods, given)
            recipe.own.update(own)
        if wrong:
            raise ValidationError.from_exception_data(cls.__name__, wrong)
        return recipe

    @classmethod
    def known_keys(cls) -> list[str]:
        """The settings of recipes, and of the methods of this package and those that are in use."""
        return [*cls.model_fields, *(key for method in METHODS.loaded() for key in options.keys_of(method))]

    @property
    def own(self) -> dict[str, Any]:
        """The settings that belong to one method only: ``{"rapf_epochs": 15}``."""
        return self.model_extra if self.model_extra is not None else {}

    @field_validator("data")
    @classmethod
    def _known_data(cls, name: str) -> str:
        if name not in DATASETS:
            raise ValueError(f"must name a data set; found {name!r}{nearest(name, DATASETS)}")
        return name

    @field_validator("datasets")
    @classmethod
    def _distinct(cls, sets: list[DomainData]) -> list[DomainData]:
        names = [each.name for each in sets]
        for each in sets:
            cls._known_data(each.data)
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"must have a name for each data set; found {twice[0]!r} twice: give one of them another name")
        return sets

    @field_validator("class_order")
    @classmethod
    def _from_file(cls, order: str | int | list[int | str]) -> str | int | list[int | str]:
        """The order in a file is part of the recipe from then on, so that a run does not depend on the file."""
        if isinstance(order, str) and order not in KEYWORDS:
            if not is_file(file := Path(in_home(order))):
                raise ValueError(f"must be {', '.join(KEYWORDS)}, a number, a list or a file; found {order!r}")
            return read_order(file)
        return order

    @field_validator("retention", mode="before")
    @classmethod
    def _without_paths(cls, sets: Any) -> Any:
        names = [name.strip() for name in sets.split(",")] if isinstance(sets, str) else sets
        if isinstance(names, list) and not all(isinstance(name, str) for name in names):
            raise ValueError("must be a list of names, or {name: path, ...}")
        return dict.fromkeys(names) if isinstance(names, list) else names

    @field_validator("retention")
    @classmethod
    def _known_sets(cls, sets: dict[str, str | None]) -> dict[str, str | None]:
        for name in sets:
            cls._known_data(name)
        return sets

    @field_validator("methods", "log_with", mode="before")
    @classmethod
    def _listed(cls, methods: Any) -> Any:
        return [m.strip() for m in methods.split(",") if m.strip()] if isinstance(methods, str) else methods

    @field_validator("methods")
    @classmethod
    def _known(cls, methods: list[str]) -> list[str]:
        for method in methods:
            if method not in METHODS:
                raise ValueError(f"must name methods; found {method!r}{nearest(method, METHODS)}")
        if not methods or len(set(methods)) < len(methods):
            raise ValueError("must name at least one method, each once")
        return methods

    @model_validator(mode="after")
    def _fit_together(self) -> Recipe:
        """Replaces the check of a model's own settings, because here the methods decide on memory and compensation."""
        if self.compensation != "trained" or self.fusion == "calibrated":
            raise ValueError("the method decides on compensation and calibrated fusion: use methods=mg-clip-analytic")
        if self.adapt == "auto":
            raise ValueError("adapt auto needs a solved head: use methods=mg-clip-analytic-auto")
        if both := [name for name in self.retention if name in self.data_names and name != "folder"]:
            raise ValueError(f"retention is measured on data that is never trained on: leave {both[0]} out of retention")
        if self.task_known and not self.datasets:
            raise ValueError("task_known needs several data sets: list them in datasets")
        for key in ("data", "filter", "initial_classes", "classes_per_task") if self.datasets else ():
            if getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(f"{key} does not apply to a stream of several data sets: set it for each one in datasets")
        for key in ("imbalance", "blurry") if self.datasets else ():
            if getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(f"{key} applies to a stream of one data set: leave {key} or datasets out")
        if self.adapter_loss == "align" and (replaying := [name for name in self.methods if METHODS[name].replays]):
            raise ValueError(f"adapter_loss align cannot be used with a memory: leave {replaying[0]} out of methods")
        if self.blurry and (stuck := [name for name in self.methods if not can_grow(name, self.settings())]):
            raise ValueError(
                f"blurry brings images of known classes back, and {stuck[0]} learns a class only once: leave blurry out, or use "
                "methods that add images to a class, such as simplecil, ranpac, acil and mg-clip-analytic"
            )
        return self

    @property
    def data_names(self) -> list[str]:
        """The data sets of the stream."""
        return [each.data for each in self.datasets] or [self.data]

    def settings(self) -> Settings:
        """The settings that all methods share, already checked. ``method_settings`` derives those of one method from them."""
        return Settings.model_construct(**{name: getattr(self, name) for name in Settings.model_fields})


def recipes_for(data: str) -> list[str]:
    """The names of the shipped recipes that use a data set."""
    return [name for name in shipped_recipes() if data in load_recipe(name).data_names]


def load_recipe(reference: str, changes: Iterable[str] = ()) -> Recipe:
    """Load a recipe. One that ``extends`` another recipe inherits every setting that it does not set itself.

    Args:
        reference: The name of a shipped recipe, or a file.
        changes: Changes to it, ``key=value`` with the value in YAML.

    Raises:
        InputError: If there is no such recipe, or naming every wrong key (with the nearest valid one) and value.

    Example:
        >>> load_recipe("icons100", ["epochs=2", "methods=mg-clip,zero-shot"]).methods
        ['mg-clip', 'zero-shot']
    """
    return build_recipe({**recipe_values(reference), **dict(map(parse_change, changes))}, source=reference)


def default_settings(methods: Iterable[str]) -> dict[str, Any]:
    """All settings at their defaults in JSON, with those of the methods that are installed."""
    own = Recipe(name="", methods=[method for method in methods if method in METHODS] or ["mg-clip"])
    return {**own.model_dump(mode="json"), "methods": Recipe(name="").methods}


def parse_change(change: str) -> tuple[str, Any]:
    """``key=value`` -> the key, and the value parsed as YAML."""
    key, equals, value = change.partition("=")
    if not equals or not key:
        raise InputError(f"A change is written key=value; found {change!r}.")
    try:
        return key.strip(), parse_yaml(value) if value.strip() else value
    except ValueError:
        return key.strip(), value


def change_recipe(recipe: Recipe, changes: Iterable[str], *, source: str) -> Recipe:
    """A copy of a recipe with ``key=value`` changes."""
    return build_recipe({**recipe.model_dump(), **dict(map(parse_change, changes))}, source=source)


def build_recipe(values: Mapping[str, Any], *, source: str) -> Recipe:
    """Make a recipe from settings. An error names every wrong key and value."""
    return build(Recipe, values, source=f"In recipe {source}")


def build_settings(given: Settings | Mapping[str, Any] | Iterable[str] | None) -> Settings:
    """The method's settings from settings, a mapping of some of them by name, or changes to the defaults written ``key=value``.

    Raises ``InputError`` if it is something else, or a key or a value is wrong. Keys that only recipes have are wrong too.
    """
    if isinstance(given, list | tuple) and all(isinstance(change, str) for change in given):
        return as_settings(dict(map(parse_change, given)))
    return as_settings(given)  # type: ignore[arg-type]  # as_settings refuses anything else
