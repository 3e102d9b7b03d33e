"""Train a model to export, compare its state, and parse its card."""

from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from icon_tasks import task
from markdown_it import MarkdownIt

from mgclip import MGCLIP, Settings
from mgclip.export.folder import Exported

QUICK = {"epochs": 2, "adapter_batch_size": 16, "head_batch_size": 16, "head_epochs": 2, "adapter_lr": 5e-3}
SOLVED = {"compensation": "analytic", "fusion": "calibrated", "adapt": "first", "features": 256}
SOLVED_BOTH = ("solved", "both", "calibrated", 4.0)
BRANCHES = [
    ("both", "published", 4.0),
    ("both", "single-softmax", 0.5),
    ("text", "published", 4.0),
    ("image", "published", 4.0),
]


class Shared(NamedTuple):
    """An exported model, its folder, and ``everything`` of the model before and after."""

    model: MGCLIP
    folder: Path
    exported: Exported
    before: tuple[Any, ...]
    after: tuple[Any, ...]


def learned(reference, icons, tasks=((0, 1, 2), (3, 4)), **changes):
    model = MGCLIP.from_pretrained(reference, settings=Settings(**{**QUICK, **changes}))
    for classes in tasks:
        model.learn(*task(icons, list(classes)))
    return model


def everything(model):
    """Everything that an export must not change: weights, buffers, head, features, the mode of each layer, the random state."""
    layers = [(name, module.training, "forward" in vars(module)) for name, module in model.backbone.model.named_modules()]
    weights = {name: weight.clone() for name, weight in model.backbone.model.state_dict().items()}
    pixels = torch.arange(2 * 3 * 32 * 32).remainder(251).view(2, 3, 32, 32).to(torch.uint8)
    features = model.backbone.image_features(pixels)
    head = model.head if model.solved is None else model.solved.weights
    tensors = {**weights, "head": head.clone(), "features": features, "random": torch.get_rng_state()}
    return tensors, layers, model.backbone.model.config.to_dict(), model.backbone.compute


def assert_same(before, after):
    assert before[1:] == after[1:]
    assert before[0].keys() == after[0].keys()
    for name, tensor in before[0].items():
        assert torch.equal(tensor, after[0][name]), name


def front(card):
    _, header, body = card.split("---\n", 2)
    return yaml.safe_load(header), body


def cells(body):
    """The text of all table cells, and the types of all inline tokens, as a Markdown parser finds them."""
    tokens = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(body)
    kinds, found = {token.type for token in tokens}, []
    for at, token in enumerate(tokens):
        if token.type == "inline":
            kinds |= {child.type for child in token.children}
            if tokens[at - 1].type == "td_open":
                found.append("".join(child.content for child in token.children))
    return found, kinds
