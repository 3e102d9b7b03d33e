"""No work twice: encoder passes of whole runs, counted exactly; micro-batches, precision and memory."""

import pytest
import torch
from conftest import task

from mgclip import MGCLIP, Settings
from mgclip.clip import compute
from mgclip.clip.adapters import adapter_state
from mgclip.clip.backbone import Backbone
from mgclip.errors import MGCLIPError
from mgclip.experiment.open_run import open_run
from mgclip.experiment.recipe import Recipe
from mgclip.experiment.runner import run

TRAIN, TEST, CLASSES, TASKS = 6, 4, 3, 3


@pytest.fixture
def passes(monkeypatch):
    """Images and texts that pass the encoders, with and without a gradient."""
    seen = {"images trained": 0, "images": 0, "texts trained": 0, "texts": 0, "longest": 0}
    for kind, method in (("images", "image_features"), ("texts", "text_features")):
        real = getattr(Backbone, method)

        def counted(self, given, real=real, kind=kind, **options):
            seen[kind + (" trained" if torch.is_grad_enabled() else "")] += len(given)
            if kind == "texts":
                seen["longest"] = max(seen["longest"], given.shape[1])
            return real(self, given, **options)

        monkeypatch.setattr(Backbone, method, counted)
    return seen


def recipe(clip, method, **changes):
    return Recipe(
        name="counted", clip=str(clip), data="icons100", train_per_class=TRAIN, test_per_class=TEST, classes_per_task=CLASSES,
        tasks=TASKS, methods=[method], adapter_batch_size=5, head_batch_size=5, **changes,
    )  # fmt: skip


