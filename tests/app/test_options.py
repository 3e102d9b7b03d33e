"""Options that several commands share: the device, and pipes that close."""

import os

import forked
import pytest
from icon_tasks import task
from layouts import class_folders

from mgclip import MGCLIP
from mgclip.clip.parallel import DEVICE
from mgclip.errors import InputError


@pytest.fixture
def place(tmp_path, tiny_clip, icons):
    model = MGCLIP.from_pretrained(tiny_clip, settings={"epochs": 0, "head_epochs": 0})
    model.learn(*task(icons, [0, 1]))
    model.save_pretrained(tmp_path / "shop", note={"what": "learned"})
    class_folders(tmp_path / "photos", cat=3)
    return tmp_path


@pytest.fixture
def environment(monkeypatch):
    monkeypatch.setenv(DEVICE, "")
    return os.environ


def test_the_device_is_an_option_of_every_command_that_loads_a_clip(mgclip, place, environment):
    for command in (
        "learn",
        "predict",
        "evaluate",
        "correct",
        "merge",
        "set",
        "relabel",
        "forget",
        "export",
        "studio",
        "gap",
        "run",
    ):
        assert "--device" in mgclip(command, "--help")[1], command
    assert mgclip("predict", place / "shop", place / "photos", "--device", "cpu")[0] == 0
    assert environment[DEVICE] == "cpu"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ("set", "shop", "unknown_below=0.1", "unknown_below=0.2"),
            "The setting unknown_below is given more than once: give it once.",
        ),
        (("learn", "photos", "--model", "new", "seed=1", "seed = 2"), "The setting seed is given more than once: give it once."),
        (("run", "icons100", "seed=1", "seed=1"), "The setting seed is given more than once: give it once."),
        (("learn", "photos", "--model", "new", "--prompt", "a {}", "prompt=b {}"), "--prompt sets the prompt: use it instead of"),
        (("learn", "photos", "--model", "new", "--test", "photos", "--hold-out", 0.5), "and photos has some: leave it out."),
        (("gap", "iconclip", "photos", "--epochs", 2), "--epochs applies to --track only: add --track, or leave --epochs out."),
        (("gap", "iconclip", "photos", "--points", 2), "--points applies to --track only: add --track, or leave --points out."),
        (
            ("evaluate", "shop", "--names", "a=b"),
            "--names applies to the images of a folder only: give a folder, or leave --names out.",
        ),
        (("evaluate", "shop", "--known-only"), "--known-only applies to the images of a folder only"),
        (("evaluate", "shop", "--on-bad-image", "skip"), "--on-bad-image skip applies to the images of a folder only"),
        (("bench", "--estimate", "--rounds", 3), "--rounds applies to a measurement only: leave --rounds or --estimate out."),
        (("bench", "--estimate", "--memory"), "--memory applies to a measurement only"),
        (("bench", "--estimate", "--images", 3), "--images applies to a measurement only"),
    ],
)
def test_an_option_without_effect_and_a_repeated_setting_are_refused(mgclip, place, monkeypatch, words, sentence):
    monkeypatch.chdir(place)
    before = sorted(place.rglob("*"))
    code, out, err = mgclip(*words)
    assert (code, out, sentence in err) == (2, "", True), err
    assert sorted(place.rglob("*")) == before


@pytest.mark.parametrize("device", ["cuda:99", "mps", "gpu"])
def test_a_device_that_this_machine_lacks_is_refused(mgclip, place, environment, device):
    code, _, err = mgclip("predict", place / "shop", place / "photos", "--device", device)
    assert code == 2
    assert err.startswith(f"mgclip: The device '{device}' cannot be used on this machine: choose from cpu")
    with pytest.raises(InputError, match="cannot be used on this machine"):
        MGCLIP.from_pretrained(place / "shop", device=device)


@pytest.mark.parametrize(
    "words",
    [
        ("history", "shop"),
        ("predict", "shop", "photos"),
        ("predict", "shop", "photos", "--json"),
        ("evaluate", "shop", "march"),
        ("recipes",),
        ("data", "list"),
        ("data", "list", "--json"),
    ],
)
def test_a_reader_that_closes_its_pipe_ends_a_command_with_success(place, words, icons):
    class_folders(place / "march", **{str(name): 2 for name in icons["class_names"][:2]})
    done = forked.mgclip(*words, cwd=place, output="broken pipe")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_reader_that_closes_its_pipe_does_not_stop_learning(place, tiny_clip):
    words = ("learn", "photos", "--model", "new", "--base", str(tiny_clip), "features=16")
    done = forked.mgclip(*words, cwd=place, output="broken pipe")
    assert (done.returncode, done.stderr) == (0, "")
    assert MGCLIP.from_pretrained(place / "new").class_names == ("cat",)


@pytest.mark.parametrize(
    "words",
    [
        ("export", "shop", "--to", "plain"),
        ("export", "shop", "--to", "onnx", "--onnx"),
        ("evaluate", "shop", "march", "--page", "p.html"),
    ],
)
def test_no_warning_of_a_library_reaches_the_terminal(place, words, icons):
    if "--onnx" in words:
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
    class_folders(place / "march", **{str(name): 2 for name in icons["class_names"][:2]})
    done = forked.mgclip(*words, cwd=place)
    assert (done.returncode, done.stderr) == (0, "")
