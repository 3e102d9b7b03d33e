"""The method of a new model: the default, every other one, and settings that a method does not use."""

import pytest
from layouts import class_folders

from mgclip import MGCLIP, Settings
from mgclip.errors import InputError
from mgclip.method.methods import METHODS, settings_of_new_model

RUNS_ON_STREAMS_ONLY = {"acil", "ranpac", "rapf", "joint"}


@pytest.mark.parametrize("method", sorted(METHODS.keys() - RUNS_ON_STREAMS_ONLY))
def test_every_method_of_settings_learns_predicts_and_evaluates(mgclip, tiny_clip, tmp_path, method):
    folder = class_folders(tmp_path / "data", cat=2, dog=2)
    small = ["max_epochs=1", "head_epochs=0"] if METHODS[method].changes.get("compensation") is None else ["features=16"]
    words = ("--base", tiny_clip, "--method", method, "--hold-out", 0, "--quiet", *small)
    code, _, err = mgclip("learn", folder, "--model", tmp_path / "m", *words)
    assert (code, err) == (0, "")
    settings = MGCLIP.from_pretrained(tmp_path / "m").settings
    for key, value in METHODS[method].changes.items():
        assert getattr(settings, key) == (0 if key == "head_epochs" else value)
    assert (settings.memory > 0) == METHODS[method].replays
    assert mgclip("predict", tmp_path / "m", folder)[0] == 0
    assert mgclip("evaluate", tmp_path / "m", folder)[0] == 0


@pytest.mark.parametrize("method", sorted(RUNS_ON_STREAMS_ONLY))
def test_methods_that_run_on_streams_only_say_why(mgclip, tiny_clip, tmp_path, method):
    folder = class_folders(tmp_path / "data", cat=2, dog=2)
    code, out, err = mgclip("learn", folder, "--model", tmp_path / "m", "--base", tiny_clip, "--method", method)
    assert (code, out) == (2, "")
    assert method in err and ": choose" in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "m").exists()


def test_the_default_is_analytic_and_given_settings_win():
    assert Settings(**settings_of_new_model("", {})).compensation == "analytic"
    assert Settings(**settings_of_new_model("", {"adapt": "first"})).adapt == "first"
    with pytest.raises(InputError, match="no method 'mgclip': did you mean mg-clip"):
        settings_of_new_model("mgclip", {})


def test_settings_without_effect_are_reported(mgclip, tiny_clip, tmp_path):
    folder = class_folders(tmp_path / "data", cat=2, dog=2)
    words = ("learn", folder, "--model", tmp_path / "m", "--base", tiny_clip, "--dry-run")
    unused = "settings without effect, because mg-clip-analytic does not use them: epochs, head_lr"
    assert unused in mgclip(*words, "epochs=1", "head_lr=0.1")[1]
    assert "without effect" not in mgclip(*words, "epochs=0", "features=64", "kernel=relu")[1]
    assert "does not use them: bank_per_class" in mgclip(*words, "bank_per_class=4")[1]
    relu = mgclip(*words, "gamma=0.5", "--method", "mg-clip-analytic-relu")[1]
    assert "because mg-clip-analytic-relu does not use them: gamma" in relu
    for method in ("adapt", "auto"):
        assert "without effect" not in mgclip(*words, "bank_per_class=4", "--method", f"mg-clip-analytic-{method}")[1]
    code, out, _ = mgclip(*words, "features=64", "--method", "mg-clip")
    assert code == 0
    assert "because mg-clip does not use them: features" in out


def test_a_saved_model_keeps_its_method(mgclip, tiny_clip, tmp_path):
    folder = class_folders(tmp_path / "data", cat=2, dog=2)
    mgclip("learn", folder, "--model", tmp_path / "m", "--base", tiny_clip, "features=16", "--quiet")
    more = class_folders(tmp_path / "more", fox=2)
    code, _, err = mgclip("learn", more, "--model", tmp_path / "m", "--method", "mg-clip")
    assert code == 2
    assert "keeps its settings: leave --method out" in err