IMAGES, TESTS = TRAIN * CLASSES, TEST * CLASSES
# After each task: the test images of all tasks so far and of the next one, if there is one.
EVALUATED = TESTS * sum(min(t + 2, TASKS) for t in range(TASKS))
STEPS = -(-IMAGES // 5)
TRIED = 1  # one image and one text, when the CLIP is loaded


@pytest.mark.parametrize(
    ("method", "changes", "trained", "encoded", "texts_trained", "texts"),
    [
        # Each training image E times for training and once for the head; each text once per step, and once per task after it.
        ("mg-clip", {"epochs": 2}, 2 * IMAGES * TASKS, IMAGES * TASKS, 2 * STEPS * CLASSES * TASKS, TASKS * CLASSES * TASKS),
        ("preservation-only", {"epochs": 2}, 2 * IMAGES * TASKS, 0, 2 * STEPS * CLASSES * TASKS, TASKS * CLASSES * TASKS),
        # Nothing is trained: each text once in the whole run.
        ("compensation-only", {}, 0, IMAGES * TASKS, 0, CLASSES * TASKS),
        ("zero-shot", {}, 0, 0, 0, CLASSES * TASKS),
        ("rapf", {"rapf_epochs": 4}, 0, IMAGES * TASKS, 0, CLASSES * TASKS),
        # The probe, on the first task: the origin and a measurement per epoch; having run to its end, it was the training.
        (
            "mg-clip", {"epochs": "auto", "max_epochs": 2, "alpha": 9e9}, 2 * IMAGES * TASKS, IMAGES * (TASKS + 3),
            2 * STEPS * CLASSES * TASKS, 3 * CLASSES + TASKS * CLASSES * TASKS,
        ),
    ],
)  # fmt: skip
def test_a_run_makes_exactly_these_passes(
    tiny_clip, tmp_path, passes, method, changes, trained, encoded, texts_trained, texts
):
    run(open_run(recipe(tiny_clip, method, **changes), tmp_path / "run"))
    assert passes["images trained"] == trained
    assert passes["images"] == encoded + EVALUATED + TRIED
    assert passes["texts trained"] == texts_trained
    assert passes["texts"] == texts + TRIED
    assert passes["longest"] < 20  # cut to the longest prompt


def learn(clip, icons, **changes):
    losses = []
    settings = Settings(epochs=2, adapter_batch_size=10, head_epochs=1, seed=2, **changes)
    model = MGCLIP.from_pretrained(clip, settings=settings)
    for classes in ([0, 1, 2], [3, 4]):
        model.learn(*task(icons, classes), on_step=lambda step: losses.append(step.loss))
    return model, losses


@pytest.fixture
def batch(tiny_clip, icons):
    """A model in the middle of things, one batch of its objective, and its gradient as autograd gives it in one pass."""
    from mgclip.clip.adapters import adapter_weights
    from mgclip.method.preservation import task_objective
    from mgclip.method.replay import remember, replay_objective
    from mgclip.method.task import make_task

    def make(kind):
        loss = "align" if kind == "align" else "cross-entropy"
        model, _ = learn(tiny_clip, icons, adapter_loss=loss)
        backbone, settings = model.backbone, model.settings
        images, labels, names = task(icons, [5, 6, 7])
        data = make_task(model.encoder.pixels(images), labels, names, index=2, known=())
        if kind == "replay":
            old, y, known = task(icons, [0, 1, 2, 3, 4])
            before = make_task(model.encoder.pixels(old), y, known, index=0, known=())
            memory = remember(None, before, first=0, limit=20, seed=0)
            tokens = backbone.tokenize([settings.prompt.format(name) for name in (*known, *names)])
            objective = replay_objective(backbone, data, memory, tokens, first=5, settings=settings)
        else:
            objective = task_objective(backbone, data, settings)
        picked = torch.tensor([0, 3, 35, 13, 20, 5, 30] + [40, 50] * (kind == "replay"))
        trained = [weight for _, weight in adapter_weights(backbone)]
        features = backbone.image_features(objective.pixels(picked))
        texts = backbone.text_features(objective.tokens)
        whole = (objective.weights(picked) * objective.losses(features, texts, picked)).sum()
        slopes = torch.autograd.grad(whole, trained)
        return backbone, objective, picked, trained, whole.detach(), slopes

    return make


def gradients(batch, scaler=None):
    from mgclip.method.objective import backward

    backbone, objective, picked, trained, *_ = batch
    scaler = scaler or torch.amp.GradScaler("cpu", enabled=False)
    loss = backward(backbone, objective, picked, picked, objective.pixels(picked), trained, scaler)
    return loss, [weight.grad.clone() for weight in trained]


def assert_same(batch, loss, found):
    torch.testing.assert_close(loss, batch[-2], atol=1e-5, rtol=1e-5)
    assert any(slope.abs().max() > 1e-4 for slope in found)
    for ours, plain in zip(found, batch[-1], strict=True):
        torch.testing.assert_close(ours, plain, atol=1e-5 * max(1.0, float(plain.abs().max())), rtol=1e-3)


@pytest.mark.parametrize("kind", ["cross-entropy", "replay", "align"])
@pytest.mark.parametrize("micro_batch", [1, 3, 100])
@pytest.mark.parametrize("texts_at_once", [2, 256])
def test_micro_batches_give_the_gradient_of_the_whole_batch(batch, monkeypatch, micro_batch, kind, texts_at_once):
    from mgclip.method import objective

    monkeypatch.setattr(objective, "TEXTS_AT_ONCE", texts_at_once)
    made = batch(kind)
    made[0].compute.micro_batch = micro_batch
    assert_same(made, *gradients(made))


def test_memory_that_runs_out_in_the_middle_leaves_no_half_gradient(batch, monkeypatch):
    made, real, calls = batch("cross-entropy"), Backbone.image_features, []
    made[0].compute.micro_batch = 4

    def scarce(self, pixels, **options):
        calls.append(len(pixels))
        if len(calls) == 2:  # the first four images have passed, forward and backward
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")
        return real(self, pixels, **options)

    monkeypatch.setattr(Backbone, "image_features", scarce)
    assert_same(made, *gradients(made))
    assert calls == [4, 3, 2, 2, 2, 1]
    assert made[0].compute.micro_batch == 2


def test_float16_scales_the_loss_and_unscales_the_gradient(batch):
    made = batch("cross-entropy")
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    loss, scaled = gradients(made, scaler)
    torch.testing.assert_close(loss, made[-2], atol=1e-5, rtol=1e-5)
    for ours, plain in zip(scaled, made[-1], strict=True):
        torch.testing.assert_close(ours / 1024, plain, atol=1e-5 * max(1.0, float(plain.abs().max())), rtol=1e-3)
    optimizer = torch.optim.SGD(made[3], lr=1.0)
    before = [weight.detach().clone() for weight in made[3]]
    scaler.step(optimizer)
    for weight, start, plain in zip(made[3], before, made[-1], strict=True):
        torch.testing.assert_close(start - weight, plain, atol=1e-4 * max(1.0, float(plain.abs().max())), rtol=1e-2)


def test_checkpointing_changes_no_number(tiny_clip, icons):
    plain, losses = learn(tiny_clip, icons)
    lean, again = learn(tiny_clip, icons, activation_checkpointing=True)
    assert again == losses
    assert all(
        torch.equal(weight, adapter_state(lean.backbone)[name])
        for name, weight in adapter_state(plain.backbone).items()
    )
    calls = []
    for model in (lean, plain):
        layer = model.backbone.model.vision_model.encoder.layers[0].self_attn
        hook = layer.register_forward_hook(lambda *_: calls[-1].append(1))
        calls.append([])
        model.learn(*task(icons, [5, 6]))
        hook.remove()
    assert len(calls[0]) > 1.5 * len(calls[1])  # computed again, so kept less
    layer = lean.backbone.model.vision_model.encoder.layers[0]
    assert layer.training
    assert not any(inside.training for inside in layer.children())  # dropout, where a config has it, stays off


def test_memory_that_runs_out_halves_the_micro_batch(tiny_clip, icons, monkeypatch):
    _, losses = learn(tiny_clip, icons)
    real = Backbone.image_features

    def scarce(self, pixels, **options):
        if torch.is_grad_enabled() and len(pixels) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")
        return real(self, pixels, **options)

    monkeypatch.setattr(Backbone, "image_features", scarce)
    model, again = learn(tiny_clip, icons, micro_batch_size=10)
    assert again == pytest.approx(losses, abs=2e-5)
    assert model.backbone.compute.micro_batch == 2

    def none(self, pixels, **options):
        if torch.is_grad_enabled():
            raise RuntimeError(
                "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried ..."
            )
        return real(self, pixels, **options)

    monkeypatch.setattr(Backbone, "image_features", none)
    with pytest.raises(
        MGCLIPError, match="Memory ran out with a single image: free memory, set activation_checkpointing"
    ):
        learn(tiny_clip, icons)

    def broken(self, pixels, **options):
        if torch.is_grad_enabled():
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
        return real(self, pixels, **options)

    monkeypatch.setattr(Backbone, "image_features", broken)
    with pytest.raises(RuntimeError, match="shapes cannot"):
        learn(tiny_clip, icons)


def test_the_estimate_of_what_fits():
    class ViT:
        image_size, patch_size, hidden_size, num_hidden_layers = 224, 16, 768, 12

    plain = compute.fitting_micro_batch(ViT, torch.device("cpu"), checkpointing=False)
    assert 8 <= plain <= 64
    assert compute.fitting_micro_batch(ViT, torch.device("cpu"), checkpointing=True) > 3 * plain


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_lower_precision_learns_about_the_same(tiny_clip, icons, precision):
    _, losses = learn(tiny_clip, icons)
    rough, again = learn(tiny_clip, icons, precision=precision)
    assert again != losses
    assert again == pytest.approx(losses, rel=0.15, abs=0.15)
    moved = [weight for name, weight in adapter_state(rough.backbone).items() if name.endswith("B")]
    assert all(weight.abs().max() > 1e-4 for weight in moved)  # no step was skipped for good
    assert rough.head.dtype == torch.float32
    assert (
        rough.probabilities(rough.encoder.images(rough.encoder.pixels(list(icons["x_test"][:2])))).dtype
        == torch.float32
    )


@pytest.mark.slow
def test_compiled_towers_learn_the_same(tiny_clip, icons):
    _, losses = learn(tiny_clip, icons)
    _, again = learn(tiny_clip, icons, compile=True)
    assert again == pytest.approx(losses, abs=1e-4)


def test_the_last_layer_computes_the_class_token_only_and_nothing_changes(tiny_clip, icons):
    """Features and every adapter's gradient, in double precision, against transformers' own forward."""
    from peft import LoraConfig, get_peft_model
    from transformers import CLIPModel

    from mgclip.clip.last_layer import compute_class_token_only_in_last_layer

    results = []
    for shortened in (False, True):
        torch.manual_seed(4)
        model = CLIPModel.from_pretrained(tiny_clip, attn_implementation="sdpa").double().eval().requires_grad_(False)
        tuned = get_peft_model(
            model, LoraConfig(r=4, target_modules=["q_proj", "k_proj", "v_proj", "out_proj"], init_lora_weights=False)
        )
        if shortened:
            compute_class_token_only_in_last_layer(model)
        pixels = torch.randn(5, 3, 32, 32, dtype=torch.double, generator=torch.Generator().manual_seed(1))
        rows = []
        hook = model.vision_model.encoder.layers[-1].mlp.register_forward_hook(
            lambda m, x, y, rows=rows: rows.append(y.shape[1])
        )
        features = model.visual_projection(model.vision_model(pixel_values=pixels).pooler_output)
        hook.remove()
        (features**3).sum().backward()
        results.append(
            (
                features,
                {name: w.grad for name, w in tuned.named_parameters() if "vision" in name and w.grad is not None},
                rows,
            )
        )
    (plain, slopes, all_tokens), (short, same, one) = results
    assert (all_tokens, one) == ([17], [1])
    torch.testing.assert_close(short, plain, atol=1e-12, rtol=1e-10)
    assert len(slopes) == 2 * 4 * 2
    for name, slope in slopes.items():
        torch.testing.assert_close(same[name], slope, atol=1e-9, rtol=1e-7)
