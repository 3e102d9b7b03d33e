"""Two models of one CLIP: the second one starts like the first, and both add up."""

import shutil

import pytest
import torch
from icon_tasks import month_folders
from PIL import Image
from shards import members, write_tar

from mgclip import MGCLIP, history
from mgclip.errors import AlikeTexts, InputError
from mgclip.workflows.held_out import paths, read_held_out


@pytest.fixture
def place(icons, tmp_path, tiny_clip, mgclip, monkeypatch):
    """Two models, the second one like the first. They share one class."""
    month_folders(icons, tmp_path, {"march": (0, 1), "april": (2,)}, 6)
    shared = str(icons["class_names"][1])
    (tmp_path / "april" / shared).mkdir()
    for i in range(5, 11):  # the first of them is in march too
        Image.fromarray(icons["x_train"][12 + i]).save(tmp_path / "april" / shared / f"{i}.png")
    monkeypatch.chdir(tmp_path)
    words = ("--base", tiny_clip, "features=64", "seed=3", "--quiet")
    assert mgclip("learn", "march", "--model", "a", *words)[0] == 0
    assert mgclip("learn", "april", "--model", "b", "--like", "a", "--quiet")[0] == 0
    return tmp_path


def test_a_merged_model_equals_one_that_learned_everything(mgclip, place):
    code, out, _ = mgclip("merge", "a", "b", "--to", "c")
    assert code == 0
    assert "c knows 3 classes from 20 images" in out
    assert mgclip("learn", "april", "--model", "a", "--hold-out", 0, "--quiet")[0] == 0
    first, second, merged = (MGCLIP.from_pretrained(name) for name in ("a", "b", "c"))
    assert second.settings.seed == 3 and second.solved.fourier == first.solved.fourier
    learned = {name: int(n) for name, n in zip(merged.class_names, merged.solved.sums.counts, strict=True)}
    assert sorted(merged.class_names) == sorted(first.class_names)
    assert sum(learned.values()) == 20
    kept = [file for files in paths(read_held_out(place / "c")).values() for file in files]
    assert not any(merged.learned_as(kept)), "no image that one of them learned is measured on"
    answers = mgclip("predict", "c", "march", "april", "--json")[1].splitlines()
    assert len(answers) == 24


def test_a_class_whose_images_both_models_learned_is_forgotten_with_its_images(mgclip, place, icons):
    shared = str(icons["class_names"][1])
    words = ("--hold-out", 0, "--quiet")
    assert mgclip("learn", place / "april", "--model", "twice", "--like", "b", *words)[0] == 0
    assert mgclip("learn", place / "april", "--model", "again", "--like", "b", *words)[0] == 0
    assert mgclip("merge", "twice", "again", "--to", "c")[0] == 0
    code, out, err = mgclip("forget", "c", shared, "--images", place / "april" / shared)
    assert (code, err) == (0, "")
    assert "Removed its 12 images from the sums" in out
    assert MGCLIP.from_pretrained("c").solved.sums.forgotten == 0


def test_models_of_two_precisions_can_be_merged_and_it_is_mentioned(mgclip, place):
    """Rounding changes no clear answer, and each image is recognised again, because fingerprints are of pixels."""
    assert mgclip("learn", "april", "--model", "rounded", "--like", "a", "--quiet")[0] == 0
    used = history("a")[-1].note["precision"]  # what is faster on this machine
    other = "bfloat16" if used == "float32" else "float32"
    assert mgclip("set", "rounded", f"precision={other}")[0] == 0
    assert mgclip("learn", "april", "--model", "like-rounded", "--like", "rounded", "--quiet")[0] == 0
    code, exact, _ = mgclip("merge", "a", "b", "--to", "exact")
    code, out, _ = mgclip("merge", "a", "like-rounded", "--to", "c")
    assert code == 0
    assert "encoded" not in exact
    assert f"images of the first model were encoded in {used}, those of the second in {other}" in " ".join(out.split())
    assert [history(name)[-1].note["precision"] for name in ("exact", "c")] == [used, "bfloat16 and float32"]
    one, two = (MGCLIP.from_pretrained(name) for name in ("exact", "c"))
    assert two.settings.precision == "auto"
    images = sorted(place.glob("*/*/*.png"))
    assert one.learned_as(images) == two.learned_as(images)
    found, wanted = (model.solved.sums.gram for model in (two, one))
    assert not torch.equal(found, wanted)
    torch.testing.assert_close(found, wanted, atol=1e-2 * wanted.abs().max().item(), rtol=0)
    assert two.predict(images).names == one.predict(images).names


def test_models_that_cannot_be_added_are_refused(mgclip, place, tiny_clip):
    words = ("--base", tiny_clip, "--quiet")
    mgclip("learn", "april", "--model", "other", *words, "features=32")
    mgclip("learn", "april", "--model", "trained", *words, "--method", "simplecil")
    mgclip("learn", "april", "--model", "base", "--base", "iconclip", "--quiet", "features=64")
    for words, sentence in (
        (("a", "other", "--to", "c"), "differ in their number of random features (64 and 32)"),
        (("a", "trained", "--to", "c"), "A model with a trained head cannot merge"),
        (("trained", "a", "--to", "a"), "A model with a trained head cannot merge"),
        (("a", "base", "--to", "c"), "The models have different CLIPs"),
        (("a", "a", "--to", "c"), "are the same model"),
        (("a", "b", "--to", "a"), "a exists already"),
        (("a", "b", "--to", "april"), "exists and is not a saved model"),
        (("a", "none", "--to", "c"), "none is not a saved model"),
    ):
        code, out, err = mgclip("merge", *words)
        assert (code, out) == (2, "")
        assert sentence in err
        assert not (place / "c").exists()


