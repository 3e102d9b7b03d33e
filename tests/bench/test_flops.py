"""The operations that PyTorch counts agree with a formula."""

import warnings

import pytest

from mgclip.bench.flops import _adapted_clip, _count, image_flops, text_flops
from mgclip.bench.shapes import make_config


def formula(tower, tokens, *, embedding, class_token_only, training):
    """Operations of a transformer tower for one item: linear maps, the two products of attention, and the embedding.

    The weights are frozen, so a linear map costs as much backward as forward. A product of attention costs twice as much.
    """
    width, layers = tower.hidden_size, tower.num_hidden_layers
    attention, mlp = 8 * width**2, 4 * width * tower.intermediate_size  # q, k, v and output; up and down
    linear = layers * tokens * (attention + mlp)
    queries = layers * tokens
    if class_token_only:  # the last layer computes the keys and values of all tokens, and the rest of one
        linear -= (tokens - 1) * (attention / 2 + mlp)
        queries -= tokens - 1
    products = 4 * queries * tokens * width
    return embedding + (2 * linear + 3 * products if training else linear + products)


@pytest.mark.parametrize("training", [False, True])
def test_the_towers_of_vit_b_16_cost_what_the_formula_says(training):
    config = make_config("vit-b-16")
    patches, width = (224 // 16) ** 2, config.vision_config.hidden_size
    embedding = 2 * patches * 3 * 16**2 * width
    image = formula(config.vision_config, patches + 1, embedding=embedding, class_token_only=True, training=training)
    assert image_flops(config, training=training) == pytest.approx(image, rel=0.01)
    text = formula(config.text_config, 12, embedding=0, class_token_only=False, training=training)
    assert text_flops(config, 12, training=training) == pytest.approx(text, rel=0.01)


def test_counting_shows_no_warning_of_the_libraries():
    config = make_config("vit-b-16")
    _adapted_clip.cache_clear()
    _count.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image_flops(config, training=False)


def test_the_last_layer_of_siglip_is_complete():
    config = make_config("siglip-b-16")
    tower, patches = config.vision_config, (224 // 16) ** 2
    width, hidden = tower.hidden_size, tower.intermediate_size
    image = formula(tower, patches, embedding=2 * patches * 3 * 16**2 * width, class_token_only=False, training=False)
    head = 2 * 2 * patches * width**2 + 4 * width**2 + 4 * patches * width + 4 * width * hidden  # one query for all patches
    assert image_flops(config, training=False) == pytest.approx(image + head, rel=0.01)
