"""The studio without its page: a new model, a model with a trained head, and what each part of the page shows of them."""

import re
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

pytest.importorskip("gradio", reason="Gradio is not installed: extra studio")

from mgclip import MGCLIP, history, undo
from mgclip.app.studio.ask import answers_html, corrections
from mgclip.app.studio.classes import SHOWN, classes_html
from mgclip.app.studio.gap import map_html
from mgclip.app.studio.page import about_html
from mgclip.app.studio.teach import change_html, plan_html
from mgclip.app.studio.versions import versions_html
from mgclip.app.studio.work import StudioModel
from mgclip.errors import InputError, MGCLIPError
from mgclip.method.methods import settings_of_new_model
from mgclip.workflows.edit_model import relabel_class


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    """A new model has few random features: their number changes nothing but the time."""
    settings = settings_of_new_model("", {"features": 64})
    monkeypatch.setattr("mgclip.app.studio.active.settings_of_new_model", lambda method, given: settings)


@pytest.fixture
def photos(icons, tmp_path):
    """Image files of four classes."""
    found = {}
    for c in range(4):
        found[f"class {c}"] = [tmp_path / f"{c}-{i}.png" for i in range(3)]
        for i, file in enumerate(found[f"class {c}"]):
            Image.fromarray(icons["x_train"][12 * c + i]).save(file)
    return found


def learn(model, images):
    passed = []
    *result, about = model.learn(images, lambda step: None, lambda number, of: passed.append(number / of))
    assert about == model.about()
    assert passed == sorted(passed) and passed[-1] == 1
    return result


def test_a_new_model_is_taught_corrected_and_edited(photos, tiny_clip, tmp_path):
    model = StudioModel(tmp_path / "shop", base=str(tiny_clip))
    assert "No classes yet</b>: teach some in the tab Teach." in about_html(model.about())
    assert "No classes yet" in classes_html(model)
    assert "No versions yet" in versions_html(model)
    for ask in (lambda: model.predict(photos["class 0"]), lambda: model.map(photos["class 0"])):
        with pytest.raises(InputError, match="The model knows no class yet: teach it some first"):
            ask()
    assert not (tmp_path / "shop").exists()
    images = {name: photos[name] for name in ("class 0", "class 1")}
    plan, skipped = model.plan(images)
    assert (plan.new, list(plan.grown), plan.images, skipped) == (["class 0", "class 1"], [], 6, [])
    assert "6 images of 2 classes" in plan_html(plan, skipped)
    note, before = learn(model, images)
    assert before is None
    assert note["leave_one_out"] is not None
    assert "Leave-one-out accuracy" in change_html(note, before, 2)
    about = model.about()
    assert [(each.name, each.images) for each in about.classes] == [("class 0", 3), ("class 1", 3)]
    assert (about.version, about.solved) == (1, True)

    answers, bad, _ = model.predict([*photos["class 2"], tmp_path / "missing.png"])
    assert [file.name for file, _ in bad] == ["missing.png"]
    assert answers_html(answers, about).count("This is a") >= 3
    assert model.correct({photos["class 2"][0]: "class 1"})["added"] == 1
    with pytest.raises(InputError, match="The class is called 'class 1' already: give another name"):
        model.rename("class 1", " class  1")
    model.rename("class 1", "  one   thing ")
    assert model.about().names == ["class 0", "one thing"]
    with pytest.raises(InputError, match="There is no class to unite 'one thing' with: give the name of another one"):
        model.unite("one thing", " ")
    model.unite("one thing", "class 0")
    assert [(each.name, each.images) for each in model.about().classes] == [("class 0", 7)]
    assert [version.number for version in history(tmp_path / "shop")] == [1, 2, 3, 4]
    assert model.undo(1).number == 1
    assert model.about().names == ["class 0", "class 1"]


def test_other_pages_see_the_active_version_while_the_model_learns(photos, tiny_clip, tmp_path):
    model, seen = StudioModel(tmp_path / "shop", base=str(tiny_clip)), []
    learn(model, {name: photos[name] for name in ("class 0", "class 1")})
    learn(model, {"class 2": photos["class 2"]})
    undo(tmp_path / "shop", 1)  # by another program, so this version is not loaded yet
    with ThreadPoolExecutor() as other:

        def on_images(number, of):
            seen.append(other.submit(model.about).result(10))

        *_, about = model.learn({"class 3": photos["class 3"]}, lambda step: None, on_images)
    assert {(each.version, *each.names) for each in seen} == {(1, "class 0", "class 1")}
    assert (about.version, about.names) == (3, ["class 0", "class 1", "class 3"])


