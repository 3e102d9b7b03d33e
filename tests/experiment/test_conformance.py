"""The product against recordings: those of the published code, and those the slow reference makes of other settings."""

import json
import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from reference import record
from safetensors.numpy import load_file
from typer.testing import CliRunner

from mgclip.app.main import app
from mgclip.errors import InputError
from mgclip.experiment.conformance import LIMITS, conform
from mgclip.experiment.recording import EMBEDDED

CONFIG = {
    "adapter_rank": 4,
    "adapter_alpha": 2,
    "adapter_lr": 0.002,
    "epochs": 2,
    "adapter_batch_size": 20,
    "head_lr": 0.003,
    "head_epochs": 2,
    "head_batch_size": 9,
    "eval_batch_size": 7,
    "vision_weight": 2,
    "prompt": "a photo of {}.",
    "class_order": [9, 0, 4, 2, 7, 1, 8, 3, 5, 6],
    "initial_classes": 4,
    "classes_per_task": 3,
    "shuffle": False,
}
PROBE = {"max_epochs": 4, "alpha": 0.007, "adapter_batch_size": 20, "adapter_lr": 0.002}


def test_the_recording_of_the_published_code_is_replayed(golden):
    result = conform(golden)
    assert {kind: result[kind] for kind in LIMITS if result[kind] > LIMITS[kind]} == {}
    assert result["predictions_equal"] == 1.0
    assert result["epochs"] == 3
    assert result["ok"]


@pytest.fixture(scope="module")
def recording(tiny_clip, icons, tmp_path_factory):
    folder = tmp_path_factory.mktemp("recording") / "run"
    record(tiny_clip, icons, CONFIG, folder, probe=PROBE)
    return folder


def test_the_recording_of_the_slow_reference_is_replayed(recording):
    """It starts with 4 classes, adds 3 at a time, and has another order, rank, prompt and other sizes."""
    trace = json.loads((recording / "trace.json").read_text())
    assert [len(task["classes"]) for task in trace["tasks"]] == [4, 3, 3]
    result = conform(recording)
    assert {kind: result[kind] for kind in LIMITS if result[kind] > LIMITS[kind]} == {}
    assert result["predictions_equal"] == 1.0
    assert result["epochs"] == json.loads((recording / "probe.json").read_text())["chosen_epochs"]
    assert result["ok"]


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("adapter_loss", lambda trace: trace["tasks"][1]["adapter_losses"].__setitem__(3, 9.0)),
        ("head_loss", lambda trace: trace["tasks"][2]["head_losses"].pop()),
        ("gap", lambda trace: trace["tasks"][2].__setitem__("zero_shot_negative_logit", float("nan"))),
        ("predictions_equal", lambda trace: trace["tasks"][0]["predictions"].reverse()),
        ("final_adapter", lambda trace: trace["config"].__setitem__("adapter_lr", 0.001)),
    ],
)
def test_a_deviation_fails_the_command(recording, tmp_path, kind, change):
    changed = tmp_path / "changed"
    changed.mkdir()
    for file in recording.iterdir():
        (changed / file.name).symlink_to(file)
    trace = json.loads((recording / "trace.json").read_text())
    change(trace)
    (changed / "trace.json").unlink()
    (changed / "trace.json").write_text(json.dumps(trace))
    (changed / "probe.json").unlink()
    result = CliRunner().invoke(app, ["conform", str(changed), "--json"])
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert not found["ok"]
    assert found[kind] < 1 if kind == "predictions_equal" else found[kind] > LIMITS[kind]


def test_a_folder_that_is_not_a_recording_is_rejected(tmp_path):
    with pytest.raises(InputError, match=r"trace\.json of the recording cannot be read"):
        conform(tmp_path)
    (tmp_path / "trace.json").write_text('{"config": {}, "tasks": []}')
    with pytest.raises(InputError, match=r"trace\.json of the recording is not valid \(config\.adapter_rank is missing"):
        conform(tmp_path)


@pytest.mark.parametrize(
    ("file", "content", "sentence"),
    [
        ("photos.npz", b"PK\x03\x04 cut", r"photos\.npz of the recording cannot be read"),
        ("final.safetensors", None, r"final\.safetensors of the recording cannot be read"),
        ("probe.json", b"{}", r"probe\.json of the recording is not valid \(config is missing"),
        ("adapter_init.safetensors", None, r"There is no adapter file .*adapter_init\.safetensors"),
        ("clip-mini", None, r"There is no CLIP at .*clip-mini"),
    ],
)
def test_a_damaged_recording_is_refused_before_it_is_replayed(recording, tmp_path, file, content, sentence):
    for part in recording.iterdir():
        if part.name != file:
            (tmp_path / part.name).symlink_to(part)
    if content is not None:
        (tmp_path / file).write_bytes(content)
    with pytest.raises(InputError, match=sentence):
        conform(tmp_path)


