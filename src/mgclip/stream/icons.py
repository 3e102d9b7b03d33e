"""icons100: 100 concepts as icons, with line drawings for training and solid drawings for testing.

The classes are the first hundred concepts, sorted by name, that Phosphor draws in at least five styles, Remix in at least one,
and another family too. Training renditions: Phosphor thin, light, regular and bold, Remix line. Test renditions: Phosphor fill
and duotone, Remix fill, if the installed fonts have them. A seed varies every image: colours, position, scale, rotation,
background, noise.

Two more sets of 100 concepts, none of them in icons100, are for retention and for streams of several data sets: icons-concepts,
drawn by Phosphor, and icons-families, drawn by the families that iconclip was pre-trained on. Their training and test images show
the same drawings.

The images of icons100 can pass through a filter, as a domain that iconclip has never seen.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from mgclip.stream.data import Filter
from mgclip.stream.glyphs import CANVAS, Glyph, catalogue, render

CLASSES = 100
STREAM_FAMILIES = ("phosphor", "remix")
TRAIN_STYLES = ("thin", "light", "regular", "bold", "line", "plain")
TEST_STYLES = ("fill", "duotone")
VARIATION_SEED = 20250709
"""Part of the data set's definition: image k of a class looks the same in every run."""


def by_concept(glyphs: Sequence[Glyph]) -> dict[str, list[Glyph]]:
    """Group glyphs by concept, concepts sorted by name."""
    groups: dict[str, list[Glyph]] = defaultdict(list)
    for glyph in glyphs:
        groups[glyph.concept].append(glyph)
    return dict(sorted(groups.items()))


def _drawn_by_all(drawings: Sequence[Glyph]) -> bool:
    families = [glyph.family for glyph in drawings]
    others = set(families) - set(STREAM_FAMILIES)
    return families.count("phosphor") >= 5 and "remix" in families and bool(others)


@lru_cache(maxsize=1)
def class_names() -> tuple[str, ...]:
    """The 100 class names, sorted."""
    groups = by_concept(catalogue())
    return tuple(concept for concept, drawings in groups.items() if _drawn_by_all(drawings))[:CLASSES]


def renditions(styles: Sequence[str]) -> Mapping[str, list[Glyph]]:
    """Each class's glyphs of the two stream families in the given styles."""
    wanted = set(class_names())
    chosen = [g for g in catalogue() if g.family in STREAM_FAMILIES and g.style in styles and g.concept in wanted]
    return by_concept(chosen)


