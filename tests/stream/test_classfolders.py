"""Data sets of class folders, in each of their layouts."""

import pytest
from layouts import (
    IMAGENET,
    IMAGENET_R,
    labelled,
    make_imagenet,
    make_split_imagenet_r,
    make_vtab,
    named_vtab,
    write,
)

from mgclip.errors import InputError
from mgclip.stream import datasets, metadata
from mgclip.stream.datasets import load_dataset


def test_vtab_with_folders_named_by_class(tmp_path):
    make_vtab(tmp_path, named_vtab())
    data = load_dataset("vtab", path=str(tmp_path))
    for n, folder, _ in labelled(data.test, data.class_names):
        assert metadata.fold(folder) == metadata.fold(n)


def test_vtabs_numbers_are_read_as_numbers_in_each_part(tmp_path):
    make_vtab(tmp_path, [str(i) for i in range(50)])
    data = load_dataset("vtab", path=str(tmp_path))
    assert [path.parent.name for path in data.train.images] == [str(i) for i in range(50)]
    (tmp_path / "vtab" / "test" / "7").rename(tmp_path / "vtab" / "test" / "50")
    with pytest.raises(InputError, match="must have folders of the same numbers"):
        load_dataset("vtab", path=str(tmp_path))
    assert len(load_dataset("vtab", path=str(tmp_path), test_only=True).class_names) == 50
    write(tmp_path, "vtab/test/7/a.jpg")
    with pytest.raises(InputError, match=r"test must contain 50 folders named by number.* found 51 named by number"):
        load_dataset("vtab", path=str(tmp_path))
    (tmp_path / "vtab" / "test" / "50").rename(tmp_path / "vtab" / "test" / "airplane")
    with pytest.raises(InputError, match="found 50 named by number and 1 other:"):
        load_dataset("vtab", path=str(tmp_path))


def test_imagenet_r_already_split(tmp_path):
    make_split_imagenet_r(tmp_path)
    synset = dict(zip(metadata.class_names("imagenet_r_classes.tsv"), IMAGENET_R, strict=True))
    for place in (tmp_path, tmp_path / "imagenet-r"):
        data = load_dataset("imagenet-r", path=str(place))
        assert (len(data.train.labels), len(data.test.labels)) == (200, 200)
        for part, name in ((data.train, "train"), (data.test, "test")):
            assert {path.parts[-3] for path in part.images} == {name}
            assert all(folder == synset[n] for n, folder, _ in labelled(part, data.class_names))
    (tmp_path / "imagenet-r" / "test" / IMAGENET_R[7]).rename(tmp_path / "gone")
    with pytest.raises(InputError, match=r"of imagenet-r has no test image in .*test/"):
        load_dataset("imagenet-r", path=str(tmp_path))


def test_imagenet100_is_found_in_a_complete_imagenet(copies):
    data = load_dataset("imagenet100", path=str(copies / "imagenet1k"))
    assert len(data.class_names) == 100
    assert {path.parent.name for path in data.train.images} == set(IMAGENET[:100])
    assert not datasets.find_dataset("imagenet100", path=str(copies / "imagenet1k")).extra


@pytest.mark.parametrize("name", ["imagenet-r", "imagenet-a", "tiny-imagenet"])
def test_imagenet_is_not_taken_for_a_data_set_that_has_some_of_its_synsets(copies, name):
    for test_only in (False, True):
        with pytest.raises(InputError, match=rf"must contain the 200 classes of {name}; found 800 other folders, such as .*/n0"):
            load_dataset(name, path=str(copies / "imagenet1k"), test_only=test_only)


def test_imagenet_validation_alone_is_enough_to_test_on(tmp_path):
    make_imagenet(tmp_path / "imagenet")
    (tmp_path / "imagenet" / "train").rename(tmp_path / "elsewhere")
    assert len(load_dataset("imagenet1k", path=str(tmp_path), test_only=True).test.labels) == 1000
    with pytest.raises(InputError, match=r"There is no training image of imagenet1k in .* \(testing on it needs none\)"):
        load_dataset("imagenet1k", path=str(tmp_path))
