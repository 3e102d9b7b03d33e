"""The runner: what a run writes, how it resumes, and what it rejects."""

import dataclasses
import json
import multiprocessing
import shutil

import numpy as np
import pytest
from learned import SMALL_RUN
from lock_holder import hold_lock
from PIL import Image
from runs import Stopped, read, run, stop_after, stop_at

from mgclip.errors import InputError
from mgclip.experiment import open_run, run_folder, runner
from mgclip.experiment.recipe import Recipe, load_recipe
from mgclip.experiment.run_folder import check_same, read_recipe
from mgclip.experiment.same_experiment import as_shipped
from mgclip.method.baselines.make import load_learner
from mgclip.saving.checkpoints import TaskCheckpoints


@pytest.fixture(scope="module")
def small(tiny_clip):
    methods = ["zero-shot", "mg-clip"]
    return Recipe(**SMALL_RUN, clip=str(tiny_clip), epochs="auto", max_epochs=2, methods=methods)


@pytest.fixture(scope="module")
def complete(small, tmp_path_factory):
    """The folder of a finished run, which tests only read."""
    folder = tmp_path_factory.mktemp("complete") / "run"
    run(small, folder)
    return folder


def test_a_run_writes_its_records_and_summary(small, tmp_path):
    reported = []
    summaries = run(small, tmp_path / "run", on_task=lambda *args: reported.append(args[:3]))
    assert reported == [(m, i, 3) for m in ("zero-shot", "mg-clip") for i in (1, 2, 3)]
    lines, _ = read(tmp_path / "run", "mg-clip")
    assert [line["task"] for line in lines] == [0, 1, 2]
    keys = ["method", "task", "classes", "classes_seen", "train_images", "test_images", "accuracy", "accuracy_per_task"]
    keys += ["next_task_text_accuracy", "gap", "epochs"]  # format 1: the order of a line is part of it
    assert [list(line) for line in lines] == [[*keys, "probe"], keys, keys]
    assert [line["classes_seen"] for line in lines] == [2, 4, 6]
    assert [len(line["accuracy_per_task"]) for line in lines] == [1, 2, 3]
    assert lines[0]["probe"]["epochs"] == lines[0]["epochs"] == lines[2]["epochs"]
    assert "probe" not in lines[1]
    assert lines[2]["next_task_text_accuracy"] is None
    assert 0 <= lines[0]["next_task_text_accuracy"] <= 1
    assert lines[1]["accuracy"] == pytest.approx(np.mean(lines[1]["accuracy_per_task"]))
    assert run_folder.read_recipe(tmp_path / "run") == small
    assert json.loads((tmp_path / "run" / "summary.json").read_text()) == summaries
    packages = json.loads((tmp_path / "run" / "environment.json").read_text())["packages"]
    assert packages["torch"].startswith("2.")
    model = tmp_path / "run" / "mg-clip" / "model"
    assert json.loads((model / "mgclip.json").read_text())["task_sizes"] == [2, 2, 2]


def test_the_numbers_of_a_record_are_those_of_their_definitions(small, tmp_path):
    """Every image weighs the same, also if tasks have different numbers of them."""
    changes = {"clip": "iconclip", "filter": "edges", "initial_classes": 30, "classes_per_task": 15, "train_per_class": 1}
    recipe = small.model_copy(update={"methods": ["zero-shot"], **changes})
    stream, seen = open_run.build_stream(recipe), []
    every_text = [text for task in stream for text in task.texts]

    def by_hand(method, done, tasks, record):
        model = load_learner(tmp_path / "run" / method / "model")

        def asked(task):
            images, labels = list(task.test.images), task.test.labels + task.first
            return images, labels, model.encoder.images(model.encoder.pixels(images))

        hits, own, others = [], [], []
        for task in stream[:done]:
            images, labels, features = asked(task)
            hits.append(model.predict(images).labels == labels)
            for logits, label in zip(model.text_logits(features, model.class_texts).numpy(), labels, strict=True):
                own.append(logits[label])
                others.append(np.delete(logits, label).mean())
        assert record["accuracy_per_task"] == pytest.approx([each.mean() for each in hits])
        assert record["accuracy"] == pytest.approx(np.concatenate(hits).mean())
        gap = record["gap"]["positive"], record["gap"]["negative"]
        assert gap == pytest.approx((np.mean(own), np.mean(others)), abs=1e-3)
        if done < tasks:  # the next task among all classes of the run
            _, labels, features = asked(stream[done])
            found = model.text_logits(features, every_text).argmax(1).numpy()
            assert record["next_task_text_accuracy"] == pytest.approx((found == labels).mean())
            assert found.tolist() != labels.tolist() and record["next_task_text_accuracy"] > 0
        seen.append(record["accuracy"] - np.mean(record["accuracy_per_task"]))

    run(recipe, tmp_path / "run", on_task=by_hand)
    assert len({len(task.names) for task in stream}) > 1
    assert max(map(abs, seen)) > 1e-3


