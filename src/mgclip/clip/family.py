"""The families of CLIP that transformers defines: their classes, and how their towers become features."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True)
class Family:
    """What differs between the families of CLIP.

    Attributes:
        title: Its name in texts.
        model: Its class in transformers.
        tokenizer: The class of its tokenizer.
        processor: The class of its image processor.
        projected: Whether a linear projection turns the output of each tower into a feature.
        class_token: Whether the image feature is the first token. Otherwise a pooling head reads all tokens, so that the last
            layer cannot be shortened.
        causal: Whether the text tower is causal and read at the end-of-text token, so that padding changes nothing and may be
            cut. Otherwise texts are padded to the full length, as in training.
        lower_case: Whether it was trained on texts in lower case.
        sigmoid: Whether it was trained with a sigmoid loss, so that cosines of other pairs are near zero.
    """

    title: str
    model: str
    tokenizer: str
    processor: str
    projected: bool = True
    class_token: bool = True
    causal: bool = True
    lower_case: bool = False
    sigmoid: bool = False


FAMILIES = {
    "clip": Family("CLIP", "CLIPModel", "CLIPTokenizer", "CLIPImageProcessorPil"),
    "metaclip_2": Family("MetaCLIP 2", "MetaClip2Model", "PreTrainedTokenizerFast", "CLIPImageProcessorPil"),
    "siglip": Family(
        "SigLIP",
        "SiglipModel",
        "PreTrainedTokenizerFast",
        "SiglipImageProcessorPil",
        projected=False,
        class_token=False,
        causal=False,
        lower_case=True,
        sigmoid=True,
    ),
}
"""``model_type`` of a configuration -> its family. SigLIP 2 at fixed resolution has the type of SigLIP."""


def family_of(model: Any) -> Family:
    """The family of a model of transformers."""
    return FAMILIES[model.config.model_type]


def projections(model: Any) -> tuple[torch.nn.Module, torch.nn.Module]:
    """What maps the pooled outputs of the image and the text tower to features."""
    if family_of(model).projected:
        return model.visual_projection, model.text_projection
    return torch.nn.Identity(), torch.nn.Identity()


def feature_dim(config: Any) -> int:
    """Length of a feature, the same for images and texts."""
    projected = FAMILIES[config.model_type].projected
    return int(config.projection_dim if projected else config.vision_config.hidden_size)


def model_class(family: Family) -> Any:
    """The class of the models of a family."""
    import transformers

    return getattr(transformers, family.model)


def load_tokenizer(family: Family, folder: Path) -> Any:
    """The tokenizer in a folder, which pads as in training."""
    import transformers

    tokenizer = getattr(transformers, family.tokenizer).from_pretrained(folder)
    if not family.causal:
        tokenizer.padding_side, tokenizer.model_input_names = "right", ["input_ids"]  # padding was not masked in training
    if family.lower_case:
        _lower_case(tokenizer.backend_tokenizer)
    return tokenizer


def load_processor(family: Family, folder: Path) -> Any:
    """The image processor in a folder."""
    import transformers

    return getattr(transformers, family.processor).from_pretrained(folder)


def _lower_case(tokenizer: Any) -> None:
    """Make a tokenizer ignore case. That of SigLIP does so already; that of SigLIP 2 leaves it to the caller."""
    from tokenizers import normalizers

    known = tokenizer.normalizer
    if known is None or known.normalize_str("A") != known.normalize_str("a"):
        tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *([known] if known else [])])
