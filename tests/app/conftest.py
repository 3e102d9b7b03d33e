"""A model with class names that not every encoding can write."""

import pytest
from PIL import Image

from mgclip import MGCLIP, Settings

NAMES = ("čaj", "猫", "crème")


@pytest.fixture(scope="module")
def shop(tiny_clip, icons, tmp_path_factory):
    """A model of three classes with names that not every encoding can write, and a folder with their images."""
    place = tmp_path_factory.mktemp("shop")
    files, labels = [], []
    for c, name in enumerate(NAMES):
        (place / "photos" / name).mkdir(parents=True)
        for i in range(2):
            files.append(place / "photos" / name / f"{name}{i}.png")
            Image.fromarray(icons["x_train"][12 * c + i]).save(files[-1])
            labels.append(c)
    model = MGCLIP.from_pretrained(tiny_clip, settings=Settings(epochs=1, head_epochs=1, adapter_batch_size=6))
    model.learn(files, labels, NAMES)
    model.save_pretrained(place / "m", note={"what": "learned", "classes": list(NAMES)})
    return place
