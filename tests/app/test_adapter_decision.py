"""What ``adapt: auto`` decides is recorded, and every output says why in one sentence."""

import json

import pytest
from icon_tasks import month_folders

from mgclip.method.analytic import evidence

SENTENCE = {
    True: "The adapters continue to learn, because they ",
    False: "The adapters were removed, because they ",
}
SMALL = ("epochs=1", "adapter_batch_size=8", "features=32")


@pytest.fixture(params=[True, False])
def kept(request, monkeypatch):
    """Decide for or against adapters, whatever the evidence."""
    monkeypatch.setattr(evidence, "DEVIATIONS", -1e9 if request.param else 1e9)
    return request.param


def test_learn_and_history_say_what_was_decided(mgclip, tiny_clip, icons, tmp_path, kept):
    month_folders(icons, tmp_path, {"march": range(3), "april": range(3, 5)}, 5)
    model, plain = tmp_path / "shop", str.maketrans("\n", " ")
    words = ("--base", tiny_clip, "--method", "mg-clip-analytic-auto", *SMALL)
    assert mgclip("learn", tmp_path / "march", "--model", model, *words)[0] == 0
    assert "The adapters" not in mgclip("history", model)[1]
    code, out, _ = mgclip("learn", tmp_path / "april", "--model", model, "--json")
    decided = json.loads(out)["adapters"]
    assert (code, decided["kept"], decided["images"]) == (0, kept, 8)
    shown = mgclip("history", model)[1].translate(plain)
    assert f"version 2: {SENTENCE[kept]}" in shown
    assert f"the error of 8 images that they had not seen by {abs(decided['deviations']):.1f} standard errors" in shown
    assert json.loads(mgclip("history", model, "--json")[1])["versions"][1]["note"]["adapters"] == decided
    mgclip("undo", model)
    _, out, _ = mgclip("learn", tmp_path / "april", "--model", model)
    assert SENTENCE[kept] in out.translate(plain)


def test_a_run_records_the_decision_and_its_report_shows_it(mgclip, tiny_clip, tmp_path, kept):
    words = ("tasks=2", "classes_per_task=2", "train_per_class=4", "test_per_class=2", "methods=mg-clip-analytic-auto", *SMALL)
    code, _, err = mgclip("run", "icons100", *words, f"clip={tiny_clip}", "--out", tmp_path / "run")
    assert code == 0
    assert SENTENCE[kept] in " ".join(err.split())
    lines = (tmp_path / "run" / "mg-clip-analytic-auto" / "records.jsonl").read_text().splitlines()
    first, second = map(json.loads, lines)
    assert "adapters" not in first
    assert (second["adapters"]["kept"], second["adapters"]["images"], second["epochs"]) == (kept, 8, int(kept))
    assert f"mg-clip-analytic-auto, before task 2: {SENTENCE[kept]}" in (tmp_path / "run" / "report.html").read_text()


def test_a_note_of_another_program_may_say_anything(mgclip, tiny_clip, tmp_path):
    from mgclip import MGCLIP

    model = MGCLIP.from_pretrained(tiny_clip)
    for note in ({"what": "first", "adapters": "yes"}, {"what": "second", "adapters": {"kept": 3}}):
        model.save_pretrained(tmp_path / "model", note=note)
    code, out, _ = mgclip("history", tmp_path / "model")
    assert code == 0
    assert "The adapters" not in out


def test_auto_is_a_method_and_no_setting_of_a_recipe(mgclip, tmp_path):
    code, _, err = mgclip("run", "icons100", "adapt=auto", "--out", tmp_path / "run")
    assert code == 2
    assert "adapt auto needs a solved head: use methods=mg-clip-analytic-auto" in err
    code, _, err = mgclip("learn", tmp_path, "--model", tmp_path / "m", "--method", "mg-clip", "adapt=auto")
    assert code == 2
    assert "adapt auto needs a solved head: set compensation to analytic and fusion to calibrated" in err
