"""What evaluating a folder reports."""

import json

from layouts import write_pictures


def test_learned_classes_without_images_are_reported(tmp_path, mgclip, tiny_clip):
    write_pictures(tmp_path / "d", "cat/a.png", "dog/b.png", "star/c.png")
    words = ("--model", tmp_path / "m", "--base", tiny_clip, "--hold-out", "0", "--quiet", "epochs=0", "head_epochs=1")
    assert mgclip("learn", tmp_path / "d", *words)[0] == 0
    assert "not measured" not in mgclip("evaluate", tmp_path / "m", tmp_path / "d")[1]
    (tmp_path / "d" / "star").rename(tmp_path / "elsewhere")
    code, out, _ = mgclip("evaluate", tmp_path / "m", tmp_path / "d")
    assert code == 0
    assert "learned classes without images here, so not measured: star" in out
    assert json.loads(mgclip("evaluate", tmp_path / "m", tmp_path / "d", "--json")[1])["unmeasured"] == ["star"]
