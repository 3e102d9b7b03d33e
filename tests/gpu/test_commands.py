"""The commands with --device: the GPU does the work and gives nearly the answers of the CPU."""

import json

import pytest
import torch
from icon_tasks import month_folders
from on_device import working

MODELS = {"solved": ("features=64",), "trained": ("--method", "mg-clip", "epochs=1", "head_epochs=1")}


@pytest.fixture
def place(icons, tmp_path, monkeypatch):
    month_folders(icons, tmp_path, {"march": (0, 1, 2), "april": (3, 4)}, 8)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def call(mgclip, monkeypatch):
    """Run a command on a device, and check that this device did the work; returns standard output."""

    def run(where, *words):
        monkeypatch.setenv("MGCLIP_DEVICE", "cpu")  # --device replaces it, and this restores it
        with working(where):
            code, out, err = mgclip(*words, "--device", where)
        assert (code, err) == (0, "")
        return out

    return run


@pytest.mark.parametrize("kind", MODELS)
def test_learn_predict_and_evaluate(kind, call, place, tiny_clip, device):
    answers, accuracy = {}, {}
    for name, where in (("cpu", torch.device("cpu")), ("gpu", device)):
        for month in ("march", "april"):
            new = ("--base", tiny_clip, "seed=1", *MODELS[kind]) if month == "march" else ()
            call(where, "learn", month, "--model", name, "--quiet", *new)
        lines = call(where, "predict", name, "march", "april", "--json").splitlines()
        answers[name] = [json.loads(line) for line in lines]
        accuracy[name] = json.loads(call(where, "evaluate", name, "march", "--json"))["accuracy"]
    assert len(answers["cpu"]) == 40
    for ours, theirs in zip(answers["gpu"], answers["cpu"], strict=True):
        assert (ours["class"], ours["image"]) == (theirs["class"], theirs["image"])
        assert ours["confidence"] == pytest.approx(theirs["confidence"], abs=5e-3)
    assert accuracy["gpu"] == accuracy["cpu"]


def test_edits_of_a_model(call, place, tiny_clip, icons, device):
    names = [str(name) for name in icons["class_names"][:5]]
    call(device, "learn", "march", "--model", "a", "--base", tiny_clip, "--quiet", *MODELS["solved"])
    call(device, "learn", "april", "--model", "b", "--like", "a", "--quiet")
    call(device, "merge", "a", "b", "--to", "c")
    answers = place / "answers.csv"
    answers.write_text(f"image,class\nmarch/{names[0]}/0.png,{names[1]}\n")
    call(device, "correct", "c", answers)
    call(device, "relabel", "c", names[2], "another name")
    call(device, "forget", "c", names[3])
    call(device, "set", "c", "unknown_below=0.1")
    found = [json.loads(line)["class"] for line in call(device, "predict", "c", "april", "--json").splitlines()]
    assert names[3] not in found


def test_a_run_records_its_device(call, place, tiny_clip, device):
    words = ("run", "icons100", "tasks=2", "classes_per_task=2", "train_per_class=4", "test_per_class=2", "epochs=1", "retention=[]",
             "methods=mg-clip,mg-clip-analytic-auto", f"clip={tiny_clip}", "features=32", "--quiet")  # fmt: skip
    for name, where in (("first", torch.device("cpu")), ("second", device)):
        folder = place / name
        call(where, *words, "--out", folder)
        recorded = json.loads((folder / "environment.json").read_text())["device"]
        assert recorded == (torch.cuda.get_device_name() if where.type == "cuda" else "cpu")


def test_the_gap_is_measured(call, place, tiny_clip, device):
    words = ("gap", tiny_clip, "icons100", "--classes", 3, "--per-class", 2, "--json")
    ours, theirs = (json.loads(call(where, *words)) for where in (device, torch.device("cpu")))
    assert ours.keys() == theirs.keys()
    for key, value in theirs.items():
        if isinstance(value, float):
            assert ours[key] == pytest.approx(value, abs=1e-3, rel=1e-3)


def test_bench_measures_every_precision(call, device):
    words = ("bench", "--shape", "iconclip", "--rounds", 2, "--images", 4, "--tasks", 2, "--json")
    found = json.loads(call(device, *words, "--precision", "float32,bfloat16,float16"))
    assert [each["precision"] for each in found["precisions"]] == ["float32", "bfloat16", "float16"]
    for speed in found["precisions"]:
        for name in ("training", "encoding"):
            assert speed[name]["ours"] > 0 and speed[name]["plain"] > 0
            assert 0 < speed[name]["share_of_peak"] < 1.2
            assert (speed[name]["memory"] > 0) == (device.type == "cuda")
    half, full = (found["precisions"][i]["matmul_peak"] for i in (1, 0))
    assert device.type == "cpu" or half > 2 * full
