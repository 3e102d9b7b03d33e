"""A model taken out of this package: the plain CLIP, the ONNX file, the card, the hub; each run and compared with the model."""

import copy
import json
import re
import sys
from contextlib import redirect_stdout
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from threading import Thread

import numpy as np
import pytest
import torch
import yaml
from conftest import task
from markdown_it import MarkdownIt
from PIL import Image
from safetensors.torch import load_file, save_file

from mgclip import MGCLIP, Settings
from mgclip.clip.load import load_backbone
from mgclip.errors import InputError, MGCLIPError
from mgclip.export.card import model_card
from mgclip.export.exact import check_export
from mgclip.export.folder import export_folder
from mgclip.export.merged import CLASSES, HEAD, export_clip, hub_id
from mgclip.export.onnx_file import export_onnx, onnx_deviation
from mgclip.export.place import whole_folder
from mgclip.export.push import push

QUICK = {"epochs": 2, "adapter_batch_size": 16, "head_batch_size": 16, "head_epochs": 2, "adapter_lr": 5e-3}
HOSTILE = (
    "</td></table><script>alert(1)</script>",
    "a | b\n## c\r\n---\n| d",
    "[x](javascript:y) ![z](http://e.com/a.png) <http://e.com> www.e.com me@e.com",
    "`code` *bold* _under_ $x$ ~~s~~ :smile: \\ {{ 7 * 7 }} {% endfor %} &amp;",
    "猫 café  – St. Bernard's (dog)",
    "- 1. > # +",
)


def learned(reference, icons, tasks=((0, 1, 2), (3, 4)), **changes):
    model = MGCLIP.from_pretrained(reference, settings=Settings(**{**QUICK, **changes}))
    for classes in tasks:
        model.learn(*task(icons, list(classes)))
    return model


@pytest.fixture(scope="module")
def tiny(tiny_clip, icons):
    return learned(tiny_clip, icons)


@pytest.fixture(scope="module")
def iconclip(icons):
    return learned("iconclip", icons)


