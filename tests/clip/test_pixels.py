"""Transformed images are kept within the memory budget, and can be prepared in forked processes."""

import json
import multiprocessing
import os
import threading

import numpy as np
import pytest
import torch

from mgclip import MGCLIP, Settings
from mgclip.clip.pixels import MemoryBudget, PreparedImages, prefetch, useful_threads

EACH = 4 * 4 * 3


@pytest.fixture
def counted():
    """A transform, and the images that it has transformed."""
    transformed = []

    def transform(images):
        transformed.extend(images)
        return torch.stack([torch.from_numpy(np.asarray(image)).permute(2, 0, 1) for image in images])

    return transform, transformed


def greys(count, first=0):
    return [np.full((4, 4, 3), first + grey, dtype=np.uint8) for grey in range(count)]


def shown(pixels, *places):
    return pixels.batch(torch.tensor(places))[:, 0, 0, 0].tolist()


def test_images_are_kept_until_the_memory_budget_is_used(counted):
    transform, transformed = counted
    pixels = PreparedImages(greys(6), transform, keep_bytes=4 * EACH + EACH // 2)
    for _ in range(3):
        assert shown(pixels, 5, 1, 0) == [5, 1, 0]
        assert shown(pixels, 2, 5, 3, 4) == [2, 5, 3, 4]
    assert len(transformed) == 6 + 2 * 2  # four are kept, two are transformed at every use


def test_several_sets_share_one_memory_budget(counted):
    transform, transformed = counted
    room = MemoryBudget(7 * EACH)
    sets = [PreparedImages(greys(4, first=10 * number), transform, room) for number in range(3)]
    for _ in range(2):
        for number, pixels in enumerate(sets):
            assert shown(pixels, 3, 0, 1, 2) == [10 * number + grey for grey in (3, 0, 1, 2)]
    assert len(transformed) == 12 + (12 - 7)
    assert room.left == 0


@pytest.mark.parametrize("quick", [True, False])
def test_several_threads_open_only_images_that_take_long(quick, monkeypatch):
    monkeypatch.setenv("MGCLIP_THREADS", "3")
    monkeypatch.setattr("mgclip.clip.pixels.LOCKED", 60.0 if quick else 0.0)
    caller, threads = threading.get_ident(), set()

    def transform(images):
        threads.add(threading.get_ident())
        return torch.stack([torch.from_numpy(np.asarray(image)).permute(2, 0, 1) for image in images])

    assert shown(PreparedImages(greys(40), transform), *range(40)) == list(range(40))
    assert (threads == {caller}) == quick


@pytest.mark.parametrize(
    ("available", "milliseconds", "expected"),
    [(16, 0.3, 1), (16, 1.2, 2), (16, 2.1, 4), (16, 4.6, 8), (16, 60, 16), (12, 4.6, 6), (2, 0.9, 1), (2, 1.1, 2), (1, 60, 1)],
)
def test_quick_images_are_prepared_by_fewer_threads(available, milliseconds, expected, monkeypatch):
    monkeypatch.setenv("MGCLIP_THREADS", str(available))
    assert useful_threads(milliseconds / 1000) == expected


def test_prediction_keeps_no_pixels(learned, icons, monkeypatch):
    taken = []
    monkeypatch.setattr(MemoryBudget, "take", lambda room, most, each: taken.append(min(most, room.left // each)) or 0)
    learned.predict(list(icons["x_test"][:3]))
    assert taken == [0]


def test_an_evaluation_keeps_no_pixels(learned, icons, monkeypatch, tmp_path):
    from icon_tasks import month_folders

    from mgclip.workflows.evaluate import evaluate_images
    from mgclip.workflows.source import read_images

    month_folders(icons, tmp_path, {"march": range(2)}, 3)
    taken = []
    monkeypatch.setattr(MemoryBudget, "take", lambda room, most, each: taken.append(min(most, room.left // each)) or 0)
    evaluate_images(learned, read_images(tmp_path / "march"), model_name="m", folder="march")
    assert taken == [0]


@pytest.fixture
def learned(tiny_clip, icons):
    model = MGCLIP.from_pretrained(tiny_clip, settings=Settings(epochs=1))
    chosen = icons["y_train"] < 2
    model.learn(list(icons["x_train"][chosen]), icons["y_train"][chosen], icons["class_names"][:2])
    return model


def test_each_test_image_of_a_stream_is_transformed_once(tmp_path, monkeypatch):
    """Memory for all test images together is enough for any number of tasks."""
    from mgclip.clip.transform import Transform
    from mgclip.experiment.measured_images import prepare_test_images
    from mgclip.experiment.open_run import open_run
    from mgclip.experiment.recipe import load_recipe
    from mgclip.experiment.task_record import evaluate

    changes = ["tasks=3", "train_per_class=2", "test_per_class=2", "epochs=1", "head_epochs=1", "methods=zero-shot"]
    opened = open_run(load_recipe("icons100", changes), tmp_path / "run")
    tests, seen = sum(len(task.test.labels) for task in opened.stream), []
    transform = Transform.__call__
    monkeypatch.setattr(Transform, "__call__", lambda self, images: seen.extend(images) or transform(self, images))
    pixels = prepare_test_images(opened.backbone, opened.stream, tests * 3 * opened.backbone.image_size**2)
    learner = opened.learner("zero-shot")
    for task in opened.stream:
        learner.learn(task.train.images, task.train.labels, task.names, class_texts=task.texts)
        before = len(seen)
        evaluate(learner, opened.stream, task, pixels)
        assert len(seen) - before == (2 if task.index == 0 else 1 if task.index == 1 else 0) * tests // 3


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="the system cannot fork")
def test_a_forked_process_predicts_after_its_parent_did(learned, icons, tmp_path, monkeypatch):
    monkeypatch.setenv("MGCLIP_THREADS", "3")
    images = list(icons["x_test"][:30])
    wanted = learned.predict(images).names

    def work(file):
        torch.set_num_threads(1)
        ahead_of = [loaded for _, loaded in prefetch(lambda item: 2 * item, range(3))]
        file.write_text(json.dumps([list(learned.predict(images).names), ahead_of]))

    context = multiprocessing.get_context("fork")
    child = context.Process(target=work, args=(tmp_path / "answer",))
    child.start()
    child.join(60)
    hangs = child.is_alive()
    if hangs:
        child.kill()
    assert not hangs
    assert json.loads((tmp_path / "answer").read_text()) == [list(wanted), [0, 2, 4]]
    assert os.getpid() != child.pid


@pytest.mark.parametrize("uses_gpu", [True, False])
def test_a_batch_for_a_gpu_is_in_pinned_memory(counted, monkeypatch, uses_gpu):
    prepared, pinned = PreparedImages(greys(3), counted[0]), []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: uses_gpu)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda pixels: pinned.append(len(pixels)) or pixels)
    prepared.batch(torch.tensor([0, 1]))
    prepared.batch(torch.tensor([1]))
    assert pinned == ([2, 1] if uses_gpu else [])


def test_each_image_is_transformed_once_if_it_is_kept(counted):
    transform, transformed = counted
    images = [np.full((4, 4, 3), i, dtype=np.uint8) for i in range(6)]
    pixels = PreparedImages(images, transform)
    assert pixels.batch(torch.tensor([4, 1]))[:, 0, 0, 0].tolist() == [4, 1]
    assert pixels.batch(torch.tensor([1, 2, 4]))[:, 0, 0, 0].tolist() == [1, 2, 4]
    assert pixels.batch(torch.arange(6))[:, 0, 0, 0].tolist() == list(range(6))
    assert len(transformed) == 6
    transformed.clear()
    small = PreparedImages(images, transform, keep_bytes=10)
    for _ in range(2):
        assert small.batch(torch.tensor([3, 0]))[:, 0, 0, 0].tolist() == [3, 0]
    assert len(transformed) == 4
