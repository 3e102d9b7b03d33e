"""``mgclip history`` shows the leave-one-out accuracy that versions record."""

import pytest
from icon_tasks import month_folders

from mgclip import MGCLIP, history

HEADING = ("leave-one-", "out %")


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
    assert "out %" not in out


def test_a_month_of_known_classes_only_is_not_shown_as_new_ones(mgclip, tiny_clip, icons, tmp_path):
    month_folders(icons, tmp_path, {"march": range(3)}, 5)
    model = tmp_path / "shop"
    assert mgclip("learn", tmp_path / "march", "--model", model, "--base", tiny_clip, "features=32")[0] == 0
    month_folders(icons, tmp_path, {"april": range(2)}, 10)
    assert mgclip("learn", tmp_path / "april", "--model", model)[0] == 0
    out = mgclip("history", model)[1]
    assert "new %" not in out
    headings = [line.split() for line in out.splitlines() if "learned" in line and "earlier" in line]
    assert headings == [["learned", "earlier", "leave-one-"]], "of the classes that each version learned, new or known"


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
