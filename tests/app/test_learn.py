"""``mgclip learn`` and ``mgclip predict`` as a user calls them."""

import json

import pytest
from icon_tasks import month_folders


@pytest.fixture
def photos(icons, tmp_path):
    """Six classes of four drawings: A to C one month, D to F the next, as folders."""
    month_folders(icons, tmp_path, {"march": [0, 1, 2], "april": [3, 4, 5]}, 4)
    return tmp_path


QUICK = ("--method", "mg-clip", "epochs=1", "adapter_batch_size=8", "head_batch_size=8")


def test_learn_then_predict(mgclip, tiny_clip, photos):
    shop = photos / "shop"
    code, out, _ = mgclip("learn", photos / "march", "--model", shop, "--base", tiny_clip, *QUICK, "--json", "--quiet")
    assert code == 0
    assert json.loads(out)["classes_in_all"] == 3
    code, out, _ = mgclip("learn", photos / "april", "--model", shop)
    assert code == 0
    assert "shop knows 6" in out
    assert "in 1 epoch, " in out and "leave-one-out" not in out
    images = sorted((photos / "march").rglob("*.png"))
    code, out, _ = mgclip("predict", shop, photos / "march", "--json", "--top", 2)
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [row["image"] for row in rows] == [str(image) for image in images]
    from mgclip import MGCLIP

    expected = MGCLIP.from_pretrained(shop).predict(images)
    assert [row["class"] for row in rows] == expected.names
    assert [row["confidence"] for row in rows] == pytest.approx(expected.confidence.max(1).tolist())
    assert all(len(row["top"]) == 2 for row in rows)
    code, out, _ = mgclip("predict", shop, images[0])
    assert code == 0
    assert out.startswith(f"{images[0]}\t{expected.names[0]} ")


def test_learn_measures_on_a_test_folder(mgclip, tiny_clip, photos):
    (photos / "data").mkdir()
    (photos / "march").rename(photos / "data" / "train")
    (photos / "april").rename(photos / "data" / "test")
    for entry, name in zip(sorted((photos / "data" / "test").iterdir()), ("alarm", "align left", "align right"), strict=True):
        entry.rename(photos / "data" / "test" / name)
    words = ("learn", photos / "data", "--model", photos / "shop", "--base", tiny_clip, *QUICK, "--json", "--quiet")
    code, out, _ = mgclip(*words)
    assert code == 0
    done = json.loads(out)
    assert 0 <= done["accuracy"]["new"] <= 1
    assert done["test_images"]["new"] == 12
    assert done["images"] == 12


def test_a_bad_test_image_is_found_before_the_model_is_saved(mgclip, tiny_clip, photos):
    (photos / "data").mkdir()
    (photos / "march").rename(photos / "data" / "train")
    for name in ("alarm", "unknown"):
        (photos / "data" / "test" / name).mkdir(parents=True)
        (photos / "data" / "test" / name / "cut.png").write_bytes(b"cut")
    words = ("learn", photos / "data", "--model", photos / "shop", "--base", tiny_clip, *QUICK)
    code, _, err = mgclip(*words)
    assert code == 2
    assert "alarm/cut.png cannot be read" in err
    assert err.endswith(": give another file, or skip such images with --on-bad-image skip.\n")
    assert not (photos / "shop" / "mgclip.json").exists()
    good = next((photos / "data" / "train" / "alarm").iterdir())
    (photos / "data" / "test" / "alarm" / "cut.png").write_bytes(good.read_bytes())
    assert mgclip(*words)[0] == 0


def test_a_rejected_learn_leaves_no_model(mgclip, tiny_clip, photos):
    (photos / "march" / "broken").mkdir()
    shop = photos / "shop"
    words = ("learn", photos / "march", "--model", shop, "--base", tiny_clip, *QUICK)
    code, _, err = mgclip(*words)
    assert code == 2
    assert "The class 'broken' has no image" in err
    (photos / "march" / "broken" / "a.png").write_bytes(b"no image")
    code, _, err = mgclip(*words)
    assert code == 2
    assert "broken/a.png cannot be read" in err
    assert not shop.exists()
    (photos / "march" / "broken" / "a.png").unlink()
    (photos / "march" / "broken").rmdir()
    assert mgclip(*words)[0] == 0
    before = (shop / "mgclip.json").read_bytes()
    code, _, err = mgclip("learn", photos / "march", "--model", shop)
    assert code == 2
    assert "was learned before" in err
    code, _, err = mgclip("learn", photos / "april", "--model", shop, "micro_batch_size=1", "--dry-run")
    assert code == 0
    code, _, err = mgclip("learn", photos / "april", "--model", shop, "epochs=2")
    assert code == 2
    assert "keeps its settings" in err
    assert (shop / "mgclip.json").read_bytes() == before
    code, _, err = mgclip("predict", shop, photos / "none.png")
    assert code == 2
    assert "There is no image file" in err
    for change, sentence in (
        ("clip=iconclip", "there is no key clip"),
        ("epoch=2", "there is no key epoch: did you mean epochs"),
    ):
        code, _, err = mgclip("learn", photos / "april", "--model", photos / "new", "--base", tiny_clip, change)
        assert code == 2
        assert sentence in err
        assert not (photos / "new").exists()
    (photos / "file").write_text("")
    code, _, err = mgclip("learn", photos / "april", "--model", photos / "file" / "shop", "--base", tiny_clip)
    assert code == 2
    assert "cannot be written" in err
    code, _, err = mgclip("learn", photos / "april", "--model", photos / "april")
    assert code == 2
    assert "exists and is not a saved model" in err


