"""Texts that become the same tokens are found among all classes, without tokenising those of earlier tasks again."""

from mgclip.clip.load import load_backbone
from mgclip.method.alike_texts import AlikeTextPairs, find_alike_texts


def test_each_text_becomes_tokens_once_for_the_same_templates(tiny_clip, monkeypatch):
    backbone, asked = load_backbone(tiny_clip), []
    real = type(backbone).class_tokens

    def noted(backbone, templates, names):
        asked.append((tuple(templates), list(names)))
        return real(backbone, templates, names)

    monkeypatch.setattr(type(backbone), "class_tokens", noted)
    assert find_alike_texts(backbone, ["a {}."], ["cat", "dog"]) == AlikeTextPairs([], [])
    assert find_alike_texts(backbone, ["a {}."], ["cat", "dog", "owl", "Dog"], 2) == AlikeTextPairs([(1, 3)], [])
    assert find_alike_texts(backbone, ["a {}."], ["cat", "dog", "owl", "Dog"], 4) == AlikeTextPairs([], [])
    assert [names for templates, names in asked if templates == ("a {}.",)] == [["cat", "dog"], ["owl", "Dog"]]
    find_alike_texts(backbone, ["the {}.", "a {}."], ["cat"])
    assert asked[-1] == (("the {}.", "a {}."), ["cat"])
