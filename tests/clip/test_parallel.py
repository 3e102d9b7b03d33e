"""One process and two give the same run; a run started by one process is finished by two."""

import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mgclip.clip import parallel

WORDS = (
    "run", "icons100", "tasks=3", "classes_per_task=3", "train_per_class=7", "test_per_class=5", "adapter_batch_size=8", "epochs=auto",
    "max_epochs=2", "head_batch_size=8", "methods=mg-clip,rapf,mg-clip-replay", "retention=icons-concepts", "--json", "--quiet",
)  # fmt: skip


def launch(processes, *words):
    """Run the command in N processes and return what it printed."""
    start = [sys.executable, "-m"]
    if processes > 1:
        start += ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m"]
    done = subprocess.run([*start, "mgclip", *map(str, words)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def records(folder, method):
    lines = (folder / method / "records.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def weights(folder, method):
    from safetensors.numpy import load_file

    return {
        f"{file.name}/{name}": value
        for file in sorted((folder / method / "model").rglob("*.safetensors"))
        for name, value in load_file(file).items()
    }


@pytest.mark.slow
def test_two_processes_give_the_run_of_one(tiny_clip, tmp_path):
    for count in (1, 2):
        launch(count, *WORDS, f"clip={tiny_clip}", "--out", tmp_path / str(count))
    for method in ("mg-clip", "rapf", "mg-clip-replay"):
        one, two = (records(tmp_path / str(count), method) for count in (1, 2))
        assert [r["task"] for r in two] == [0, 1, 2]  # one writer
        for a, b in zip(one, two, strict=True):
            assert a["accuracy_per_task"] == b["accuracy_per_task"]
            assert a["epochs"] == b["epochs"]
            assert b["gap"]["negative"] == pytest.approx(a["gap"]["negative"], abs=1e-3)
        ours, theirs = (weights(tmp_path / str(count), method) for count in (1, 2))
        assert ours.keys() == theirs.keys()
        for name, value in ours.items():
            if not name.endswith("pixels"):
                np.testing.assert_allclose(value, theirs[name], atol=3e-4, rtol=1e-2, err_msg=name)
    summary = json.loads((tmp_path / "2" / "summary.json").read_text())
    assert summary["mg-clip"]["retention"] == json.loads((tmp_path / "1" / "summary.json").read_text())["mg-clip"]["retention"]


@pytest.mark.slow
def test_a_run_resumes_with_another_number_of_processes(tiny_clip, tmp_path):
    words = (*WORDS, f"clip={tiny_clip}")
    launch(1, *words, "--out", tmp_path / "complete")
    launch(1, *words, "--out", tmp_path / "part")
    lines = (tmp_path / "part" / "mg-clip" / "records.jsonl").read_text().splitlines()
    # As if stopped while the second method ran: its folder and the summary are not there yet.
    import shutil

    for place in ("rapf", "mg-clip-replay"):
        shutil.rmtree(tmp_path / "part" / place)
    (tmp_path / "part" / "summary.json").unlink()
    launch(2, "run", "--resume", tmp_path / "part", "--json", "--quiet")
    assert (tmp_path / "part" / "mg-clip" / "records.jsonl").read_text().splitlines() == lines
    for method in ("mg-clip", "rapf", "mg-clip-replay"):
        found = [r["accuracy_per_task"] for r in records(tmp_path / "part", method)]
        assert found == [r["accuracy_per_task"] for r in records(tmp_path / "complete", method)]


LEAVING = """
import atexit, sys, torch
from pathlib import Path
atexit.register(lambda: Path(sys.argv[1], str(rank)).write_text(str(torch.distributed.is_initialized())))  # the last of all
from mgclip.clip import parallel
rank, _ = parallel.rank_and_world_size()
parallel.gather_items([rank])
"""


def test_processes_disconnect_before_python_ends(tmp_path):
    """Otherwise a thread of gloo that holds a tensor ends its process with SIGABRT, most often if both share a core."""
    (tmp_path / "program.py").write_text(LEAVING)
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run([*start, tmp_path / "program.py", tmp_path], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert [(tmp_path / rank).read_text() for rank in "01"] == ["False", "False"]


ENVIRONMENTS = (
    {"WORLD_SIZE": ""},
    {"WORLD_SIZE": "auto", "RANK": "x", "LOCAL_RANK": ""},
    {"WORLD_SIZE": "-2"},
    {"WORLD_SIZE": "2"},
    {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29511"},
    {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29512"},
)


@pytest.mark.parametrize("variables", ENVIRONMENTS)
def test_variables_that_no_launcher_set_leave_one_process_alone(mgclip, monkeypatch, tiny_clip, icons, tmp_path, variables):
    from icon_tasks import month_folders

    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    month_folders(icons, tmp_path, {"march": range(2)}, 3)
    quick = ("--base", tiny_clip, "features=16", "--quiet")
    code, _, err = mgclip("learn", tmp_path / "march", "--model", tmp_path / "shop", *quick)
    assert (code, err) == (0, "")
    code, out, err = mgclip("evaluate", tmp_path / "shop", tmp_path / "march", "--json")
    assert (code, json.loads(out)["images"], err) == (0, 6, "")
    code, out, err = mgclip("predict", tmp_path / "shop", tmp_path / "march", "--quiet")
    assert (code, len(out.splitlines()), err) == (0, 6, "")


@pytest.mark.parametrize(
    ("backend", "device", "expected"), [("gloo", "cuda:0", None), ("nccl", "cuda:0", [0]), ("gloo", "cpu", None)]
)
def test_a_process_waits_on_the_gpu_that_it_uses(monkeypatch, backend, device, expected):
    """Two processes may share a GPU, so the second of them has none with its number."""
    waited = []
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(parallel, "is_distributed", lambda: True)
    state = SimpleNamespace(device=torch.device(device), local_process_index=1)
    state.wait_for_everyone = lambda: torch.distributed.barrier(device_ids=[state.local_process_index])
    monkeypatch.setattr(parallel, "_state", lambda: state)
    monkeypatch.setattr(torch.distributed, "get_backend", lambda: backend)
    monkeypatch.setattr(torch.distributed, "barrier", lambda device_ids=None: waited.append(device_ids))
    parallel.wait()
    assert waited == [expected]


def test_processes_share_the_search_for_unreadable_images():
    from mgclip.stream.data import Split
    from mgclip.stream.unreadable import find_unreadable

    good, bad = np.zeros((4, 4, 3), np.uint8), "nothing.png"
    splits = [Split([good, bad, good, bad, bad], np.arange(5)), Split([bad], np.arange(1)), Split([], np.arange(0))]
    parts = [(0, "train", splits[0]), (0, "test", splits[1]), (1, "train", splits[2])]
    complete, seen = find_unreadable(parts), []
    shares = [find_unreadable(parts, lambda done, total: seen.append((done, total)), share=(n, 3)) for n in range(3)]
    assert [(each.part, each.position) for each in complete] == [("train", 1), ("train", 3), ("train", 4), ("test", 0)]
    assert sorted((each for own in shares for each in own), key=complete.index) == complete
    assert max(map(len, shares)) == 2  # no share has all of it
    assert sum(total for done, total in seen if done == total) == 6


@pytest.mark.slow
def test_two_processes_skip_the_same_images(tiny_clip, tmp_path, icons):
    from icon_tasks import month_folders

    month_folders(icons, tmp_path / "data", {"train": range(4), "test": range(4)}, 4)
    bad = sorted((tmp_path / "data").glob("*/*/[13].png"))[::3]
    for file in bad:
        file.write_bytes(b"none")
    words = ("run", "folder", f"data_path={tmp_path / 'data'}", f"clip={tiny_clip}", "class_order=[0, 1, 2, 3]", "classes_per_task=2",
             "epochs=1", "adapter_batch_size=4", "on_bad_image=skip", "--json", "--quiet")  # fmt: skip
    for count in (1, 2):
        launch(count, *words, "--out", tmp_path / str(count))
    one, two = (json.loads((tmp_path / str(count) / "skipped.json").read_text()) for count in (1, 2))
    assert one == two
    assert sorted(each["image"] for each in two) == [str(file) for file in bad]


def test_commands_for_one_process_refuse_several(mgclip, monkeypatch, tmp_path):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    model = tmp_path / "shop"
    for words in (
        ("learn", tmp_path, "--model", model),
        ("gap", "iconclip", "icons100"),
        ("relabel", model, "a", "b"),
        ("forget", model, "a"),
        ("correct", model, tmp_path / "answers.csv"),
        ("merge", model, model, "--to", tmp_path / "both"),
    ):
        code, _, err = mgclip(*words)
        assert code == 2
        assert f"`mgclip {words[0]}` runs in one process: start it without `torchrun` or `accelerate launch`" in err
