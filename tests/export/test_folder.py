"""A model as an ordinary CLIP: loaded without this package, compared with the model, written completely or not at all."""

import copy
import json

import pytest
import torch
from exported import QUICK, assert_same, cells, everything, front, learned
from icon_tasks import task
from PIL import Image
from safetensors.torch import load_file, save_file

from mgclip import MGCLIP, Settings
from mgclip.clip.load import load_backbone
from mgclip.errors import InputError, MGCLIPError
from mgclip.export.card import model_card
from mgclip.export.deviation import check_export
from mgclip.export.folder import export_folder
from mgclip.export.merged import CLASSES, HEAD, export_clip, merged_clip
from mgclip.export.new_folder import atomic_folder
from mgclip.export.onnx_file import export_onnx
from mgclip.method.methods import METHODS


def test_the_folder_is_an_ordinary_clip_and_the_model_is_unchanged(model, icons, tmp_path):
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
    assert (bare - own).abs().max() > 1e-3  # the adapters do something, so an export without them would be noticed


def test_an_export_from_a_program_shows_no_progress_bars(tiny, tmp_path, capsys):
    export_clip(tiny, tmp_path / "clip")
    merged_clip(tiny.backbone)
    assert capsys.readouterr() == ("", "")


def test_the_folder_has_the_head_and_the_classes(tiny, tmp_path):
    export_clip(tiny, tmp_path / "clip")
    head = load_file(tmp_path / "clip" / HEAD)
    assert torch.equal(head["rows"], tiny.head)
    torch.testing.assert_close(head["texts"], tiny.encoder.texts(tiny.class_texts), rtol=0, atol=1e-6)
    about = json.loads((tmp_path / "clip" / CLASSES).read_text(encoding="utf-8"))
    assert (tuple(about["names"]), tuple(about["texts"])) == (tiny.class_names, tiny.class_texts)
    assert (about["format"], about["task_sizes"], about["prompt"]) == (1, [3, 2], "a good photo of a {}.")
    assert (about["branches"], about["fusion"], about["vision_weight"]) == ("both", "published", 4.0)
    assert about["unknown_below"] == 0
    assert about["logit_scale"] == pytest.approx(tiny.backbone.logit_scale.item(), rel=1e-7)
    assert about["base"] == {"name": tiny.backbone.reference.split("/")[-1], "fingerprint": tiny.backbone.fingerprint}
    for file in (tmp_path / "clip").glob("*.json"):
        assert str(tmp_path.parent) not in file.read_text(), f"{file.name} contains a path of this machine"


def test_the_folder_has_a_solved_head_as_plain_tensors(solved, icons, tmp_path):
    export_clip(solved, tmp_path / "clip")
    head = load_file(tmp_path / "clip" / HEAD)
    about = json.loads((tmp_path / "clip" / CLASSES).read_text(encoding="utf-8"))
    assert head.keys() == {"matrix", "shift", "weights", "constant", "texts"}
    assert {tensor.dtype for tensor in head.values()} == {torch.float32}
    assert (about["compensation"], about["fusion"], about["branches"]) == ("analytic", "calibrated", "both")
    assert list(about["likeness"]) == ["99", "95", "90"]
    assert list(about["likeness"].values()) == sorted(solved.solved.calibration.likeness)
    features = solved.encoder.images(solved.encoder.pixels(list(icons["x_test"][:20])))
    scores = torch.cos(features @ head["matrix"] + head["shift"]) @ head["weights"] + head["constant"]
    exact = solved.solved.fourier(features) @ solved.solved.weights  # in double precision
    torch.testing.assert_close(scores, exact.float(), rtol=0, atol=1e-5)
    text = about["logit_scale"] * features @ head["texts"].T
    confidence = (about["head_weight"] * scores + about["text_weight"] * text).softmax(-1)
    torch.testing.assert_close(confidence, solved.probabilities(features), rtol=0, atol=1e-5)


STREAMS_ONLY = {"acil", "ranpac", "rapf", "joint"}


