"""Published CLIPs of every supported kind: what they are, and the licence that their publishers state for the weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class PublishedCLIP:
    """One row of ``mgclip backbones``.

    Attributes:
        name: Its hub id, or ``iconclip``.
        kind: What it is, and what it was trained on.
        side: Side of its images, in pixels.
        parameters: Parameters of both towers, in millions.
        licence: Licence of the weights.
    """

    name: str
    kind: str
    side: int
    parameters: int
    licence: str


MIT, APACHE, NO_COMMERCE, APPLE = "MIT", "Apache-2.0", "CC-BY-NC-4.0", "Apple AMLR (research)"

PUBLISHED = (
    PublishedCLIP("iconclip", "CLIP, icons (in the package)", 32, 3, APACHE),
    PublishedCLIP("openai/clip-vit-base-patch32", "CLIP ViT-B/32, OpenAI", 224, 151, MIT),
    PublishedCLIP("openai/clip-vit-base-patch16", "CLIP ViT-B/16, OpenAI", 224, 150, MIT),
    PublishedCLIP("openai/clip-vit-large-patch14", "CLIP ViT-L/14, OpenAI", 224, 428, MIT),
    PublishedCLIP("openai/clip-vit-large-patch14-336", "CLIP ViT-L/14, OpenAI", 336, 428, MIT),
    PublishedCLIP("timm/vit_base_patch16_clip_224.laion400m_e32", "OpenCLIP ViT-B/16, LAION-400M", 224, 150, MIT),
    PublishedCLIP("laion/CLIP-ViT-B-32-laion2B-s34B-b79K", "OpenCLIP ViT-B/32, LAION-2B", 224, 151, MIT),
    PublishedCLIP("laion/CLIP-ViT-B-16-laion2B-s34B-b88K", "OpenCLIP ViT-B/16, LAION-2B", 224, 150, MIT),
    PublishedCLIP("laion/CLIP-ViT-L-14-laion2B-s32B-b82K", "OpenCLIP ViT-L/14, LAION-2B", 224, 428, MIT),
    PublishedCLIP("laion/CLIP-ViT-H-14-laion2B-s32B-b79K", "OpenCLIP ViT-H/14, LAION-2B", 224, 986, MIT),
    PublishedCLIP("laion/CLIP-ViT-bigG-14-laion2B-39B-b160k", "OpenCLIP ViT-bigG/14, LAION-2B", 224, 2540, MIT),
    PublishedCLIP("laion/CLIP-ViT-B-16-DataComp.XL-s13B-b90K", "OpenCLIP ViT-B/16, DataComp", 224, 150, MIT),
    PublishedCLIP("laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K", "OpenCLIP ViT-L/14, DataComp", 224, 428, MIT),
    PublishedCLIP("timm/vit_base_patch16_clip_224.metaclip_400m", "OpenCLIP ViT-B/16, MetaCLIP", 224, 150, NO_COMMERCE),
    PublishedCLIP("apple/DFN2B-CLIP-ViT-B-16", "OpenCLIP ViT-B/16, DFN", 224, 150, APPLE),
    PublishedCLIP("apple/DFN2B-CLIP-ViT-L-14", "OpenCLIP ViT-L/14, DFN", 224, 428, APPLE),
    PublishedCLIP("google/siglip-base-patch16-224", "SigLIP B/16", 224, 203, APACHE),
    PublishedCLIP("google/siglip-so400m-patch14-384", "SigLIP So400m/14", 384, 878, APACHE),
    PublishedCLIP("google/siglip2-base-patch16-224", "SigLIP 2 B/16", 224, 375, APACHE),
    PublishedCLIP("google/siglip2-so400m-patch14-384", "SigLIP 2 So400m/14", 384, 1136, APACHE),
    PublishedCLIP("facebook/metaclip-2-worldwide-huge-quickgelu", "MetaCLIP 2 ViT-H/14", 224, 1859, NO_COMMERCE),
)
"""Examples: other sizes and training data of these kinds load too."""

OPENAI_FILES = {
    "openai/clip-vit-base-patch32": "ViT-B-32.pt",
    "openai/clip-vit-base-patch16": "ViT-B-16.pt",
    "openai/clip-vit-large-patch14": "ViT-L-14.pt",
    "openai/clip-vit-large-patch14-336": "ViT-L-14-336px.pt",
}
"""Hub id -> the name of the file with the same weights that OpenAI published."""


def same_clip(given: str, published: str) -> bool:
    """Whether ``given`` names the CLIP with the hub id ``published``: by that id, or by a path that ends as the id does or in the
    name of OpenAI's file.
    """
    return given == published or Path(given).name in (Path(published).name, OPENAI_FILES.get(published))
