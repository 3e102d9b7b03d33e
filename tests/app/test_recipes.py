"""``mgclip recipes``."""

import json


def test_recipes(mgclip):
    code, out, _ = mgclip("recipes")
    assert code == 0
    assert "icons100" in out
    code, out, _ = mgclip("recipes", "--json")
    assert json.loads(out)["cifar100"]["expected_last"] == 80.57
