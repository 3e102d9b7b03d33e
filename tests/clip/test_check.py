"""A configuration is checked before memory is allocated for it."""

import json
import shutil
from pathlib import Path

import pytest

from mgclip.clip.load import load_backbone
from mgclip.errors import InputError


def test_a_folder_whose_configuration_is_larger_than_its_weights_is_refused(tiny_clip, tmp_path):
    shutil.copytree(tiny_clip, tmp_path / "clip")
    file = Path(tmp_path, "clip", "config.json")
    good = json.loads(file.read_text())
    for part, key, value, sentence in (
        ("vision_config", "hidden_size", 32_768, "it implies"),
        ("text_config", "vocab_size", 400_000, "its weights have only"),
        ("vision_config", "image_size", 8_192, "tokens"),
    ):
        changed = {**good, part: {**good[part], key: value}}
        file.write_text(json.dumps(changed))
        with pytest.raises(InputError, match=sentence):
            load_backbone(tmp_path / "clip")