def held_out_glyphs() -> dict[str, list[Glyph]]:
    """Phosphor's drawings of icons-concepts: 100 concepts, spread over the alphabet, that are not in icons100 and that a family
    outside the stream draws too. The training log of iconclip is measured on them.
    """
    known = {glyph.concept for glyph in catalogue() if glyph.family not in STREAM_FAMILIES} - set(class_names())
    groups = by_concept([g for g in catalogue() if g.family == "phosphor" and g.concept in known])
    names = sorted(groups)
    return {name: groups[name] for name in names[:: max(1, len(names) // CLASSES)][:CLASSES]}


def family_glyphs() -> dict[str, list[Glyph]]:
    """The other families' drawings of icons-families: 100 concepts, spread evenly over the alphabet, that are in neither other
    set and that at least two of these families draw.
    """
    taken = {*class_names(), *held_out_glyphs()}
    others = [g for g in catalogue() if g.family not in STREAM_FAMILIES and g.concept not in taken]
    groups = by_concept(others)
    # Two versions of a font count as one family, because their drawings are alike.
    shared = [name for name, drawn in groups.items() if len({g.family.rstrip("0123456789") for g in drawn}) >= 2]
    return {name: groups[name] for name in (shared[k * len(shared) // CLASSES] for k in range(CLASSES))}


def _colours(rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Random foreground and background colours, ``(3,)`` in 0..1, that differ by at least 0.3 in luminance."""
    weights = np.array([0.299, 0.587, 0.114])
    while True:
        ink, paper = rng.random(3), rng.random(3)
        if abs(weights @ ink - weights @ paper) >= 0.3:
            return ink, paper


@lru_cache(maxsize=1024)
def _mask(glyph: Glyph) -> Image.Image:
    """A glyph as ``render`` draws it, from which many images of its class are made."""
    return render(glyph, CANVAS)


def vary(mask: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Turn a glyph mask into a random picture: an RGB image of the mask's size.

    Scale 0.65..1.05, rotation up to 20 degrees, shift up to 10 % of the side, two contrasting colours, a plain or graded
    background, and Gaussian noise up to 8 % of the range.
    """
    side = mask.width
    scale, angle = rng.uniform(0.65, 1.05), np.deg2rad(rng.uniform(-20, 20))
    shift = rng.uniform(-0.1, 0.1, size=2) * side
    cos, sin, middle = np.cos(angle) / scale, np.sin(angle) / scale, side / 2
    x, y = middle + shift[0], middle + shift[1]
    inverse = (cos, sin, middle - cos * x - sin * y, -sin, cos, middle + sin * x - cos * y)
    moved = mask.transform((side, side), Image.Transform.AFFINE, inverse, Image.Resampling.BICUBIC)
    cover = np.asarray(moved, dtype=np.float32) / 255
    # Arrays of (3, side, side), because NumPy is slow on rows of three values.
    ink, paper = (colour[:, None, None] for colour in _colours(rng))
    background = np.broadcast_to(paper, (3, side, side)).astype(np.float32)
    if rng.random() < 0.5:
        ramp = np.linspace(-0.5, 0.5, side, dtype=np.float32)
        direction = rng.uniform(0, 2 * np.pi)
        slope = ramp[:, None] * np.sin(direction) + ramp[None, :] * np.cos(direction)
        background = background + slope * rng.uniform(-0.3, 0.3, size=(3, 1, 1))
    picture = rng.normal(0, rng.uniform(0, 0.08), size=(side, side, 3))
    picture += (background * (1 - cover) + ink * cover).transpose(1, 2, 0)
    return Image.fromarray((picture.clip(0, 1) * 255).round().astype(np.uint8))


@dataclass(frozen=True)
class IconImages(Sequence[Image.Image]):
    """The images of one split, ``per_class`` of each class, class by class; drawn on access.

    An image depends only on the split, its class, its index in the class, and the filter.
    """

    glyphs: Mapping[str, list[Glyph]]
    split: int
    per_class: int
    filter: Filter = "none"

    def __len__(self) -> int:
        return len(self.glyphs) * self.per_class

    def __getitem__(self, index):  # type: ignore[no-untyped-def, override]
        label, copy = divmod(range(len(self))[index], self.per_class)
        rng = np.random.default_rng([VARIATION_SEED, self.split, label, copy])
        image = vary(_mask(self._drawing(label, copy)), rng)
        return image if self.filter == "none" else image.filter(ImageFilter.FIND_EDGES)

    def group_of(self, position: int) -> str:
        """The drawing from which an image is made, with which it shares more than its class."""
        glyph = self._drawing(*divmod(position, self.per_class))
        return f"{glyph.family} {glyph.style} {glyph.concept}"

    def _drawing(self, label: int, copy: int) -> Glyph:
        drawings = self.glyphs[list(self.glyphs)[label]]
        return drawings[copy % len(drawings)]


@dataclass(frozen=True)
class RetentionSet:
    """The glyphs of a data set for retention, and the numbers of its parts, from which the variation of an image follows."""

    glyphs: Callable[[], dict[str, list[Glyph]]]
    test: int
    train: int


RETENTION = {
    "icons-concepts": RetentionSet(held_out_glyphs, test=2, train=4),
    "icons-families": RetentionSet(family_glyphs, test=3, train=5),
}


def load(train_per_class: int = 100, test_per_class: int = 20, *, filter: Filter = "none") -> tuple[IconImages, IconImages]:
    """The training and the test images of icons100; the renditions of a class take turns. Raises ``MissingExtra`` if qtawesome
    is not installed.
    """
    train = IconImages(renditions(TRAIN_STYLES), split=0, per_class=train_per_class, filter=filter)
    return train, IconImages(renditions(TEST_STYLES), split=1, per_class=test_per_class, filter=filter)


def load_retention(name: str, test_per_class: int = 20) -> IconImages:
    """The test images of ``icons-concepts`` or ``icons-families``; the drawings of a class take turns. Raises ``MissingExtra``
    if qtawesome is not installed.
    """
    return IconImages(RETENTION[name].glyphs(), split=RETENTION[name].test, per_class=test_per_class)


def load_training(name: str, train_per_class: int = 100) -> IconImages:
    """Training images of the same drawings as those of ``load_retention``, varied in other ways. Icons100 is a stream with new
    drawings in its test part; these are data sets whose parts are alike.
    """
    return IconImages(RETENTION[name].glyphs(), split=RETENTION[name].train, per_class=train_per_class)
