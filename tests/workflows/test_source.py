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


def test_one_table_serves_several_months_if_it_names_every_folder(tmp_path):
    (tmp_path / "all.csv").write_text("folder,name\nn01,tench\nn02,goldfish\nn03,shark\n")
    for month, folders in (("march", {"n01": 1, "n02": 1}), ("april", {"n03": 1})):
        folder = class_folders(tmp_path / month, **folders)
        assert len(read_source(folder, names=str(tmp_path / "all.csv")).train) == len(folders)
    class_folders(tmp_path / "april", n04=1)
    with pytest.raises(
        InputError, match=r"no class folder 'n01' in .*, and the table of names has no line for 'n04': correct the"
    ):
        read_source(tmp_path / "april", names=str(tmp_path / "all.csv"))


def test_an_empty_class_is_refused(tmp_path):
    folder = class_folders(tmp_path / "data", full=1, empty=0)
    with pytest.raises(InputError, match="The class 'empty' has no image"):
        read_source(folder)