def test_the_accuracy_on_the_next_task_is_the_exact_share(small, tmp_path):
    recipe = small.model_copy(update={"methods": ["zero-shot"], "test_per_class": 5, "clip": "iconclip"})
    run(recipe, tmp_path / "run")
    *lines, _ = read(tmp_path / "run", "zero-shot")[0]
    right = [10 * line["next_task_text_accuracy"] for line in lines]  # of ten images: as single numbers, most shares are inexact
    assert right == list(map(round, right)) != [10, 10]


def test_a_resumed_run_equals_an_uninterrupted_one(small, complete, tmp_path):
    stop_after(2, small, tmp_path / "part", method="mg-clip")
    with (tmp_path / "part" / "mg-clip" / "records.jsonl").open("a") as file:
        file.write('{"task": 2, "cut')  # the incomplete line that a crash leaves
    run(small, tmp_path / "part", resume=True)
    for method in small.methods:
        assert read(tmp_path / "part", method) == read(complete, method)


def test_a_run_killed_before_its_last_checkpoint_is_removed_leaves_none(small, tmp_path, monkeypatch):
    small = small.model_copy(update={"methods": ["mg-clip"]})
    discard, tasks = TaskCheckpoints.discard, []

    def killed(checkpoints):
        tasks.append(checkpoints)
        if len(tasks) == 3:
            raise Stopped
        discard(checkpoints)

    monkeypatch.setattr(TaskCheckpoints, "discard", killed)
    with pytest.raises(Stopped):
        run(small, tmp_path / "run", checkpoint_every=1)
    assert [*(tmp_path / "run" / "mg-clip").glob("*progress*")]
    monkeypatch.undo()
    run(small, tmp_path / "run", resume=True)
    assert [*(tmp_path / "run" / "mg-clip").glob("*progress*")] == []


def test_a_record_newer_than_the_checkpoint_is_replaced(small, complete, tmp_path):
    stop_at(lambda step: (step.task, step.phase) == (1, "head"), small, tmp_path / "part")
    next_record = json.loads((complete / "mg-clip" / "records.jsonl").read_text().splitlines()[1])
    run_folder.append_record(tmp_path / "part" / "mg-clip", {**next_record, "accuracy": -1})
    run(small, tmp_path / "part", resume=True)
    assert read(tmp_path / "part", "mg-clip") == read(complete, "mg-clip")