def test_answers_say_which_version_gave_them(photos, tiny_clip, tmp_path):
    model = StudioModel(tmp_path / "shop", base=str(tiny_clip))
    learn(model, {name: photos[name] for name in ("class 0", "class 1")})
    answers, _, about = model.predict(photos["class 0"])
    model.rename("class 1", "other")
    assert "3 answers of version 1" in answers_html(answers, about)
    assert "Answers and texts of version 2." in map_html(model.map(photos["class 0"]), photos["class 0"])

    def renamed_meanwhile():
        relabel_class(tmp_path / "shop", "other", "third")
        yield from photos["class 0"]

    about = model.predict(renamed_meanwhile())[2]
    assert (about.version, about.names) == (2, ["class 0", "other"])
    assert model.about().version == 3


def test_a_model_that_is_gone_is_not_replaced_by_a_new_one(photos, tiny_clip, tmp_path):
    model = StudioModel(tmp_path / "shop", base=str(tiny_clip))
    images = {name: photos[name] for name in ("class 0", "class 1")}
    learn(model, images)
    (tmp_path / "shop").rename(tmp_path / "away")
    for act in (model.about, lambda: model.predict(photos["class 0"]), lambda: learn(model, images)):
        with pytest.raises(MGCLIPError, match=r"There is no model in .*shop any more: put it back, or start the studio again"):
            act()
    assert not (tmp_path / "shop").exists()
    (tmp_path / "away").rename(tmp_path / "shop")
    assert model.about().version == 1


def test_names_that_are_probably_one_name_are_planned_as_one(photos, tiny_clip, tmp_path):
    model = StudioModel(tmp_path / "shop", base=str(tiny_clip))
    learn(model, {"T-Shirt": photos["class 0"], "hat": photos["class 1"]})
    plan, skipped = model.plan({"t shirt": photos["class 2"]})
    assert (plan.new, list(plan.grown)) == ([], ["T-Shirt"])
    assert "learned as one class: t shirt (3 images in all) as T-Shirt" in plan_html(plan, skipped)
    learn(model, {"t shirt": photos["class 2"]})
    assert [(each.name, each.images) for each in model.about().classes] == [("T-Shirt", 6), ("hat", 3)]


def test_a_note_of_the_plan_names_images_by_the_folders_they_were_dropped_with(photos, tiny_clip, tmp_path):
    model = StudioModel(tmp_path / "shop", base=str(tiny_clip))
    copy = shutil.copy(photos["class 0"][0], tmp_path / "copy.png")
    plan, skipped = model.plan({"class 0": photos["class 0"], "class 1": [*photos["class 1"], copy]})
    places = {file: [f"june/{file.name}"] for file in [*photos["class 0"], copy]}
    assert "such as june/copy.png and june/0-0.png" in plan_html(plan, skipped, places)


def test_unreadable_images_are_left_out_and_a_refusal_creates_nothing(photos, tiny_clip, tmp_path):
    model = StudioModel(tmp_path / "shop", base=str(tiny_clip))
    (tmp_path / "0-0.png").write_bytes(b"damaged")
    with pytest.raises(InputError, match="A class needs a name of 1 to 200 characters; found 201"):
        learn(model, {"x" * 201: photos["class 0"]})
    with pytest.raises(InputError, match="No image of the class 'only' can be read"):
        learn(model, {"only": photos["class 0"][:1]})
    assert not (tmp_path / "shop").exists()
    images = {name: photos[name] for name in ("class 0", "class 1")}
    plan, skipped = model.plan(images)
    assert "0-0.png cannot be read" in plan_html(plan, skipped)
    note, _ = learn(model, images)
    assert note["images"] == 5
    assert "Skipped: 0-0.png cannot be read" in change_html(note, None, 2)


