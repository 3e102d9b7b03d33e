"""``mgclip run``: its output, how it resumes, and what it prints if it is stopped."""

import json
import shlex

import pytest
from icon_tasks import month_folders

from mgclip.app.display import RunDisplay
from mgclip.experiment.metrics import EPOCHS, METRICS, SECONDS
from mgclip.experiment.reproduce import PublishedResult

QUICK = ("tasks=2", "classes_per_task=3", "train_per_class=2", "test_per_class=2", "epochs=1")


def test_run_prints_table_and_json(mgclip, tiny_clip, tmp_path):
    words = ("run", "icons100", f"clip={tiny_clip}", *QUICK, "methods=zero-shot,mg-clip")
    code, out, err = mgclip(*words, "--out", tmp_path / "run")
    assert code == 0
    header, _, *rows = out[out.index(" method ") :].splitlines()[:4]
    columns = [metric.column for metric in (*METRICS, EPOCHS, SECONDS)]
    assert header.split() == ["method", *" ".join(columns).split()]
    assert [row.split()[0] for row in rows] == ["zero-shot", "mg-clip"]
    assert "task  2/2" in err
    assert "6 classes" in err
    assert (tmp_path / "run" / "accuracy.svg").read_text().startswith("<?xml")
    code, out, err = mgclip(*words, "--out", tmp_path / "again", "--json", "--quiet")
    assert (code, err) == (0, "")
    first = json.loads((tmp_path / "run" / "summary.json").read_text())
    for method, summary in json.loads(out)["methods"].items():
        assert summary["accuracy_after"] == first[method]["accuracy_after"]
    code, _, err = mgclip(*words, "--out", tmp_path / "run")
    assert code == 2
    assert err.startswith("mgclip: ")
    assert "is already used" in err
    code, out, _ = mgclip("run", "--resume", tmp_path / "run", "--json", "--quiet")
    assert code == 0
    assert json.loads(out)["methods"] == first
    code, out, _ = mgclip("run", "icons100", "epochs=1", "--resume", tmp_path / "run", "--json", "--quiet")
    assert code == 0
    assert json.loads(out)["methods"] == first
    for words, sentence in (
        (("cifar100",), "is a run of icons100, not of cifar100"),
        (("epochs=2",), "was started with epochs = 1, not 2"),
    ):
        code, _, err = mgclip("run", *words, "--resume", tmp_path / "run")
        assert code == 2
        assert sentence in err


def test_given_settings_that_a_method_does_not_use_are_printed_once(mgclip, tiny_clip, tmp_path):
    words = ("icons100", f"clip={tiny_clip}", *QUICK, "methods=simplecil,mg-clip")
    for command in (("run", *words), ("reproduce", *words, "--seeds", 2)):
        code, _, err = mgclip(*command, "--out", tmp_path / command[0])
        assert code == 0, err
        assert err.count("does not use") == 1
        assert err.startswith("simplecil does not use epochs=1: it has epochs=0\n")
        code, _, err = mgclip(*command, "--out", tmp_path / f"quiet-{command[0]}", "--quiet")
        assert (code, err) == (0, "")


def test_the_settings_that_a_table_changes_and_varies_are_given_too(mgclip, tiny_clip, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("about: mine\nrecipes: [icons100]\nchanges: {features: 64}\nvary: {epochs: [1, 2]}\n")
    few = [word for word in QUICK if not word.startswith("epochs")]
    code, _, err = mgclip("reproduce", file, f"clip={tiny_clip}", *few, "methods=zero-shot", "--out", tmp_path / "out")
    assert code == 0, err
    assert err.splitlines()[:2] == [f"zero-shot does not use features=64, epochs={epochs}: it has epochs=0" for epochs in (1, 2)]


def test_published_results_are_printed_next_to_the_measured_ones(mgclip, tiny_clip, tmp_path, monkeypatch):
    results = {
        "simplecil": PublishedResult(recipe="icons100", method="simplecil", avg=92.04, last=86.9, source="a paper"),
        "other": PublishedResult(recipe="icons100", method="other", avg=92.04),
    }
    monkeypatch.setattr("mgclip.experiment.published.published_results", lambda recipe: results)
    words = ("run", "icons100", f"clip={tiny_clip}", *QUICK, "methods=simplecil")
    code, out, _ = mgclip(*words, "--out", tmp_path / "run")
    assert code == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())["simplecil"]
    average, last = f"{100 * summary['average']:.2f}", f"{100 * summary['last']:.2f}"
    assert f"simplecil Avg: published 92.04 (a paper), measured {average}\n" in out
    assert f"simplecil Last: published 86.90 (a paper), measured {last}\n" in out
    assert "other Avg: published 92.04 (source unknown), not run\n" in out and "other Last" not in out


