"""A CLIP with random weights in Hugging Face layout: every gradient is well above rounding noise."""

from importlib.resources import files
from pathlib import Path

ICONCLIP = Path(str(files("mgclip") / "assets" / "iconclip"))


def make_small_clip(folder: Path) -> Path:
    """Write the CLIP into an existing folder."""
    import torch
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

    torch.manual_seed(11)
    tokenizer = CLIPTokenizer.from_pretrained(ICONCLIP)
    tower = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "projection_dim": 24,
    }
    vision = {**tower, "image_size": 32, "patch_size": 8, "hidden_act": "quick_gelu"}
    text = {
        **tower, "vocab_size": len(tokenizer), "max_position_embeddings": 24, "hidden_act": "gelu",
        "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id,
    }  # fmt: skip
    model = CLIPModel(CLIPConfig(vision_config=vision, text_config=text, projection_dim=24))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1:
                weight.normal_(std=0.5 if "embed" in name else 1.5 * weight.shape[1] ** -0.5)
    size = {"height": 32, "width": 32}
    for part in (model, tokenizer, CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=size)):
        part.save_pretrained(folder)
    return folder
