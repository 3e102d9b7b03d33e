"""The classes of a folder and their names."""

import pytest
from layouts import class_folders

from mgclip.errors import InputError
from mgclip.workflows.source import read_images, read_source


def test_names_come_from_folders_a_table_or_the_command_line(tmp_path):
    folder = class_folders(tmp_path / "data", n01=2, n02=1)
    assert list(read_source(folder).train) == ["n01", "n02"]
    named = read_source(folder, names="n01=tench, n02=a goldfish")
    assert list(named.train) == ["tench", "a goldfish"]
    assert named.texts == {"tench": "tench", "a goldfish": "a goldfish"}
    (folder / "classes.csv").write_text("\ufefffolder,name,text\nn01,tench,a tench (a fish)\n", encoding="utf-8")
    assert read_source(folder).texts == {"tench": "a tench (a fish)"}
    assert list(read_source(folder).train) == ["tench", "n02"]
    assert list(read_images(folder)) == ["tench", "n02"]
    assert list(read_source(folder, names=str(folder / "classes.csv")).train) == ["tench", "n02"]


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        ("n01=x,n02=x", "have the name 'x': give each class its own name"),
        ("n03=x", "There is no class folder 'n03'"),
        ("n01", "takes a CSV file or folder=name,folder=name; found 'n01'"),
        ("none.csv", "There is no table of class names none.csv"),
        ("TABLE", "The first line of .* must be `folder,name` or `folder,name,text`; found 'place,called'"),
    ],
)
def test_wrong_names_are_refused(tmp_path, names, sentence):
    folder = class_folders(tmp_path / "data", n01=1, n02=1)
    if names == "TABLE":
        (folder / "classes.csv").write_text("place,called\nn01,x\n")
        names = ""
    with pytest.raises(InputError, match=sentence):
        read_source(folder, names=names)


def test_an_empty_class_is_refused(tmp_path):
    folder = class_folders(tmp_path / "data", full=1, empty=0)
    with pytest.raises(InputError, match="The class 'empty' has no image"):
        read_source(folder)
