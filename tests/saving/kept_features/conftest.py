"""Images whose features are kept, and the passes that encode them."""

import pytest
from PIL import Image

from mgclip.clip.backbone import Backbone


@pytest.fixture
def encoded(monkeypatch):
    """The number of images in each pass of the image tower."""
    seen = []

    def counted(real):
        return lambda self, pixels, **options: seen.append(len(pixels)) or real(self, pixels, **options)

    for name in ("image_features", "both_features"):
        monkeypatch.setattr(Backbone, name, counted(getattr(Backbone, name)))
    return seen


@pytest.fixture
def files(icons, tmp_path):
    found = [tmp_path / "images" / f"{number}.png" for number in range(11)]
    found[0].parent.mkdir()
    for file, image in zip(found, icons["x_train"], strict=False):
        Image.fromarray(image).save(file)
    return found
