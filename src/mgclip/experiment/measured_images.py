"""Images that learners are measured on: opened once, and encoded again only if the CLIP has changed."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from mgclip.clip.adapters import adapters_have_effect
from mgclip.clip.backbone import Backbone
from mgclip.clip.pixels import MemoryBudget, PreparedImages
from mgclip.method.baselines.make import Learner
from mgclip.stream.tasks import Task


class MeasuredImages:
    """Images that are encoded for any number of learners and tasks.

    Their features under the pre-trained CLIP are kept in memory: methods that do not change it share them, over all tasks.

    Args:
        pixels: The images.
    """

    def __init__(self, pixels: PreparedImages) -> None:
        self.pixels = pixels
        self._pretrained: dict[tuple[str, str, str, bool], Tensor] = {}

    def features(self, learner: Learner) -> Tensor:
        """Features ``(n, d)`` with the current adapters of a learner."""
        encoder, backbone = learner.encoder, learner.backbone
        if adapters_have_effect(backbone):
            return encoder.images(self.pixels, shared=True)
        key = backbone.fingerprint, backbone.image_precision, encoder.representation, encoder.normalise
        if key not in self._pretrained:
            self._pretrained[key] = encoder.images(self.pixels, shared=True)
        return self._pretrained[key]


def prepare_test_images(backbone: Backbone, stream: Sequence[Task], keep_bytes: int) -> list[MeasuredImages]:
    """The test images of each task.

    Args:
        backbone: A CLIP with the transform of all learners.
        stream: The tasks.
        keep_bytes: Memory for transformed images, for all tasks together.
    """
    room = MemoryBudget(keep_bytes)
    return [MeasuredImages(PreparedImages(task.test.images, backbone.transform, room)) for task in stream]
