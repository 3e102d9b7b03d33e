"""Record how OpenCLIP answers with the small models of ``tests/small_openclip.py``.

    PYTHONPATH=tests python scripts/record_openclip.py tests/clip/openclip.json

This needs open_clip_torch and the transforms of torchvision, which nothing else in this project needs. Features are recorded as
OpenCLIP computes them from its own pixels and tokens. Pixels are recorded too, because versions of Pillow resize slightly differently.
"""

import base64
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import open_clip  # type: ignore[import-not-found]
import torch
from open_clip.push_to_hf_hub import save_config_for_hf  # type: ignore[import-not-found]
from open_clip.transform import PreprocessCfg, image_transform_v2, merge_preprocess_dict  # type: ignore[import-not-found]
from small_openclip import MODELS, TEXTS, images, weight  # type: ignore[import-not-found]


@torch.no_grad()
def record(config: dict[str, Any], changed: dict[str, Any]) -> dict[str, Any]:
    """What OpenCLIP computes with one configuration."""
    model = open_clip.CLIP(**config).eval()
    shapes = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    model.load_state_dict({name: torch.from_numpy(weight(name, shape)) for name, shape in shapes.items()})
    preprocess = merge_preprocess_dict({**asdict(PreprocessCfg()), "size": config["vision_cfg"]["image_size"]}, changed)
    open_clip.model.set_model_preprocess_cfg(model, preprocess)
    prepared = torch.stack([image_transform_v2(PreprocessCfg(**preprocess), is_train=False)(image) for image in images()])
    mean, std = (torch.tensor(preprocess[part])[:, None, None] for part in ("mean", "std"))
    pixels = ((prepared * std + mean) * 255).round().to(torch.uint8)
    tokens = open_clip.SimpleTokenizer(context_length=config["text_cfg"]["context_length"])(TEXTS)
    with tempfile.TemporaryDirectory() as folder:
        save_config_for_hf(model, Path(folder) / "config.json", config)
        written = json.loads((Path(folder) / "config.json").read_text())
    return {
        "config": written,
        "shapes": shapes,
        "pixels": base64.b64encode(pixels.numpy().tobytes()).decode(),
        "images": rounded(model.encode_image(prepared, normalize=True)),
        "texts": rounded(model.encode_text(tokens, normalize=True)),
    }


def rounded(features: torch.Tensor) -> list[list[float]]:
    """Features with seven digits."""
    return [[round(value, 7) for value in row] for row in features.tolist()]


def main() -> None:
    recorded = {name: record(*each) for name, each in MODELS.items()}
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(each)}" for name, each in recorded.items())
    Path(sys.argv[1]).write_text("{\n" + lines + "\n}\n")
    print(len(recorded), "models by OpenCLIP", open_clip.__version__)


if __name__ == "__main__":
    main()