def test_like_takes_every_setting_of_the_other_model(mgclip, place, tiny_clip):
    for words, sentence in (
        (("--like", "a", "features=9"), "--like takes the settings of a: leave features out"),
        (("--like", "a", "--method", "mg-clip"), "leave --method out"),
        (("--like", "none"), "none is not a saved model"),
        (
            ("--base", "a"),
            "--base takes a CLIP, and a is a saved model: teach it more with --model a, or start a new model that",
        ),
    ):
        code, _, err = mgclip("learn", "april", "--model", "new", *words)
        assert code == 2
        assert sentence in err
        assert not (place / "new").exists()
    mgclip("learn", "april", "--model", "trained", "--base", tiny_clip, "--method", "simplecil", "--quiet")
    assert "has no solved head" in mgclip("learn", "march", "--model", "new", "--like", "trained")[2]


def test_a_model_like_one_with_trained_adapters_has_the_same_adapters(mgclip, place, tiny_clip):
    words = ("--base", tiny_clip, "features=64", "adapt=first", "epochs=1", "adapter_lr=0.01", "--quiet")
    assert mgclip("learn", "march", "--model", "adapted", *words)[0] == 0
    assert mgclip("learn", "april", "--model", "second", "--like", "adapted", "--quiet")[0] == 0
    assert mgclip("merge", "adapted", "second", "--to", "both")[0] == 0


def test_a_model_like_one_whose_adapters_keep_learning_says_why_it_refuses_shards(mgclip, place, tiny_clip, icons):
    words = ("--base", tiny_clip, "features=64", "adapt=always", "epochs=1", "--quiet")
    assert mgclip("learn", "march", "--model", "adapted", *words)[0] == 0
    write_tar(place / "april.tar", members(icons["x_train"][24:26], ["cat", "owl"]))
    code, _, err = mgclip("learn", "april.tar", "--model", "second", "--like", "adapted")
    assert code == 2
    assert "A model whose adapters were trained, or one like it, keeps features of its images, and of shards it would" in err


def test_models_with_two_spellings_of_a_class_are_refused(mgclip, place, icons):
    name = str(icons["class_names"][1])
    assert mgclip("relabel", "b", name, name.upper())[0] == 0
    code, out, err = mgclip("merge", "a", "b", "--to", "c")
    assert (code, out) == (2, "")
    assert f"The class '{name.upper()}' of b is probably the same as '{name}' of a" in err
    assert not (place / "c").exists()


def test_a_program_refuses_another_spelling_too(place, icons):
    name = str(icons["class_names"][1])
    one, two = MGCLIP.from_pretrained("a"), MGCLIP.from_pretrained("b")
    two.relabel(name, name.upper())
    with pytest.raises(InputError, match=f"The class '{name.upper()}' of the other model is probably the same as '{name}'"):
        one.merge(two)
    with pytest.raises(InputError, match="is probably the same as"):
        two.relabel(str(icons["class_names"][2]), f"{name}_")


def test_classes_that_one_model_knows_apart_stay_apart(mgclip, place, icons):
    name = str(icons["class_names"][1])
    model = MGCLIP.from_pretrained("b")
    with pytest.warns(AlikeTexts, match="probably those of one class"):
        model.learn(list(icons["x_train"][24:26]), [name.upper()] * 2, [name.upper()])
    model.save_pretrained("b", note={"what": "renamed"})
    assert mgclip("merge", "a", "b", "--to", "c")[0] == 0
    assert {name, name.upper()} < set(MGCLIP.from_pretrained("c").class_names)


def test_a_model_that_appears_while_others_are_merged_is_not_changed(mgclip, place, monkeypatch):
    def joined(*lists):
        shutil.copytree(place / "a", place / "c")  # another process was faster
        return {}

    monkeypatch.setattr("mgclip.workflows.merge.joined", joined)
    code, _, err = mgclip("merge", "a", "b", "--to", "c")
    assert (code, "c exists already" in err) == (2, True)
    assert history(place / "c") == history(place / "a")


def test_a_precision_that_is_not_known_is_not_compared(mgclip, place):
    for name in ("a", "b"):
        MGCLIP.from_pretrained(name).save_pretrained(f"{name}-of-a-program")  # without a note of what was learned
    code, out, _ = mgclip("merge", "a-of-a-program", "b-of-a-program", "--to", "c")
    assert (code, "encoded" in out) == (0, False)
    assert "precision" not in history("c")[-1].note


def test_an_image_that_both_models_hold_out_is_measured_once(mgclip, place, icons):
    (file,) = paths(read_held_out(place / "a"))[str(icons["class_names"][0])]
    copy = place / "may" / "test" / file.parent.name / "copy.png"
    shutil.copytree(file.parent, place / "may" / "train" / file.parent.name, ignore=lambda *_: [file.name])
    copy.parent.mkdir(parents=True)
    shutil.copy(file, copy)
    assert mgclip("learn", "may", "--model", "d", "--like", "a", "--quiet")[0] == 0
    assert paths(read_held_out(place / "d")) == {file.parent.name: [copy]}
    assert mgclip("merge", "a", "d", "--to", "e")[0] == 0
    assert len(read_held_out(place / "e")[file.parent.name]) == 1
    file.unlink()
    assert mgclip("merge", "a", "d", "--to", "f")[0] == 0
    assert paths(read_held_out(place / "f"))[file.parent.name] == [copy], "the one that still exists"
