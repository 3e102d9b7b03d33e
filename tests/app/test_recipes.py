"""``mgclip recipes``."""

import json


def test_recipes(mgclip):
    code, out, _ = mgclip("recipes")
    assert code == 0
    assert "icons100" in out
    code, out, _ = mgclip("recipes", "--json")
    recipes = json.loads(out)
    assert recipes["cifar100"]["expected_last"] == 80.57
    assert (recipes["sun-laion-b150"]["data"], recipes["sun-laion-b150"]["initial_classes"]) == ("sun300", 150)
