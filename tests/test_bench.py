"""What is measured and counted: the plain method gives the same results, and the formulas count what runs."""

import json

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from mgclip import MGCLIP, Settings
from mgclip.bench import estimate
from mgclip.bench import measure as bench
from mgclip.bench.flops import image_tower, text_tower
from mgclip.bench.plain import NaiveMGCLIP
from mgclip.bench.shapes import make_backbone, make_config
from mgclip.clip.load import load_backbone
from mgclip.experiment.open_run import build_stream
from mgclip.method.prepare import prepare


@pytest.mark.parametrize("epochs", [2, "auto"])
def test_the_plain_method_gives_the_same_losses_and_predictions(tiny_clip, epochs):
    from mgclip.experiment.recipe import Recipe

    recipe = Recipe(name="x", clip=str(tiny_clip), train_per_class=5, test_per_class=3, classes_per_task=3, tasks=3)
    settings = Settings(epochs=epochs, max_epochs=2, adapter_batch_size=6, head_batch_size=6, seed=4)
    whole = load_backbone(tiny_clip)
    del whole.model.vision_model.encoder.layers[-1].forward
    ours, plain = MGCLIP(load_backbone(tiny_clip), settings), NaiveMGCLIP(whole, settings)
    for task in build_stream(recipe):
        losses = []
        learned = ours.learn(
            task.train.images, task.train.labels, task.names, on_step=lambda step, to=losses: to.append(step.loss)
        )
        if learned.probe is not None and learned.probe.completed:  # the plain method trains the same once more
            losses = losses[: learned.epochs * 3] + losses
        assert plain.learn(task) == pytest.approx(losses, abs=1e-4)
        assert plain.epochs == learned.epochs
        torch.testing.assert_close(plain.head, ours.head, atol=1e-4, rtol=1e-3)
        assert plain.predict(task.test.images).tolist() == ours.predict(task.test.images).labels.tolist()


def test_the_formulas_count_the_passes_that_runs_make():
    """The same counts that test_passes finds in real runs."""
    stream = bench.Stream(tasks=3, classes=3, train_per_class=6, test_per_class=4, epochs=2, batch=5)
    one = {"image_trained": 0.0, "image": 0.0, "texts_trained": 0.0, "texts": 0.0, "head": 0.0}

    def count(formula, unit):
        units = bench.Units(**{**one, unit: 1.0})
        return sum(sum(formula(stream, units, t).values()) for t in range(3))

    assert count(bench.ours, "image_trained") == 2 * 18 * 3
    assert count(bench.ours, "image") == 18 * 3 + 12 * (2 + 3 + 3)
    assert count(bench.ours, "texts_trained") == 2 * 4 * 3 * 3
    assert count(bench.ours, "texts") == 3 * 9
    assert count(bench.ours, "head") == 3 * 3 * 1
    assert count(bench.plain, "image_trained") == 2 * 18 * 3
    assert count(bench.plain, "image") == 18 * 3 * (1 + 1 + 3) + 12 * (2 + 3 + 3)
    assert count(bench.plain, "texts_trained") == 2 * 4 * (3 + 6 + 9)
    assert count(bench.plain, "texts") == 4 * (3 + 6 + 9) + (1 * 3 + 2 * 6 + 3 * 9)


@pytest.mark.parametrize("shortcut", [True, False])
@pytest.mark.parametrize("train", [False, True])
def test_operations_are_those_that_torch_counts(shortcut, train):
    backbone = make_backbone("iconclip", shortcut=shortcut)
    prepare(backbone, Settings(rank=1))
    pixels = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(train):
        features = backbone.image_features(pixels)
        if train:
            features.sum().backward()
    tower = image_tower(backbone.model.config.vision_config, pooled_last=shortcut)
    counted = 2 * (tower.training() if train else tower.forward())
    # Not counted: adapters, the final projection, and the first layer's inputs, which need no gradient.
    assert counted == pytest.approx(counter.get_total_flops(), rel=0.1 if train else 0.03)
    tokens = backbone.tokenize(["a good photo of a bell."] * 3)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        backbone.text_features(tokens)
    found = 3 * text_tower(backbone.model.config.text_config, tokens.shape[1]).forward()
    assert found == pytest.approx(counter.get_total_flops(), rel=0.05)


def test_estimates_follow_the_work():
    config = make_config("vit-b-16")
    assert estimate.adapter_count(config) == 491_520
    stream = bench.Stream(tasks=10, classes=100, train_per_class=1281, test_per_class=50, epochs=2)
    one, half, eight = (
        estimate.estimate(config, stream, machine, adapter_numbers=491_520) for machine in estimate.MACHINES
    )
    assert one["training"] == pytest.approx(half["training"] * 120 / 14)
    assert half["training"] / 8 < eight["training"] < half["training"] / 6
    assert (one["communication"], half["communication"]) == (0, 0)
    assert 0 < eight["communication"] < 0.05 * eight["total"]
    images = stream.tasks * stream.images
    assert one["features"] == pytest.approx(images * image_tower(config.vision_config).forward() / 14e12)
    assert one["model_bytes"] == 4 * (491_520 + 1000 * 512)


def test_the_command(mgclip):
    code, out, err = mgclip("bench", "--rounds", 2, "--images", 4, "--tasks", 2, "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert set(found["units"]) == {"image_trained", "image", "texts_trained", "texts", "head"}
    for value in found["composed"].values():
        assert value["ours"] > 0
        assert value["ratio"] == pytest.approx(value["plain"] / value["ours"], rel=0.3)  # the median of paired ones
    for whole in ("stream", "last task"):  # a single step of two classes differs by less than two rounds tell
        assert found["composed"][whole]["ratio"] > 1
    assert 0 < found["share_of_peak"]["encoding"] < 1.5
    code, out, _ = mgclip("bench", "--shape", "vit-l-14", "--estimate", "--classes", 10_000)
    assert code == 0
    assert "8 GPUs" in out
    code, _, err = mgclip("bench", "--shape", "vit-h")
    assert code == 2
    assert "There is no shape vit-h: use one of vit-b-32, vit-b-16, vit-l-14, iconclip" in err


@pytest.mark.slow
def test_vit_b_16_trains_at_batch_128_within_6_gib():
    from mgclip.bench.memory import training_peak

    found = training_peak("vit-b-16", 128)
    assert found["peak"] < 6 * 2**30
    assert found["micro_batch"] < 128
