"""Models with a solved head, for the tests of what they learn and how they are edited."""

import pytest
from icon_tasks import task
from solved_models import SETTINGS

from mgclip import MGCLIP, Settings


@pytest.fixture
def make(tiny_clip):
    """Make a model with a solved head that has learned nothing."""
    return lambda **changes: MGCLIP.from_pretrained(tiny_clip, settings=Settings(**{**SETTINGS.model_dump(), **changes}))


@pytest.fixture
def learned(make, icons):
    """A model that knows three classes."""
    model = make()
    model.learn(*task(icons, [0, 1, 2]))
    return model
