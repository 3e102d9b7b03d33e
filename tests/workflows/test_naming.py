"""Tables of class names: every cell counts, and a wrong line is refused with its number."""

import pytest

from mgclip.errors import InputError
from mgclip.workflows.naming import read_naming


@pytest.mark.parametrize(
    ("table", "called"),
    [
        ('folder,name\nn01,"tench, Tinca tinca"\n', {"n01": ("tench, Tinca tinca",) * 2}),
        ("folder,name,text\nn01,tench,a fish\n\n , ,\n", {"n01": ("tench", "a fish")}),
        ("folder, name, text\nn01, tench, a fish\n", {"n01": ("tench", "a fish")}),
        ('folder, name\nn01, "tench, Tinca tinca"\n', {"n01": ("tench, Tinca tinca",) * 2}),
        ("\ufeffFolder,NAME\r\nn01,tench\r\n", {"n01": ("tench", "tench")}),
        ("text,name,folder\n,tench,n01\n", {"n01": ("tench", "tench")}),
        ("folder;name;text\nn01;tench, Tinca; a fish\n", {"n01": ("tench, Tinca", "a fish")}),
        ("folder\tname\rn01\ttench, Tinca tinca\r", {"n01": ("tench, Tinca tinca",) * 2}),
        ("folder,name,,\nn01,tench,,\nn02,carp\n", {"n01": ("tench", "tench"), "n02": ("carp", "carp")}),
    ],
)
def test_tables_in_every_accepted_form(tmp_path, table, called):
    (tmp_path / "classes.csv").write_bytes(table.encode())
    assert read_naming(tmp_path, "") == called


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ("folder,name\nn01,tench, Tinca tinca\n", "Line 2 of .* has 3 cells for the 2 columns folder,name"),
        ("folder,name,text\nn01,tench, Tinca tinca\n", "Line 2 of .* has a space after a comma"),
        ("folder,name,text\nn01,tench,a fish, golden\n", "Line 2 of .* has 4 cells"),
        ("folder,name\nn01,a\nn02,x,\n", "Line 3 of .* has 3 cells"),
        ('folder,name\n"n0\n1",a\nn02,a,b\n', "Line 4 of .* has 3 cells"),
        ('folder,name\nn01,"a\nb"\n', r"Line 3 of .* ends a name of several lines \('a.*b'\): write it on one line"),
        ('folder,name,text\nn01,a,"a\nb"\n', "Line 3 of .* ends a name of several lines"),
        ("folder,name\nn01,tench\nn01,carp\n", "Line 3 of .* names the folder 'n01' again"),
        ("folder,name,name\nn01,tench,carp\n", "The first line .* found 'folder,name,name'"),
        ("folder,name,texts\nn01,n01,tench\n", "The first line .* found 'folder,name,texts'"),
        ("folder;name\nn01;tench;Tinca\n", "Line 2 of .* has 3 cells .* a name that contains a semicolon in quotation marks"),
        ("folder,name,\nn01,tench,Tinca\n", "The first line .* found 'folder,name,'"),
        ("n01,tench\nn02,carp\n", "The first line .* found 'n01,tench'"),
        ("", "The first line .* found ''"),
        ("folder,name\nn01\n", "Line 2 of .* needs a folder and a name"),
        ("folder,name\n,tench\n", "Line 2 of .* needs a folder and a name"),
    ],
)
def test_wrong_tables_are_refused_with_their_line(tmp_path, table, sentence):
    (tmp_path / "classes.csv").write_bytes(table.encode())
    with pytest.raises(InputError, match=sentence):
        read_naming(tmp_path, "")


@pytest.mark.parametrize("names", ["n01=tench,n01=carp", "n01=tench, Tinca tinca", "n01=,n02=x", "=x"])
def test_wrong_names_on_the_command_line_are_refused(tmp_path, names):
    with pytest.raises(InputError, match="--names"):
        read_naming(tmp_path, names)


def test_a_name_on_the_command_line_that_is_not_utf_8_is_refused(tmp_path):
    with pytest.raises(InputError, match="is not valid UTF-8"):
        read_naming(tmp_path, "n01=x\udcff")


def test_a_table_with_its_ending_in_capitals_is_a_table(tmp_path):
    (tmp_path / "CLASSES.CSV").write_text("folder,name\nn01,tench\n")
    assert read_naming(tmp_path, str(tmp_path / "CLASSES.CSV")) == {"n01": ("tench", "tench")}
