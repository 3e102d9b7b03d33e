"""The glyph catalogue: names and missing fonts."""

import pytest

from mgclip.errors import InputError
from mgclip.stream.glyphs import FONTS, split_style


def test_style_words_are_split_from_concepts():
    fonts = {font.family: font for font in FONTS}
    phosphor = {"bell": "", "bell-bold": "", "traffic-light": "", "traffic-light-fill": ""}
    assert split_style("bell-bold", fonts["phosphor"], phosphor) == ("bell", "bold")
    assert split_style("traffic-light", fonts["phosphor"], phosphor) == ("traffic-light", "regular")
    assert split_style("traffic-light-fill", fonts["phosphor"], phosphor) == ("traffic-light", "fill")
    assert split_style("bell-line", fonts["remix"], {}) == ("bell", "line")
    assert split_style("bell-variant-outline", fonts["materialdesign6"], {}) == ("bell", "line")


def test_missing_fonts_name_the_extra(monkeypatch):
    from mgclip.stream import glyphs

    glyphs.catalogue.cache_clear()
    monkeypatch.setattr(glyphs, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs the icon fonts .* run `pip install 'mg-clip\[icons\]'"):
        glyphs.catalogue()
    monkeypatch.undo()
    assert len(glyphs.catalogue()) > 20_000
