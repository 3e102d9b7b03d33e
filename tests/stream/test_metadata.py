"""The published metadata of the data sets."""

import gzip
from collections import Counter

import pytest
from layouts import (
    FACTS,
    IMAGENET,
    IMAGENET_R,
)

from mgclip.stream import metadata
from mgclip.stream.datasets import DATASETS


def test_class_names_and_splits_are_complete():
    for name, which in DATASETS.items():
        if which.table is not None:
            names = metadata.class_names(which.table)[: which.classes]
            assert len(names) == which.classes, name
            index = metadata.column(which.table, "index")
            assert list(index) == [str(i) for i in range(len(index))]
    assert (IMAGENET[0], IMAGENET[-1]) == ("n01440764", "n15075141")
    assert list(IMAGENET) == sorted(set(IMAGENET))
    assert set(IMAGENET_R) < set(IMAGENET)
    assert Counter(metadata.column("vtab_classes.tsv", "source")) == dict.fromkeys(
        ("resisc45", "dtd", "oxford_iiit_pet", "eurosat", "flowers102"), 10
    )
    split = metadata.imagenet_r_test_files()
    assert len(split) == 6000
    assert {file.split("/")[0] for file in split} == set(IMAGENET_R)
    # Two pairs of ImageNet's classes share a name; in every other data set the names are unique.
    twice = {n for n, k in Counter(metadata.class_names("imagenet1k_classes.tsv")).items() if k > 1}
    assert twice == {"missile", "sunglasses"}


def test_imagenet_r_and_imagenet_name_the_same_classes():
    one = dict(zip(IMAGENET, metadata.class_names("imagenet1k_classes.tsv"), strict=True))
    pairs = [(one[s], n) for s, n in zip(IMAGENET_R, metadata.class_names("imagenet_r_classes.tsv"), strict=True)]

    def words(name):
        return set(name.lower().replace("_", " ").replace("-", " ").split())

    assert sum(not words(a).isdisjoint(words(b)) for a, b in pairs) >= 180


def test_the_metadata_are_the_published_files(golden):
    published = golden.parent / "facts"
    for file in FACTS.iterdir():
        if file.name not in ("imagenet1k_classes.tsv", "imagenet_a_classes.tsv", "tiny_imagenet_classes.tsv", "mtil_classes.tsv"):
            assert file.read_bytes() == (published / file.name).read_bytes(), file.name
    lines = [line.split("\t") for line in (published / "imagenet1k_classes.tsv").read_text().splitlines()]
    names = [row[lines[0].index("name")] for row in lines[1:]]
    assert names == list(metadata.class_names("imagenet1k_classes.tsv"))
    hundred = [line.split("\t") for line in (published / "imagenet100_classes.tsv").read_text().splitlines()[1:]]
    assert [row[1] for row in hundred] == list(IMAGENET[:100])
    assert [row[2] for row in hundred] == names[:100]
    listed = gzip.decompress((published / "imagenet_r_test_split.txt.gz").read_bytes()).decode().split()
    assert metadata.imagenet_r_test_files() == {line for line in listed if not line.endswith(".py")}


def test_imagenet_a_has_the_complete_names_of_which_its_published_list_has_the_first_words():
    first = metadata.column("setting_b_classes.tsv#imagenet-a", "name")
    assert tuple(name.split()[0] for name in metadata.class_names("imagenet_a_classes.tsv")) == first
    assert first.count("American") == 4 and len(set(metadata.class_names("imagenet_a_classes.tsv"))) == 200
    one = dict(zip(IMAGENET, metadata.class_names("imagenet1k_classes.tsv"), strict=True))
    named = dict(zip(*(metadata.column("imagenet_a_classes.tsv", each) for each in ("wnid", "name")), strict=True))
    assert sum(one[wnid] != name for wnid, name in named.items()) == 9  # where the list has another word for the class


def test_tiny_imagenet_has_the_names_of_imagenet():
    one = dict(zip(IMAGENET, metadata.class_names("imagenet1k_classes.tsv"), strict=True))
    synsets = metadata.column("tiny_imagenet_classes.tsv", "wnid")
    assert list(synsets) == sorted(set(synsets))
    assert [one[wnid] for wnid in synsets] == list(metadata.class_names("tiny_imagenet_classes.tsv"))


@pytest.mark.parametrize("table", sorted({which.table for which in DATASETS.values() if which.table}))
def test_no_two_classes_look_the_same_in_folders_and_lists(table):
    names = metadata.class_names(table)
    twice = 2 if table == "imagenet1k_classes.tsv" else 0
    assert len({metadata.fold(name) for name in names}) == len(names) - twice
