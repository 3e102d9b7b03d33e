"""The model card: its content, that no name breaks it, and that its programs run."""

import copy
import json
import re
import shutil
from contextlib import redirect_stdout
from io import StringIO

import pytest
from exported import BRANCHES, QUICK, SOLVED, cells, front
from icon_tasks import task
from PIL import Image

from mgclip import MGCLIP, Settings
from mgclip.clip.identity import hub_id
from mgclip.export.card import model_card
from mgclip.export.folder import export_folder
from mgclip.export.merged import CLASSES, export_clip
from mgclip.names import tidy

HOSTILE = (
    "</td></table><script>alert(1)</script>",
    "a | b\n## c\r\n---\n| d",
    "[x](javascript:y) ![z](http://e.com/a.png) <http://e.com> www.e.com me@e.com",
    "`code` *bold* _under_ $x$ ~~s~~ :smile: \\ {{ 7 * 7 }} {% endfor %} &amp;",
    "猫 café  – St. Bernard's (dog)",
    "- 1. > # +",
)


# The card


NOTES = [
    {
        "version": 1,
        "time": "2026-03-02T09:00:00+00:00",
        "what": "learned march",
        "classes": ["a", "b", "c"],
        "images": 12,
        "epochs": 3,
        "accuracy": {"new": 0.75, "old": None},
    },
    {"version": 2, "what": "learned | april\n# <b>", "classes": ["d", "e"], "images": 3},
    {},
]


def test_the_card_states_what_is_known(tiny):
    header, body = front(model_card(tiny, NOTES))
    assert header["library_name"] == "transformers"
    assert header["license"] == "other"
    assert "mg-clip" in header["tags"]
    assert "base_model" not in header
    found, _ = cells(body)
    assert " · ".join(tiny.class_names[:3]) in found
    assert " · ".join(tiny.class_names[3:]) in found
    start = found.index("2026-03-02T09:00:00+00:00")
    assert found[start - 1 : start + 8] == ["1", NOTES[0]["time"], "learned march", "3", "12", "4", "3", "75.0 %", "–"]
    assert found[start + 8 : start + 17] == ["2", "–", "learned | april # <b>", "2", "3", "1.5", "–", "–", "–"]
    assert found[start + 17 : start + 26] == ["–"] * 9
    assert "Nothing: no images were held out" not in body
    assert found[found.index("prompt") + 1] == "a good photo of a {}."
    assert "adapter_init" not in body
    for limit in (
        "flat by design",
        "may have lost",
        "was removed since, cannot be removed",
        "its licence applies",
        "Every image gets one",
    ):
        assert limit in body
    assert "onnxruntime" not in body
    assert str(tiny.backbone.reference) not in body


def test_the_card_states_what_is_unknown(tiny):
    _, body = front(model_card(tiny, []))
    assert "No notes were kept" in body
    assert "Nothing: no images were held out to test it" in body
    _, body = front(model_card(tiny, [{"images": 4, "accuracy": {"new": None, "old": None}}]))
    assert "Nothing: no images were held out to test it" in body


def test_the_card_of_a_solved_head_says_how_it_was_made_and_how_to_read_it(solved):
    _, body = front(model_card(solved, []))
    assert "solved from sums over 60 images, with equal weight for every class (compensation: analytic)" in body
    fit = solved.solved.calibration
    assert (
        f"Of 60 learned images, each classified as if it had not been learned (leave-one-out), {fit.accuracy:.1%}".replace(
            "%", " %"
        )
        in body
    )
    for share, value in zip((99, 95, 90), fit.likeness, strict=True):
        assert f"{share} % of them {value:.2f}" in body
    assert "Confidence is calibrated" in body
    assert "The first task trained the adapters for 2 epochs" in body
    assert "how many images it learned from" not in body
    assert "flat by design" not in body
    found, _ = cells(body)
    assert found[found.index("compensation") + 1] == "analytic"
    assert float(found[found.index("gamma") + 1]) == solved.solved.fourier.gamma


def test_the_card_of_an_ablation_says_what_differs(relu):
    _, body = front(model_card(relu, []))
    assert "with equal weight for every image" in body
    found, _ = cells(body)
    assert found[found.index("kernel") + 1] == "relu"


