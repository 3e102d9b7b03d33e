"""Class folders whose names are probably one name."""

import json

import pytest
from layouts import class_folders

from mgclip.errors import InputError
from mgclip.names import loose_form
from mgclip.workflows.alike_names import choose_names, find_slips
from mgclip.workflows.source import read_source


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("T-Shirt", "t shirt"),
        ("t_shirt", "tshirt"),
        ("café", "cafe\u0301"),
        ("ﬁsh", "Fish"),
        ("red  fox", "red fox"),
        ("a\u200bb", "ab"),
        ("model 3", "Model-3"),
    ],
)
def test_names_that_differ_only_in_form_have_one_loose_form(one, other):
    assert loose_form(one) == loose_form(other)


@pytest.mark.parametrize(("one", "other"), [("1-2", "12"), ("class 1", "class 2"), ("cafe", "café"), ("C", "C++"), ("1", "-1")])
def test_other_names_have_different_loose_forms(one, other):
    assert loose_form(one) != loose_form(other)


@pytest.mark.parametrize(("one", "other"), [("T-Shirt", "t shirt"), ("café", "cafe\u0301"), ("dress", "Dress")])
def test_alike_class_folders_are_refused_with_the_option_that_merges_them(tmp_path, one, other):
    folder = class_folders(tmp_path / "data", **{one: 2, other: 3, "hat": 2})
    with pytest.raises(InputError, match=r"is probably the same as .* learn them as one class with --merge-names"):
        read_source(folder)
    source = read_source(folder, merge_names=True)
    assert {name: len(files) for name, files in source.train.items()} == {other: 5, "hat": 2}
    assert source.notes == (f"learned as one class: {one} (2 images in all) as {other}",)


def test_the_name_that_the_model_knows_wins(tmp_path):
    folder = class_folders(tmp_path / "data", **{"t shirt": 5, "hat": 2})
    with pytest.raises(InputError, match="'t shirt' is probably the same as 'T-Shirt', which the model knows"):
        read_source(folder, known=["T-Shirt"])
    assert set(read_source(folder, known=["T-Shirt"], merge_names=True).train) == {"T-Shirt", "hat"}


def test_classes_that_the_model_knows_apart_stay_apart():
    names, notes = choose_names({"US": [], "us": []}, ["US", "us"], merge=False)
    assert (names, notes) == ({"US": "US", "us": "us"}, [])


def test_texts_and_test_images_follow_the_name_that_wins(tmp_path):
    folder = tmp_path / "data"
    class_folders(folder / "train", **{"T-Shirt": 3, "t shirt": 2, "hat": 2})
    class_folders(folder / "test", **{"t_shirt": 4, "hat": 1})
    (folder / "classes.csv").write_text("folder,name,text\nT-Shirt,T-Shirt,shirt without collar\n")
    source = read_source(folder, merge_names=True)
    assert {name: len(files) for name, files in source.tests.items()} == {"T-Shirt": 4, "hat": 1}
    assert source.texts["T-Shirt"] == "shirt without collar"


def test_two_folders_that_a_table_calls_the_same_are_merged_only_if_wanted(tmp_path):
    folder = class_folders(tmp_path / "data", a=2, b=3)
    with pytest.raises(InputError, match=r"have the name 'cat'.*--merge-names"):
        read_source(folder, names="a=cat,b=cat")
    assert len(read_source(folder, names="a=cat,b=cat", merge_names=True).train["cat"]) == 5


def test_a_typo_in_a_later_month_does_not_become_a_second_class(mgclip, tiny_clip, tmp_path):
    class_folders(tmp_path / "march", **{"T-Shirt": 3, "hat": 3})
    class_folders(tmp_path / "april", **{"t shirt": 2, "dress": 2})
    shop = tmp_path / "shop"
    assert mgclip("learn", tmp_path / "march", "--model", shop, "--base", tiny_clip, "features=16")[0] == 0
    before = (shop / "mgclip.json").read_bytes()
    code, _, err = mgclip("learn", tmp_path / "april", "--model", shop)
    assert code == 2 and "--merge-names" in err
    assert (shop / "mgclip.json").read_bytes() == before
    code, out, _ = mgclip("learn", tmp_path / "april", "--model", shop, "--merge-names", "--json", "--quiet")
    done = json.loads(out)
    assert code == 0 and done["classes_in_all"] == 3
    assert done["notes"][0] == "learned as one class: t shirt (2 images in all) as T-Shirt"


def test_another_spelling_of_a_class_that_was_learned_while_the_command_waited_is_refused(mgclip, tiny_clip, tmp_path):
    from mgclip.workflows.alike_names import AlikeNames
    from mgclip.workflows.learn_job import read_job
    from mgclip.workflows.taught_model import read_taught_model

    class_folders(tmp_path / "march", **{"T-Shirt": 2, "hat": 2})
    class_folders(tmp_path / "april", **{"t shirt": 2, "sock": 2})
    shop = tmp_path / "shop"
    job = read_job(tmp_path / "april", read_taught_model(shop, base=str(tiny_clip)))
    assert mgclip("learn", tmp_path / "march", "--model", shop, "--base", tiny_clip, "features=16")[0] == 0
    with pytest.raises(AlikeNames, match="'t shirt' is probably the same as 'T-Shirt', which the model knows"), job.begin(wait=0):
        raise AssertionError("it was not refused")


def test_a_person_at_a_terminal_is_asked(tmp_path):
    from mgclip.workflows.alike_names import AlikeNames
    from mgclip.workflows.learn_job import read_job
    from mgclip.workflows.taught_model import read_taught_model

    folder, asked = class_folders(tmp_path / "data", **{"T-Shirt": 2, "t shirt": 3}), []
    model = read_taught_model(tmp_path / "shop")

    def answer(yes):
        return lambda alike: asked.append(alike) or yes

    assert list(read_job(folder, model, ask=answer(True)).source.train) == ["t shirt"]
    with pytest.raises(AlikeNames):
        read_job(folder, model, ask=answer(False))
    assert len(asked) == 2
    read_job(folder, model, merge_names=True, ask=answer(False))
    assert len(asked) == 2, "who has decided is not asked"


@pytest.mark.parametrize("slip", ["dres", "dresss", "derss", "Dre S"])
def test_a_name_with_one_slip_of_a_key_is_found(slip):
    assert find_slips([slip], ["hat", "dress"]) == [(slip, "dress")]
    assert find_slips([slip, "dress"], []) in ([(slip, "dress")], [("dress", slip)])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("shirt", "skirt"),
        ("class 1", "class 11"),
        ("n01440764", "n0144076"),
        ("coat", "cat"),
        ("t-shirt", "shirt"),
        ("X Ray", "ray-b"),
        ("x-raying", "raying"),
    ],
)
def test_other_words_are_no_slips(one, other):
    assert find_slips([one], [other]) == find_slips([one, other], []) == []


def test_known_names_are_not_compared_with_one_another():
    assert find_slips(["hat"], ["dress", "dres"]) == []
