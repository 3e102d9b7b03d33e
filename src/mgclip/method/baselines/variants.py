"""MG-CLIP itself, each of its halves alone, and its replay variant."""

from mgclip.method.baselines.method import Method

PAPER = "Mind the Gap (Huang et al., ICCV 2025, arXiv 2507.09118)"

MG_CLIP = Method(about="the whole method", source=PAPER)

PRESERVATION_ONLY = Method(
    about="its first half: adapters stopped by the gap, predicted by texts", source=PAPER, changes={"branches": "text"}
)

COMPENSATION_ONLY = Method(
    about="its second half: the image-space head beside CLIP as it is", source=PAPER, changes={"epochs": 0}
)

MG_CLIP_REPLAY = Method(
    about="the whole method with a memory of 2,000 old images", source=PAPER, changes={"memory": 2000}
)
