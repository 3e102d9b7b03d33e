"""Programs in several processes: they share the work, agree on the model, and refuse what differs between them."""

import json

import numpy as np
import pytest
from forked import programs

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
from mgclip.method.analytic.sums import Sums
from mgclip.method.methods import ANALYTIC
from mgclip.stream import icons
real, added = Sums.add, []
def counted(self, phi, labels, **options):
    added.append(len(labels))
    return real(self, phi, labels, **options)
Sums.add = counted
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
from mgclip.method.methods import ANALYTIC
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
