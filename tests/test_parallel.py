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
                np.testing.assert_allclose(value, theirs[name], atol=3e-4, rtol=1e-2, err_msg=name)
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


PROGRAM = """
import json, sys, torch, numpy as np
from mgclip import MGCLIP, Settings
from mgclip.clip import parallel
from mgclip.clip.backbone import Backbone
from mgclip.clip.pixels import Pixels
from mgclip.stream import icons
clip, keep = sys.argv[1], int(sys.argv[2])
real, passed = Backbone.image_features, [0, 0]
def counted(self, pixels, **options):
    passed[torch.is_grad_enabled()] += len(pixels)
    return real(self, pixels, **options)
Backbone.image_features = counted
model = MGCLIP.from_pretrained(clip, settings=Settings(epochs=2, adapter_batch_size=4, head_batch_size=9))
train, test = icons.load(3, 4)
losses = []
for t in range(2):  # 9 images in batches of 4: the last batch is a single image, and one process has none of it
    own = range(9 * t, 9 * t + 9)
    images = Pixels([train[i] for i in own], model.backbone.transform, keep)
    names = icons.class_names()[3 * t : 3 * t + 3]
    model.learn(images, np.arange(3).repeat(3), names, on_step=lambda s: losses.append(s.loss))
trained = passed[1]
labels = model.predict([test[i] for i in range(24)]).labels.tolist()
model.save_pretrained(sys.argv[3])
open(f"{sys.argv[3]}-{parallel.place()[0]}.json", "w").write(
    json.dumps({"place": parallel.place(), "losses": losses, "labels": labels, "trained": trained})
)
"""


@pytest.mark.parametrize("keep", [0, 1 << 30])
def test_two_processes_share_the_work_and_agree(tiny_clip, tmp_path, keep):
    """Losses of every step and predictions, one process against two, and that each of the two did its half."""
    (tmp_path / "both.py").write_text(PROGRAM)
    for count in (1, 2):
        start = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"] if count > 1 else []
        words = [str(tmp_path / "both.py"), str(tiny_clip), str(keep), str(tmp_path / f"model{count}")]
        done = subprocess.run([sys.executable, *start, *words], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
    one = json.loads((tmp_path / "model1-0.json").read_text())
    first, second = (json.loads((tmp_path / f"model2-{rank}.json").read_text()) for rank in (0, 1))
    assert (one["place"], first["place"], second["place"]) == ([0, 1], [0, 2], [1, 2])
    assert one["trained"] == 2 * 2 * 9
    assert (first["trained"], second["trained"]) == (2 * 2 * 5, 2 * 2 * 4)
    for shared in (first, second):
        np.testing.assert_allclose(shared["losses"], one["losses"], atol=1e-4)
        assert shared["labels"] == one["labels"]
    from mgclip import MGCLIP

    assert MGCLIP.from_pretrained(tmp_path / "model2").task_sizes == (3, 3)  # one of them wrote, whole


def test_commands_for_one_process_say_so(mgclip, monkeypatch, tmp_path):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for words in (("learn", tmp_path, "--model", tmp_path / "shop"), ("gap", "iconclip", "icons100")):
        code, _, err = mgclip(*words)
        assert code == 2
        assert f"mgclip {words[0]} runs in one process: start it without torchrun or accelerate launch" in err
