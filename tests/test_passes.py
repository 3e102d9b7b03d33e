"""Complete runs make exactly the encoder passes they need; micro-batches give the exact gradient."""

import pytest
import torch

from mgclip.clip.backbone import Backbone
from mgclip.experiment.open_run import open_run
from mgclip.experiment.recipe import Recipe
from mgclip.experiment.runner import run

TRAIN, TEST, CLASSES, TASKS = 6, 4, 3, 3


@pytest.fixture
def passes(monkeypatch):
    """Images and texts that pass the encoders, with and without a gradient."""
    seen = {"images trained": 0, "images": 0, "texts trained": 0, "texts": 0, "longest": 0}
    for kind, method in (("images", "image_features"), ("texts", "text_features")):
        real = getattr(Backbone, method)

        def counted(self, given, real=real, kind=kind, **options):
            seen[kind + (" trained" if torch.is_grad_enabled() else "")] += len(given)
            if kind == "texts":
                seen["longest"] = max(seen["longest"], given.shape[1])
            return real(self, given, **options)

        monkeypatch.setattr(Backbone, method, counted)
    return seen


def recipe(clip, method, **changes):
    return Recipe(
        name="counted", clip=str(clip), data="icons100", train_per_class=TRAIN, test_per_class=TEST, classes_per_task=CLASSES,
        tasks=TASKS, methods=[method], adapter_batch_size=5, head_batch_size=5, **changes,
    )  # fmt: skip


IMAGES, TESTS = TRAIN * CLASSES, TEST * CLASSES
# After each task: the test images of all tasks so far and of the next one, if there is one.
EVALUATED = TESTS * sum(min(t + 2, TASKS) for t in range(TASKS))
# As long as CLIP is unchanged: each test image once in the run.
EVALUATED_ONCE = TESTS * TASKS
STEPS = -(-IMAGES // 5)
TRIED = 1  # one image and one text, when the CLIP is loaded


@pytest.mark.parametrize(
    ("method", "changes", "trained", "encoded", "evaluated", "texts_trained", "texts"),
    [
        # Each training image E times for training and once for the head; each text once per step, and once per task after it.
        (
            "mg-clip", {"epochs": 2}, 2 * IMAGES * TASKS, IMAGES * TASKS, EVALUATED,
            2 * STEPS * CLASSES * TASKS, TASKS * CLASSES * TASKS,
        ),
        (
            "preservation-only", {"epochs": 2}, 2 * IMAGES * TASKS, 0, EVALUATED,
            2 * STEPS * CLASSES * TASKS, TASKS * CLASSES * TASKS,
        ),
        # CLIP is unchanged: each text once in the run.
        ("compensation-only", {}, 0, IMAGES * TASKS, EVALUATED_ONCE, 0, CLASSES * TASKS),
        ("mg-clip-analytic", {"features": 64}, 0, IMAGES * TASKS, EVALUATED_ONCE, 0, CLASSES * TASKS),
        ("zero-shot", {}, 0, 0, EVALUATED_ONCE, 0, CLASSES * TASKS),
        ("rapf", {"rapf_epochs": 4}, 0, IMAGES * TASKS, EVALUATED_ONCE, 0, CLASSES * TASKS),
        # The probe, on the first task: the origin and a measurement per epoch; having run to its end, it was the training.
        (
            "mg-clip", {"epochs": "auto", "max_epochs": 2, "alpha": 9e9}, 2 * IMAGES * TASKS, IMAGES * (TASKS + 3), EVALUATED,
            2 * STEPS * CLASSES * TASKS, 3 * CLASSES + TASKS * CLASSES * TASKS,
        ),
    ],
)  # fmt: skip
def test_a_run_makes_exactly_these_passes(
    tiny_clip, tmp_path, passes, method, changes, trained, encoded, evaluated, texts_trained, texts
):
    run(open_run(recipe(tiny_clip, method, **changes), tmp_path / "run"))
    assert passes["images trained"] == trained
    assert passes["images"] == encoded + evaluated + TRIED
    assert passes["texts trained"] == texts_trained
    assert passes["texts"] == texts + TRIED
    assert passes["longest"] < 20  # cut to the longest prompt
