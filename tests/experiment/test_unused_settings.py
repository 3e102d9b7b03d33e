"""Settings that were given and that a method replaces, or that have no effect on it, are named."""

import pytest

from mgclip.experiment.recipe import load_recipe, parse_change
from mgclip.experiment.unused_settings import unused_settings


def unused(methods, *changes):
    return unused_settings(load_recipe("icons100", [f"methods={methods}", *changes]), [parse_change(each)[0] for each in changes])


def test_what_a_method_replaces_is_named_with_its_own_value():
    assert unused("fine-tune,mg-clip-analytic,mg-clip", "epochs=1", "adapt=first") == [
        "fine-tune does not use epochs=1: it has epochs=10",
        "mg-clip-analytic does not use epochs=1, adapt=first: it has adapt=never",
    ]


@pytest.mark.parametrize(
    ("method", "change", "sentence"),
    [
        ("mg-clip", "features=64", "mg-clip does not use features=64"),
        ("mg-clip", "representation=both", "mg-clip does not use representation=both"),
        ("mg-clip", "memory=100", "mg-clip does not use memory=100: it has memory=0"),
        ("mg-clip-analytic", "vision_weight=2", "mg-clip-analytic does not use vision_weight=2.0"),
        (
            "mg-clip-analytic-unbalanced",
            "class_balance=true",
            "mg-clip-analytic-unbalanced does not use class_balance=true: it has class_balance=false",
        ),
        ("zero-shot", "branches=both", "zero-shot does not use branches=both: it has branches=text"),
        ("zero-shot", "adapter_init=none", None),
        ("ranpac", "features=64", None),
        ("ranpac", "ranpac_width=64", None),
        ("fine-tune", "epochs=10", None),
        ("fine-tune", "tasks=2", None),
        ("mg-clip-replay", "memory=100", None),
    ],
)
def test_each_kind_of_setting(method, change, sentence):
    assert unused(method, change) == ([sentence] if sentence else [])
