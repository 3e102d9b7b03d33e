"""The published streams of several data sets: MTIL and X-TAIL."""

import layouts
import numpy as np
import pytest
from layouts import split_folder
from runs import run

from mgclip.experiment import run_folder
from mgclip.experiment.open_run import build_stream
from mgclip.experiment.recipe import load_recipe

SUN = {"lotus": 2, "abbey": 2}
MTIL_ARCHIVES = {
    "aircraft": lambda root: layouts.make_aircraft(root, "train"),
    "caltech101": layouts.MAKE["mtil-caltech101"],
    "cifar100": layouts.make_cifar,
    "dtd": layouts.make_dtd,
    "eurosat": layouts.MAKE["mtil-eurosat"],
    "flowers102": layouts.make_flowers,
    "food101": layouts.make_food,
    "mnist": layouts.make_mnist,
    "oxford-pets": layouts.make_pets,
    "stanford-cars": layouts.make_cars_devkit,
    "sun397": lambda root: split_folder(root, SUN, dict.fromkeys(SUN, 1)),
}
OF_COOP = ("caltech101", "dtd", "eurosat", "flowers102", "food101", "oxford-pets", "stanford-cars", "sun397")


@pytest.fixture(scope="module")
def mtil(tmp_path_factory):
    """A miniature of the folder of the eleven data sets, each as in its original archive."""
    root = tmp_path_factory.mktemp("mtil")
    for name, make in MTIL_ARCHIVES.items():
        make(root / name)
    return root


@pytest.fixture(scope="module")
def x_tail(tmp_path_factory):
    """A miniature of the folder of the ten data sets, with the splits of CoOp."""
    root = tmp_path_factory.mktemp("x-tail")
    for name in OF_COOP:
        layouts.make_coop(root / name, names=("lotus", f"one of {name}"))
    for name in ("aircraft", "mnist"):
        MTIL_ARCHIVES[name](root / name)
    return root


ALPHABETICAL = (
    *("aircraft", "caltech101", "cifar100", "dtd", "eurosat", "flowers102", "food101", "mnist"),
    *("oxford-pets", "stanford-cars", "sun397"),
)
RANDOM = (
    *("stanford-cars", "food101", "mnist", "oxford-pets", "flowers102", "sun397", "aircraft", "caltech101"),
    *("dtd", "eurosat", "cifar100"),
)
"""Both published orders of MTIL."""


CLASSES = {
    **{
        "aircraft": 100,
        "caltech101": 101,
        "cifar100": 100,
        "dtd": 47,
        "eurosat": 10,
        "flowers102": 102,
        "food101": 101,
        "mnist": 10,
    },
    **{"oxford-pets": 37, "stanford-cars": 196, "sun397": 2},
}


@pytest.mark.parametrize(
    ("name", "order", "images"),
    [("mtil-order1", ALPHABETICAL, None), ("mtil-order2", RANDOM, None), ("mtil-16-shot", ALPHABETICAL, 16)],
)
def test_mtil_has_its_orders_and_reads_the_original_archives(mtil, name, order, images):
    recipe = load_recipe(name, [f"data_path={mtil}"])
    stream = build_stream(recipe)
    assert [(task.sources[0], len(task.names)) for task in stream] == [(each, CLASSES[each]) for each in order]
    assert (recipe.task_known, recipe.images_per_class) == (True, images)
    texts = dict(zip(order, (task.texts for task in stream), strict=True))
    assert texts["mnist"][:2] == ('number: "0"', 'number: "1"')
    assert texts["aircraft"][0] == "707-320, a type of aircraft"
    assert texts["eurosat"][0] == "annual crop land"
    assert "polka-dotted texture" in texts["dtd"]
    names = [each for task in stream for each in task.names]
    assert len(set(names)) == len(names)
    assert ("lotus (flowers102)" if order == ALPHABETICAL else "lotus (caltech101)") in names


def test_x_tail_has_its_order_and_the_splits_of_coop(x_tail):
    recipe = load_recipe("x-tail", [f"data_path={x_tail}"])
    stream = build_stream(recipe)
    order = [each for each in ALPHABETICAL if each != "cifar100"]
    assert [task.sources[0] for task in stream] == order
    assert [len(task.names) for task in stream] == [{"aircraft": 100, "mnist": 10}.get(each, 2) for each in order]
    assert (recipe.task_known, recipe.images_per_class) == (False, 16)
    assert [(len(task.train.labels), len(task.test.labels)) for task in stream][1:3] == [(4, 2), (4, 2)]
    assert "lotus (flowers102)" in [each for task in stream for each in task.names]


def test_x_tail_runs_on_a_miniature_of_its_data(x_tail, tiny_clip, tmp_path):
    recipe = load_recipe(
        "x-tail", [f"data_path={x_tail}", f"clip={tiny_clip}", "methods=zero-shot,mg-clip-analytic", "features=64"]
    )
    summaries = run(recipe, tmp_path / "run")
    for method, summary in summaries.items():
        rows = [list(each["accuracy_per_domain"].values()) for each in run_folder.read_records(tmp_path / "run" / method)]
        assert np.shape(rows) == (10, 10)
        assert summary["domain_last"] == pytest.approx(np.mean(rows[-1]))
        assert summary["transfer"] == pytest.approx(np.mean([np.mean([rows[i][j] for i in range(j)]) for j in range(1, 10)]))
