"""One name in several Unicode forms is one class, in folders, tables, labels and commands; names that look alike are refused."""

import json
import unicodedata

import numpy as np
import pytest
from PIL import Image

from mgclip.errors import InputError
from mgclip.method.class_edits import forget, relabel
from mgclip.method.model_files import ModelState
from mgclip.method.predictions import candidate_texts, check_candidates
from mgclip.method.settings import Settings
from mgclip.method.task import make_task
from mgclip.names import canonical, check_distinguishable, index_of, indices_of, not_among, tidy, visible_form
from mgclip.stream.folder import load_folder, misspelling
from mgclip.workflows.held_out import measurable, read_held_out
from mgclip.workflows.source import read_images, read_source

ONE, TWO = "caf\u00e9", "cafe\u0301"


def write(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (len(name), 9, 9)).save(root / name)


def learned(*names):
    import torch

    return ModelState(Settings(epochs=1), 1, (len(names),), names, names, torch.zeros(len(names), 4), None)


def test_composed_and_decomposed_names_are_equal_and_a_ligature_looks_alike():
    assert canonical(TWO) == ONE == unicodedata.normalize("NFC", TWO)
    assert canonical("\ufb01sh") != canonical("fish")
    assert (
        visible_form("\ufb01sh")
        == visible_form("fish")
        == visible_form(" fi\u200bsh ")
        == visible_form("\uff46\uff49\uff53\uff48")
    )
    assert visible_form("Fish") != visible_form("fish")
    for pair in (
        (ONE, TWO),
        ("\ufb01sh", "fish"),
        ("star", "star "),
        ("red fox", "red\u00a0fox"),
        ("\u2764", "\u2764\ufe0f"),
    ):
        with pytest.raises(InputError, match="look alike"):
            check_distinguishable(pair)
        with pytest.raises(InputError, match="look alike"):
            check_distinguishable(pair[:1], pair[1:])
    check_distinguishable(["polish", "Polish", "x1", "x2"], ["star"])


@pytest.mark.parametrize(
    ("name", "others", "found"),
    [
        ("star", ["Star"], "Star"),
        ("star", ["stars"], "stars"),
        ("star", ["star "], "star "),
        ("red_fox", ["Red Fox", "hen"], "Red Fox"),
        ("class 1", ["class 2"], None),
        ("cat", ["cow"], None),
        ("star", [], None),
    ],
)
def test_a_misspelled_class_folder_is_matched_to_its_class(name, others, found):
    assert misspelling(name, others) == found


def test_two_class_folders_of_one_name_are_refused(tmp_path):
    write(tmp_path / "d", f"{ONE}/a.png", f"{TWO}/a.png")
    if len(list((tmp_path / "d").iterdir())) < 2:
        pytest.skip("this file system keeps one form of a name")
    with pytest.raises(InputError, match="is probably the same as"):
        read_source(tmp_path / "d")


