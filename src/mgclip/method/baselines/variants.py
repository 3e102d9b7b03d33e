"""MG-CLIP itself, each of its halves alone, and its replay variant."""

from mgclip.method.baselines.method import Method

PAPER = "Mind the Gap (Huang et al., ICCV 2025, arXiv 2507.09118)"

BARE = {"epochs": 0, "adapter_init": None}
"""What leaves CLIP as it is."""

MG_CLIP = Method(about="the whole method", source=PAPER)

PRESERVATION_ONLY = Method(
    about="its first half: adapters stopped by the gap, predicted by texts",
    source=PAPER,
    changes={"branches": "text"},
)

COMPENSATION_ONLY = Method(
    about="its second half: the image-space head beside CLIP as it is", source=PAPER, changes=BARE
)

MG_CLIP_REPLAY = Method(about="the whole method with a memory of old images", source=PAPER, replays=True)