def test_a_recording_must_fit_its_own_settings(recording, tmp_path):
    for part in recording.iterdir():
        if part.name != "trace.json":
            (tmp_path / part.name).symlink_to(part)
    trace = json.loads((recording / "trace.json").read_text())
    trace["tasks"].pop()
    (tmp_path / "trace.json").write_text(json.dumps(trace))
    with pytest.raises(InputError, match="records 2 tasks; its settings make 3"):
        conform(tmp_path)


def test_without_an_argument_the_recording_in_the_package_is_replayed(mgclip):
    code, out, _ = mgclip("conform", "--json")
    result = json.loads(out)
    assert code == 0
    assert result["ok"]
    assert result["predictions_equal"] == 1.0
    assert all(0 < result[kind] <= limit for kind, limit in LIMITS.items())
    assert result["epochs"] == json.loads((EMBEDDED / "probe.json").read_text())["chosen_epochs"] == 2
    assert sum(file.stat().st_size for file in EMBEDDED.iterdir()) < 1_000_000


def test_a_wrong_floor_of_the_learning_rate_is_found(monkeypatch):
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR
    begin = schedule.__init__
    monkeypatch.setattr(schedule, "__init__", lambda *given, **named: begin(*given, **{**named, "eta_min": 0.0}))
    result = conform(EMBEDDED)
    assert not result["ok"]
    assert result["adapter_loss"] > 10 * LIMITS["adapter_loss"]


@pytest.mark.parametrize(
    ("setting", "value", "kind"),
    [
        ("vision_weight", 0, "predictions_equal"),
        ("prompt", "a good photo of the {}.", "gap"),
        ("head_batch_size", 8, "head_loss"),
        ("adapter_alpha", 2, "final_adapter"),
    ],
)
def test_the_recording_in_the_package_finds_a_changed_setting(tmp_path, setting, value, kind):
    changed = shutil.copytree(EMBEDDED, tmp_path / "changed")
    trace = json.loads((changed / "trace.json").read_text())
    trace["config"][setting] = value
    (changed / "trace.json").write_text(json.dumps(trace))
    (changed / "probe.json").unlink()
    result = conform(changed)
    assert not result["ok"]
    assert result[kind] < 1 if kind == "predictions_equal" else result[kind] > LIMITS[kind]


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "record_conformance.py"))


def test_the_script_draws_the_images_of_the_recording_in_the_package(script):
    with np.load(EMBEDDED / "photos.npz") as photos:
        drawn = script["draw"]()
        assert drawn.keys() == set(photos.files)
        for name in ("class_names", "y_train", "y_test"):
            assert drawn[name].tolist() == photos[name].tolist()
        for name in ("x_train", "x_test"):
            apart = np.abs(drawn[name].astype(int) - photos[name])
            assert apart.mean() < 1, "another FreeType may draw an edge a little differently, not more"


def test_the_script_records_the_numbers_of_the_recording_in_the_package(script, tmp_path):
    """Rounding differs between processors, so nothing is compared more closely than in a replay."""
    with np.load(EMBEDDED / "photos.npz") as photos:
        record(script["ICONCLIP"], dict(photos), script["CONFIG"], tmp_path, script["PROBE"], script["STILL"])
    assert {file.name for file in tmp_path.iterdir()} == {file.name for file in EMBEDDED.iterdir()}
    again, kept = (json.loads((folder / "trace.json").read_text()) for folder in (tmp_path, EMBEDDED))
    assert again["config"] == kept["config"]
    for ours, theirs in zip(again["tasks"], kept["tasks"], strict=True):
        assert ours["predictions"] == theirs["predictions"]
        for key, limit in (("adapter_losses", LIMITS["adapter_loss"]), ("head_losses", LIMITS["head_loss"])):
            assert ours[key] == pytest.approx(theirs[key], abs=limit, rel=0)
    for name, limit in (("adapter_init", 0), ("final", LIMITS["final_adapter"])):
        ours, theirs = (load_file(folder / f"{name}.safetensors") for folder in (tmp_path, EMBEDDED))
        assert ours.keys() == theirs.keys()
        assert max(np.abs(ours[matrix] - theirs[matrix]).max() for matrix in ours) <= limit
    again, kept = (json.loads((folder / "probe.json").read_text()) for folder in (tmp_path, EMBEDDED))
    assert again["config"] == kept["config"]
    assert again["chosen_epochs"] == kept["chosen_epochs"]
    assert again["losses"] == pytest.approx(kept["losses"], abs=LIMITS["adapter_loss"], rel=0)


def test_a_recording_names_no_other_clip(tmp_path):
    changed = shutil.copytree(EMBEDDED, tmp_path / "changed")
    trace = json.loads((changed / "trace.json").read_text())
    trace["config"]["clip"] = "somebody/else"
    (changed / "trace.json").write_text(json.dumps(trace))
    with pytest.raises(InputError, match=r"not valid \(config\.clip must be 'clip-mini' or 'iconclip'; found"):
        conform(changed)
