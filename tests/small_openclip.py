"""Small CLIPs of OpenCLIP: their configurations, weights that follow from names and shapes, and what they are asked.

``scripts/record_openclip.py`` builds them with OpenCLIP itself and records its answers. The weights are not recorded: both sides
fill them in from the same numbers.
"""

import base64
import json
import zlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image

VISION = {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8}
TEXT = {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}
PLAIN = {"embed_dim": 24, "vision_cfg": VISION, "text_cfg": TEXT}
MODELS = {
    "gelu-shortest": (PLAIN, {}),
    "quickgelu-squash": (
        {**PLAIN, "quick_gelu": True, "vision_cfg": {**VISION, "head_width": 8, "mlp_ratio": 4.9231}},
        {"mean": [0.5, 0.4, 0.6], "std": [0.3, 0.2, 0.25], "interpolation": "bilinear", "resize_mode": "squash"},
    ),
}
"""Name -> the configuration of the model, and what differs from OpenCLIP's own image transform."""
RECORDED = Path(__file__).parent / "clip" / "openclip.json"
TEXTS = ["a good photo of a bell.", "Git Pull-Request's 2nd café", "word " * 30]


def weight(name, shape):
    """The weight of a name: as random as in training, with every gradient well above rounding noise."""
    if name in ("logit_scale", "logit_bias"):
        return np.full(shape, {"logit_scale": 4.6, "logit_bias": -10.0}[name], dtype=np.float32)
    drawn = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    if ".ln_" in f".{name}" and name.endswith("weight"):
        return (1 + 0.1 * drawn).astype(np.float32)
    matrix = len(shape) > 1 and "embedding" not in name
    fan_in = shape[0] if name.endswith("proj") or name == "text_projection" else int(np.prod(shape[1:]))
    return (drawn * (1.2 * fan_in**-0.5 if matrix else 0.3)).astype(np.float32)


def images():
    """Three images, wide, tall and square, whose halves differ, so that a crop is not the whole."""
    rng = np.random.default_rng(3)
    found = []
    for width, height in ((90, 40), (37, 64), (50, 50)):
        y, x = np.mgrid[:height, :width]
        values = np.stack([255 * x / width, 255 * y / height, 127 + 120 * np.sin(x / 3 + y / 5)], axis=2)
        found.append(Image.fromarray(np.clip(values + rng.normal(0, 25, values.shape), 0, 255).astype(np.uint8)))
    return found


def recorded(name):
    """What OpenCLIP answered with a model."""
    return json.loads(RECORDED.read_text())[name]


def state_of(name):
    """The weights of a recorded model, by OpenCLIP's names."""
    return {key: torch.from_numpy(weight(key, shape)) for key, shape in recorded(name)["shapes"].items()}


def make_folder(folder, name, change=lambda config: None, file="open_clip_model.safetensors"):
    """A folder of OpenCLIP, with its configuration changed."""
    config = json.loads(json.dumps(recorded(name)["config"]))
    change(config)
    folder.mkdir(exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    if file.endswith(".safetensors"):
        from safetensors.torch import save_file

        save_file(state_of(name), folder / file)
    else:
        torch.save(state_of(name), folder / file)
    return folder


@torch.no_grad()
def deviations(backbone, name):
    """The largest deviation of pixels, image features and text features from OpenCLIP's."""
    expected = recorded(name)
    side = backbone.image_size
    pixels = torch.frombuffer(bytearray(base64.b64decode(expected["pixels"])), dtype=torch.uint8).reshape(-1, 3, side, side)
    found = backbone.image_features(pixels), backbone.text_features(backbone.tokenize(TEXTS))
    differ = [
        (part - torch.tensor(expected[what])).abs().max().item() for part, what in zip(found, ("images", "texts"), strict=True)
    ]
    return (backbone.transform(images()).int() - pixels.int()).abs().max().item(), *differ