@pytest.mark.parametrize("method", sorted(METHODS.keys() - STREAMS_ONLY))
def test_a_model_of_every_method_is_exported(tiny_clip, icons, tmp_path, method):
    changes = {**METHODS[method].changes, "features": 64}
    if METHODS[method].replays:
        changes["memory"] = 10
    model = learned(tiny_clip, icons, tasks=((0, 1), (2,)), **changes)
    assert export_folder(model, tmp_path / "clip").deviation < 1e-5
    head = load_file(tmp_path / "clip" / HEAD)
    features = model.encoder.images(model.encoder.pixels(list(icons["x_test"][:12])))
    if model.solved is None:
        scores = features @ torch.nn.functional.normalize(head["rows"], dim=-1).T
    else:
        waves = torch.relu if model.settings.kernel == "relu" else torch.cos
        scores = waves(features @ head["matrix"] + head["shift"]) @ head["weights"] + head["constant"]
    torch.testing.assert_close(scores, model.head_scores(features), rtol=0, atol=1e-5)
    card = (tmp_path / "clip" / "README.md").read_text()
    adapted = model.settings.adapt != "never" and model.epochs
    assert ("No task trained the adapters" in card) == (not adapted)
    assert ("compensation: analytic" in card) == (model.solved is not None)


def test_the_sizes_are_those_of_the_files_and_in_the_card(solved, tmp_path):
    exported = export_folder(solved, tmp_path / "clip")
    assert exported.sizes == {file.name: file.stat().st_size for file in (tmp_path / "clip").iterdir()}
    assert exported.files == tuple(sorted(exported.sizes))
    found, _ = cells(front((tmp_path / "clip" / "README.md").read_text())[1])
    for name, size in exported.sizes.items():
        assert name == "README.md" or found[found.index(name) + 1] == f"{size:,}"


def test_all_projections_and_another_precision_are_exported(tiny_clip, icons, tmp_path):
    wide = learned(tiny_clip, icons, projections="kvqo", rank=3, lora_alpha=6.0)
    export_clip(wide, tmp_path / "wide")
    assert check_export(wide, tmp_path / "wide") < 1e-5
    rough = learned(tiny_clip, icons, precision="bfloat16")
    before = everything(rough)
    export_clip(rough, tmp_path / "rough")
    assert check_export(rough, tmp_path / "rough") < 1e-5  # both in float32
    assert_same(before, everything(rough))


def test_an_export_can_be_trained_further(tiny, icons, tmp_path):
    export_clip(tiny, tmp_path / "clip")
    backbone = load_backbone(tmp_path / "clip")
    pixels = backbone.transform([Image.fromarray(each) for each in icons["x_test"][:5]])
    torch.testing.assert_close(backbone.image_features(pixels), tiny.backbone.image_features(pixels), rtol=0, atol=1e-5)
    MGCLIP(backbone, Settings(**QUICK)).learn(*task(icons, [7, 8]))


def test_impossible_exports_are_rejected(tiny, tiny_clip, tmp_path, monkeypatch):
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "mine.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for place in ("used", "file"):
        with pytest.raises(InputError, match=f"{place} exists and is not an empty folder: give another one"):
            export_clip(tiny, tmp_path / place)
    assert [file.name for file in (tmp_path / "used").iterdir()] == ["mine.txt"]
    with pytest.raises(InputError, match=r"cannot be written: .*file is not a folder"):
        export_clip(tiny, tmp_path / "file" / "clip")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(InputError, match="cannot be the current folder"):
        export_clip(tiny, tmp_path / "here")
    fresh = MGCLIP.from_pretrained(tiny_clip)
    for write in (export_clip, export_folder, export_onnx):
        with pytest.raises(InputError, match="has learned no class yet"):
            write(fresh, tmp_path / "nothing")
    with pytest.raises(InputError, match="has learned no class yet"):
        model_card(fresh, [])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "here", "used"]


def test_a_folder_appears_complete_or_not_at_all(tmp_path):
    def write(stop):
        with atomic_folder(tmp_path / "a" / "b") as place:
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


def test_what_a_killed_export_left_is_removed_by_the_next_one_to_the_same_folder(tmp_path):
    for name in (".clip-new-a1", ".clip-new-mine", ".other-new-a2"):
        (tmp_path / name / "clip").mkdir(parents=True)
    for name in (".clip-new-a1", ".other-new-a2"):
        (tmp_path / name / "lock").touch()
    with atomic_folder(tmp_path / "clip") as slow:
        assert not (tmp_path / ".clip-new-a1").exists()
        with atomic_folder(tmp_path / "clip"):
            assert slow.is_dir(), "another process still writes it"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".clip-new-mine", ".other-new-a2", "clip"]


