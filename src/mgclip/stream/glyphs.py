"""The glyph catalogue: icons drawn by designers, read from the fonts of the package ``qtawesome``.

Ten fonts of six families draw thousands of concepts in several styles. The name of a glyph in its font's character map is a
concept and often a style word (``bell-ringing-bold``, ``bell-outline``, ``bell-line``). The catalogue removes the style word,
so that a concept has the same name in all fonts.

qtawesome is never imported, because it needs Qt: only its font files are read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from PIL import Image, ImageFont

from mgclip.errors import MissingExtra

CANVAS = 64
"""Side of a rendered glyph mask, in pixels."""


@dataclass(frozen=True)
class Font:
    """One font file: the family it belongs to, the style of names without a style word, and the style of each style word."""

    stem: str
    family: str
    plain_style: str
    style_words: Mapping[str, str]


OUTLINE_WORDS = {"outline": "line", "variant": "solid"}
FONTS = (
    Font("codicon", "codicons", "line", {"filled": "solid", "outline": "line"}),
    Font("elusiveicons-webfont", "elusive", "solid", {"alt": "solid"}),
    Font("fontawesome5-regular-webfont", "fontawesome5", "line", {"alt": "line"}),
    Font("fontawesome5-solid-webfont", "fontawesome5", "solid", {"alt": "solid"}),
    Font("fontawesome6-regular-webfont", "fontawesome6", "line", {"alt": "line"}),
    Font("fontawesome6-solid-webfont", "fontawesome6", "solid", {"alt": "solid"}),
    Font("materialdesignicons5-webfont", "materialdesign5", "solid", OUTLINE_WORDS),
    Font("materialdesignicons6-webfont", "materialdesign6", "solid", OUTLINE_WORDS),
    Font("phosphor", "phosphor", "regular", {word: word for word in ("thin", "light", "bold", "fill", "duotone")}),
    Font("remixicon", "remix", "plain", {"line": "line", "fill": "fill"}),
)
"""All fonts used. The two brand fonts are excluded: a logo is not a concept that a text could name."""


@dataclass(frozen=True)
class Glyph:
    """A drawing of ``concept`` in ``style`` by ``family``."""

    family: str
    style: str
    concept: str
    font_file: Path
    codepoint: int


def _fonts_folder() -> Path:
    spec = find_spec("qtawesome")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtra("icons", "the icon fonts of the package qtawesome")
    return Path(next(iter(spec.submodule_search_locations))) / "fonts"


def split_style(name: str, font: Font, names: dict[str, str]) -> tuple[str, str]:
    """Split a glyph's name into ``(concept, style)``.

    A last word counts as a style only if the rest is also a name (``traffic-light`` is a concept, as there is no ``traffic``),
    or if the font appends a style to every name, as Remix and Material Design do.
    """
    style, concept = font.plain_style, name
    always = font.family in ("remix", "materialdesign5", "materialdesign6")
    while "-" in concept:
        rest, last = concept.rsplit("-", 1)
        if last not in font.style_words or not (always or rest in names):
            break
        style = font.style_words[last] if style == font.plain_style else style
        concept = rest
        if font.family not in ("materialdesign5", "materialdesign6"):
            break
    return concept, style


def _read_font(folder: Path, font: Font) -> Iterator[Glyph]:
    maps, files = sorted(folder.glob(f"{font.stem}-charmap-*.json")), sorted(folder.glob(f"{font.stem}-[0-9]*.ttf"))
    if not maps or not files:
        raise MissingExtra("icons", f"the font {font.stem}, which this version of qtawesome does not contain")
    names: dict[str, str] = json.loads(maps[-1].read_text(encoding="utf-8"))
    for name, code in sorted(names.items()):
        concept, style = split_style(name, font, names)
        yield Glyph(font.family, style, concept.replace("-", " "), files[-1], int(code, 16))


@lru_cache(maxsize=1)
def catalogue() -> tuple[Glyph, ...]:
    """All glyphs, in the order of ``FONTS`` and sorted by name. Raises ``MissingExtra`` if qtawesome is not installed."""
    folder = _fonts_folder()
    return tuple(glyph for font in FONTS for glyph in _read_font(folder, font))


@lru_cache(maxsize=64)
def _open_font(file: Path, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(file), size)


def render(glyph: Glyph, canvas: int = CANVAS) -> Image.Image:
    """Draw a glyph as a coverage mask: a ``canvas`` x ``canvas`` image of mode ``L`` with the glyph's box in the centre.

    The font size is 80 % of the canvas, or less for a glyph that is larger than its font's square.
    """
    text, size = chr(glyph.codepoint), round(canvas * 0.8)
    font = _open_font(glyph.font_file, size)
    left, top, right, bottom = font.getbbox(text)
    longest = max(right - left, bottom - top)
    if longest > canvas * 0.9:
        font = _open_font(glyph.font_file, max(1, int(size * canvas * 0.9 / longest)))
        left, top, right, bottom = font.getbbox(text)
    mask = Image.new("L", (canvas, canvas))
    width, height = int(right - left), int(bottom - top)
    if width > 0 and height > 0:
        drawn = Image.new("L", (width, height))
        drawn.im.paste(font.getmask(text), (0, 0, width, height))
        mask.paste(drawn, ((canvas - width) // 2, (canvas - height) // 2))
    return mask
