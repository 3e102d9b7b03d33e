"""The command line as a user meets it."""

import json
import shlex
import subprocess
import sys
import time

import pytest
from conftest import month_folders


@pytest.fixture
def photos(icons, tmp_path):
    """Six classes of four drawings: A to C one month, D to F the next, as folders."""
    month_folders(icons, tmp_path, {"march": [0, 1, 2], "april": [3, 4, 5]}, 4)
    return tmp_path


QUICK = ("epochs=1", "adapter_batch_size=8", "head_batch_size=8")


def test_help_is_instant():
    times = []
    for _ in range(5):
        begun = time.perf_counter()
        done = subprocess.run([sys.executable, "-m", "mgclip", "--help"], capture_output=True, text=True, check=True)
        times.append(time.perf_counter() - begun)
    assert all(
        word in done.stdout
        for word in ("run", "reproduce", "learn", "predict", "gap", "data", "bench", "conform", "recipes")
    )
    assert min(times) < 0.5
    code = "import mgclip.app.main, sys; print(sorted({'torch', 'transformers', 'peft', 'datasets', 'matplotlib'} & set(sys.modules)))"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


def test_the_command_to_go_on_names_what_was_given(mgclip, icons, tiny_clip, tmp_path, monkeypatch):
    from conftest import month_folders

    month_folders(icons, tmp_path / "a", {"train": (0, 1), "test": (0, 1)}, 3)
    words = (
        "run",
        "folder",
        f"clip={tiny_clip}",
        "classes_per_task=1",
        "epochs=1",
        "methods=mg-clip",
        "--out",
        tmp_path / "run",
    )

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("mgclip.experiment.runner.run", interrupted)
        assert mgclip(*words, f"data_path={tmp_path / 'a'}")[0] == 1
        (tmp_path / "a").rename(tmp_path / "b c")
        code, _, said = mgclip("run", "--resume", tmp_path / "run", f"data_path={tmp_path / 'b c'}")
        assert code == 1
    again = shlex.split(said.partition("go on with")[2])
    assert again[:2] == ["mgclip", "run"]
    assert mgclip(*again[1:])[0] == 0


def test_run_prints_table_and_json(mgclip, tiny_clip, tmp_path):
    words = (
        "run",
        "icons100",
        f"clip={tiny_clip}",
        "tasks=2",
        "train_per_class=2",
        "test_per_class=2",
        "epochs=1",
        "methods=zero-shot,mg-clip",
    )
    code, out, err = mgclip(*words, "--out", tmp_path / "run")
    assert code == 0
    assert "zero-shot" in out
    assert "mg-clip" in out
    assert "Last %" in out
    assert "task  2/2" in err
    assert (tmp_path / "run" / "accuracy.svg").read_text().startswith("<?xml")
    code, out, err = mgclip(*words, "--out", tmp_path / "again", "--json", "--quiet")
    assert (code, err) == (0, "")
    first = json.loads((tmp_path / "run" / "summary.json").read_text())
    for method, summary in json.loads(out)["methods"].items():
        assert summary["accuracy_after"] == first[method]["accuracy_after"]
    code, _, err = mgclip(*words, "--out", tmp_path / "run")
    assert code == 2
    assert err.startswith("mgclip: ")
    assert "is already used" in err
    code, out, _ = mgclip("run", "--resume", tmp_path / "run", "--json", "--quiet")
    assert code == 0
    assert json.loads(out)["methods"] == first
    code, out, _ = mgclip("run", "icons100", "epochs=1", "--resume", tmp_path / "run", "--json", "--quiet")
    assert code == 0
    assert json.loads(out)["methods"] == first
    for words, sentence in (
        (("cifar100",), "is a run of icons100, not of cifar100"),
        (("epochs=2",), "was started with epochs = 1, not 2"),
    ):
        code, _, err = mgclip("run", *words, "--resume", tmp_path / "run")
        assert code == 2
        assert sentence in err


def test_an_interrupt_says_how_to_go_on(mgclip, tiny_clip, tmp_path, monkeypatch):
    from mgclip.app.display import RunDisplay

    def stop(self, *args):
        raise KeyboardInterrupt

    monkeypatch.setattr(RunDisplay, "on_task", stop)
    words = (
        "run",
        "icons100",
        f"clip={tiny_clip}",
        "tasks=2",
        "train_per_class=2",
        "test_per_class=2",
        "epochs=1",
        "methods=mg-clip",
    )
    code, _, err = mgclip(*words, "--out", tmp_path / "run")
    assert code == 1
    assert "go on with" in err
    assert "--resume" in err
    monkeypatch.undo()


