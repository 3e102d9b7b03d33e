"""Features of images before and after the projection, and both."""

import pytest
import torch
from torch.nn.functional import normalize

from mgclip.clip.encoder import Encoder
from mgclip.clip.family import projections
from mgclip.clip.load import load_backbone
from mgclip.clip.pixels import PreparedImages
from mgclip.clip.representation import REPRESENTATIONS, part_of_both
from mgclip.image_lists import image_list


@pytest.fixture(scope="module")
def backbone():
    return load_backbone("iconclip")


@pytest.fixture
def pixels(backbone, icons):
    images = PreparedImages(image_list(list(icons["x_test"][:6])), backbone.transform)
    return images.batch(torch.arange(6))


@torch.no_grad()
def test_features_are_projected_or_pooled_or_both(backbone, pixels):
    found = {each: backbone.image_features(pixels, representation=each) for each in REPRESENTATIONS}
    mean, std = (torch.tensor(part).view(3, 1, 1) for part in (backbone.processor.image_mean, backbone.processor.image_std))
    pooled = backbone.model.vision_model(pixel_values=(pixels.float() / 255 - mean) / std).pooler_output
    projected = projections(backbone.model)[0](pooled)
    assert torch.equal(found["projected"], backbone.image_features(pixels))
    torch.testing.assert_close(found["projected"], normalize(projected, dim=-1))
    torch.testing.assert_close(found["pre-projection"], normalize(pooled, dim=-1))
    joined = torch.cat([normalize(projected, dim=-1), normalize(pooled, dim=-1)], -1)
    torch.testing.assert_close(found["both"], joined / 2**0.5)
    for each, features in found.items():
        assert features.shape[1] == backbone.image_dim(each)
        torch.testing.assert_close(part_of_both(found["both"], each, backbone.feature_dim), features)


@pytest.mark.parametrize("representation", REPRESENTATIONS)
def test_texts_are_compared_with_projected_features_in_every_representation(backbone, icons, representation):
    prompt, names = "a good photo of a {}.", ["cat", "dog", "house"]
    plain, other = (Encoder(backbone, prompt=prompt, batch_size=4, representation=each) for each in ("projected", representation))
    images = plain.pixels(list(icons["x_test"][:6]))
    features = other.images(images)
    assert features.shape == (6, backbone.image_dim(representation))
    assert other.images(other.pixels([])).shape == (0, backbone.image_dim(representation))
    torch.testing.assert_close(other.in_text_space(features), plain.images(images), atol=1e-6, rtol=0)
    torch.testing.assert_close(other.logits(features, names), plain.logits(plain.images(images), names), atol=1e-4, rtol=0)
