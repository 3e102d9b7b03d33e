"""``precision: auto`` takes bfloat16 only if it is measured to be faster, remembers that, and says so."""

import copy
import json
import logging

import pytest
import torch
from forked import programs

from mgclip import MGCLIP
from mgclip.clip import auto_precision, compute
from mgclip.clip.adapters import adapter_weights, without_adapters
from mgclip.clip.auto_precision import choose_precision, measure
from mgclip.clip.encoding_tower import EncodingTower, merge_quick_gelu
from mgclip.clip.load import load_backbone
from mgclip.errors import InputError
from mgclip.method.methods import settings_of_new_model
from mgclip.saving.kept_features import KeptFeatures

FLOAT32, BFLOAT16 = (100.0, 90.0), (100.0, 400.0)


@pytest.fixture(autouse=True)
def remembered(monkeypatch, tmp_path):
    """Where choices are stored; nothing is known yet."""
    monkeypatch.setenv("MGCLIP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(auto_precision, "_chosen", {})
    return tmp_path / "cache" / "precision.json"


@pytest.fixture
def speeds(monkeypatch):
    """Set the measured speeds of multiplications and of images; returns the names of what was measured."""

    def inject(multiplications, images=None):
        measured = []
        for name, rates in (("multiplication_rates", multiplications), ("image_rates", images)):
            monkeypatch.setattr(auto_precision, name, lambda model, name=name, rates=rates: measured.append(name) or rates)
        return measured

    return inject


@pytest.mark.parametrize(
    ("multiplications", "images", "precision", "measured"),
    [
        (FLOAT32, None, "float32", ["multiplication_rates"]),
        ((100.0, 120.0), None, "float32", ["multiplication_rates"]),
        (BFLOAT16, FLOAT32, "float32", ["multiplication_rates", "image_rates"]),
        (BFLOAT16, BFLOAT16, "bfloat16", ["multiplication_rates", "image_rates"]),
    ],
)
def test_the_faster_precision_is_chosen(backbone, speeds, multiplications, images, precision, measured):
    found = speeds(multiplications, images)
    assert choose_precision(backbone.model).precision == precision
    assert found == measured


def test_a_choice_is_measured_once_per_machine_and_shape(backbone, speeds, remembered, monkeypatch):
    speeds(BFLOAT16, BFLOAT16)
    first = choose_precision(backbone.model)
    found = speeds(FLOAT32)
    assert choose_precision(backbone.model) == first
    monkeypatch.setattr(auto_precision, "_chosen", {})  # as in another process
    assert choose_precision(backbone.model) == first
    assert found == []
    monkeypatch.setattr(auto_precision, "_chosen", {})
    monkeypatch.setattr(auto_precision, "_processor", lambda: "another processor")
    assert choose_precision(backbone.model).precision == "float32"
    backbone.model.config.vision_config.num_hidden_layers += 1
    assert choose_precision(backbone.model).precision == "float32"
    assert found == 2 * ["multiplication_rates"]
    assert len(json.loads(remembered.read_text())) == 3


NO_RATES = '{"a": {"precision": "float32", "unit": "images", "float32": null, "bfloat16": "fast"}}'


@pytest.mark.parametrize("content", ["", "[]", '{"a": 1}', '{"a": {"precision": "float8"}}', NO_RATES, "\udcff"])
def test_a_damaged_store_of_choices_is_measured_again(backbone, speeds, remembered, content):
    remembered.parent.mkdir()
    remembered.write_bytes(content.encode(errors="surrogateescape"))
    speeds(BFLOAT16, BFLOAT16)
    assert choose_precision(backbone.model).precision == "bfloat16"


def test_a_choice_that_cannot_be_stored_still_holds(backbone, speeds, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("mine")
    monkeypatch.setenv("MGCLIP_CACHE", str(tmp_path / "file"))
    speeds(BFLOAT16, BFLOAT16)
    assert choose_precision(backbone.model).precision == "bfloat16"


def test_both_precisions_are_measured_on_this_machine(backbone):
    choice = measure(backbone.model)
    assert choice.float32 > 0
    assert choice.bfloat16 > 0
    assert all(rate > 0 for rate in auto_precision.image_rates(backbone.model))


def features_with(tiny_clip, icons, precision):
    model = MGCLIP.from_pretrained(tiny_clip, settings={"epochs": 0, "precision": precision})
    texts = model.encoder.texts(["cat", "dog"])
    return model.encoder.images(model.encoder.pixels(list(icons["x_test"]))), texts


def test_auto_gives_the_features_of_float32_where_bfloat16_is_not_faster(tiny_clip, icons, speeds):
    speeds(FLOAT32)
    for found, wanted in zip(features_with(tiny_clip, icons, "auto"), features_with(tiny_clip, icons, "float32"), strict=True):
        assert torch.equal(found, wanted)


def test_auto_encodes_images_in_bfloat16_and_texts_in_float32_where_that_is_faster(tiny_clip, icons, speeds):
    speeds(BFLOAT16, BFLOAT16)
    (images, texts), (exact, exact_texts) = (features_with(tiny_clip, icons, precision) for precision in ("auto", "float32"))
    assert torch.equal(texts, exact_texts)
    assert not torch.equal(images, exact)
    assert (images * exact).sum(1).min() > 0.999


def test_the_tower_in_bfloat16_is_as_exact_as_autocast(tiny_clip, icons, speeds):
    speeds(BFLOAT16, BFLOAT16)
    auto, autocast, exact = (features_with(tiny_clip, icons, each)[0] for each in ("auto", "bfloat16", "float32"))
    assert (auto - exact).norm() < 1.05 * (autocast - exact).norm()


def test_quick_gelu_in_one_operation_is_the_same_function(backbone):
    values = torch.randn(4, 3, backbone.image_size, backbone.image_size)
    tower = copy.deepcopy(backbone.model.vision_model)
    merge_quick_gelu(tower)
    assert {type(layer.mlp.activation_fn) for layer in tower.encoder.layers} == {torch.nn.SiLU}
    with torch.no_grad():
        found, wanted = (each(pixel_values=values).pooler_output for each in (tower, backbone.model.vision_model))
    torch.testing.assert_close(found, wanted, atol=2e-5, rtol=2e-5)


def test_the_tower_in_bfloat16_follows_the_adapters(tiny_clip, icons, speeds):
    speeds(BFLOAT16, BFLOAT16)
    models = [MGCLIP.from_pretrained(tiny_clip, settings={"epochs": 0, "precision": each}) for each in ("auto", "float32")]
    pixels = [model.encoder.pixels(list(icons["x_test"])) for model in models]
    before = models[0].encoder.images(pixels[0])
    for model in models:
        torch.manual_seed(0)
        with torch.no_grad():
            for name, weight in adapter_weights(model.backbone):
                if name.endswith(".B"):
                    weight.normal_()
        model.backbone.weights_changed()
    found, exact = (model.encoder.images(own) for model, own in zip(models, pixels, strict=True))
    assert (found * exact).sum(1).min() > 0.999
    assert (found * before).sum(1).min() < 0.9
    with without_adapters(models[0].backbone):
        assert torch.equal(models[0].encoder.images(pixels[0]), before)
    assert torch.equal(models[0].encoder.images(pixels[0]), found)


def test_long_work_is_compiled_and_falls_back_to_the_plain_tower(tiny_clip, icons, speeds, monkeypatch, caplog):
    """Neither the compiler nor its absence changes the answers."""
    caplog.set_level(logging.INFO, logger="mgclip")
    speeds(BFLOAT16, (0.01, 0.1))  # 120 seconds for 12 images
    asked = []

    def compile_like(tower, options):
        def run(pixel_values):
            if asked == ["broken"]:
                raise RuntimeError("no compiler")
            asked.append(len(pixel_values))
            return tower(pixel_values=pixel_values)

        return run

    monkeypatch.setattr(torch, "compile", compile_like)
    model = MGCLIP.from_pretrained(tiny_clip, settings={"epochs": 0, "precision": "auto", "encode_batch_size": 16})
    few, many = (model.encoder.pixels(list(icons["x_test"][:number])) for number in (11, 40))
    plain = model.encoder.images(few)
    assert asked == []
    compiled = model.encoder.images(many)
    assert asked == [16, 16, 16, 16], "one to compile; the last batch is filled up"
    torch.testing.assert_close(compiled[:11], plain, atol=2e-2, rtol=0)
    assert "compiled for batches of 16 images" in caplog.text
    model.encoder.images(model.encoder.pixels(list(icons["x_test"][:5])))
    assert len(asked) == 4, "parts that are smaller because memory ran out are not filled up"
    asked[:] = ["broken"]
    model = MGCLIP.from_pretrained(tiny_clip, settings={"epochs": 0, "precision": "auto", "encode_batch_size": 16})
    torch.testing.assert_close(model.encoder.images(many), compiled, atol=2e-2, rtol=0)
    assert "The image tower runs uncompiled, because compiling it failed: no compiler." in caplog.text


def test_the_tower_is_compiled_for_the_images_of_a_pass(tiny_clip, icons, speeds, monkeypatch):
    speeds(BFLOAT16, (0.01, 0.1))
    monkeypatch.setattr(compute, "CPU_TENSOR_BYTES", 2 * 17 * 64 * 6)  # of six images
    asked = []
    monkeypatch.setattr(
        torch,
        "compile",
        lambda tower, options: lambda pixel_values: asked.append(len(pixel_values)) or tower(pixel_values=pixel_values),
    )
    model = MGCLIP.from_pretrained(tiny_clip, settings={"epochs": 0, "precision": "auto", "encode_batch_size": 16})
    model.encoder.images(model.encoder.pixels(list(icons["x_test"][:19])))
    assert asked == [6, 6, 6, 6, 6], "one to compile; sixteen images in passes of 6, 6 and 4, and three images"


def test_only_images_that_are_encoded_are_a_reason_to_compile(tiny_clip, icons, speeds, monkeypatch, tmp_path):
    """Those whose features are kept are not."""
    speeds(BFLOAT16, (0.01, 0.1))  # 120 seconds for 12 images
    asked = []
    monkeypatch.setattr(EncodingTower, "compile", lambda tower, batch, size: asked.append(batch))

    def encode(images, folder):
        model = MGCLIP.from_pretrained(tiny_clip, settings={"epochs": 0, "precision": "auto", "encode_batch_size": 4})
        model.encoder.kept = KeptFeatures(folder)
        asked.clear()
        model.encoder.images(model.encoder.pixels(list(images)))
        return asked

    assert encode(icons["x_train"][:40], tmp_path / "one")
    assert encode(icons["x_train"][:40], tmp_path / "one") == []
    assert encode(icons["x_train"][:48], tmp_path / "one") == [], "8 of 48 are new"
    assert encode(icons["x_train"][48:100], tmp_path / "one"), "all are new"
    for number in range(20, 60, 4):  # half of all images are known
        encode(icons["x_train"][number : number + 2], tmp_path / "two")
    assert encode(icons["x_train"][20:60], tmp_path / "two"), "20 of 40 are new"


def test_what_cannot_be_compiled_is_not_tried_again(tiny_clip, icons, speeds, monkeypatch):
    speeds(BFLOAT16, (0.01, 0.1))
    tried = []
    monkeypatch.setattr(torch, "compile", lambda tower, options: tried.append(tower) or tower_without_compiler)
    model = MGCLIP.from_pretrained(tiny_clip, settings={"epochs": 0, "precision": "auto", "encode_batch_size": 16})
    pixels = model.encoder.pixels(list(icons["x_test"][:40]))
    found = [model.encoder.images(pixels) for _ in range(3)]
    assert len(tried) == 1
    assert torch.equal(found[0], found[2])


def tower_without_compiler(pixel_values):
    raise RuntimeError("no compiler")


@pytest.mark.slow
def test_a_compiled_tower_gives_the_features_of_the_plain_one(tiny_clip, icons, speeds):
    speeds(BFLOAT16, (0.01, 0.1))
    model = MGCLIP.from_pretrained(tiny_clip, settings={"epochs": 0, "precision": "auto", "encode_batch_size": 16})
    few, many = (model.encoder.pixels(list(icons["x_test"][:number])) for number in (11, 40))
    plain, compiled = model.encoder.images(few), model.encoder.images(many)
    assert model.backbone._encoding[2].compiled is not None
    torch.testing.assert_close(compiled[:11], plain, atol=2e-2, rtol=0)


def test_auto_trains_if_it_is_asked_for(tiny_clip, icons, speeds):
    from icon_tasks import task

    speeds(BFLOAT16, BFLOAT16)
    settings = {"epochs": 2, "adapter_batch_size": 8, "precision": "auto", "adapter_lr": 2e-3}
    losses = {}
    for precision in ("auto", "float32"):
        model, losses[precision] = MGCLIP.from_pretrained(tiny_clip, settings={**settings, "precision": precision}), []
        model.learn(*task(icons, [0, 1, 2]), on_step=lambda step, own=losses[precision]: own.append(step.loss))
    assert losses["auto"] != losses["float32"]
    assert losses["auto"] == pytest.approx(losses["float32"], abs=0.05)


def test_new_models_that_only_encode_are_automatic_and_published_methods_are_not():
    assert settings_of_new_model("", {})["precision"] == "auto"
    assert settings_of_new_model("", {"precision": "float32"})["precision"] == "float32"
    for method in ("mg-clip", "mg-clip-analytic-auto", "mg-clip-analytic-adapt"):
        assert settings_of_new_model(method, {}).get("precision", "float32") == "float32"


def test_the_choice_is_in_the_records_of_a_run_and_with_verbose_on_the_terminal(mgclip, tiny_clip, tmp_path, speeds):
    speeds(BFLOAT16, BFLOAT16)
    words = ["icons100", f"clip={tiny_clip}", "tasks=1", "classes_per_task=2", "train_per_class=3", "test_per_class=2"]
    words += ["methods=mg-clip-analytic", "features=32", "retention={}"]
    code, _, error = mgclip("--verbose", "run", *words, "precision=auto", "--out", tmp_path / "auto")
    assert code == 0
    assert "Images are encoded in bfloat16: measured 100 images per second in float32 and 400 in bfloat16." in error
    assert mgclip("run", *words, "--out", tmp_path / "plain")[0] == 0
    auto, plain = (json.loads((tmp_path / name / "mg-clip-analytic" / "records.jsonl").read_text()) for name in ("auto", "plain"))
    assert auto["precision"] == "bfloat16"
    assert "precision" not in plain


def test_the_precision_of_a_model_can_be_set(learned, tmp_path):
    learned.change_settings(precision="auto")
    learned.save_pretrained(tmp_path / "model")
    assert MGCLIP.from_pretrained(tmp_path / "model").backbone.choice is not None
    with pytest.raises(InputError, match="precision must be"):
        learned.change_settings(precision="float8")


def test_a_loaded_clip_has_no_choice(tiny_clip):
    assert load_backbone(tiny_clip).choice is None


AGREED = """
import sys
from mgclip import MGCLIP
from mgclip.clip import auto_precision, parallel
rank, _ = parallel.rank_and_world_size()
auto_precision.measure = lambda model: auto_precision.Choice(("bfloat16", "float32")[rank], "images", 1.0, 2.0)
auto_precision._remembered = dict
auto_precision._remember = lambda choices: None
model = MGCLIP.from_pretrained(sys.argv[1], settings={"precision": "auto", "epochs": 0})
model.backbone.agree_on_precision()
print(model.backbone.image_precision)
"""


def test_processes_take_the_choice_of_the_first_one(tiny_clip):
    done = programs(2, AGREED, tiny_clip)
    assert [each.stdout for each in done] == ["bfloat16\n"] * 2, done[1].stderr[-3000:]


def test_the_speed_is_that_of_the_threads_of_this_process(monkeypatch):
    choice, cpu = auto_precision.Choice("bfloat16", "images", 1.0, 8.0, threads=2), torch.device("cpu")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    assert (choice.speed(cpu), choice.speed(torch.device("cuda"))) == (16.0, 8.0)
    assert auto_precision.Choice("bfloat16", "images", 1.0, 8.0).speed(cpu) == 8.0  # stored by an earlier version
