"""Paths given to commands: ``~`` in them, empty ones, and addresses."""

import io
import shutil
import sys
from pathlib import Path

import pytest
from made_runs import make_run

from mgclip import MGCLIP
from mgclip.home import in_home

EMPTY = [
    ("learn", "", "--model", "new"),
    ("learn", "photos", "--model", ""),
    ("learn", "photos", "--model", "new", "--photos", ""),
    ("learn", "photos", "--model", "new", "--test="),
    ("learn", "photos", "--model", "new", "--keep-features="),
    ("predict", "", "photos"),
    ("predict", "shop", ""),
    ("evaluate", "", "photos"),
    ("evaluate", "shop", ""),
    ("evaluate", "shop", "photos", "--csv", ""),
    ("evaluate", "shop", "photos", "--page="),
    ("correct", "shop", ""),
    ("merge", "shop", "", "--to", "both"),
    ("merge", "shop", "shop", "--to="),
    ("forget", "", "cat"),
    ("relabel", "", "cat", "dog"),
    ("history", ""),
    ("undo", ""),
    ("set", "", "seed=1"),
    ("export", "", "--to", "new"),
    ("export", "shop", "--to", ""),
    ("run", ""),
    ("run", "icons100", "--out", ""),
    ("reproduce", "icons100", "--out="),
    ("report", ""),
    ("report", "run", "--out="),
    ("gap", "", "icons100"),
    ("gap", "iconclip", ""),
    ("gap", "iconclip", "icons100", "--out="),
    ("conform", ""),
    ("fetch", "openai/clip-vit-base-patch16", "--to="),
    ("studio", ""),
]
ADDRESS = "https://shop.example/march"
NO_ADDRESS = [
    ("evaluate", "m", ADDRESS, "a folder"),
    ("evaluate", "m", "photos", "--names", f"{ADDRESS}.csv", "a table of class names"),
    ("gap", "iconclip", "folder", "--path", ADDRESS, "a folder"),
    ("gap", f"{ADDRESS}.pt", "icons100", "a CLIP file"),
    ("data", "check", "folder", ADDRESS, "a folder"),
    ("learn", "photos", "--model", "new", "--test", ADDRESS, "a folder"),
    ("learn", "photos", "--model", "new", "--photos", ADDRESS, "a folder"),
    ("learn", "photos", "--model", "new", "--retention", ADDRESS, "a folder"),
    ("conform", ADDRESS, "a folder"),
]
TO_ADDRESS = [
    ("learn", "photos", "--base", "iconclip", "--model", ADDRESS),
    ("learn", "photos", "--base", "iconclip", "--model", "new", "--keep-features", ADDRESS),
    ("export", "m", "--to", ADDRESS),
    ("fetch", "openai/clip-vit-base-patch16", "--to", ADDRESS),
    ("run", "icons100", "--out", ADDRESS),
    ("reproduce", "icons100", "--out", ADDRESS),
    ("gap", "iconclip", "photos", "--out", ADDRESS),
    ("studio", ADDRESS),
    ("evaluate", "m", "photos", "--csv", f"{ADDRESS}.csv"),
    ("evaluate", "m", "photos", "--page", "s3://pages"),
]


def test_the_home_folder_is_expanded_in_every_path(shop, tiny_clip, tmp_path, mgclip, monkeypatch):
    home = tmp_path / "home"
    shutil.copytree(shop / "photos", home / "photos")
    shutil.copytree(tiny_clip, home / "clip")
    (home / "names.csv").write_text(
        "folder,name,text\n" + "".join(f"{each.name},{each.name},{each.name}\n" for each in (home / "photos").iterdir())
    )
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("HOME", str(home))
    commands = [
        ("learn", "~/photos", "--model=~/shop", "--base", "~/clip", "--names", "~/names.csv", "--test=~/photos", "--retention=~/photos",
         "features=16", "--quiet"),
        ("predict", "~/shop", "~/photos", "--quiet"),
        ("evaluate", "~/shop", "~/photos", "--csv", "~/classes.csv", "--page=~/page.html"),
        ("export", "~/shop", "--to=~/out", "--base=~/clip", "--quiet"),
        ("gap", "~/clip", "~/photos", "--out=~/gap", "--quiet"),
        ("relabel", "~/shop", "crème", "~/x"),
        ("history", "~/shop"),
        ("run", "folder", "data_path=~/stream", "clip=~/clip", "methods=zero-shot", "classes_per_task=3", "class_order=[0,1,2]", "--out=~/run",
         "--quiet"),
        ("report", "~/run", "--out", "~/report.html"),
    ]  # fmt: skip
    for part in ("train", "test"):
        shutil.copytree(home / "photos", home / "stream" / part)
    for words in commands:
        code, _, err = mgclip(*words)
        assert code == 0, (words, err)
    assert not list(work.iterdir())
    assert {"shop", "out", "gap", "run", "classes.csv", "page.html", "report.html"} <= {path.name for path in home.iterdir()}
    assert "~/x" in MGCLIP.from_pretrained("~/shop").class_names
    MGCLIP.from_pretrained("~/shop").save_pretrained("~/again")
    assert (home / "again" / "mgclip.json").is_file()