@pytest.fixture(params=["tiny", "iconclip"])
def model(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def onnx():
    return pytest.importorskip("onnxruntime")


def everything(model):
    """All that could drift: weights, buffers, head, how each layer runs, what it answers, and the random state."""
    layers = [
        (name, module.training, "forward" in vars(module)) for name, module in model.backbone.model.named_modules()
    ]
    weights = {name: weight.clone() for name, weight in model.backbone.model.state_dict().items()}
    pixels = torch.arange(2 * 3 * 32 * 32).remainder(251).view(2, 3, 32, 32).to(torch.uint8)
    features = model.backbone.image_features(pixels)
    tensors = {**weights, "head": model.head.clone(), "features": features, "random": torch.get_rng_state()}
    return tensors, layers, model.backbone.model.config.to_dict(), model.backbone.compute


def assert_same(before, after):
    assert before[1:] == after[1:]
    assert before[0].keys() == after[0].keys()
    for name, tensor in before[0].items():
        assert torch.equal(tensor, after[0][name]), name


# The plain CLIP


def test_the_folder_is_a_plain_clip_and_the_model_stays(model, icons, tmp_path):
    from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel

    before = everything(model)
    export_clip(model, tmp_path / "clip")
    assert check_export(model, tmp_path / "clip") < 1e-5
    assert_same(before, everything(model))
    clip, info = CLIPModel.from_pretrained(tmp_path / "clip", output_loading_info=True)
    assert not any(info.values())
    assert clip.dtype == torch.float32
    assert not any("lora" in name for name in clip.state_dict())
    images = [Image.fromarray(image) for image in icons["x_test"][:7]]
    values = AutoImageProcessor.from_pretrained(tmp_path / "clip", backend="pil")(images, return_tensors="pt")
    prompts = [model.settings.prompt.format(name) for name in model.class_names]
    tokens = AutoTokenizer.from_pretrained(tmp_path / "clip")(prompts, padding=True, return_tensors="pt")
    with torch.no_grad():
        found = clip(**values, **tokens)
        bare = load_backbone(model.backbone.reference).image_features(model.backbone.transform(images))
    own = model.encoder.images(model.encoder.pixels(images))
    torch.testing.assert_close(found.image_embeds, own, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.text_embeds, model.encoder.texts(model.class_texts), rtol=0, atol=1e-5)
    torch.testing.assert_close(found.logits_per_image, model.text_logits(own, model.class_texts), rtol=0, atol=1e-3)
    assert (bare - own).abs().max() > 1e-3  # the adapters do something, so folding them in is seen


def test_head_and_classes(tiny, tmp_path):
    export_clip(tiny, tmp_path / "clip")
    head = load_file(tmp_path / "clip" / HEAD)
    assert torch.equal(head["rows"], tiny.head)
    torch.testing.assert_close(head["texts"], tiny.encoder.texts(tiny.class_texts), rtol=0, atol=1e-6)
    about = json.loads((tmp_path / "clip" / CLASSES).read_text(encoding="utf-8"))
    assert (tuple(about["names"]), tuple(about["texts"])) == (tiny.class_names, tiny.class_texts)
    assert (about["format"], about["task_sizes"], about["prompt"]) == (1, [3, 2], "a good photo of a {}.")
    assert (about["branches"], about["fusion"], about["vision_weight"]) == ("both", "published", 4.0)
    assert about["logit_scale"] == pytest.approx(tiny.backbone.logit_scale.item(), rel=1e-7)
    assert about["base"] == {"name": tiny.backbone.reference.split("/")[-1], "fingerprint": tiny.backbone.fingerprint}
    for file in (tmp_path / "clip").glob("*.json"):
        assert str(tmp_path.parent) not in file.read_text(), f"{file.name} tells where things lay"


def test_every_projection_and_another_precision(tiny_clip, icons, tmp_path):
    wide = learned(tiny_clip, icons, projections="kvqo", rank=3, lora_alpha=6.0)
    export_clip(wide, tmp_path / "wide")
    assert check_export(wide, tmp_path / "wide") < 1e-5
    rough = learned(tiny_clip, icons, precision="bfloat16")
    before = everything(rough)
    export_clip(rough, tmp_path / "rough")
    assert check_export(rough, tmp_path / "rough") < 1e-5  # both in float32
    assert_same(before, everything(rough))


def test_it_is_a_base_to_go_on_from(tiny, icons, tmp_path):
    export_clip(tiny, tmp_path / "clip")
    backbone = load_backbone(tmp_path / "clip")
    pixels = backbone.transform(list(icons["x_test"][:5]))
    torch.testing.assert_close(backbone.image_features(pixels), tiny.backbone.image_features(pixels), rtol=0, atol=1e-5)
    MGCLIP(backbone, Settings(**QUICK)).learn(*task(icons, [7, 8]))


def test_what_cannot_be_exported(tiny, tiny_clip, tmp_path, monkeypatch):
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "mine.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for place in ("used", "file"):
        with pytest.raises(InputError, match=f"{place} exists and is not an empty folder: give another one"):
            export_clip(tiny, tmp_path / place)
    assert [file.name for file in (tmp_path / "used").iterdir()] == ["mine.txt"]
    with pytest.raises(InputError, match=r"cannot be written, because .*file does not allow it"):
        export_clip(tiny, tmp_path / "file" / "clip")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(InputError, match="cannot be the one this runs in"):
        export_clip(tiny, tmp_path / "here")
    fresh = MGCLIP.from_pretrained(tiny_clip)
    for write in (export_clip, export_folder, export_onnx):
        with pytest.raises(InputError, match="has learned no class yet"):
            write(fresh, tmp_path / "nothing")
    with pytest.raises(InputError, match="has learned no class yet"):
        model_card(fresh, [])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "here", "used"]


def test_whole_or_not_at_all(tmp_path):
    def write(stop):
        with whole_folder(tmp_path / "a" / "b") as place:
            (place / "sub").mkdir()
            (place / "sub" / "file").write_text("new")
            if stop:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(stop=True)
    assert list((tmp_path / "a").iterdir()) == []
    (tmp_path / "a" / "b").mkdir()
    write(stop=False)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "a" / "b" / "sub" / "file").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("weight", ["visual_projection.weight", "text_model.final_layer_norm.bias"])