def test_test_folders_tables_and_names_are_matched_in_any_form(tmp_path):
    write(tmp_path / "d", f"train/{ONE}/a.png", f"test/{TWO}/b.png")
    assert len(load_folder(tmp_path / "d").test.images) == 1
    source = read_source(tmp_path / "d", names=f"{TWO}=bar")
    assert list(source.train) == list(source.tests or ()) == ["bar"]
    (tmp_path / "d" / "classes.csv").write_text(f"folder,name\n{TWO},bistro\n", encoding="utf-8")
    assert list(read_source(tmp_path / "d").train) == ["bistro"]
    assert list(read_images(tmp_path / "d")) == ["bistro"]
    (tmp_path / "d" / "classes.csv").write_text(f"folder,name\n{ONE},x\n{TWO},y\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"Line 3 of .* names the folder .* again"):
        read_source(tmp_path / "d")
    with pytest.raises(InputError, match="twice: give each folder one name"):
        read_source(tmp_path / "d", names=f"{ONE}=x,{TWO}=y")


def test_tasks_compare_names_in_one_form():
    assert make_task([1, 2], [TWO, "tea"], [ONE, "tea"], index=0, known=()).names == (ONE, "tea")
    with pytest.raises(InputError, match="is named twice in this task"):
        make_task([1, 2], [0, 1], [ONE, TWO], index=0, known=())
    with pytest.raises(InputError, match="was learned before"):
        make_task([1], [0], [TWO], index=1, known=(ONE,))
    with pytest.raises(InputError, match="look alike"):
        make_task([1], [0], ["\ufb01sh"], index=1, known=("fish",))


def no_texts(texts):
    """The text branch, which a trained head does not need."""
    raise AssertionError(texts)


def test_changes_and_candidates_compare_names_in_one_form():
    both = learned(ONE, "fish")
    assert forget(both, TWO, None, no_texts).class_names == ("fish",)
    assert relabel(both, TWO, "bar", None, no_texts).class_names == ("bar", "fish")
    assert relabel(both, ONE, TWO, None, no_texts).class_names == (TWO, "fish")
    with pytest.raises(InputError, match="is learned already"):
        relabel(both, "fish", TWO, None, no_texts)
    with pytest.raises(InputError, match="is probably the same as 'fish'"):
        relabel(both, ONE, "\ufb01sh", None, no_texts)
    with pytest.raises(InputError, match="did you mean 'fish'"):
        forget(both, "\ufb01sh", None, no_texts)
    with pytest.raises(InputError, match="is a learned class"):
        check_candidates([TWO], [ONE])
    with pytest.raises(InputError, match="named twice"):
        check_candidates([ONE, TWO], ["fish"])


def test_a_model_measures_and_changes_a_class_in_either_form(mgclip, tiny_clip, icons, tmp_path):
    for c, name in enumerate((ONE, "tea")):
        (tmp_path / "d" / name).mkdir(parents=True)
        for i in range(6):
            Image.fromarray(icons["x_train"][12 * c + i]).save(tmp_path / "d" / name / f"{i}.png")
    words = ("features=16", "--json", "--quiet")
    shop = tmp_path / "shop"
    code, _, err = mgclip("learn", tmp_path / "d", "--model", shop, "--base", tiny_clip, *words)
    assert (code, err) == (0, "")
    assert sorted(measurable(read_held_out(shop), [TWO])[0]) == [TWO]
    (tmp_path / "d" / ONE).rename(tmp_path / "d" / TWO)
    code, _, err = mgclip("evaluate", shop, tmp_path / "d", "--json")
    assert (code, err) == (0, "")
    Image.fromarray(icons["x_train"][6]).save(tmp_path / "d" / TWO / "6.png")
    code, out, err = mgclip("learn", tmp_path / "d", "--model", shop, "--json", "--quiet")
    assert (code, err) == (0, "")
    assert json.loads(out)["grown"] == [ONE], "the class is known in either form"
    assert json.loads(out)["images"] == 1, "the others are known by their pixels, wherever they are"
    assert mgclip("relabel", shop, TWO, "bar")[0] == 0
    remembered = read_held_out(shop)
    assert sorted(remembered) == ["bar", "tea"]
    assert mgclip("forget", shop, "tea")[0] == 0
    assert list(read_held_out(shop)) == ["bar"]


def test_labels_of_the_classifier_keep_the_form_given_first(tiny_clip, icons):
    from mgclip import MGCLIPClassifier

    images = [Image.fromarray(image) for image in icons["x_train"][:36]]
    classifier = MGCLIPClassifier(str(tiny_clip), method="mg-clip", settings={"epochs": 0, "head_epochs": 1})
    classifier.fit(images[:24], np.array([ONE, TWO] * 6 + ["tea"] * 12))
    assert classifier.classes_.tolist() == [ONE, "tea"]
    with pytest.raises(InputError, match="was learned before"):
        classifier.partial_fit(images[24:], np.array([TWO] * 12))


def test_positions_of_many_names_are_those_of_each():
    names, others = ["b", "caf\u00e9", "x", "a"], ["a", "cafe\u0301", "b", "b"]
    assert indices_of(names, others) == [index_of(name, others) for name in names] == [2, 1, None, 0]
    assert not_among(names, others) == ["x"]


SPACED = " hot\u00a0 dog\n"


def test_extra_spaces_of_a_name_do_not_count():
    assert canonical(SPACED) == tidy(SPACED) == "hot dog"
    assert make_task([1, 2], [SPACED, "tea"], ["hot dog ", "tea"], index=0, known=()).names == ("hot dog", "tea")
    with pytest.raises(InputError, match="is named twice in this task"):
        make_task([1, 2], [0, 1], [SPACED, "hot dog"], index=0, known=())
    saved = learned(SPACED, "fish")  # by an earlier version
    assert relabel(saved, "hot dog", "bun ", None, no_texts).class_names == ("bun", "fish")
    assert relabel(saved, "hot dog", "hot dog", None, no_texts).class_names == ("hot dog", "fish")
    assert forget(saved, "hot dog", None, no_texts).class_names == ("fish",)
    for text in ("", " "):
        with pytest.raises(InputError, match="must be words for a prompt"):
            relabel(saved, "fish", "perch", text, no_texts)
    assert candidate_texts([SPACED], ["fish"]) == ("hot dog",)
    with pytest.raises(InputError, match="is a learned class"):
        candidate_texts([SPACED], ["hot dog"])


def test_a_program_and_the_command_line_give_a_class_the_same_name(mgclip, tiny_clip, icons, tmp_path):
    """In a folder, a table, labels, a shard, and as a new name."""
    from mgclip import MGCLIP

    images = [Image.fromarray(image) for image in icons["x_train"][:24]]
    solved = {"compensation": "analytic", "fusion": "calibrated", "adapt": "never", "features": 16}
    model = MGCLIP.from_pretrained(tiny_clip, settings=solved)
    model.learn(images, [SPACED] * 12 + ["tea "] * 12, [SPACED, "tea"])
    assert model.class_names == ("hot dog", "tea")
    assert model.correct(images[:1], ["hot  dog"]) == ["hot dog"]
    model.relabel("tea  ", " green  tea ")
    assert (model.class_names, model.class_texts) == (("hot dog", "green tea"),) * 2
    model.save_pretrained(tmp_path / "shop", note={"what": "learned by a program"})
    for name, image in ((" hot  dog", images[0]), ("n01", icons["x_train"][30])):
        (tmp_path / "d" / name).mkdir(parents=True)
        Image.fromarray(np.asarray(image)).save(tmp_path / "d" / name / "0.png")
    (tmp_path / "d" / "classes.csv").write_text("folder,name\nn01,iced   tea \n", encoding="utf-8")
    assert list(read_source(tmp_path / "d").train) == ["hot dog", "iced tea"]
    assert list(read_source(tmp_path / "d", names="n01= iced   tea").train) == ["hot dog", "iced tea"]
    assert read_source(tmp_path / "d").texts == {"iced tea": "iced tea"}
    code, out, err = mgclip("learn", tmp_path / "d", "--model", tmp_path / "shop", "--hold-out", 0, "--json", "--quiet")
    assert (code, err) == (0, "")
    assert json.loads(out)["classes"] == ["iced tea"], "hot dog is known, with this image"
    shards = [
        ShardOfOne("a", Image.fromarray(icons["x_train"][41]), SPACED),
        ShardOfOne("b", Image.fromarray(icons["x_train"][40]), f" {TWO}"),
    ]
    result = MGCLIP.from_pretrained(tmp_path / "shop").learn_shards(shards, class_texts={TWO: "a bar"})
    assert (result.new, result.grown) == ((ONE,), ("hot dog",))


class ShardOfOne(list):
    """A shard with one image."""

    def __init__(self, name, image, label):
        super().__init__([(image, label)])
        self.name = name


def test_the_text_of_a_class_in_shards_is_found_in_any_form(tiny_clip, icons):
    from mgclip import MGCLIP

    model = MGCLIP.from_pretrained(
        tiny_clip, settings={"compensation": "analytic", "fusion": "calibrated", "adapt": "never", "features": 16}
    )
    shards = [ShardOfOne(str(n), Image.fromarray(icons["x_train"][12 * n]), name) for n, name in enumerate((TWO, "tea"))]
    model.learn_shards(shards, class_texts={TWO: "a bar", "tea ": "a drink"})
    assert dict(zip(model.class_names, model.class_texts, strict=True)) == {ONE: "a bar", "tea": "a drink"}


def test_a_name_that_cannot_be_stored_is_refused():
    check_distinguishable(["猫", "🦓"])
    with pytest.raises(InputError, match=r"The class name '\\xad' has no visible character: give the class another name"):
        check_distinguishable(["dog", "\u00ad"])
    with pytest.raises(InputError, match=r"The class name 'x\\udcff' is not valid UTF-8: correct it"):
        check_distinguishable(["cat", "x\udcff"])
    with pytest.raises(InputError, match=r"Python reads the class name 'hüte' as .*: set the variable PYTHONUTF8=1"):
        check_distinguishable(["cat", "h\udcc3\udcbcte"])  # its bytes are UTF-8, but the locale has another encoding