def test_a_name_that_begins_with_a_tilde_is_no_home_folder(shop, tiny_clip, tmp_path, mgclip, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(shop / "photos", "~photos")
    shutil.copytree(tiny_clip, "~clip")
    picture = shutil.copy(next((tmp_path / "~photos").glob("*/*.png")), "~x.png")
    table = tmp_path / "answers.csv"
    table.write_text(f"image,class\n{picture},crème\n", encoding="utf-8")
    for words in (
        ("learn", "~photos", "--model", "~mod2", "--base", "~clip", "features=16", "--quiet"),
        ("predict", "~mod2", picture, "--quiet"),
        ("correct", "~mod2", table),
        ("history", "~mod2"),
        ("undo", "~mod2"),
        ("gap", "~clip", "~photos", "--quiet"),
        ("export", "~mod2", "--to", "~out", "--quiet"),
    ):
        code, _, err = mgclip(*words)
        assert (code, err) == (0, ""), words
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(picture.encode()))))
    assert mgclip("predict", "~mod2", "-", "--quiet")[0] == 0
    MGCLIP.from_pretrained("~mod2").save_pretrained("~mod3")
    assert {"~mod2", "~mod3", "~out"} <= {path.name for path in tmp_path.iterdir()}
    (tmp_path / "~").mkdir()
    shutil.move(picture, tmp_path / "~")
    assert Path(in_home("~/~x.png")).is_file(), "what exists comes before the home folder"


@pytest.mark.parametrize("words", EMPTY, ids=" ".join)
def test_an_empty_path_is_refused(words, shop, mgclip, monkeypatch):
    """An unset variable of a shell script gives one, and Python takes it for the current folder."""
    monkeypatch.chdir(shop)
    before = sorted(shop.rglob("*"))
    code, out, err = mgclip(*words)
    assert (code, out) == (2, "")
    assert err.endswith(" is empty: give a value, or . for the current folder.\n")
    assert sorted(shop.rglob("*")) == before


@pytest.mark.parametrize("words", NO_ADDRESS, ids=" ".join)
def test_an_address_is_refused_as_it_was_given(words, shop, mgclip, monkeypatch):
    monkeypatch.chdir(shop)
    *words, what = words
    address = next(word for word in words if word.startswith(ADDRESS))
    code, out, err = mgclip(*words)
    assert (code, out) == (2, "")
    assert err.startswith(f"mgclip: {address} is an address, not {what}: download the {what.split()[1]}")


@pytest.mark.parametrize("words", TO_ADDRESS, ids=" ".join)
def test_nothing_is_written_to_a_folder_with_the_name_of_an_address(words, shop, mgclip, monkeypatch):
    monkeypatch.chdir(shop)
    before = sorted(shop.rglob("*"))
    code, out, err = mgclip(*words)
    what = "file" if words[0] == "evaluate" else "folder"
    assert (code, out) == (2, "")
    assert err == f"mgclip: {words[-1]} is an address, not a {what}: give a {what} on this machine.\n"
    assert sorted(shop.rglob("*")) == before


def test_a_report_is_not_written_to_an_address(tmp_path, mgclip, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "run")
    code, _, err = mgclip("report", "run", "--out", f"{ADDRESS}.html")
    assert (code, err) == (2, f"mgclip: {ADDRESS}.html is an address, not a file: give a file on this machine.\n")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("words", [("history", ADDRESS), ("report", ADDRESS)], ids=" ".join)
def test_an_address_of_a_model_or_run_keeps_its_slashes(words, shop, mgclip):
    code, _, err = mgclip(*words)
    assert (code, f"{ADDRESS} is not a " in err) == (2, True), err
