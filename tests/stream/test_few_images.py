"""Few images of each class, for data of every kind: the first of a seeded order, so that more images add to fewer."""

import numpy as np
import pytest
from layouts import make_parquet, split_folder

from mgclip.experiment.open_run import build_stream
from mgclip.experiment.recipe import Recipe
from mgclip.stream import metadata


def images(part):
    return [np.asarray(image).tobytes() if not hasattr(image, "name") else str(image) for image in part.images]


@pytest.fixture(params=["folder", "hub", "icons100"])
def data(request, tmp_path):
    """The settings of a data set with at least six training and three test images of a class."""
    if request.param == "folder":
        split_folder(tmp_path / "d", {"a": 9, "b": 6}, {"a": 5, "b": 4})
        return {"data": "folder", "data_path": str(tmp_path / "d"), "classes_per_task": 2}
    if request.param == "hub":
        names = metadata.class_names("oxford_pet_classes.tsv")
        for part, number in (("train", 6), ("test", 3)):
            make_parquet(tmp_path / "data", part, "image", "label", names, list(range(37)) * number)
        return {"data": "oxford-pets", "data_path": str(tmp_path), "classes_per_task": 37}
    return {"data": "icons100", "tasks": 1, "classes_per_task": 3}


def chosen(data, **settings):
    (task,) = build_stream(Recipe(name="few", class_order="dataset", **data, **settings))
    return task


@pytest.mark.parametrize("key", ["train_per_class", "images_per_class"])
def test_more_images_add_to_fewer_and_the_seed_chooses(data, key):
    if (data["data"], key) == ("icons100", "train_per_class"):
        pytest.skip("this is the number of icons that are drawn")
    two, four = chosen(data, **{key: 2}), chosen(data, **{key: 4})
    assert set(np.bincount(two.train.labels)) == {2}
    assert set(np.bincount(four.train.labels)) == {4}
    assert set(images(two.train)) < set(images(four.train))
    assert images(two.train) == images(chosen(data, **{key: 2}).train)
    assert images(two.train) != images(chosen(data, **{key: 2}, seed=1).train)
    assert images(two.test) == images(four.test)


def test_the_smaller_limit_counts_and_test_images_do_not_depend_on_the_seed(data):
    few = chosen(data, train_per_class=5, images_per_class=3, test_per_class=2)
    assert set(np.bincount(few.train.labels)) == {3}
    assert set(np.bincount(few.test.labels)) == {2}
    assert images(few.test) == images(chosen(data, test_per_class=2, seed=4).test)
