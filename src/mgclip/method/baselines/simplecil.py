"""SimpleCIL: each class's mean image feature on CLIP as it is; the class is that of the nearest mean by cosine.

The head's rows start as these means (docs/method.md 6), so this is the learner with neither half trained.
"""

from mgclip.method.baselines.method import Method
from mgclip.method.baselines.variants import BARE

METHOD = Method(
    about="class means of frozen image features",
    source="SimpleCIL (Zhou et al., IJCV 2024, arXiv 2303.07338)",
    changes={**BARE, "head_epochs": 0, "branches": "image"},
)