def test_a_used_folder_is_refused(small, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes").write_text("mine")
    with pytest.raises(InputError, match=r"run is already used: give another --out"):
        run(small, tmp_path / "run")
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["notes"]
    with pytest.raises(InputError, match=r"run is not a run, because it has no recipe\.yaml"):
        run(small, tmp_path / "run", resume=True)


def test_one_command_runs_in_a_folder_at_a_time(small, tmp_path):
    recipe = small.model_copy(update={"methods": ["zero-shot"]})
    opened = open_run.open_run(recipe, tmp_path / "run")
    context = multiprocessing.get_context("spawn")
    holding, enough = context.Event(), context.Event()
    other = context.Process(target=hold_lock, args=(tmp_path / "run", holding, enough))
    other.start()
    assert holding.wait(60)
    for start in (lambda: runner.run(opened), lambda: run(recipe, tmp_path / "run", resume=True)):
        with pytest.raises(InputError, match=rf"run is being written by process {other.pid} on .*another --out"):
            start()
    assert not (tmp_path / "run" / "zero-shot").exists()
    other.kill()
    other.join()
    assert list(runner.run(opened)) == ["zero-shot"]


def test_a_run_that_began_in_the_meantime_stays(small, tmp_path, monkeypatch):
    first, second = (small.model_copy(update={"methods": ["zero-shot"], "seed": seed}) for seed in (1, 2))
    load = open_run.load_backbone

    def begin_another(clip):
        monkeypatch.setattr(open_run, "load_backbone", load)
        run(first, tmp_path / "run")
        return load(clip)

    monkeypatch.setattr(open_run, "load_backbone", begin_another)
    with pytest.raises(InputError, match=r"run is already used: resume its run with --resume .*run, or give another --out"):
        open_run.open_run(second, tmp_path / "run")
    assert read_recipe(tmp_path / "run").seed == 1


def test_resuming_with_other_settings_is_refused(small, tmp_path):
    run_folder.begin(tmp_path, small, {})
    with pytest.raises(InputError, match=r"was started with seed = 0, not 5: resume with the same settings"):
        run(small.model_copy(update={"seed": 5}), tmp_path, resume=True)


def test_the_settings_of_a_baseline_matter_if_its_method_runs(small, tmp_path):
    run(small.model_copy(update={"methods": ["mg-clip-analytic"], "tasks": 1}), tmp_path / "run")
    begun = read_recipe(tmp_path / "run")
    check_same(tmp_path / "run", begun.model_copy(update={"rapf_beta": 1.5, "ranpac_width": 3}), "no")
    for change in ({"features": 16}, {"gamma": 0.5}):
        with pytest.raises(InputError, match=f"was started with {next(iter(change))} = "):
            check_same(tmp_path / "run", begun.model_copy(update=change), "no")


def test_settings_of_memory_and_speed_may_change_when_resuming(small, complete, tmp_path):
    stop_after(1, small, tmp_path / "run", method="mg-clip")
    other = small.model_copy(update={"micro_batch_size": 1, "encode_batch_size": 3, "activation_checkpointing": True})
    opened = open_run.open_run(other, tmp_path / "run", resume=True)
    assert opened.learner("mg-clip", tmp_path / "run" / "mg-clip" / "model").backbone.compute.micro_batch == 1
    summaries, uninterrupted = runner.run(opened), json.loads((complete / "summary.json").read_text())
    assert summaries["mg-clip"]["last"] == pytest.approx(uninterrupted["mg-clip"]["last"], abs=0.1)
    kept = json.loads((tmp_path / "run" / "mg-clip" / "model" / "mgclip.json").read_text())["settings"]
    assert (kept["micro_batch_size"], kept["encode_batch_size"], kept["rank"]) == (1, 3, small.rank)


def test_a_saved_model_has_the_accuracy_of_its_run(small, complete):
    """The saved model, loaded again, gives the recorded accuracies."""
    from mgclip import MGCLIP
    from mgclip.experiment.open_run import build_stream

    model = MGCLIP.from_pretrained(complete / "mg-clip" / "model")
    recorded = run_folder.read_records(complete / "mg-clip")[-1]["accuracy_per_task"]
    for task, accuracy in zip(build_stream(small), recorded, strict=True):
        labels = model.predict(task.test.images).labels
        assert (labels == task.test.labels + task.first).mean() == accuracy


def test_a_rejected_run_leaves_no_folder(small, tmp_path):
    for changes, sentence in (
        ({"adapter_init": str(tmp_path / "none.safetensors")}, "There is no adapter file"),
        ({"class_order": -1}, "A class_order given as a number must be from 0 to"),
        ({"clip": "nowhere"}, "There is no CLIP at nowhere"),
        ({"classes_per_task": 101}, "The first task needs 101 classes; the data has 100: lower classes_per_task"),
        ({"initial_classes": 101}, "lower initial_classes"),
        (
            {"methods": ["mg-clip-replay"], "memory": 5},
            r"memory = 5 is smaller than the number of classes \(6\): raise it",
        ),
    ):
        with pytest.raises(InputError, match=sentence):
            open_run.open_run(small.model_copy(update=changes), tmp_path / "run")
        assert not (tmp_path / "run").exists()
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match=r"file/run cannot be written: .*file is not a folder"):
        open_run.open_run(small, tmp_path / "file" / "run")