def test_a_stopped_run_prints_the_command_that_resumes_it(mgclip, tiny_clip, tmp_path, monkeypatch):
    def stop(self, *args):
        raise KeyboardInterrupt

    monkeypatch.setattr(RunDisplay, "on_task", stop)
    words = ("run", "icons100", f"clip={tiny_clip}", *QUICK, "methods=mg-clip")
    code, _, err = mgclip(*words, "--out", tmp_path / "run")
    assert code == 1
    assert f"Progress up to the last checkpoint is saved; resume with: `mgclip run --resume {tmp_path / 'run'}`" in err
    monkeypatch.undo()
    assert mgclip(*shlex.split(err.split("`")[1])[1:])[0] == 0
    assert (tmp_path / "run" / "summary.json").is_file()


@pytest.mark.parametrize("fault", [KeyboardInterrupt, RuntimeError])
def test_a_run_that_ends_before_its_first_checkpoint_says_that_nothing_is_saved(mgclip, tiny_clip, tmp_path, monkeypatch, fault):
    def end(*_, **__):
        raise fault

    monkeypatch.setattr("mgclip.method.learner.MGCLIP.learn", end)
    words = ("run", "icons100", f"clip={tiny_clip}", *QUICK, "methods=mg-clip", "--out", tmp_path / "run")
    code, _, err = mgclip(*words)
    assert code == 1
    again = f"start the run again with: `mgclip run --resume {tmp_path / 'run'}`"
    assert f"No task and no checkpoint is saved yet; {again}" in err and "rogress" not in err
    monkeypatch.undo()
    assert mgclip(*shlex.split(err.split("`")[1])[1:])[0] == 0


def test_a_run_whose_folder_is_moved_stops_and_resumes_there(mgclip, tiny_clip, tmp_path, monkeypatch):
    def move(self, *_):
        (tmp_path / "run").rename(tmp_path / "moved")

    words = ("run", "icons100", f"clip={tiny_clip}", *QUICK, "methods=simplecil", "--out", tmp_path / "run")
    with monkeypatch.context() as moving:
        moving.setattr(RunDisplay, "on_task", move)
        code, _, err = mgclip(*words)
    assert code == 1 and f"The folder of the run, {tmp_path / 'run'}, was moved, renamed or removed during the run" in err
    assert not (tmp_path / "run" / "simplecil" / "model").exists()
    assert mgclip("run", "--resume", tmp_path / "moved")[0] == 0


def test_the_command_that_resumes_repeats_the_changes_given_to_it(mgclip, icons, tiny_clip, tmp_path, monkeypatch):
    month_folders(icons, tmp_path / "a", {"train": (0, 1), "test": (0, 1)}, 3)
    words = ("run", "folder", f"clip={tiny_clip}", "classes_per_task=1", "epochs=1", "methods=mg-clip")
    words += ("--out", tmp_path / "run")

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("mgclip.experiment.runner.run", interrupted)
        assert mgclip(*words, f"data_path={tmp_path / 'a'}")[0] == 1
        (tmp_path / "a").rename(tmp_path / "b c")
        code, _, err = mgclip("run", "--resume", tmp_path / "run", f"data_path={tmp_path / 'b c'}")
        assert code == 1
    again = shlex.split(err.split("`")[1])
    assert again[:2] == ["mgclip", "run"]
    assert mgclip(*again[1:])[0] == 0


def test_a_run_of_a_long_tail_prints_a_table_of_its_groups(mgclip, tiny_clip, tmp_path):
    small = [f"clip={tiny_clip}", "tasks=2", "classes_per_task=3", "train_per_class=25", "test_per_class=1", "retention={}"]
    words = ["methods=simplecil", "imbalance=1.5", "--out", tmp_path / "run"]
    code, printed, err = mgclip("run", "icons100", *small, *words)
    assert code == 0, err
    lines = printed.splitlines()
    head = next(place for place, line in enumerate(lines) if line.split() == ["method", "medium", "%", "few", "%"])
    group = lines[head + 2].split()
    assert group[0] == "simplecil"
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())["simplecil"]
    assert group[1:] == [f"{100 * summary[name]:.2f}" if summary[name] is not None else "-" for name in ("medium", "few")]
