"""Small models and tasks for the tests of the method and of its baselines."""

import pytest
import torch
from icon_tasks import task

SMALL_RUN = {
    "name": "small",
    "train_per_class": 5,
    "test_per_class": 4,
    "classes_per_task": 2,
    "tasks": 3,
    "adapter_batch_size": 4,
    "head_batch_size": 4,
}
"""Settings of a run of a few seconds: three tasks of two classes of icons100."""


@pytest.fixture
def model(tiny_clip, quick):
    """A model that has learned nothing."""
    from mgclip import MGCLIP

    return MGCLIP.from_pretrained(tiny_clip, settings=quick)


@pytest.fixture
def learned(model, icons):
    """A model that has learned three classes."""
    model.learn(*task(icons, [0, 1, 2]))
    return model


@pytest.fixture
def shop(model, icons, tmp_path):
    """A model folder with two versions: classes 0 and 1, then 2 and 3 too."""
    for number, classes in enumerate(([0, 1], [2, 3]), start=1):
        model.learn(*task(icons, classes))
        model.save_pretrained(tmp_path / "shop", note={"what": f"month {number}"})
    return tmp_path / "shop"


@pytest.fixture
def backbone(tiny_clip):
    from mgclip.clip.load import load_backbone

    return load_backbone(tiny_clip)


@pytest.fixture
def small(tiny_clip):
    """A recipe of a few seconds for every method."""
    from mgclip.experiment.recipe import Recipe

    return Recipe(
        **SMALL_RUN,
        clip=str(tiny_clip),
        epochs=1,
        features=64,
        ranpac_width=30,
        acil_width=30,
        rapf_epochs=3,
        rapf_tau=1.0,
        memory=20,
        ranpac_first_task_adapter=True,
        retention=[],
    )


def state(model):
    """Everything a model has learned, in a form that can be compared: bytes of each matrix, class names, epochs."""
    from mgclip.clip.adapters import adapter_state

    everything = {**adapter_state(model.backbone), "head": model.head.clone()}
    return {name: weight.numpy().tobytes() for name, weight in everything.items()}, model.class_names, model.epochs


def same(a, b):
    """Whether two models have the same classes and the same head."""
    return a.class_names == b.class_names and torch.equal(a.head, b.head)


def feature_tasks(width, sizes, per_class, seed=0, spread=0.5):
    """Gaussian classes as feature tasks, with unit texts near their means."""
    from mgclip.method.baselines.feature_classifier import FeatureTask

    rng = torch.Generator().manual_seed(seed)
    means = torch.randn(sum(sizes), width, generator=rng)
    texts = torch.nn.functional.normalize(means + 0.3 * torch.randn(means.shape, generator=rng), dim=-1)
    tasks, first = [], 0
    for index, size in enumerate(sizes):
        labels = torch.arange(first, first + size).repeat(per_class)
        features = means[labels] + spread * torch.randn(len(labels), width, generator=rng)
        tasks.append(FeatureTask(index, first, features, labels, texts[: first + size]))
        first += size
    return tasks