def test_a_folder_that_deviates_is_found_out(tiny, tmp_path, weight):
    export_clip(tiny, tmp_path / "clip")
    state = load_file(tmp_path / "clip" / "model.safetensors")
    state[weight] += 0.1 * torch.randn(state[weight].shape, generator=torch.Generator().manual_seed(0))
    save_file(state, tmp_path / "clip" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(MGCLIPError, match=r"The exported CLIP deviates from the model by .*, more than 1e-04"):
        check_export(tiny, tmp_path / "clip")


# ONNX


BRANCHES = [
    ("both", "published", 4.0),
    ("both", "single-softmax", 0.5),
    ("text", "published", 4.0),
    ("image", "published", 4.0),
]


@pytest.mark.parametrize(("branches", "fusion", "weight"), BRANCHES)
def test_onnx_gives_the_models_probabilities(onnx, tiny, icons, tmp_path, branches, fusion, weight):
    model, file = copy.copy(tiny), tmp_path / "model.onnx"
    changes = {"branches": branches, "fusion": fusion, "vision_weight": weight}
    model.settings = tiny.settings.model_copy(update=changes)
    before = everything(model)
    assert export_onnx(model, file) < 1e-5
    assert_same(before, everything(model))
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    session = onnx.InferenceSession(str(file))
    assert [(x.name, x.type, x.shape) for x in session.get_inputs()] == [
        ("pixel_values", "tensor(float)", ["batch", 3, 32, 32])
    ]
    assert [(x.name, x.shape) for x in session.get_outputs()] == [
        ("probabilities", ["batch", 5]),
        ("image_features", ["batch", 24]),
    ]
    about = {key: json.loads(value) for key, value in session.get_modelmeta().custom_metadata_map.items()}
    assert (tuple(about["names"]), about["branches"], about["image_size"]) == (model.class_names, branches, 32)
    images = [Image.fromarray(image) for image in icons["x_test"][:13]]
    pixels = model.backbone.processor(images, return_tensors="np")["pixel_values"]
    probabilities, features = session.run(None, {"pixel_values": pixels})
    np.testing.assert_allclose(probabilities, model.predict(images).probabilities, rtol=0, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, rtol=1e-5)
    others = copy.copy(model)
    others.settings = model.settings.model_copy(update={"branches": "image" if branches == "text" else "text"})
    assert onnx_deviation(others, file) > 1e-2  # a wrong branch would have been seen


def test_onnx_of_iconclip(onnx, iconclip, tmp_path):
    assert export_onnx(iconclip, tmp_path / "model.onnx") < 1e-5
    with pytest.raises(InputError, match=r"model\.onnx exists already"):
        export_onnx(iconclip, tmp_path / "model.onnx")


def test_an_onnx_file_that_deviates_is_removed(onnx, tiny, tmp_path):
    model = copy.copy(tiny)
    model.head = torch.full_like(tiny.head, torch.nan)
    with pytest.raises(MGCLIPError, match="The ONNX file deviates from the model by nan"):
        export_onnx(model, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_without_the_extra(tiny, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    for write in (export_onnx, lambda model, place: export_folder(model, place, onnx=True)):
        with pytest.raises(InputError, match=r'needs onnxruntime, .* pip install "mg-clip\[onnx\]"'):
            write(tiny, tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


# The card


def front(card):
    _, header, body = card.split("---\n", 2)
    return yaml.safe_load(header), body


def cells(body):
    """The text of all table cells, and the kinds of everything inline, as a Markdown reader sees them."""
    tokens = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(body)
    kinds, found = {token.type for token in tokens}, []
    for at, token in enumerate(tokens):
        if token.type == "inline":
            kinds |= {child.type for child in token.children}
            if tokens[at - 1].type == "td_open":
                found.append("".join(child.content for child in token.children))
    return found, kinds


NOTES = [
    {"version": 1, "time": "2026-03-02T09:00:00+00:00", "what": "learned march", "classes": ["a", "b", "c"], "images": 12,
     "epochs": 3, "accuracy": {"new": 0.75, "old": None}},
    {"version": 2, "what": "learned | april\n# <b>", "classes": ["d", "e"], "images": 3},
    {},
]  # fmt: skip


def test_the_card_says_what_is_known(tiny):
    header, body = front(
        model_card(tiny, NOTES, {"data": "april", "images": 40, "accuracy": 0.625, "classes": {"a|b": 0.5}})
    )
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
    assert "On april (40 images), 62.5 % of the answers were right." in body
    assert found[found.index("a|b") + 1] == "50.0 %"
    assert "Nothing: no images were set aside" not in body
    assert found[found.index("prompt") + 1] == "a good photo of a {}."
    assert "adapter_init" not in body
    for limit in (
        "flat by design",
        "may have lost",
        "taught them cannot be taken out",
        "its licence applies",
        "Every image gets one",
    ):
        assert limit in body
    assert "onnxruntime" not in body
    assert str(tiny.backbone.reference) not in body


def test_the_card_says_what_is_not_known(tiny):
    _, body = front(model_card(tiny, []))
    assert "No notes were kept" in body
    assert "Nothing: no images were set aside to test it" in body
    _, body = front(model_card(tiny, [{"images": 4, "accuracy": {"new": None, "old": None}}]))
    assert "Nothing: no images were set aside to test it" in body


def test_the_base_model_is_named_where_the_hub_has_it(tiny):
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
    assert tuple(json.loads((tmp_path / "clip" / CLASSES).read_text(encoding="utf-8"))["names"]) == HOSTILE
    evaluation = {"data": HOSTILE[0], "accuracy": 0.5, "classes": dict.fromkeys(HOSTILE, 0.5)}
    card = model_card(model, [{"what": name, "classes": HOSTILE} for name in HOSTILE], evaluation)
    header, body = front(card)
    calm = front(model_card(tiny_named(model), [{"what": "x", "classes": ["y"]}] * len(HOSTILE),
                            {**evaluation, "data": "x", "classes": {f"z{i}": 0.5 for i in range(len(HOSTILE))}}))  # fmt: skip
    found, kinds = cells(body)
    expected, calm_kinds = cells(calm[1])
    assert header == calm[0]
    assert kinds <= calm_kinds | {"text_special"}
    assert len(found) == len(expected)
    shown = [" ".join(name.split()) for name in HOSTILE]
    assert " · ".join(shown) in found
    assert found.count(shown[0]) == 2  # what was done, and its accuracy
    assert not re.search(r"https?://e|www\.e|me@e", body)  # nothing that a reader makes a link of by itself


def tiny_named(model):
    named = copy.copy(model)
    named.class_names = tuple("abcdef")
    named.settings = model.settings.model_copy(update={"prompt": "a {}"})
    return named


@pytest.mark.parametrize(("branches", "fusion", "weight"), BRANCHES)
def test_the_cards_programs_run(onnx, iconclip, icons, tmp_path, monkeypatch, branches, fusion, weight):
    model = copy.copy(iconclip)
    changes = {"branches": branches, "fusion": fusion, "vision_weight": weight}
    model.settings = iconclip.settings.model_copy(update=changes)
    exported = export_folder(model, tmp_path / "clip", onnx=True)
    assert {"README.md", "classes.json", "config.json", "head.safetensors", "model.onnx", "model.safetensors",
            "preprocessor_config.json", "tokenizer.json"} <= set(exported.files)  # fmt: skip
    assert exported.deviation < 1e-5
    assert exported.onnx_deviation < 1e-5
    wide = Image.fromarray(icons["x_test"][17]).resize((90, 61))
    wide.save(tmp_path / "clip" / "image.png")
    ((name, probability),) = next(model.predict([wide]).top(1))
    programs = re.findall(r"^```python\n(.*?)^```", (tmp_path / "clip" / "README.md").read_text(), re.M | re.S)
    assert len(programs) == 2
    monkeypatch.chdir(tmp_path / "clip")
    for program in programs:
        assert "mgclip" not in program
        with redirect_stdout(StringIO()) as said:
            exec(compile(program, "card", "exec"), {})
        answer, value = said.getvalue().strip().rsplit(" ", 1)
        assert answer == name
        assert float(value) == pytest.approx(probability, abs=1e-5)


# The command


def test_the_command(onnx, mgclip, tiny, icons, tmp_path):
    tiny.save_pretrained(tmp_path / "months")
    code, out, err = mgclip("export", tmp_path / "months", "--to", tmp_path / "clip", "--onnx", "--json")
    assert (code, err) == (0, "")
    said = json.loads(out)
    assert said["classes"] == 5
    assert sorted(said["files"]) == sorted(file.name for file in (tmp_path / "clip").iterdir())
    assert 0 <= said["deviation"] < 1e-5
    assert 0 <= said["onnx_deviation"] < 1e-5
    assert said["pushed_to"] is None
    code, out, err = mgclip("export", tmp_path / "months", "--to", tmp_path / "again")
    assert (code, err) == (0, "")
    assert "model.safetensors" in out
    assert "5 classes; largest deviation of the CLIP's features" in out
    assert not (tmp_path / "again" / "model.onnx").exists()
    for words, sentence in (
        (("months", "--to", tmp_path / "clip"), "clip exists and is not an empty folder"),
        (("clip", "--to", tmp_path / "new"), "clip is not a saved model: expected a folder written by  mgclip learn"),
        (("months", "--to", tmp_path / "new", "--private"), "--private says how to push: give --push REPO too"),
        (("months", "--to", tmp_path / "new", "--push", "a/b/c"), "a/b/c cannot be a repository on the hub"),
    ):
        code, out, err = mgclip("export", tmp_path / words[0], *words[1:])
        assert (code, out) == (2, "")
        assert sentence in err
    assert not (tmp_path / "new").exists()


def test_the_command_tells_the_cards_notes(mgclip, tiny_clip, icons, tmp_path):
    for month, classes in (("march", [0, 1]), ("april", [2, 3])):
        for c in classes:
            folder = tmp_path / month / f"class {c}"
            folder.mkdir(parents=True)
            for i in range(3):
                Image.fromarray(icons["x_train"][12 * c + i]).save(folder / f"{i}.png")
        first = [f"{key}={value}" for key, value in QUICK.items()] if month == "march" else []
        assert mgclip("learn", tmp_path / month, *first, "--model", tmp_path / "months", "--base", tiny_clip)[0] == 0
    assert mgclip("export", tmp_path / "months", "--to", tmp_path / "clip", "--quiet") == (0, "", "")
    found, _ = cells(front((tmp_path / "clip" / "README.md").read_text())[1])
    assert "class 0 · class 1" in found
    assert "class 2 · class 3" in found


# The hub


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as an upload meets: it keeps what is asked of it."""

    asked: list

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append((self.path, self.headers.get("Authorization"), body))
        status, answer = 200, {}
        if self.server.refuses:
            status, answer = self.server.refuses, {"error": "Forbidden: you may not write here"}
        elif self.path == "/api/repos/create":
            answer = {"url": f"{self.server.address}/me/months"}
        elif "/preupload/" in self.path:
            names = [file["path"] for file in json.loads(body)["files"]]
            answer = {"files": [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names]}
        elif "/commit/" in self.path:
            answer = {"commitUrl": f"{self.server.address}/me/months/commit/abc", "commitOid": "abc"}
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *words):
        pass


@pytest.fixture
def hub(monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.asked, server.refuses = [], None
    server.address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.address)
    monkeypatch.setenv("HF_TOKEN", "hf_for_this_test")
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def small(tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    (folder / "README.md").write_text("---\nlicense: other\n---\n# x\n")
    (folder / "classes.json").write_text("{}")
    return folder


def test_pushing(hub, small):
    assert push(small, "me/months", private=True) == f"{hub.address}/me/months"
    paths = [path for path, *_ in hub.asked]
    assert paths[0] == "/api/repos/create"
    made = json.loads(hub.asked[0][2])
    assert (made["name"], made["organization"]) == ("months", "me")
    assert made.get("private") is True or made.get("visibility") == "private"  # as older and newer hub libraries say it
    assert {token for _, token, _ in hub.asked if token} == {"Bearer hf_for_this_test"}
    commit = [json.loads(line) for line in hub.asked[-1][2].splitlines()]
    assert paths[-1] == "/api/models/me/months/commit/main"
    assert sorted(entry["value"]["path"] for entry in commit if entry["key"] == "file") == ["README.md", "classes.json"]
    hub.asked.clear()
    push(small, "me/months")
    assert not {"private", "visibility"} & json.loads(hub.asked[0][2]).keys()


@pytest.mark.parametrize(
    ("status", "advice"),
    [(401, "hf auth login"), (403, "use a token that may write there"), (400, "check the network")],
)
def test_the_hub_says_no(hub, small, status, advice):
    hub.refuses = status
    with pytest.raises(MGCLIPError, match=rf"small was not pushed to me/months \(.*\): .*{advice}"):
        push(small, "me/months")


def test_no_hub_and_no_token(hub, small, monkeypatch):
    hub.shutdown()
    hub.server_close()
    with pytest.raises(MGCLIPError, match=r"was not pushed to me/months \(.*\): check the network"):
        push(small, "me/months")
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(small / "none"))
    with pytest.raises(MGCLIPError, match="log in with  hf auth login  or set HF_TOKEN"):
        push(small, "me/months")
    with pytest.raises(InputError, match="cannot be a repository on the hub"):
        push(small, "no spaces/here")
