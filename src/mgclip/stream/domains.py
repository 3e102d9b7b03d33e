"""A stream of several data sets: each is a domain, learned in one task or in several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Annotated, Any

import numpy as np
from pydantic import ConfigDict, Field, field_validator, model_validator

from mgclip.names import visible_form
from mgclip.stream.data import Dataset, Filter, Joined, Split
from mgclip.stream.tasks import Task, unique_names
from mgclip.validation import TrueNumbers


class DomainData(TrueNumbers):
    """A data set of a stream of several, as a recipe lists it. Its name alone means all its classes in one task."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str
    name: str = ""
    """What records and reports call it; the name of the data set if it is left out."""
    data_path: str | None = None
    """Its path; None: the folder ``name`` in the ``data_path`` of the recipe."""
    classes_per_task: Annotated[int, Field(gt=0)] | None = None
    """Classes of each of its tasks; None: all of them in one task."""
    images_per_class: Annotated[int, Field(gt=0)] | None = None
    """Learn at most this number of training images of each class; None: as many as the recipe says."""
    text: str = "{}"
    """What prompts call its classes; ``{}`` stands for the name of a class."""
    filter: Filter = "none"
    """icons100 only: what every image passes through."""

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, given: Any) -> Any:
        given = {"data": given} if isinstance(given, str) else given
        return {**given, "name": given.get("name") or given.get("data")} if isinstance(given, Mapping) else given

    @field_validator("name")
    @classmethod
    def _one_folder(cls, name: str) -> str:
        if not name.strip() or "/" in name:
            raise ValueError("must be a name without a slash")
        return name

    @field_validator("text")
    @classmethod
    def _one_place(cls, text: str) -> str:
        if text.count("{}") != 1:
            raise ValueError("must contain {} once, for the class name")
        return text


@dataclass(frozen=True)
class Domain:
    """A data set of a stream: its name, and the labels of its classes, from ``first`` to before ``end``."""

    name: str
    first: int
    end: int


def domains_of(stream: Sequence[Task]) -> list[Domain]:
    """The data sets of a stream of several, in order; none if the stream consists of one."""
    sources = [source for task in stream for source in task.sources]
    domains, first = [], 0
    for name, classes in groupby(sources):
        end = first + len(list(classes))
        domains.append(Domain(name, first, end))
        first = end
    return domains


def join_datasets(datasets: Mapping[str, Dataset]) -> Dataset:
    """One data set with the classes and images of several, one after the other. A class name can occur several times."""
    offsets = np.cumsum([0, *(len(data.class_names) for data in datasets.values())])

    def join(splits: Sequence[Split]) -> Split:
        labels = [split.labels + offset for split, offset in zip(splits, offsets[:-1], strict=True)]
        images = Joined({name: split.images for name, split in zip(datasets, splits, strict=True)})
        return Split(images, np.concatenate(labels))

    names = tuple(name for data in datasets.values() for name in data.class_names)
    train, test = [data.train for data in datasets.values()], [data.test for data in datasets.values()]
    return Dataset(" + ".join(datasets), names, join(train), join(test))


def names_across(datasets: Mapping[str, Dataset]) -> list[str]:
    """A name of its own for each class. If an earlier data set has a class of the same name, they stay two classes, and the later
    one becomes ``lotus (flowers)``.
    """
    names: list[str] = []
    taken: set[str] = set()
    for source, data in datasets.items():
        for name in unique_names(data.class_names):
            while visible_form(name) in taken:
                name = f"{name} ({source})"
            taken.add(visible_form(name))
            names.append(name)
    return names
