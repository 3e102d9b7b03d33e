"""One process and two give the same run; a run started by one process is finished by two."""

import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from forked import programs

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


PROGRAM = """
import json, sys, torch, numpy as np
from mgclip import MGCLIP, Settings
from mgclip.clip import parallel
from mgclip.clip.backbone import Backbone
from mgclip.clip.pixels import PreparedImages
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
    images = PreparedImages([train[i] for i in own], model.backbone.transform, keep)
    names = icons.class_names()[3 * t : 3 * t + 3]
    model.learn(images, np.arange(3).repeat(3), names, on_step=lambda s: losses.append(s.loss))
trained = passed[1]
labels = model.predict([test[i] for i in range(24)]).labels.tolist()
model.save_pretrained(sys.argv[3])
open(f"{sys.argv[3]}-{parallel.rank_and_world_size()[0]}.json", "w").write(
    json.dumps({"place": parallel.rank_and_world_size(), "losses": losses, "labels": labels, "trained": trained})
)
"""


@pytest.mark.parametrize("keep", [0, 1 << 30])
def test_two_processes_share_the_work_and_agree(tiny_clip, tmp_path, keep):
    """Two processes give the losses and predictions of one, and each of them did half of the work."""
    for count in (1, 2):
        for done in programs(count, PROGRAM, tiny_clip, keep, tmp_path / f"model{count}"):
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

    assert MGCLIP.from_pretrained(tmp_path / "model2").task_sizes == (3, 3)  # one process wrote the model


SHARES = """
import json, os, sys
from mgclip import MGCLIP, MGCLIPClassifier
from mgclip.stream import icons
rank, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
model = MGCLIP.from_pretrained(sys.argv[1])
_, test = icons.load(1, 4)
own = list(range(5)) if rank == 0 else list(range(5, 24))
classifier = MGCLIPClassifier(sys.argv[1])
classifier.model_, classifier.labels_ = model, __import__("numpy").array(model.class_names, dtype=object)
images = [test[i] for i in own]
found = {
    "own": own,
    "predict": model.predict(images).labels.tolist(),
    "classifier": [model.class_names.index(name) for name in classifier.predict(images)],
    "encoder": model.classify(model.encoder.images(model.encoder.pixels(images))).labels.tolist(),
}
if rank == 0:
    model.save_pretrained(f"{sys.argv[2]}-saved")  # the other process does not
if rank == 1:
    found["alone"] = model.predict(images[:3]).labels.tolist()
open(f"{sys.argv[2]}-{rank}.json", "w").write(json.dumps(found))
"""


def test_each_process_gets_the_predictions_of_its_own_images(tiny_clip, tmp_path):
    """Shards of different lengths, and one process that predicts alone: no process waits for another."""
    from mgclip import MGCLIP, Settings
    from mgclip.stream import icons

    train, test = icons.load(3, 4)
    model = MGCLIP.from_pretrained(tiny_clip, settings=Settings(epochs=1, adapter_batch_size=9, head_batch_size=9))
    model.learn([train[i] for i in range(18)], np.arange(6).repeat(3), icons.class_names()[:6])
    model.save_pretrained(tmp_path / "model")
    complete = model.predict([test[i] for i in range(24)]).labels.tolist()
    assert complete[:5] != complete[5:10]
    for done in programs(2, SHARES, tmp_path / "model", tmp_path / "found"):
        assert done.returncode == 0, done.stderr[-3000:]
    for rank in (0, 1):
        found = json.loads((tmp_path / f"found-{rank}.json").read_text())
        right = [complete[i] for i in found["own"]]
        assert (found["predict"], found["classifier"], found["encoder"]) == (right, right, right)
    assert found["alone"] == complete[5:8]
    assert MGCLIP.from_pretrained(tmp_path / "found-saved").class_names == model.class_names


DIFFERENT = """
import os, sys
from mgclip import MGCLIP
from mgclip.errors import InputError
from mgclip.stream import icons
rank = int(os.environ["RANK"])
train, _ = icons.load(4, 1)
model = MGCLIP.from_pretrained(sys.argv[1], settings={"epochs": 1})
try:
    model.learn([train[i] for i in range(rank, 8, 2)], [0, 0, 1, 1], icons.class_names()[:2])
    reported = "nothing"
except InputError as error:
    reported = str(error)
open(f"{sys.argv[2]}-{rank}", "w").write(reported)
"""