def test_a_trained_head_offers_no_corrections_and_refuses_a_known_class(photos, tiny_clip, quick, tmp_path):
    trained = MGCLIP.from_pretrained(tiny_clip, settings=quick)
    files = [*photos["class 0"], *photos["class 1"]]
    trained.learn(files, [0, 0, 0, 1, 1, 1], ["class 0", "class 1"])
    trained.save_pretrained(tmp_path / "shop", note={"what": "learned"})
    model = StudioModel(tmp_path / "shop", base="")
    about = model.about()
    assert (about.solved, [each.images for each in about.classes]) == (False, [None, None])
    page = classes_html(model)
    assert "images learned" not in page
    assert "Unite" not in page
    assert "Rename" in page
    answers, *_ = model.predict(files)
    assert "This is a" not in answers_html(answers, about)
    with pytest.raises(InputError, match="class 0"):
        model.plan({"class 0": photos["class 2"]})
    with pytest.raises(InputError, match="trained"):
        model.correct({files[0]: "class 1"})
    note, before = learn(model, {"class 2": photos["class 2"], "class 3": photos["class 3"]})
    assert (before, note["leave_one_out"]) == (None, None)
    assert "To measure accuracy, run mgclip evaluate" in change_html(note, before, 4)
    model.forget("class 3")
    assert model.about().names == ["class 0", "class 1", "class 2"]


def test_a_model_of_one_class_and_one_that_forgot_all_classes_say_so(photos, tiny_clip, tmp_path):
    model = StudioModel(tmp_path / "shop", base=str(tiny_clip))
    learn(model, {name: photos[name] for name in ("class 0", "class 1")})
    alone = "The model knows a single class"
    assert alone not in answers_html(model.predict(photos["class 0"])[0], model.about())
    model.forget("class 1")
    assert alone in answers_html(model.predict(photos["class 0"])[0], model.about())
    model.forget("class 0")
    assert "version 3" in about_html(model.about())
    for page in (about_html(model.about()), classes_html(model)):
        assert "No classes<" in page and "No classes yet" not in page


def test_classes_show_held_out_images_that_still_exist(photos, tiny_clip, tmp_path, mgclip):
    for name in ("class 0", "class 1"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(6):
            different = photos[name][i % 3].read_bytes() + bytes(i)  # copies in a class are left out
            (tmp_path / "photos" / name / f"{i}.png").write_bytes(different)
    words = ("--model", tmp_path / "shop", "--base", tiny_clip, "--hold-out", "0.5", "--quiet", "features=16")
    assert mgclip("learn", tmp_path / "photos", *words)[0] == 0
    model = StudioModel(tmp_path / "shop", base="")
    assert classes_html(model).count("<img") == 6
    assert [(len(files), number) for files, number in model.examples(["class 0", "class 1"], 2).values()] == [(2, 3), (2, 3)]
    assert classes_html(model).count("3 held out") == 2
    shutil.rmtree(tmp_path / "photos" / "class 1")
    page = classes_html(model)
    assert page.count("<img") == 3
    assert page.count("No held-out images to show") == 1
    assert classes_html(model, "CLASS 1").count("<h3") == 1
    shutil.rmtree(tmp_path / "photos")
    assert "No held-out images" not in classes_html(model), "boxes that are all empty show nothing"
    assert "No name contains" in classes_html(model, "zebra")


def test_of_many_classes_some_are_shown_and_others_are_found(monkeypatch, photos, tiny_clip, tmp_path):
    model = StudioModel(tmp_path / "shop", base=str(tiny_clip))
    learn(model, photos)
    monkeypatch.setattr("mgclip.app.studio.classes.SHOWN", 3)
    page = classes_html(model)
    assert SHOWN >= 4 > page.count("<h3") == 3
    assert "3 of 4 classes: find others by name." in page
    assert classes_html(model, "3").count("<h3") == 1


@pytest.mark.parametrize("form", [{}, {"0": " "}, {"0": "hat"}, {"x": "hat"}])
def test_corrections_without_a_class_or_an_image_are_refused(photos, form):
    with pytest.raises(InputError, match="correct"):
        corrections(photos["class 0"], form)


def test_corrections_name_the_images_and_not_their_places(photos, tiny_clip, tmp_path):
    model = StudioModel(tmp_path / "shop", base=str(tiny_clip))
    learn(model, photos)
    files = photos["class 0"]
    answers, _, about = model.predict(files)
    fields = re.findall(r'name="([^"]+)" list="class-names"', answers_html(answers, about))
    assert fields == list(map(str, files))
    assert corrections(files, {fields[0]: "", fields[2]: " hat "}) == {files[2]: "hat"}
    with pytest.raises(InputError, match="The images have changed"):
        corrections(photos["class 1"], {fields[0]: "hat"})