@pytest.mark.parametrize("weight", ["visual_projection.weight", "text_model.final_layer_norm.bias"])
def test_a_deviating_export_is_rejected(tiny, tmp_path, weight):
    export_clip(tiny, tmp_path / "clip")
    state = load_file(tmp_path / "clip" / "model.safetensors")
    state[weight] += 0.1 * torch.randn(state[weight].shape, generator=torch.Generator().manual_seed(0))
    save_file(state, tmp_path / "clip" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(MGCLIPError, match=r"The exported CLIP deviates from the model by .*, more than 1e-04"):
        check_export(tiny, tmp_path / "clip")


def test_the_command_exports_a_saved_model(onnx, mgclip, tiny, tmp_path):
    tiny.save_pretrained(tmp_path / "months")
    code, out, err = mgclip("export", tmp_path / "months", "--to", tmp_path / "clip", "--onnx", "--json")
    assert (code, err) == (0, "")
    printed = json.loads(out)
    assert printed["classes"] == 5
    assert sorted(printed["files"]) == sorted(file.name for file in (tmp_path / "clip").iterdir())
    assert 0 <= printed["deviation"] < 1e-5
    assert 0 <= printed["onnx_deviation"] < 1e-5
    assert printed["pushed_to"] is None
    assert printed["sizes"] == {file.name: file.stat().st_size for file in (tmp_path / "clip").iterdir()}
    code, out, err = mgclip("export", tmp_path / "months", "--to", tmp_path / "again")
    assert (code, err) == (0, "")
    assert f"model.safetensors: {(tmp_path / 'again' / 'model.safetensors').stat().st_size:,} bytes" in out
    assert "5 classes; largest deviation of the CLIP's features: " in out
    assert not (tmp_path / "again" / "model.onnx").exists()
    for words, sentence in (
        (("months", "--to", tmp_path / "clip"), "clip exists and is not an empty folder"),
        (("clip", "--to", tmp_path / "new"), "clip is not a saved model: expected a folder written by `mgclip learn`"),
        (("months", "--to", tmp_path / "new", "--private"), "--private applies to --push only: add --push REPO"),
        (("months", "--to", tmp_path / "new", "--push", "a/b/c"), "a/b/c is not a valid repository name"),
    ):
        code, out, err = mgclip("export", tmp_path / words[0], *words[1:])
        assert (code, out) == (2, "")
        assert sentence in err
    assert not (tmp_path / "new").exists()


def test_the_command_refuses_a_stored_threshold_that_predict_refuses(mgclip, tiny, tmp_path):
    model = copy.copy(tiny)
    model.settings = tiny.settings.model_copy(update={"unknown_below": 0.5})
    model.class_names = ("Unknown", *tiny.class_names[1:])
    model.save_pretrained(tmp_path / "months")
    code, out, err = mgclip("export", tmp_path / "months", "--to", tmp_path / "clip")
    assert (code, out) == (2, "")
    assert "A class is called 'Unknown', which is the answer for unknown images: rename it" in err
    assert not (tmp_path / "clip").exists()


def test_the_command_writes_the_notes_of_all_versions(mgclip, tiny_clip, icons, tmp_path):
    for month, classes in (("march", [0, 1]), ("april", [2, 3])):
        for c in classes:
            folder = tmp_path / month / f"class {c}"
            folder.mkdir(parents=True)
            for i in range(3):
                Image.fromarray(icons["x_train"][12 * c + i]).save(folder / f"{i}.png")
        first = ["--method", "mg-clip", *(f"{key}={value}" for key, value in QUICK.items())] if month == "march" else []
        assert mgclip("learn", tmp_path / month, *first, "--model", tmp_path / "months", "--base", tiny_clip)[0] == 0
    assert mgclip("export", tmp_path / "months", "--to", tmp_path / "clip", "--quiet") == (0, "", "")
    found, _ = cells(front((tmp_path / "clip" / "README.md").read_text())[1])
    assert "class 0 · class 1" in found
    assert "class 2 · class 3" in found