def test_the_card_says_that_its_programs_open_images_in_another_way(solved, monkeypatch):
    assert "jpeg_draft`)" not in model_card(solved, [])
    monkeypatch.setattr(solved, "settings", solved.settings.model_copy(update={"jpeg_draft": True}))
    _, body = front(model_card(solved, []))
    assert "opened JPEG files at reduced size (`jpeg_draft`)" in body.split("## Limits")[1].split("## Use it")[0]


@pytest.mark.parametrize("kept", [True, False])
def test_the_card_says_what_was_decided_about_adapters(icons, kept, monkeypatch):
    monkeypatch.setattr("mgclip.method.analytic.evidence.DEVIATIONS", -1e9 if kept else 1e9)
    model = MGCLIP.from_pretrained("iconclip", settings=Settings(**{**SOLVED, "adapt": "auto"}))
    for classes in ([0, 1], [2, 3]):
        assert "because they" not in model_card(model, []) if model.class_names else True
        model.learn(*task(icons, classes))
    _, body = front(model_card(model, []))
    assert f"The adapters {'continue to learn' if kept else 'were removed'}, because they " in body
    assert ("merged into the weights" in body, "The weights of CLIP are unchanged" in body) == (kept, not kept)
    assert ("Each task trained the adapters" in body) == kept
    assert "No task trained the adapters" not in body


def test_the_card_claims_nothing_without_evidence(icons):
    images, labels, names = task(icons, [0, 1])
    model = MGCLIP.from_pretrained("iconclip", settings=Settings(**{**SOLVED, "adapt": "never"}))
    model.learn([images[0], images[12]], [labels[0], labels[12]], names)  # one image of each class
    _, body = front(model_card(model, []))
    assert "solved from sums over 2 images" in body
    assert "Confidence was not calibrated" in body
    assert "No threshold is known yet" in body
    assert "leave-one-out" not in body
    assert "its accuracy is unknown" in body
    assert "The weights of CLIP are unchanged" in body
    assert "may have lost some of their accuracy" not in body


def test_the_card_says_how_many_images_of_forgotten_classes_remain_in_the_sums(icons):
    images, labels, names = task(icons, [0, 1, 2])
    model = MGCLIP.from_pretrained("iconclip", settings=Settings(**{**SOLVED, "adapt": "never"}))
    model.learn(images, labels, names)
    assert "forgotten classes" not in model_card(model, [])
    model.forget(names[0], images=images[:12])
    assert "forgotten classes" not in model_card(model, [])
    model.forget(names[1])
    card = " ".join(model_card(model, []).split())
    assert "solved from sums over 12 images" in card
    assert "The scatter of 12 images of forgotten classes around their means is still in these sums. Written by" in card


def test_the_base_model_is_named_if_it_came_from_the_hub(tiny):
    model = copy.copy(tiny)
    model.backbone = copy.copy(tiny.backbone)
    model.backbone.reference = "openai/clip-vit-base-patch16"
    header, body = front(model_card(model, []))
    assert header["base_model"] == "openai/clip-vit-base-patch16"
    assert "(not from the hub)" not in body
    for reference in ("iconclip", "/home/me/clip", "./clip", "~/clip", "models/ViT.pt", str(tiny.backbone.reference)):
        model.backbone.reference = reference
        assert hub_id(model.backbone) is None


def test_hostile_names_do_not_break_the_card(tiny_clip, icons, tmp_path):
    images, labels, _ = task(icons, list(range(len(HOSTILE))))
    model = MGCLIP.from_pretrained(tiny_clip, settings=Settings(**{**QUICK, "prompt": "a <b>{}</b> | `x`"}))
    model.learn(images, labels, HOSTILE)
    export_clip(model, tmp_path / "clip")
    assert tuple(json.loads((tmp_path / "clip" / CLASSES).read_text(encoding="utf-8"))["names"]) == tuple(map(tidy, HOSTILE))
    header, body = front(model_card(model, [{"what": name, "classes": HOSTILE} for name in HOSTILE]))
    calm = front(model_card(tiny_named(model), [{"what": "x", "classes": ["y"]}] * len(HOSTILE)))
    found, kinds = cells(body)
    expected, calm_kinds = cells(calm[1])
    assert header == calm[0]
    assert kinds <= calm_kinds | {"text_special"}
    assert len(found) == len(expected)
    shown = [" ".join(name.split()) for name in HOSTILE]
    assert " · ".join(shown) in found
    assert shown[0] in found  # the note
    assert not re.search(r"https?://e|www\.e|me@e", body)  # nothing that a Markdown reader turns into a link


