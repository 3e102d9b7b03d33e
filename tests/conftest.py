import os
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

pytest_plugins = ["layouts", "exported"]

ICONCLIP = Path(str(files("mgclip") / "assets" / "iconclip"))


@pytest.fixture(scope="session")
def golden() -> Path:
    folder = os.environ.get("MGCLIP_GOLDEN")
    if not folder:
        pytest.skip("MGCLIP_GOLDEN is not set: it names a folder of recorded runs of the published code")
    return Path(folder)


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory) -> Path:
    """A CLIP with random weights in Hugging Face layout: every gradient is well above rounding noise."""
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
    folder = tmp_path_factory.mktemp("tiny-clip")
    size = {"height": 32, "width": 32}
    for part in (model, tokenizer, CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=size)):
        part.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def icons():
    """Train and test images of ten icon classes, drawn once: names, x_train, y_train, x_test, y_test."""
    from mgclip.stream import icons

    train, test = icons.load(12, 4)
    names = icons.class_names()[:10]
    return {
        "x_train": np.stack([np.asarray(train[i]) for i in range(120)]),
        "y_train": np.arange(10).repeat(12),
        "x_test": np.stack([np.asarray(test[i]) for i in range(40)]),
        "y_test": np.arange(10).repeat(4),
        "class_names": np.array(names),
    }


@pytest.fixture
def quick():
    """Settings small enough for a test, with every part at work."""
    from mgclip import Settings

    return Settings(epochs=1, adapter_batch_size=16, head_batch_size=16, head_epochs=2, adapter_lr=2e-3)


def task(icons, classes):
    """Images, labels and names of some of the ten icon classes, as one task."""
    chosen = np.isin(icons["y_train"], classes)
    place = {c: i for i, c in enumerate(classes)}
    labels = [place[int(y)] for y in icons["y_train"][chosen]]
    return list(icons["x_train"][chosen]), labels, [str(icons["class_names"][c]) for c in classes]


@pytest.fixture
def mgclip(monkeypatch, capsys):
    """Run a command in this process: exit code, standard output, standard error."""

    from mgclip.app import main as command

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["mgclip", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            command.main()
        said = capsys.readouterr()
        return end.value.code or 0, said.out, said.err

    return call
