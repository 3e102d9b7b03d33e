"""What settings may be."""

import pytest

from mgclip import Settings


@pytest.mark.parametrize("prompt", ["no place", "{} and {}", "{0}", "{", "a {}}"])
def test_a_prompt_has_one_place_for_the_class(prompt):
    with pytest.raises(ValueError, match=r"must contain \{\} once"):
        Settings(prompt=prompt)
