"""Recipes that share a file: what they set, and that each runs on a small copy of its data with a small CLIP of each family."""

import itertools
from functools import cache

import pytest
from layouts import MAKE, make_cifar, make_split_imagenet_r
from small_clip import FAMILIES, make_small_clip, make_small_family
from small_openclip import make_folder

from mgclip.experiment.open_run import open_run
from mgclip.experiment.published import published_results
from mgclip.experiment.recipe import load_recipe
from mgclip.experiment.recipe_files import shipped_recipes
from mgclip.experiment.runner import run
from mgclip.stream.datasets import DATASETS
from mgclip.stream.orders import class_order
from mgclip.stream.tasks import task_sizes

LAION = [name for name, file in shipped_recipes().items() if file.parent.name == "families"]
SETS = {  # classes, classes per task
    "cifar100": (100, 10), "cub200": (200, 20), "imagenet-r": (200, 20), "cars": (100, 10), "food": (100, 10), "ucf": (100, 10),
    "sun": (300, 30), "aircraft": (100, 10), "objectnet": (200, 20), "imagenet-a": (200, 20),
}  # fmt: skip
PROTOCOLS = {
    **{f"{name}-laion": [step] * 10 for name, (_, step) in SETS.items()},
    **{f"{name}-laion-b{classes // 2}": [classes // 2] + [step] * 5 for name, (classes, step) in SETS.items()},
    **{f"tiny-imagenet-laion-b100-inc{step}": [100] + [step] * (100 // step) for step in (5, 10, 20)},
}


@pytest.mark.parametrize("name", PROTOCOLS)
def test_the_recipes_of_laion_400m_have_the_protocols_of_their_papers(name):
    recipe = load_recipe(name)
    sizes = task_sizes(DATASETS[recipe.data].classes, initial=recipe.initial_classes, increment=recipe.classes_per_task)
    assert (recipe.name, sizes) == (name, PROTOCOLS[name])
    assert (recipe.clip, recipe.class_order) == ("timm/vit_base_patch16_clip_224.laion400m_e32", 1993)
    assert recipe.own == {"ranpac_first_task_adapter": True}


def test_the_family_has_no_other_recipes():
    assert sorted(LAION) == sorted(PROTOCOLS)


def test_the_class_order_is_that_of_the_toolboxes():
    """The order of 100 classes in the logs of the published runs, from its start."""
    order = class_order(1993, dataset="cars100", names=[str(c) for c in range(100)], seed=0)
    assert order[:10] == [68, 56, 78, 8, 23, 84, 90, 65, 74, 76]


def test_a_recipe_of_a_user_extends_one_of_a_family(tmp_path):
    (tmp_path / "mine.yaml").write_text("extends: sun-laion-b150\nepochs: 2\n")
    mine, theirs = load_recipe(str(tmp_path / "mine.yaml")), load_recipe("sun-laion-b150")
    assert mine == theirs.model_copy(update={"name": "mine", "epochs": 2})


@pytest.fixture(scope="module")
def small_data(tmp_path_factory):
    """Makes a small copy of a data set when it is first asked for."""
    make = {**MAKE, "cifar100": make_cifar, "imagenet-r": make_split_imagenet_r}

    @cache
    def made(name):
        make[name](root := tmp_path_factory.mktemp(name))
        return root

    return made


@pytest.fixture(scope="module")
def small_family(tmp_path_factory):
    """Makes a small CLIP of a family when it is first asked for."""

    @cache
    def made(family):
        folder = tmp_path_factory.mktemp(family)
        if family == "openclip":
            return make_folder(folder, "gelu-shortest")
        return make_small_clip(folder) if family == "openai" else make_small_family(folder, family)

    return made


CLIPS = ("openai", "openclip", *FAMILIES)
QUICK = set(
    zip(("cars-laion", "aircraft-laion-b50", "tiny-imagenet-laion-b100-inc20", "ucf-laion", "cifar100-laion"), CLIPS, strict=True)
)


def runs():
    """Every recipe with a CLIP of every family; the first two tasks of one of each family in the fast tests."""
    fast = [pytest.param(*pair, 2, id="-".join(pair) + "-two-tasks") for pair in QUICK]
    every = itertools.product(LAION, CLIPS)
    return fast + [pytest.param(*pair, None, id="-".join(pair), marks=pytest.mark.slow) for pair in every]


@pytest.mark.parametrize(("name", "family", "tasks"), runs())
def test_a_recipe_runs_on_a_small_copy_of_its_data(small_data, small_family, tmp_path, name, family, tasks):
    data, sizes = small_data(load_recipe(name).data), PROTOCOLS[name][:tasks]
    changes = [f"data_path={data}", f"clip={small_family(family)}", "epochs=1", "head_epochs=1", "images_per_class=1"]
    recipe = load_recipe(name, [*changes, *([f"tasks={tasks}"] if tasks else [])])
    summary = run(open_run(recipe, tmp_path / "run"))["mg-clip"]
    assert (summary["tasks"], summary["classes"]) == (len(sizes), sum(sizes))
    assert published_results(recipe) == {}, "they were not measured with this CLIP"
