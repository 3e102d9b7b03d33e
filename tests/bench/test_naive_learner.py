"""The naive implementation gives the same losses, epochs, head and predictions."""

import pytest
import torch
from naive_learner import NaiveMGCLIP

from mgclip import MGCLIP, Settings
from mgclip.clip.load import load_backbone
from mgclip.experiment.open_run import build_stream
from mgclip.experiment.recipe import Recipe


@pytest.mark.parametrize("epochs", [2, "auto"])
def test_the_naive_implementation_gives_the_same_losses_and_predictions(tiny_clip, epochs):
    recipe = Recipe(name="x", clip=str(tiny_clip), train_per_class=5, test_per_class=3, classes_per_task=3, tasks=3)
    settings = Settings(epochs=epochs, max_epochs=2, adapter_batch_size=6, head_batch_size=6, seed=4)
    all_tokens = load_backbone(tiny_clip)
    del all_tokens.model.vision_model.encoder.layers[-1].forward  # restores the method of its class
    model, naive = MGCLIP(load_backbone(tiny_clip), settings), NaiveMGCLIP(all_tokens, settings)
    for task in build_stream(recipe):
        losses = []
        learned = model.learn(
            task.train.images, task.train.labels, task.names, on_step=lambda step, to=losses: to.append(step.loss)
        )
        if learned.probe is not None and learned.probe.completed:  # the naive implementation trains the same once more
            losses = losses[: learned.epochs * 3] + losses
        assert naive.learn(task) == pytest.approx(losses, abs=1e-4)
        assert naive.epochs == learned.epochs
        torch.testing.assert_close(naive.head, model.head, atol=1e-4, rtol=1e-3)
        assert naive.predict(task.test.images).tolist() == model.predict(task.test.images).labels.tolist()
