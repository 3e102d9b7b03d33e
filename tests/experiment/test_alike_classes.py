"""Warnings of classes that a CLIP cannot tell apart by text: once for each run, and only of what the user can change."""

import dataclasses
import warnings

import pytest
from PIL import Image
from runs import run

from mgclip.errors import AlikeTexts
from mgclip.experiment import open_run
from mgclip.experiment.alike_classes import warn_of_alike_classes
from mgclip.experiment.recipe import Recipe, load_recipe
from mgclip.stream.datasets import load_dataset


@pytest.fixture
def folders(icons, tmp_path):
    """Three data sets of class folders. The first two have two classes in common, in another case and as it is."""
    sets = {"one": ("Star", "bell", "cup"), "two": ("star", "bell", "door"), "three": ("Star", "star", "tree")}
    for name, classes in sets.items():
        for part in ("train", "test"):
            for number, c in enumerate(classes):
                (tmp_path / "data" / name / part / c).mkdir(parents=True)
                for i in range(2):
                    Image.fromarray(icons[f"x_{part}"][4 * number + i]).save(tmp_path / "data" / name / part / c / f"{i}.png")
    return tmp_path / "data"


@pytest.fixture
def several(tiny_clip, folders):
    """A recipe of two data sets, in four tasks."""
    sets = [{"data": "folder", "name": "one", "classes_per_task": 1}, {"data": "folder", "name": "two"}]
    return Recipe(
        name="mine",
        clip=str(tiny_clip),
        datasets=sets,
        data_path=str(folders),
        class_order="dataset",
        methods=["mg-clip", "mg-clip-analytic"],
        epochs=1,
        head_epochs=1,
        features=64,
    )


def warned(call):
    """What a call warns of, as it is shown to the user: each place in the code warns of each text once."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always", AlikeTexts)
        call()
    return [str(each.message) for each in found if issubclass(each.category, AlikeTexts)]


ACROSS = (
    "The texts 'bell' of one and 'bell' of two are the same to this CLIP, and so is 1 other pair, so the text branch answers with "
    "the class that is learned first: for different prompts, set `text` of one of the data sets in the recipe, such as text: "
    '"{}, a type of flower".'
)


def test_classes_of_several_data_sets_are_reported_once_and_not_in_each_task(several, tmp_path):
    assert warned(lambda: run(several, tmp_path / "run")) == [ACROSS]
    sets = [several.datasets[0], several.datasets[1].model_copy(update={"text": "{}, a type of icon"})]
    assert warned(lambda: run(several.model_copy(update={"datasets": sets}), tmp_path / "followed")) == []


def test_classes_that_do_not_compete_are_not_reported(several, tmp_path):
    recipe = several.model_copy(update={"task_known": True, "methods": ["mg-clip"]})
    assert warned(lambda: run(recipe, tmp_path / "run")) == []


def test_a_shipped_stream_is_not_reported_unless_its_data_sets_are_changed(several, tiny_clip, monkeypatch):
    """In X-TAIL a name that occurs in two data sets means two classes."""
    shipped = load_recipe("x-tail")
    monkeypatch.setattr("mgclip.experiment.alike_classes.load_recipe", lambda name: several)
    stream, backbone = open_run.build_stream(several), open_run.load_backbone(str(tiny_clip))
    as_published = several.model_copy(update={"name": shipped.name, "seed": 3, "tasks": 4})
    changed = as_published.model_copy(update={"datasets": several.datasets[::-1]})
    assert warned(lambda: warn_of_alike_classes(as_published, stream, backbone)) == []
    assert warned(lambda: warn_of_alike_classes(changed, stream, backbone)) == [ACROSS]


def test_nearly_equal_names_of_the_users_own_data_are_reported_once(several, folders, tmp_path):
    recipe = Recipe(**{**several.model_dump(exclude={"datasets"}), "data": "folder", "data_path": str(folders / "three")})
    recipe = recipe.model_copy(update={"classes_per_task": 1})
    assert warned(lambda: run(recipe, tmp_path / "run")) == [
        "The class names 'Star' and 'star' are probably those of one class (they differ only in case, spaces, hyphens, underscores "
        "or the form of a letter): use one name for it."
    ]


def test_texts_of_the_users_own_data_that_are_cut_name_the_data(several, folders, tmp_path):
    long = "a very " * 30
    for part in ("train", "test"):
        for old, new in (("bell", f"{long}red bell"), ("cup", f"{long}blue bell")):
            (folders / "one" / part / old).rename(folders / "one" / part / new)
    recipe = several.model_copy(update={"datasets": several.datasets[:1], "methods": ["mg-clip"]})
    [sentence] = warned(lambda: run(recipe, tmp_path / "run"))
    assert (
        "red bell' are the same to this CLIP, which ignores case and cuts long texts: rename one of the classes in one."
        in sentence
    )


def test_names_of_published_data_are_not_reported(several, tiny_clip, tmp_path, monkeypatch):
    """ImageNet-1K has two classes *missile*, for example."""

    def published(name, *args, **options):
        data = load_dataset(name, *args, **options)
        return dataclasses.replace(data, class_names=("missile", "Missile", "missile", *data.class_names[3:]))

    monkeypatch.setattr(open_run, "load_dataset", published)
    words = ["tasks=2", "classes_per_task=2", "class_order=dataset", "train_per_class=2", "test_per_class=1", "retention={}"]
    recipe = load_recipe("icons100", [*words, f"clip={tiny_clip}", "methods=mg-clip", "epochs=1", "head_epochs=1"])
    assert warned(lambda: run(recipe, tmp_path / "run")) == []


def test_a_prompt_that_leaves_no_room_for_the_classes_is_reported(tiny_clip, tmp_path):
    words = ["tasks=2", "classes_per_task=2", "train_per_class=2", "test_per_class=1", "retention={}", "methods=zero-shot"]
    recipe = load_recipe("icons100", [*words, f"clip={tiny_clip}", f"prompt={'a very ' * 40}good icon of a {{}}."])
    [sentence] = warned(lambda: run(recipe, tmp_path / "run"))
    assert ", and so are 2 other pairs: shorten the prompt." in sentence


def test_a_run_shows_the_warning_on_one_line(mgclip, several, tmp_path):
    (tmp_path / "mine.yaml").write_text(several.model_dump_json(exclude={"name"}))
    code, _, err = mgclip("run", tmp_path / "mine.yaml", "methods=mg-clip", "--out", tmp_path / "run", "--quiet")
    assert code == 0
    assert " ".join(err.split()).count("are the same to this CLIP") == 1
    assert "the same to this CLIP" in mgclip("run", "--resume", tmp_path / "run", "--quiet")[2]
