"""The mixture of both branches, against its formula in NumPy."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from mgclip.method.fusion import fuse


@given(st.integers(1, 5), st.integers(1, 6), st.floats(0, 50), st.integers(0, 2**31))
def test_fusion_is_the_weighted_mean_of_both_branches(images, classes, beta, seed):
    rng = np.random.default_rng(seed)
    z, c = rng.normal(size=(images, classes)) * 30, rng.uniform(-1, 1, (images, classes))

    def softmax(x):
        e = np.exp(x - x.max(1, keepdims=True))
        return e / e.sum(1, keepdims=True)

    both = fuse(torch.tensor(z), torch.tensor(c), vision_weight=beta, flattened=True).numpy()
    np.testing.assert_allclose(both, (softmax(softmax(z)) + beta * softmax(c)) / (1 + beta), rtol=1e-9)
    once = fuse(torch.tensor(z), torch.tensor(c), vision_weight=beta, flattened=False).numpy()
    np.testing.assert_allclose(once, (softmax(z) + beta * softmax(c)) / (1 + beta), rtol=1e-9)
