"""One process and two give the same run; a run begun by one is finished by two."""

import json
import subprocess
import sys

import numpy as np
import pytest

WORDS = (
    "run", "icons100", "tasks=3", "classes_per_task=3", "train_per_class=7", "test_per_class=5", "adapter_batch_size=8", "epochs=auto",
    "max_epochs=2", "head_batch_size=8", "methods=mg-clip,rapf,mg-clip-replay", "retention=icons-concepts", "--json", "--quiet",
)  # fmt: skip


def launch(processes, *words):
    """Run the command in so many processes; what it printed."""
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
def test_two_processes_make_the_run_of_one(tiny_clip, tmp_path):
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
                np.testing.assert_allclose(value, theirs[name], atol=2e-3, err_msg=name)
    summary = json.loads((tmp_path / "2" / "summary.json").read_text())
    assert (
        summary["mg-clip"]["retention"]
        == json.loads((tmp_path / "1" / "summary.json").read_text())["mg-clip"]["retention"]
    )


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_processes(tiny_clip, tmp_path):
    words = (*WORDS, f"clip={tiny_clip}")
    launch(1, *words, "--out", tmp_path / "whole")
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
        assert found == [r["accuracy_per_task"] for r in records(tmp_path / "whole", method)]


def test_losses_agree_to_rounding(tiny_clip, tmp_path):
    """The losses of every step, one process against two, with the same global batch."""
    program = (
        "import json, sys, numpy as np, torch\n"
        "from mgclip import MGCLIP, Settings\n"
        "from mgclip.clip.parallel import is_main\n"
        "from mgclip.stream import icons\n"
        f"model = MGCLIP.from_pretrained({str(tiny_clip)!r}, settings=Settings(epochs=2, adapter_batch_size=9, head_batch_size=9))\n"
        "train, test = icons.load(6, 4); losses = []\n"
        "for t in range(2):\n"
        "    own = range(18 * t, 18 * t + 18)\n"
        "    model.learn([train[i] for i in own], np.arange(3).repeat(6), icons.class_names()[3 * t : 3 * t + 3],\n"
        "                on_step=lambda s: losses.append(s.loss))\n"
        "labels = model.predict([test[i] for i in range(24)]).labels.tolist()\n"
        "if is_main(): print(json.dumps([losses, labels]))\n"
    )
    (tmp_path / "both.py").write_text(program)
    found = []
    for start in ([], ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]):
        done = subprocess.run(
            [sys.executable, *start, str(tmp_path / "both.py")], capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr[-3000:]
        found.append(json.loads(done.stdout.strip().splitlines()[-1]))
    (losses, labels), (shared, same) = found
    assert len(losses) == 2 * (2 * 2 + 3 * 2)
    np.testing.assert_allclose(shared, losses, atol=1e-4)
    assert same == labels
