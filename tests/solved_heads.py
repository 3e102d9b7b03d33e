"""Small solved heads of images with fingerprints, without a CLIP."""

import torch
import torch.nn.functional as F

from mgclip.method.analytic import solved_head
from mgclip.method.analytic.learned_images import Images
from mgclip.method.analytic.random_features import RandomFeatures
from mgclip.method.analytic.solved_head import SolvedHead

DIM, WIDTH, CLASSES = 6, 24, 4


def images(per_class, seed=0):
    """Images around one direction per class, each with a fingerprint of its own."""
    generator = torch.Generator().manual_seed(seed)
    centres = F.normalize(torch.randn(8, DIM, generator=generator), dim=-1)
    labels = torch.cat([torch.full((count,), label) for label, count in enumerate(per_class)])
    features = F.normalize(centres[labels] + 0.4 * torch.randn(len(labels), DIM, generator=generator), dim=-1)
    return Images(torch.randint(-(2**62), 2**62, (len(labels),), generator=generator), labels, features)


def texts(classes=CLASSES):
    """Text logits that depend on nothing but the class, as those of a CLIP do."""
    rows = torch.randn(8, DIM, generator=torch.Generator().manual_seed(5))
    return lambda features: 10 * features.float() @ rows[torch.arange(classes) if isinstance(classes, int) else classes].T


def empty():
    return SolvedHead.empty(RandomFeatures(DIM, WIDTH, gamma=0.8, seed=2))


def learned(own, classes=CLASSES):
    return solved_head.add(empty(), own, texts(classes))
