"""Zero-shot, or Continual-CLIP: CLIP as it is, over all classes seen so far. Nothing is learned."""

from mgclip.method.baselines.method import Method
from mgclip.method.baselines.variants import BARE

METHOD = Method(
    about="CLIP as it is",
    source="Continual-CLIP (Thengane et al., 2022, arXiv 2210.03114)",
    changes={**BARE, "branches": "text"},
)
