"""``mgclip history`` shows the leave-one-out accuracy that versions record."""

import subprocess
import sys

import pytest
from icon_tasks import month_folders

from mgclip import MGCLIP, history
from mgclip.app.display import out as screen_out
from mgclip.workflows.branches import left_out_branches

HEADING = ("leave-", "one-out")


@pytest.fixture
def saved(tiny_clip, tmp_path):
    """Save a model with a version for each note; returns its folder."""

    def save(*notes):
        model = MGCLIP.from_pretrained(tiny_clip)
        for note in notes:
            model.save_pretrained(tmp_path / "model", note=note)
        return tmp_path / "model"

    return save


def row(out, number):
    """The cells of a version in the table; the active version is marked with a star."""
    return next(cells for cells in map(str.split, out.splitlines()) if cells[:1] == [str(number)])


def test_history_shows_the_leave_one_out_accuracy_that_learn_measured(mgclip, tiny_clip, icons, tmp_path):
    month_folders(icons, tmp_path, {"march": range(3), "april": range(3, 5)}, 5)
    model = tmp_path / "shop"
    assert mgclip("learn", tmp_path / "march", "--model", model, "--base", tiny_clip, "features=32")[0] == 0
    assert mgclip("learn", tmp_path / "april", "--model", model)[0] == 0
    mgclip("undo", model)
    code, out, _ = mgclip("history", model)
    assert code == 0
    assert all(part in out for part in HEADING)
    first, second = history(model)
    assert first.note["leave_one_out"] != second.note["leave_one_out"]
    for version in (first, second):
        assert row(out, version.number)[-1] == f"{100 * version.note['leave_one_out']:.2f}"


@pytest.mark.parametrize("recorded", [{"leave_one_out": 0.75}, {"left_out": {"images": 8, "model": 0.75, "head": 0.5}}])
def test_one_version_with_the_accuracy_is_enough_for_the_column(mgclip, saved, recorded):
    out = mgclip("history", saved({"what": "first"}, {"what": "second", **recorded}, {"what": "third"}))[1]
    assert all(part in out for part in HEADING)
    assert [row(out, number)[-1] for number in (1, 2, 3)] == ["-", "75.00", "-"]


@pytest.mark.parametrize(
    "recorded", [{}, {"leave_one_out": None, "left_out": None}, {"leave_one_out": "high", "left_out": {"model": "high"}}]
)
def test_without_the_accuracy_there_is_no_column(mgclip, saved, recorded):
    code, out, _ = mgclip("history", saved({"what": "first", **recorded}))
    assert code == 0
    assert "one-out" not in out


def test_a_month_of_known_classes_only_is_not_shown_as_new_ones(mgclip, tiny_clip, icons, tmp_path):
    month_folders(icons, tmp_path, {"march": range(3)}, 5)
    model = tmp_path / "shop"
    assert mgclip("learn", tmp_path / "march", "--model", model, "--base", tiny_clip, "features=32")[0] == 0
    month_folders(icons, tmp_path, {"april": range(2)}, 10)
    assert mgclip("learn", tmp_path / "april", "--model", model)[0] == 0
    out = mgclip("history", model)[1]
    assert "new %" not in out
    headings = [line.split() for line in out.splitlines() if "learned" in line and "earlier" in line]
    assert headings == [["learned", "earlier", "one-out"]], "of the classes that each version learned, new or known"


def test_the_column_of_origins_appears_after_an_undo_only(mgclip, saved):
    model = saved({"what": "first"}, {"what": "second"})
    out = mgclip("history", model)[1]
    assert "from" not in out
    assert "version  when (UTC)" in out, "no heading is broken at 80 columns"
    mgclip("undo", model)
    loaded = MGCLIP.from_pretrained(model)
    loaded.save_pretrained(model, note={"what": "third"})
    out = mgclip("history", model)[1]
    assert "from" in out
    assert row(out, 3)[:3] == ["3", "*", "1"]


def test_settings_and_dates_are_not_broken_at_80_columns(mgclip, saved):
    notes = {"what": "first", "leave_one_out": 0.75}, {"what": "set branches=both, text_weight=0.2, unknown_below=0.1"}
    lines = mgclip("history", saved(*notes))[1].splitlines()
    cells = [cell for line in lines for cell in line.split()]
    assert {"branches=both,", "text_weight=0.2,", "unknown_below=0.1"} <= set(cells)
    time = history(saved({"what": "third"}))[0].time
    assert time[:10] in cells and time[11:16] in cells
    assert max(map(len, lines)) <= 80


def test_every_edit_of_a_solved_head_records_its_leave_one_out_accuracy(mgclip, tiny_clip, icons, tmp_path):
    month_folders(icons, tmp_path, {"march": range(4), "april": range(4, 5)}, 5)
    model = tmp_path / "shop"
    names = [str(name) for name in icons["class_names"][:4]]
    assert mgclip("learn", tmp_path / "march", "--model", model, "--base", tiny_clip, "features=32")[0] == 0
    (tmp_path / "answers.csv").write_text(f"image,class\n{tmp_path / 'april' / icons['class_names'][4] / '0.png'},{names[0]}\n")
    for words in (
        ("set", model, "branches=image"),
        ("correct", model, tmp_path / "answers.csv"),
        ("relabel", model, names[0], names[1]),
        ("forget", model, names[2]),
    ):
        assert mgclip(*words)[0] == 0
        left_out = left_out_branches(MGCLIP.from_pretrained(model))
        assert history(model)[-1].note["leave_one_out"] == left_out["model"] == left_out["head"]
    assert row(mgclip("history", model)[1], 5)[-1] == f"{100 * left_out['model']:.2f}"


def test_a_table_is_complete_on_a_narrow_terminal(mgclip, saved, monkeypatch):
    monkeypatch.setattr(screen_out, "_width", 40)
    accuracy = {"new": 1.0, "old": 0.98765}
    shown = mgclip("history", saved({"what": "learned hats", "images": 1234, "accuracy": accuracy, "leave_one_out": 0.87654}))[1]
    assert "…" not in shown
    assert all(part in shown for part in ("learned hats", "1234", "100.00", "98.77", "87.65")), shown


def test_history_does_not_import_torch(saved):
    program = (
        "import sys; from mgclip.app.main import app; app(['history', sys.argv[1]], standalone_mode=False); "
        "print([name for name in ('torch', 'transformers', 'peft', 'pandas') if name in sys.modules])"
    )
    words = [sys.executable, "-c", program, str(saved({"what": "first"}, {"what": "second"}))]
    done = subprocess.run(words, capture_output=True, text=True)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "[]"), done.stderr