def test_learn_then_predict(mgclip, tiny_clip, photos):
    shop = photos / "shop"
    code, out, _ = mgclip("learn", photos / "march", "--model", shop, "--base", tiny_clip, *QUICK, "--json", "--quiet")
    assert code == 0
    assert json.loads(out)["classes_in_all"] == 3
    code, out, _ = mgclip("learn", photos / "april", "--model", shop)
    assert code == 0
    assert "shop knows 6" in out
    images = sorted((photos / "march").rglob("*.png"))
    code, out, _ = mgclip("predict", shop, photos / "march", "--json", "--top", 2)
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [row["image"] for row in rows] == [str(image) for image in images]
    from mgclip import MGCLIP

    expected = MGCLIP.from_pretrained(shop).predict(images)
    assert [row["class"] for row in rows] == expected.names
    assert [row["probability"] for row in rows] == pytest.approx(expected.probabilities.max(1).tolist())
    assert all(len(row["top"]) == 2 for row in rows)
    code, out, _ = mgclip("predict", shop, images[0])
    assert code == 0
    assert out.startswith(f"{images[0]}\t{expected.names[0]} ")


def test_learn_measures_where_a_test_folder_is(mgclip, tiny_clip, photos):
    (photos / "data").mkdir()
    (photos / "march").rename(photos / "data" / "train")
    (photos / "april").rename(photos / "data" / "test")
    for entry, name in zip(
        sorted((photos / "data" / "test").iterdir()), ("alarm", "align left", "align right"), strict=True
    ):
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
    assert not (photos / "shop" / "mgclip.json").exists()
    (photos / "data" / "test" / "alarm" / "cut.png").unlink()
    assert mgclip(*words)[0] == 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["run", "icon100"], "There is no recipe icon100: did you mean icons100?"),
        (
            ["run", "icons100", "methods=mg-clip-replay", "adapter_loss=align"],
            "leave mg-clip-replay out of methods",
        ),
        (
            ["gap", "iconclip", "icons100", "balanced=true"],
            "In the settings: balanced fine-tuning needs a memory: set memory",
        ),
        (["run", "icons100", "epoch=1"], "there is no key epoch: did you mean epochs"),
        (["run", "icons100", "cifar100"], "One recipe at a time; found icons100 and cifar100."),
        (["run", "--out", "a", "--resume", "b"], "not both"),
        (["run", "folder"], "The data set folder needs data_path"),
        (["run", "icons100", "clip=nowhere"], "There is no CLIP at nowhere"),
        (["learn", "none", "--model", "shop"], "There is no folder none."),
        (["predict", "none", "a.png"], "There is no image file a.png."),
        (["conform", "none"], "none/trace.json of the recording cannot be read"),
    ],
)
def test_wrong_input_is_one_sentence_and_exit_2(mgclip, tmp_path, monkeypatch, words, sentence):
    monkeypatch.chdir(tmp_path)
    code, out, err = mgclip(*words)
    assert code == 2
    assert out == ""
    assert sentence in err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_what_learn_refuses_leaves_no_model(mgclip, tiny_clip, photos):
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


def test_unforeseen_errors_are_one_line_and_exit_1(mgclip, monkeypatch, golden_like):
    def fail(folder):
        raise RuntimeError("out of\nluck")

    monkeypatch.setattr("mgclip.experiment.conformance.conform", fail)
    code, _, err = mgclip("conform", golden_like)
    assert code == 1
    assert err == "mgclip: unexpected RuntimeError: out of luck (run  mgclip --debug ...  for the traceback)\n"
    monkeypatch.setattr(sys, "argv", ["mgclip", "--debug", "conform", str(golden_like)])
    from mgclip.app import main as command

    with pytest.raises(RuntimeError, match="out of"):
        command.main()


@pytest.fixture
def golden_like(tmp_path):
    return tmp_path


def test_recipes(mgclip):
    code, out, _ = mgclip("recipes")
    assert code == 0
    assert "icons100" in out
    code, out, _ = mgclip("recipes", "--json")
    assert json.loads(out)["cifar100"]["expected_last"] == 80.57


def test_version(mgclip):
    from mgclip import __version__

    assert mgclip("--version")[1] == f"mgclip {__version__}\n"
