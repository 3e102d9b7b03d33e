"""The evaluation after a task, against a calculation from the features."""

import numpy as np
import pytest
import torch

from mgclip import Settings
from mgclip.clip.load import load_backbone
from mgclip.experiment.measured_images import prepare_test_images
from mgclip.experiment.task_record import evaluate
from mgclip.method.baselines.make import make_learner
from mgclip.stream.datasets import load_dataset
from mgclip.stream.tasks import make_tasks


@pytest.mark.parametrize("method", ["mg-clip", "simplecil"])
def test_accuracies_and_gap_are_those_of_the_features(method):
    """Tasks differ in size, so the mean over images is not the mean over tasks or over batches."""
    data = load_dataset("icons100", path=None, train_per_class=3, test_per_class=4)
    stream = make_tasks(data, range(60, 100), [4, 14, 22])
    backbone = load_backbone("iconclip")
    learner = make_learner(method, backbone, Settings(epochs=1, adapter_batch_size=4, encode_batch_size=7))
    tests = prepare_test_images(backbone, stream, keep_bytes=0)
    names = [name for task in stream for name in task.names]
    for task in stream:
        learner.learn(task.train.images, task.train.named(task.names), task.names)
        measured, answers = evaluate(learner, stream, task, tests)
        seen, f = stream[: task.index + 1], [unit(learner, each) for each in stream]
        y = [each.test.labels + each.first for each in stream]
        g = learner.encoder.texts(names).numpy()
        classes = len(learner.class_names)
        w = learner.head.numpy() / np.linalg.norm(learner.head.numpy(), axis=1, keepdims=True)
        z = [backbone.logit_scale.item() * each @ g.T for each in f]
        text = [softmax(softmax(each[:, :classes])) if method == "mg-clip" else 0 for each in z]
        found = [(p + 4 * softmax(each @ w.T)).argmax(1) for p, each in zip(text, f, strict=True)]
        right = [np.mean(answer == truth) for answer, truth in zip(found, y, strict=True)]
        assert measured["accuracy_per_task"] == pytest.approx(right[: len(seen)])
        assert answers.labels.tolist() == np.concatenate(found[: len(seen)]).tolist()
        assert measured["accuracy"] == pytest.approx(
            np.average(right[: len(seen)], weights=[len(each) for each in y[: len(seen)]])
        )
        logits, truth = np.concatenate(z[: len(seen)])[:, :classes], np.concatenate(y[: len(seen)])
        own = logits[np.arange(len(truth)), truth]
        gap = own.mean(), ((logits.sum(1) - own) / (classes - 1)).mean()
        assert (measured["gap"]["positive"], measured["gap"]["negative"]) == pytest.approx(gap, rel=1e-5)
        if task.index + 1 < len(stream):  # among all classes of the run, learned or not
            later = task.index + 1
            among_all, among_own = (
                np.mean(z[later][:, part].argmax(1) + start == y[later]) for part, start in parts(stream[later])
            )
            assert measured["next_task_text_accuracy"] == pytest.approx(among_all)
            assert among_all < among_own
        else:
            assert measured["next_task_text_accuracy"] is None


def parts(task):
    """All classes of a stream and those of a task, each with the label of its first one."""
    return (slice(None), 0), (slice(task.first, task.first + len(task.names)), task.first)


def unit(learner, task):
    """The normalised features of the test images of a task."""
    images = learner.encoder.images(learner.encoder.pixels(list(task.test.images)))
    return torch.nn.functional.normalize(images, dim=-1).numpy().astype(np.float64)


def softmax(values):
    powers = np.exp(values - values.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)
