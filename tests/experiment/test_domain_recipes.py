"""The published streams of several data sets: MTIL and X-TAIL."""

import pickle

import layouts
import numpy as np
import pytest
from layouts import split_folder
from runs import run

from mgclip.experiment import run_folder
from mgclip.experiment.open_run import build_stream
from mgclip.experiment.recipe import load_recipe


@pytest.fixture(scope="module")
def mtil(tmp_path_factory):
    """A miniature of the folder of the eleven data sets, in the layout of docs/data.md."""
    root = tmp_path_factory.mktemp("mtil")
    for name in ("aircraft", "caltech101", "dtd", "eurosat", "flowers102", "mnist", "stanford-cars", "sun397"):
        classes = ["0", "1"] if name == "mnist" else ["lotus", f"one of {name}"]
        split_folder(root / name, dict.fromkeys(classes, 2), dict.fromkeys(classes, 1))
    layouts.make_food(root / "food101")
    layouts.make_pets(root / "oxford-pets")
    rows = [{"data": np.zeros((100, 3072), np.uint8), "fine_labels": list(range(100))} for _ in range(2)]
    names = {"fine_label_names": [f"thing_{n}" for n in range(100)]}
    (root / "cifar100" / "cifar-100-python").mkdir(parents=True)
    for file, content in zip(("train", "test", "meta"), (*rows, names), strict=True):
        (root / "cifar100" / "cifar-100-python" / file).write_bytes(pickle.dumps(content))
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


@pytest.mark.parametrize(
    ("name", "order", "known", "images"),
    [
        ("mtil-order1", ALPHABETICAL, True, None),
        ("mtil-order2", RANDOM, True, None),
        ("mtil-16-shot", ALPHABETICAL, True, 16),
        ("x-tail", [each for each in ALPHABETICAL if each != "cifar100"], False, 16),
    ],
)
def test_the_published_streams_have_their_order_and_their_protocol(mtil, name, order, known, images):
    recipe = load_recipe(name, [f"data_path={mtil}"])
    stream = build_stream(recipe)
    assert [task.sources[0] for task in stream] == list(order)
    assert [len(task.names) for task in stream] == [
        {"cifar100": 100, "food101": 101, "oxford-pets": 37}.get(each, 2) for each in order
    ]
    assert (recipe.task_known, recipe.images_per_class) == (known, images)
    digits = stream[order.index("mnist")]
    assert digits.texts == ('number: "0"', 'number: "1"')
    names = [each for task in stream for each in task.names]
    assert len(set(names)) == len(names)
    assert "lotus (flowers102)" in names or name == "mtil-order2"


def test_x_tail_runs_on_a_miniature_of_its_data(mtil, tiny_clip, tmp_path):
    recipe = load_recipe(
        "x-tail", [f"data_path={mtil}", f"clip={tiny_clip}", "methods=zero-shot,mg-clip-analytic", "features=64"]
    )
    summaries = run(recipe, tmp_path / "run")
    for method, summary in summaries.items():
        rows = [list(each["accuracy_per_domain"].values()) for each in run_folder.read_records(tmp_path / "run" / method)]
        assert np.shape(rows) == (10, 10)
        assert summary["domain_last"] == pytest.approx(np.mean(rows[-1]))
        assert summary["transfer"] == pytest.approx(np.mean([np.mean([rows[i][j] for i in range(j)]) for j in range(1, 10)]))
