"""A CLIP with random weights in Hugging Face layout: every gradient is well above rounding noise."""

from importlib.resources import files
from pathlib import Path

ICONCLIP = Path(str(files("mgclip") / "assets" / "iconclip"))


def make_small_clip(folder: Path, dim: int = 24) -> Path:
    """Write the CLIP into an existing folder. Its projected features have ``dim`` numbers, those of its towers 32."""
    import torch
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

    torch.manual_seed(11)
    tokenizer = CLIPTokenizer.from_pretrained(ICONCLIP)
    tower = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "projection_dim": dim,
    }
    vision = {**tower, "image_size": 32, "patch_size": 8, "hidden_act": "quick_gelu"}
    text = {
        **tower, "vocab_size": len(tokenizer), "max_position_embeddings": 24, "hidden_act": "gelu",
        "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id,
    }  # fmt: skip
    model = CLIPModel(CLIPConfig(vision_config=vision, text_config=text, projection_dim=dim))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1:
                weight.normal_(std=0.5 if "embed" in name else 1.5 * weight.shape[1] ** -0.5)
    size = {"height": 32, "width": 32}
    for part in (model, tokenizer, CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=size)):
        part.save_pretrained(folder)
    return folder


FAMILIES = ("siglip", "siglip2", "metaclip_2")
"""Families other than CLIP. The tokenizer of SigLIP 2 leaves capital letters to the caller."""


def make_small_family(folder: Path, family: str) -> Path:
    """Write a CLIP with random weights of one of ``FAMILIES`` into an existing folder."""
    import torch
    from transformers import (
        CLIPImageProcessorPil,
        MetaClip2Config,
        MetaClip2Model,
        SiglipConfig,
        SiglipImageProcessorPil,
        SiglipModel,
    )

    torch.manual_seed(12)
    tokenizer = letters_tokenizer(family)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision = {**sizes, "image_size": 32, "patch_size": 8}
    ends = {"bos_token_id": 0, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    text = {**sizes, "vocab_size": len(tokenizer), **ends}
    square = {"height": 32, "width": 32}
    if family == "metaclip_2":
        part = {"projection_dim": 24}
        model = MetaClip2Model(
            MetaClip2Config(vision_config={**vision, **part}, text_config={**text, **part, "max_position_embeddings": 40}, **part)
        )
        processor = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=square)
    else:
        model = SiglipModel(SiglipConfig(vision_config=vision, text_config={**text, "max_position_embeddings": 64}))
        processor = SiglipImageProcessorPil(size=square, resample=2, image_mean=[0.5, 0.4, 0.5], image_std=[0.5, 0.5, 0.3])
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name == "logit_scale":
                weight.fill_(4.7)
            elif name == "logit_bias":
                weight.fill_(-16.0)
            elif weight.ndim > 1:
                weight.normal_(std=0.5 if "embed" in name else 1.5 * weight.shape[1] ** -0.5)
            elif "bias" in name:
                weight.normal_(std=0.2)
    for each in (model, tokenizer, processor):
        each.save_pretrained(folder)
    return folder


def letters_tokenizer(family: str):
    """A tokenizer whose words are letters, which marks the end of a text as the family does."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = {
        "siglip": ("<unk>", "</s>"),
        "siglip2": ("<pad>", "<eos>"),
        "metaclip_2": ("<s>", "<pad>", "</s>"),
    }[family]
    vocabulary = {word: number for number, word in enumerate((*special, *pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if family == "siglip":
        tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), normalizers.Strip()])
    start = "<s> " if family == "metaclip_2" else ""
    ends = [(word, number) for number, word in enumerate(special)]
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{start}$A {special[-1]}", special_tokens=ends)
    padding = {"siglip": "</s>"}.get(family, "<pad>")
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=special[-1], pad_token=padding)
