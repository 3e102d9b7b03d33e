"""Zero-shot, or Continual-CLIP: CLIP as it is, over all classes seen so far. Nothing is learned."""

from mgclip.method.baselines.method import Method

METHOD = Method(
    about="CLIP as it is",
    source="Continual-CLIP (Thengane et al., 2022, arXiv 2210.03114)",
    changes={"epochs": 0, "branches": "text", "memory": 0, "balanced": False},
)