def test_the_card_can_be_read_as_plain_text(tiny):
    named = copy.copy(tiny)
    named.class_names = ("St. Bernard's (dog)", "dog_house", "50% wool: grey", "C# & F#", "猫/犬")
    notes = [
        {"version": 1, "time": "2026-03-02T09:00:00+00:00", "what": "learned march: 3 classes", "classes": ["a"], "images": 4}
    ]
    _, body = front(model_card(named, notes))
    for text in (*named.class_names, "2026-03-02T09:00:00+00:00", "learned march: 3 classes", '"a good photo of a {}."'):
        assert text in body
    assert "&#" not in body and "\\" not in body


def tiny_named(model):
    named = copy.copy(model)
    named.class_names = tuple("abcdef")
    named.settings = model.settings.model_copy(update={"prompt": "a {}"})
    return named


SOLVED_BRANCHES = [("solved", branches, "calibrated", 4.0) for branches in ("both", "image", "text")]
SOLVED_BRANCHES += [(name, "both", "calibrated", 4.0) for name in ("relu", "pooled", "joined")]


def of_one_branch_slow(cards):
    return [pytest.param(*card, marks=[pytest.mark.slow] * (card[1] != "both")) for card in cards]


@pytest.mark.parametrize(
    ("name", "branches", "fusion", "weight"),
    of_one_branch_slow([*(("iconclip", *each) for each in BRANCHES), *SOLVED_BRANCHES]),
)
def test_the_programs_of_the_card_run(onnx, shared, icons, tmp_path, monkeypatch, name, branches, fusion, weight):
    model, folder, exported, *_ = shared(name, branches, fusion, weight)
    shutil.copytree(folder, tmp_path / "clip")
    assert {
        "README.md",
        "classes.json",
        "config.json",
        "head.safetensors",
        "model.onnx",
        "model.safetensors",
        "preprocessor_config.json",
        "tokenizer.json",
    } <= set(exported.files)
    assert exported.deviation < 1e-5
    assert exported.onnx_deviation < 1e-5
    # Of this size the processor of transformers cuts the same crop; of some sizes it is one pixel off (docs/export.md).
    wide = Image.fromarray(icons["x_test"][17]).resize((94, 61))
    wide.save(tmp_path / "clip" / "image.png")
    expected = model.predict([wide])
    programs = re.findall(r"^```python\n(.*?)^```", (tmp_path / "clip" / "README.md").read_text(), re.M | re.S)
    assert len(programs) == 2
    monkeypatch.chdir(tmp_path / "clip")
    for program in programs:
        assert "mgclip" not in program
        with redirect_stdout(StringIO()) as printed:
            exec(compile(program, "card", "exec"), {})
        answer = next(name for name in model.class_names if printed.getvalue().startswith(f"{name} "))
        values = [float(value) for value in printed.getvalue()[len(answer) :].split()]
        numbers = [expected.top_confidence[0], expected.likeness[0]]
        assert answer == expected.names[0]
        assert values == pytest.approx(numbers[: len(values)], abs=1e-5)
    assert len(values) == 2


@pytest.mark.parametrize("name", ["tiny", "solved"])
def test_the_programs_of_the_card_answer_unknown_below_the_stored_threshold(onnx, request, icons, tmp_path, monkeypatch, name):
    monkeypatch.setattr("mgclip.export.folder.add_int8", lambda *_: None)
    monkeypatch.chdir(tmp_path)
    model, image = copy.copy(request.getfixturevalue(name)), Image.fromarray(icons["x_test"][17])
    image.save("image.png")
    found = model.predict(image)
    for offset, expected in ((0.02, "unknown"), (-0.02, found.names[0])):
        model.settings = model.settings.model_copy(update={"unknown_below": float(found.likeness[0]) + offset})
        export_folder(model, tmp_path / expected, onnx=True)
        card = (tmp_path / expected / "README.md").read_text()
        assert f"with a likeness below {model.settings.unknown_below} is *unknown*" in card
        assert "hoose" not in card.split("## How to read an answer")[1].split("##")[0]
        shutil.copy("image.png", tmp_path / expected)
        monkeypatch.chdir(tmp_path / expected)
        for program in re.findall(r"^```python\n(.*?)^```", card, re.M | re.S):
            with redirect_stdout(StringIO()) as printed:
                exec(compile(program, "card", "exec"), {})
            assert printed.getvalue().rsplit(" ", 2)[0] == expected
        monkeypatch.chdir(tmp_path)
