"""Faults of the machine: a read-only disk, a killed worker, too little memory, a clock that is set back."""

import json
import signal
import subprocess
import sys
import time
from datetime import datetime, timezone

import numpy as np
import psutil
import pytest
from full_disk import files, may_mount, operations, prepare, small_disk

from mgclip import MGCLIP, Settings, history, undo
from mgclip.saving import store


@pytest.mark.skipif(not may_mount(), reason="a small file system cannot be mounted here")
def test_on_a_read_only_disk_writing_fails_with_a_message_and_reading_works(tiny_clip, tmp_path, mgclip):
    with small_disk(tmp_path / "disk") as limits:
        disk = tmp_path / "disk"
        prepare(disk, tiny_clip)
        before = files(disk)
        limits("ro")
        for operation in operations(tiny_clip):
            code, _, message = mgclip(*operation.words(disk))
            assert code == 2, f"{operation.name}: {message}"
            assert message.count("\n") == 1 and "cannot be written" in message, f"{operation.name}: {message}"
        assert mgclip("predict", disk / "shop", disk / "march", "--quiet")[0] == 0
        assert mgclip("history", disk / "shop")[0] == 0
        assert mgclip("evaluate", disk / "shop", disk / "march")[0] == 0
        assert files(disk) == before


def test_a_clock_that_is_set_back_changes_no_order(tiny_clip, tmp_path, monkeypatch):
    years = iter((2030, 2020, 1971))

    class Clock(datetime):
        @classmethod
        def now(cls, zone=None):
            return datetime(next(years), 1, 1, tzinfo=timezone.utc)

    monkeypatch.setattr(store, "datetime", Clock)
    model = MGCLIP.from_pretrained(tiny_clip, settings=Settings(epochs=0, head_epochs=0))
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    for number in range(3):
        model.learn(images, [0, 0], [f"class {number}"])
        model.save_pretrained(tmp_path / "shop", note={"what": str(number)})
    assert [(v.number, v.time[:4], v.active) for v in history(tmp_path / "shop")] == [
        (1, "2030", False), (2, "2020", False), (3, "1971", True),
    ]  # fmt: skip
    assert undo(tmp_path / "shop").number == 2
    assert len(MGCLIP.from_pretrained(tmp_path / "shop").class_names) == 2


@pytest.mark.slow
def test_a_killed_worker_ends_the_run_and_the_run_can_be_resumed(tiny_clip, tmp_path):
    words = (
        "run", "icons100", "tasks=3", "classes_per_task=3", "train_per_class=40", "test_per_class=3", "adapter_batch_size=8", "epochs=4",
        f"clip={tiny_clip}", "--quiet", "--checkpoint-every", "2",
    )  # fmt: skip
    python = [sys.executable, "-m"]
    subprocess.run([*python, "mgclip", *words, "--out", str(tmp_path / "uninterrupted")], check=True, timeout=300)
    launch = [*python, "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "mgclip"]
    run = subprocess.Popen([*launch, *words, "--out", str(tmp_path / "run")], stderr=subprocess.PIPE)
    for _ in range(1200):
        if list((tmp_path / "run").glob("*/progress-*")):
            break
        assert run.poll() is None
        time.sleep(0.05)
    worker = max(psutil.Process(run.pid).children(), key=lambda child: child.pid)
    worker.send_signal(signal.SIGKILL)
    run.communicate(timeout=120)  # no worker waits for the dead one forever
    assert run.returncode != 0
    subprocess.run([*python, "mgclip", "run", "--resume", str(tmp_path / "run"), "--quiet"], check=True, timeout=300)
    first, second = (
        [json.loads(line)["accuracy_per_task"] for line in (tmp_path / name / "mg-clip" / "records.jsonl").open()]
        for name in ("uninterrupted", "run")
    )
    assert len(first) == len(second) == 3
    np.testing.assert_allclose(np.concatenate(first), np.concatenate(second), atol=0.12)