def test_published_values_apply_only_to_published_settings():
    assert as_shipped(load_recipe("cifar100", ["seed=3", "data_path=/x", "methods=rapf"]))
    for change in ("tasks=2", "epochs=3", "class_order=1993", "precision=bfloat16"):
        assert not as_shipped(load_recipe("cifar100", [change]))
    assert not as_shipped(Recipe(name="mine"))
    assert as_shipped(load_recipe("cifar100", ["methods=mg-clip", "rapf_init=identity"])), "mg-clip does not use it"
    for change in ("rapf_init=identity", "features=64"):
        assert not as_shipped(load_recipe("cifar100", ["methods=mg-clip,rapf,mg-clip-analytic", change]))


@pytest.mark.parametrize(
    ("file", "content", "sentence"),
    [
        ("environment.json", '{"format": 3}', "has files of format 3; this version reads formats up to 2: upgrade mg-clip"),
        ("data.json", "{", r"data\.json is not JSON"),
        ("data.json", '{"task 1": {"classes": "ab"}}', r"data\.json is damaged \(task 1\.classes"),
        ("mg-clip/summary.json", '{"last": 1e999}', r"summary\.json is damaged"),
        ("mg-clip/records.jsonl", '{"task": 0}\n{}\n', r"Line 1 of .*records\.jsonl is damaged"),
        ("recipe.yaml", "[" * 5000, r"recipe\.yaml is not YAML"),
        ("recipe.yaml", "a: 2000-99-99", r"recipe\.yaml is not YAML"),
    ],
)
def test_a_run_with_damaged_files_is_not_resumed(small, complete, tmp_path, file, content, sentence):
    shutil.copytree(complete, tmp_path / "run")
    (tmp_path / "run" / "mg-clip" / "summary.json").unlink()
    (tmp_path / "run" / file).write_text(content)
    with pytest.raises(InputError, match=sentence):
        run(small, tmp_path / "run", resume=True)


def test_data_that_changed_before_resuming_is_refused(small, tmp_path, monkeypatch):
    recipe = small.model_copy(update={"methods": ["zero-shot"], "class_order": "dataset"})
    run(recipe, tmp_path / "run")
    real = open_run.load_dataset

    def moved(*args, **options):
        data = real(*args, **options)
        return dataclasses.replace(data, class_names=(*data.class_names[1:], data.class_names[0]))

    for summary in (tmp_path / "run").rglob("summary.json"):
        summary.unlink()  # as if the run had been stopped

    monkeypatch.setattr(open_run, "load_dataset", moved)
    with pytest.raises(InputError, match=r"The data has changed since .*its classes were .* and are"):
        run(recipe, tmp_path / "run", resume=True)


def test_a_run_is_not_resumed_with_changed_data(mgclip, tiny_clip, icons, tmp_path):
    for part in ("train", "test"):
        for c in range(4):
            folder = tmp_path / "data" / part / f"class {c}"
            folder.mkdir(parents=True)
            for i in range(4):
                Image.fromarray(icons["x_train"][12 * c + i]).save(folder / f"{i}.png")
    words = (
        "run",
        "folder",
        f"data_path={tmp_path / 'data'}",
        f"clip={tiny_clip}",
        "classes_per_task=2",
        "epochs=1",
        "methods=mg-clip",
    )
    assert mgclip(*words, "--out", tmp_path / "run", "--quiet")[0] == 0
    again = ("run", "--resume", tmp_path / "run", "--quiet")
    assert mgclip(*again)[0] == 0
    image = tmp_path / "data" / "train" / "class 3" / "2.png"
    content = image.read_bytes()
    image.unlink()
    code, _, err = mgclip(*again)
    assert (code, "task 2: 8 train images then, 7 now" in err) == (2, True)
    image.write_bytes(content + b" ")
    assert "task 2: its train images are different" in mgclip(*again)[2]
    image.write_bytes(content)
    (tmp_path / "data").rename(tmp_path / "moved")
    (tmp_path / "data").symlink_to(tmp_path / "moved")
    assert mgclip(*again)[0] == 0