def test_processes_that_learn_different_shares_are_refused(tiny_clip, tmp_path):
    """Every other image for each of two processes, with the same labels."""
    for done in programs(2, DIFFERENT, tiny_clip, tmp_path / "reported"):
        assert done.returncode == 0, done.stderr[-3000:]
    for rank in (0, 1):
        assert "but theirs differ: give all of them the same data" in (tmp_path / f"reported-{rank}").read_text()


SUMS = """
import json, sys
from mgclip import MGCLIP, Settings
from mgclip.clip import parallel
from mgclip.method.analytic import Sums
from mgclip.method.baselines.table import ANALYTIC
from mgclip.stream import icons
real, added = Sums.plus, []
def counted(self, phi, labels, **options):
    added.append(len(labels))
    return real(self, phi, labels, **options)
Sums.plus = counted
clip, folder, adapt = sys.argv[1:]
settings = {**ANALYTIC, "features": 48, "adapt": adapt, "epochs": 1, "encode_batch_size": 4, "adapter_batch_size": 8, "gamma": 0.5}
model = MGCLIP.from_pretrained(clip, settings=Settings(**settings))
train, _ = icons.load(8, 1)  # both processes encode the batches that one process would
names = icons.class_names()[:4]
images = [train[i] for i in range(32)]
decisions = []
for t in range(2):
    result = model.learn(images[16 * t : 16 * t + 16], [0] * 8 + [1] * 8, names[2 * t : 2 * t + 2])
    decisions.append(result.adapters and result.adapters.images)
learned = sum(added)
model.correct(images[:8], [names[1]] * 7 + [names[0]])
model.forget(names[2], images=images[16:24])
model.save_pretrained(folder)
rank = parallel.rank_and_world_size()[0]
open(f"{folder}-{rank}.json", "w").write(json.dumps({"added": learned, "decisions": decisions}))
"""


@pytest.mark.slow
@pytest.mark.parametrize("adapt", ["never", "auto"])
def test_each_process_adds_its_share_of_the_images_to_the_sums(tiny_clip, tmp_path, adapt):
    from safetensors.numpy import load_file

    for count in (1, 2):
        for done in programs(count, SUMS, tiny_clip, tmp_path / f"model{count}", adapt):
            assert done.returncode == 0, done.stderr[-3000:]
    one, first, second = (json.loads((tmp_path / f"model{name}.json").read_text()) for name in ("1-0", "2-0", "2-1"))
    assert one["decisions"] == first["decisions"] == second["decisions"] == [None, 16 if adapt == "auto" else None]
    if adapt == "never":
        assert (one["added"], first["added"], second["added"]) == (32, 16, 16)
    ours, theirs = (load_file(next((tmp_path / f"model{count}").rglob("solved.safetensors"))) for count in (1, 2))
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        atol = 1e-8 * max(1, abs(value).max()) if adapt == "never" or name.startswith("frozen") else 1e-2
        np.testing.assert_allclose(theirs[name], value, atol=atol, rtol=0, err_msg=name)


EDITED = """
import os, sys
from mgclip import MGCLIP, Settings
from mgclip.errors import InputError
from mgclip.method.baselines.table import ANALYTIC
from mgclip.stream import icons
rank = int(os.environ["RANK"])
train, _ = icons.load(4, 1)
images, names = [train[i] for i in range(8)], icons.class_names()[:2]
model = MGCLIP.from_pretrained(sys.argv[1], settings=Settings(**ANALYTIC, features=16))
model.learn(images, [0] * 4 + [1] * 4, names)
reported = []
for edit in (
    lambda: model.correct(images[rank : rank + 1], [names[1]]),
    lambda: model.correct(images[:1], [names[rank]]),
    lambda: model.correct(images[: rank + 1], [names[1]] * (rank + 1)),
    lambda: model.forget(names[rank], images=images[:4]),
    lambda: model.forget(names[0], images=images[rank:4]),
):
    try:
        edit()
        reported.append("nothing")
    except InputError as error:
        reported.append(str(error))
open(f"{sys.argv[2]}-{rank}", "w").write("\\n".join(reported))
"""


def test_processes_that_edit_with_different_images_are_refused(tiny_clip, tmp_path):
    for done in programs(2, EDITED, tiny_clip, tmp_path / "reported"):
        assert done.returncode == 0, done.stderr[-3000:]
    for rank in (0, 1):
        lines = (tmp_path / f"reported-{rank}").read_text().splitlines()
        assert lines == ["All processes must be given the same images, but theirs differ: give all of them the same data."] * 5


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
    from conftest import month_folders

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
    from conftest import month_folders

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
