"""Classes of a saved model with a solved head: united by ``relabel``, removed by ``forget`` without a trace."""

import shutil

import pytest
from icon_tasks import month_folders

from mgclip import MGCLIP, history


@pytest.fixture
def place(icons, tmp_path, tiny_clip, mgclip, monkeypatch):
    month_folders(icons, tmp_path, {"march": (0, 1, 2)}, 6)
    monkeypatch.chdir(tmp_path)
    assert mgclip("learn", "march", "--model", "shop", "--base", tiny_clip, "features=64", "--quiet")[0] == 0
    return tmp_path


def test_forget_with_images_leaves_no_trace(mgclip, place, icons, tiny_clip):
    a, b, c = (str(name) for name in icons["class_names"][:3])
    model = MGCLIP.from_pretrained("shop")
    rest = MGCLIP.from_pretrained(tiny_clip, settings={**model.settings.model_dump(), "gamma": model.solved.fourier.gamma})
    files = sorted(place.glob("march/*/*.png"))
    learned = [(file, was[0]) for file, was in zip(files, model.learned_as(files), strict=True) if was and was[0] != b]
    rest.learn(*zip(*learned, strict=True), [a, c])
    code, out, _ = mgclip("forget", "shop", b, "--images", f"march/{b}")
    assert code == 0
    assert "cannot be removed" not in out and "scatter" not in out
    assert "Removed its 5 images from the sums over all images, so the head keeps no trace of them." in out
    left = MGCLIP.from_pretrained("shop")
    assert left.class_names == (a, c)
    assert left.solved.sums.gram.numpy() == pytest.approx(rest.solved.sums.gram.numpy(), abs=1e-9)
    assert left.solved.weights.numpy() == pytest.approx(rest.solved.weights.numpy(), rel=1e-6, abs=1e-8)


def test_forget_without_images_says_what_remains(mgclip, place, icons):
    name = str(icons["class_names"][1])
    code, out, _ = mgclip("forget", "shop", name)
    assert code == 0
    assert "The scatter of its images around their mean remains in sums over all images" in out
    assert "from the sums" not in out


def test_forget_refuses_images_that_are_not_all_of_the_class(mgclip, place, icons):
    a, b = (str(name) for name in icons["class_names"][:2])
    before = (place / "shop" / "mgclip.json").read_bytes()
    code, _, err = mgclip("forget", "shop", b, "--images", f"march/{a}")
    assert code == 2
    assert "(learned: 5, given: 0)" in err
    assert (place / "shop" / "mgclip.json").read_bytes() == before


def test_a_trained_head_refuses_images_to_forget(mgclip, place, icons, tiny_clip):
    words = ("--model", "trained", "--base", tiny_clip, "--method", "simplecil", "--quiet")
    assert mgclip("learn", "march", *words)[0] == 0
    name = str(icons["class_names"][1])
    code, _, err = mgclip("forget", "trained", name, "--images", f"march/{name}")
    assert (code, "Only a solved head can forget images" in err) == (2, True)
    for words in (("zebra", "--images", f"march/{name}"), (name, "--images", "nowhere")):
        assert "Only a solved head can forget images" in mgclip("forget", "trained", *words)[2]
    assert "none is not a saved model" in mgclip("forget", "none", name, "--images", "nowhere")[2]
    assert name in MGCLIP.from_pretrained("trained").class_names


def test_relabel_unites_two_classes(mgclip, place, icons):
    a, b, c = (str(name) for name in icons["class_names"][:3])
    code, out, _ = mgclip("relabel", "shop", b, a)
    assert code == 0
    assert f"united {b} with {a}" in out
    model = MGCLIP.from_pretrained("shop")
    assert model.class_names == (a, c)
    assert model.solved.sums.counts.tolist() == [10, 5]
    from mgclip.workflows.held_out import read_held_out

    assert {name: len(files) for name, files in read_held_out(place / "shop").items()} == {a: 2, c: 1}


def test_relabel_refuses_another_spelling_of_a_known_class(mgclip, place, icons):
    a, b = (str(name) for name in icons["class_names"][:2])
    before = (place / "shop" / "mgclip.json").read_bytes()
    code, out, err = mgclip("relabel", "shop", b, f"{a.upper()} ")
    assert (code, out) == (2, "")
    assert f"The name '{a.upper()}' is probably the same as '{a}', which the model knows" in err
    assert (place / "shop" / "mgclip.json").read_bytes() == before


def test_relabel_changes_the_spelling_of_a_class_and_removes_spaces_at_its_ends(mgclip, place, icons):
    a = str(icons["class_names"][0])
    assert mgclip("relabel", "shop", a, f" {a.upper()} ")[1] == f"renamed {a} to {a.upper()}\n"
    assert MGCLIP.from_pretrained("shop").class_names[0] == a.upper()


def test_another_spelling_of_a_class_is_suggested(mgclip, place, icons):
    a = str(icons["class_names"][0])
    mgclip("relabel", "shop", a, "T-Shirt")
    mgclip("relabel", "shop", str(icons["class_names"][1]), "shirt")
    assert "did you mean 'T-Shirt'?" in mgclip("forget", "shop", "t-shirt")[2]


@pytest.mark.parametrize("replaced", [False, True])
@pytest.mark.parametrize(
    "words", ["relabel shop {} bell", "forget shop {}", "set shop branches=image", "correct shop answers.csv"]
)
def test_a_model_that_is_moved_or_replaced_while_it_is_edited_gets_no_version_elsewhere(
    mgclip, place, icons, monkeypatch, words, replaced
):
    a, b = (str(name) for name in icons["class_names"][:2])
    (place / "answers.csv").write_text(f"image,class\nmarch/{a}/0.png,{b}\n")
    shutil.copytree("shop", "other")
    mgclip("relabel", "other", a, "another")
    load, other = MGCLIP.from_pretrained, (place / "other" / "mgclip.json").read_bytes()

    def load_and_move(*given, **more):
        model = load(*given, **more)
        (place / "shop").rename("moved")
        if replaced:
            (place / "other").rename("shop")
        return model

    with monkeypatch.context() as moving:
        moving.setattr(MGCLIP, "from_pretrained", load_and_move)
        code, out, err = mgclip(*(word.format(a) for word in words.split()))
    assert (code, out) == (1, "")
    assert err.startswith(
        "mgclip: shop was moved, removed or replaced during the command, which has saved no version: move it back"
    )
    assert [version.number for version in history("moved")] == [1]
    assert (place / "shop" / "mgclip.json").read_bytes() == other if replaced else not (place / "shop").exists()
