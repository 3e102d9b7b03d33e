"""Every constraint of a setting or of a file is explained in our own words."""

from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field, TypeAdapter, ValidationError, create_model

from mgclip import MGCLIP, Settings
from mgclip.clip.check import _Config, _Transform
from mgclip.errors import InputError
from mgclip.experiment.recipe import Recipe, build_recipe
from mgclip.experiment.recording import Config, TaskTrace
from mgclip.experiment.reproduce import TableSpec
from mgclip.experiment.schemas import Environment, Final, Record, Setup, Summary
from mgclip.saving.store import VersionEntry
from mgclip.stream.fingerprint import DataTask
from mgclip.stream.unreadable import Skipped
from mgclip.validation import EXPECTED, problems

MODELS = [Recipe, TableSpec, Config, TaskTrace, Setup, Record, Summary, Final, Environment, DataTask, Skipped]
MODELS += [_Config, _Transform, VersionEntry]


def refusal(error):
    """The error of pydantic, also if settings turned it into an ``InputError``."""
    return error if isinstance(error, ValidationError) else error.__context__


@pytest.mark.parametrize(
    ("kind", "value", "end"),
    [
        (int, "x", "must be a whole number; found 'x'"),
        (int, 1.5, "must be a whole number; found 1.5"),
        (int, None, "must be a whole number; found None"),
        (float, "x", "must be a number; found 'x'"),
        (float, [1], "must be a number; found [1]"),
        (bool, "perhaps", "must be true or false; found 'perhaps'"),
        (bool, None, "must be true or false; found None"),
        (str, 7, "must be text; found 7"),
        (list[int], 7, "must be a list; found 7"),
        (tuple[int, ...], 7, "must be a list; found 7"),
        (dict[str, int], 7, "must be a mapping; found 7"),
        (BaseModel, 7, "must be a mapping; found 7"),
        (Annotated[int, Field(ge=1)], 0, "must be at least 1; found 0"),
        (Annotated[float, Field(ge=0.1)], 0, "must be at least 0.1; found 0"),
        (Annotated[float, Field(gt=0)], 0, "must be more than 0; found 0"),
        (Annotated[float, Field(le=2)], 3, "must be at most 2; found 3"),
        (Annotated[float, Field(lt=2)], 2, "must be less than 2; found 2"),
        (Annotated[float, Field(allow_inf_nan=False)], float("nan"), "must be a finite number; found nan"),
        (Annotated[list[int], Field(min_length=3)], [], "must be a list of at least 3; found []"),
        (Annotated[list[int], Field(max_length=1)], [1, 2], "must be a list of at most 1; found [1, 2]"),
        (Annotated[str, Field(pattern="^[a-z]+$")], "A", "must be text that matches ^[a-z]+$; found 'A'"),
        (Literal["a", "b"], "c", "must be 'a' or 'b'; found 'c'"),
        (Literal["auto"] | Annotated[int, Field(ge=0)], -1, "must be 'auto' or at least 0; found -1"),
        (str | int | list[int], {}, "must be text or a whole number or a list; found {}"),
    ],
    ids=str,
)
def test_each_constraint_has_one_plain_sentence(kind, value, end):
    with pytest.raises(ValidationError) as error:
        create_model("Model", key=(kind, ...))(key=value)
    assert problems(error.value) == [f"key {end}"]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_no_model_has_a_constraint_without_a_sentence(model):
    keys = model.__annotations__.keys() | getattr(model, "model_fields", {}).keys()
    wrong = [
        None,
        True,
        -1,
        1.5,
        1e99,
        float("nan"),
        "x",
        [],
        [None],
        ["x"],
        [{}],
        {},
        {"x": None},
        {"x": {}},
        object(),
    ]
    errors = []
    for key in [*keys, "unknown"]:
        for value in wrong:
            try:
                TypeAdapter(model).validate_python({key: value})
            except (ValidationError, InputError) as error:
                errors.append(refusal(error))
    found = {problem["type"] for error in errors for problem in error.errors()}
    assert found
    assert found <= EXPECTED.keys() | {"missing", "extra_forbidden", "value_error"}
    text = "; ".join(clause for error in errors for clause in problems(error))
    assert "Input should" not in text
    assert "Value error" not in text


@pytest.mark.parametrize("value", [3, "x", None, []])
def test_content_that_is_not_a_mapping_is_named(value):
    with pytest.raises(ValidationError) as error:
        Setup.model_validate(value)
    assert problems(error.value) == [f"the content must be a mapping; found {value!r}"]


def test_an_unknown_key_comes_with_the_nearest_known_one():
    with pytest.raises(InputError) as error:
        Settings(epoch=1, rank=0)
    assert problems(refusal(error.value), Settings.model_fields) == [
        "rank must be at least 1; found 0",
        "there is no key epoch: did you mean epochs?",
    ]
    assert problems(refusal(error.value))[1] == "there is no key epoch"


def test_a_setting_of_memory_and_speed_is_explained_in_the_same_words(tiny_clip):
    with pytest.raises(InputError) as error:
        MGCLIP.from_pretrained(tiny_clip, runtime={"micro_batch_size": 0})
    assert str(error.value) == "In the settings: micro_batch_size must be at least 1; found 0."


@pytest.mark.parametrize(
    "key", ["tasks", "epochs", "rank", "alpha", "vision_weight", "images_per_class", "rapf_epochs", "acil_ridge"]
)
def test_true_and_false_are_no_numbers(key):
    with pytest.raises(InputError, match=f"^In recipe mine: {key} must be a number; found True\\.$"):
        build_recipe({"name": "mine", key: True}, source="mine")
    with pytest.raises(InputError, match=f"^In recipe mine: {key} must be a number; found False\\.$"):
        build_recipe({"name": "mine", key: False}, source="mine")


def test_true_and_false_are_no_numbers_in_the_data_sets_of_a_stream():
    with pytest.raises(InputError, match=r"^In recipe mine: datasets.0.classes_per_task must be a number; found True\.$"):
        build_recipe({"name": "mine", "datasets": [{"data": "icons100", "classes_per_task": True}]}, source="mine")


def test_all_wrong_values_are_in_one_sentence():
    with pytest.raises(InputError) as error:
        build_recipe({"name": "mine", "rank": 0, "epochs": "many", "data": "cifar"}, source="mine")
    assert str(error.value) == (
        "In recipe mine: rank must be at least 1; found 0; epochs must be 'auto' or a whole number; found 'many'; "
        "data must name a data set; found 'cifar': did you mean cifar100?"
    )