def test_texts_that_clip_cuts_to_the_same_tokens_are_reported(icons, tiny_clip, tmp_path, mgclip):
    from icon_tasks import month_folders

    month_folders(icons, tmp_path, {"march": range(3)}, 2)
    names = [str(name) for name in icons["class_names"][:3]]
    long = "a very " * 30
    texts = {names[0]: f"{long}red one", names[1]: f"{long}blue one", names[2]: "another"}
    (tmp_path / "names.csv").write_text("folder,name,text\n" + "".join(f"{n},{n},{text}\n" for n, text in texts.items()))
    words = (
        "learn",
        tmp_path / "march",
        "--model",
        tmp_path / "m",
        "--base",
        tiny_clip,
        "--names",
        tmp_path / "names.csv",
        "--dry-run",
    )
    for command in (words, (*words[:-1], "epochs=0")):
        code, _, err = mgclip(*command)
        assert code == 0
        assert err.count("are the same to this CLIP") == 1
        assert "red one" in err and "blue one" in err and "another" not in err.replace("another text", "")
        assert "Warning" not in err and ".py" not in err
    ask = ("predict", tmp_path / "m", tmp_path / "march", "--quiet", "--candidates", f"the {long}green one,a zebra")
    code, _, err = mgclip(*ask)
    assert (code, err.count("are the same to this CLIP")) == (0, 1)
    assert "red one" in err and "green one" in err and "zebra" not in err


def test_a_checkpoint_of_openclip_is_given_with_its_architecture(mgclip, photos):
    learn = ("learn", photos / "march", "--model", photos / "shop")
    code, _, err = mgclip(*learn, "--base", photos / "none.pt", "--arch", "ViT-B16")
    assert code == 2 and "OpenCLIP's ViT-B16 is not supported: did you mean ViT-B-16?" in err
    code, _, err = mgclip(*learn, "--base", photos / "none.pt", "--arch", "ViT-B-16")
    assert code == 2 and f"There is no CLIP file {photos / 'none.pt'}." in err
    code, _, err = mgclip(*learn, "--arch", "ViT-B-16")
    assert code == 2 and "--arch names the configuration of a checkpoint: give the checkpoint too." in err
    code, _, err = mgclip("gap", photos / "none.pt", photos / "march", "--arch", "ViT-B-16", "--out", photos / "gap")
    assert code == 2 and f"There is no CLIP file {photos / 'none.pt'}." in err
    assert not (photos / "shop").exists()


def test_a_command_that_was_stopped_says_what_is_left(mgclip, tiny_clip, photos, monkeypatch):
    from contextlib import contextmanager

    from mgclip.app import signals

    @contextmanager
    def already_stopped():
        yield lambda: True

    shop, words = photos / "shop", ("--base", tiny_clip, "--hold-out", 0)
    with monkeypatch.context() as stopping:
        stopping.setattr(signals, "stop_on_signal", already_stopped)
        code, out, err = mgclip("learn", photos / "march", "--model", shop, *words, "features=16")
        assert (code, err) == (1, "Stopped; nothing was saved. Run the same command again.\n")
        assert "learned" not in out
    assert mgclip("learn", photos / "march", "--model", shop, *words, "features=16")[0] == 0
    with monkeypatch.context() as stopping:
        stopping.setattr(signals, "stop_on_signal", already_stopped)
        err = mgclip("learn", photos / "april", "--model", shop)[2]
        assert err == f"Stopped; {shop} is unchanged. Run the same command again.\n"
        err = mgclip("learn", photos / "april", "--model", photos / "other", *words, *QUICK)[2]
        assert err == "Stopped; nothing was saved. Run the same command again to resume from the last checkpoint.\n"


def test_a_model_that_is_moved_while_it_learns_gets_no_version_elsewhere(mgclip, tiny_clip, photos, monkeypatch):
    from mgclip import MGCLIP

    shop, learn = photos / "shop", MGCLIP.learn
    assert mgclip("learn", photos / "march", "--model", shop, "--base", tiny_clip, "--hold-out", 0, "features=16")[0] == 0

    def move_and_learn(self, *given, **more):
        shop.rename(photos / "moved")
        return learn(self, *given, **more)

    with monkeypatch.context() as moving:
        moving.setattr(MGCLIP, "learn", move_and_learn)
        code, _, err = mgclip("learn", photos / "april", "--model", shop, "--hold-out", 0, "--quiet")
    assert code == 1 and f"{shop} was moved, removed or replaced during the command, which has saved no version" in err
    assert not (shop / "mgclip.json").exists()


def test_a_prompt_that_is_given_several_times_is_averaged(mgclip, tiny_clip, photos):
    from mgclip import MGCLIP

    prompts = ("--prompt", "a photo of a {}.", "--prompt", "an icon of a {}.")
    learn = ("learn", photos / "march", "--model", photos / "shop", "--base", tiny_clip, "--method", "zero-shot", *prompts)
    code, _, err = mgclip(*learn, "--quiet")
    assert code == 0, err
    assert MGCLIP.from_pretrained(photos / "shop").settings.templates == ["a photo of a {}.", "an icon of a {}."]
    code, _, err = mgclip("learn", photos / "march", "--model", photos / "other", "--base", tiny_clip, *prompts, *prompts[:2])
    assert code == 2 and "prompt must be one text, or a list of different ones" in err
