"""Replay against a slow independent computation; without a memory it is the plain method."""

import numpy as np
import pytest
import torch
from icon_tasks import task
from reference import Adam, Reference, cosine, unit

from mgclip import MGCLIP, Settings
from mgclip.clip.adapters import adapter_state
from mgclip.errors import InputError
from mgclip.method import replay
from mgclip.method.replay import remember, replay_objective
from mgclip.method.task import make_task

CONFIG = {
    "adapter_rank": 8, "adapter_alpha": 1.0, "adapter_lr": 2e-3, "epochs": 2, "adapter_batch_size": 10, "head_lr": 5e-3,
    "head_epochs": 2, "head_batch_size": 9, "vision_weight": 4.0, "prompt": "a good photo of a {}.", "eval_batch_size": 16,
    "balanced_epochs": 3,
}  # fmt: skip
STREAM = ([0, 1, 2], [3, 4], [5, 6])


def settings(**changes):
    return Settings(
        epochs=2, adapter_lr=2e-3, adapter_batch_size=10, head_lr=5e-3, head_epochs=2, head_batch_size=9, shuffle=False, seed=1,
        balanced_epochs=3, **changes,
    )  # fmt: skip


def memory_images(model, icons):
    """The raw images of a model's memory, found by their transformed pixels, and their labels."""
    every = model.encoder.pixels(list(icons["x_train"])).batch(torch.arange(len(icons["x_train"])))
    found = [int((every == pixels).flatten(1).all(1).nonzero()[0]) for pixels in model.memory.pixels]
    return [icons["x_train"][i] for i in found], model.memory.labels.tolist(), found


def entropy(logits, labels):
    return torch.nn.functional.cross_entropy(logits, torch.tensor(labels))


class Replayed(Reference):
    """The reference with a memory: every text in every step, every image encoded again."""

    def adapters_on(self, images, labels, old, old_labels, names, first):
        optimizer, losses, batch = self.optimizer(), [], CONFIG["adapter_batch_size"]
        items = [(x, y, False) for x, y in zip(images, labels, strict=True)]
        items += [(x, y, True) for x, y in zip(old, old_labels, strict=True)]
        for epoch in range(CONFIG["epochs"]):
            for k in range(0, len(items), batch):
                part, loss = items[k : k + batch], 0.0
                new, past = [i for i in part if not i[2]], [i for i in part if i[2]]
                if new:
                    loss = entropy(self.text_logits([x for x, *_ in new], names)[:, first:], [y - first for _, y, _ in new])
                if past:
                    loss = loss + 0.1 * entropy(self.text_logits([x for x, *_ in past], names), [y for _, y, _ in past])
                loss.backward()
                optimizer.step(cosine(epoch, CONFIG["epochs"], CONFIG["adapter_lr"]))
                losses.append(loss.item())
        return losses

    def balance_adapters(self, images, labels, names):
        lr, optimizer, losses, epochs = 0.01 * CONFIG["adapter_lr"], self.optimizer(), [], CONFIG["balanced_epochs"]
        for epoch in range(epochs):
            rate = 0.1 * lr + 0.5 * 0.9 * lr * (1 + np.cos(np.pi * epoch / epochs))
            for k in range(0, len(images), CONFIG["adapter_batch_size"]):
                cut = slice(k, k + CONFIG["adapter_batch_size"])
                loss = entropy(self.text_logits(images[cut], names), labels[cut])
                loss.backward()
                optimizer.step(rate)
                losses.append(loss.item())
        return losses

    def balance_head(self, images, labels):
        head, size, losses = self.head.clone().requires_grad_(), CONFIG["adapter_batch_size"], []
        optimizer, steps = Adam([head]), -(-len(images) // size) * CONFIG["balanced_epochs"]
        lr, lowest = 0.1 * CONFIG["head_lr"], 0.01 * CONFIG["adapter_lr"]
        for step in range(steps):
            k = step % (steps // CONFIG["balanced_epochs"]) * size
            with torch.no_grad():
                features = self.image_features(images[k : k + size])
            loss = entropy(features @ unit(head).T, labels[k : k + size])
            loss.backward()
            optimizer.step(lowest + 0.5 * (lr - lowest) * (1 + np.cos(np.pi * step / steps)))
            losses.append(loss.item())
        self.head = head.detach()
        return losses


@pytest.mark.parametrize("balanced", [False, True])
def test_replay_equals_a_slow_reference(tiny_clip, icons, balanced):
    model = MGCLIP.from_pretrained(tiny_clip, settings=settings(memory=17, balanced=balanced))
    slow = Replayed(tiny_clip, CONFIG, {k: v for k, v in adapter_state(model.backbone).items() if k.endswith("A")} | {})
    slow.restore(adapter_state(model.backbone))
    names, old, old_labels = [], [], []
    for classes in STREAM:
        images, labels, own = task(icons, classes)
        losses = {}
        first, names = len(names), [*names, *own]
        model.learn(images, labels, own, on_step=lambda s, to=losses: to.setdefault(s.phase, []).append(s.loss))
        shifted = [label + first for label in labels]
        expected = {"adapter": slow.adapters_on(images, shifted, old, old_labels, names, first)}
        old, old_labels, _ = memory_images(model, icons)
        if balanced and first:
            expected["balance-adapter"] = slow.balance_adapters(old, old_labels, names)
        expected["head"] = slow.head_phase(images, shifted, len(names), first)
        if balanced and first:
            expected["balance-head"] = slow.balance_head(old, old_labels)
        assert list(losses) == list(expected)  # the phases, in their order
        for phase, numbers in expected.items():
            np.testing.assert_allclose(losses[phase], numbers, atol=3e-5, rtol=1e-4, err_msg=phase)
        torch.testing.assert_close(model.head, slow.head, atol=1e-5, rtol=1e-4)
    for name, weight in slow.adapters().items():
        torch.testing.assert_close(adapter_state(model.backbone)[name], weight, atol=2e-4, rtol=1e-3)
    tests = list(icons["x_test"][:28])
    assert model.predict(tests).labels.tolist() == slow.predict(tests, names)


def test_the_memory_is_shared_equally_and_shrinks_per_class(tiny_clip, icons):
    model = MGCLIP.from_pretrained(tiny_clip, settings=settings(memory=17))
    before = None
    for classes in STREAM:
        model.learn(*task(icons, classes))
        share = 17 // len(model.class_names)
        assert len(model.memory) <= 17
        assert torch.bincount(model.memory.labels).tolist() == [share] * len(model.class_names)
        _, labels, places = memory_images(model, icons)
        assert len(set(places)) == len(places)
        assert [int(icons["y_train"][i]) for i in places] == labels  # the stream runs in the data's own order
        if before is not None:
            assert set(places) & set(range(12 * before[1])) <= set(before[0])
        before = places, len(model.class_names)


def test_a_class_with_few_images_keeps_all_of_them(tiny_clip, icons):
    model = MGCLIP.from_pretrained(tiny_clip)
    images, labels, names = task(icons, [0, 1])
    few = make_task(model.encoder.pixels(images[9:]), labels[9:], names, index=0, known=())
    memory = remember(None, few, first=0, limit=20, seed=0)
    assert torch.bincount(memory.labels).tolist() == [3, 10]


def test_the_memory_chooses_at_random(tiny_clip, icons):
    model = MGCLIP.from_pretrained(tiny_clip)
    images, labels, names = task(icons, [0, 1])
    own = make_task(model.encoder.pixels(images), labels, names, index=0, known=())
    kept = [memory_places(own, remember(None, own, first=0, limit=10, seed=seed)) for seed in (0, 0, 1, 2)]
    assert kept[0] == kept[1]
    assert len({*map(tuple, kept), (*range(5), *range(12, 17))}) == 4  # three seeds, and the first images of each class


def memory_places(own, memory):
    """The positions in a task of the images of a memory."""
    every = own.pixels.batch(torch.arange(len(own.labels)))
    return [int((every == pixels).flatten(1).all(1).nonzero()[0]) for pixels in memory.pixels]


def test_old_images_of_a_batch_have_together_the_replay_weight(tiny_clip, icons):
    model = MGCLIP.from_pretrained(tiny_clip, settings=settings(memory=6, replay_weight=0.6))
    model.learn(*task(icons, [0, 1]))
    new = make_task(model.encoder.pixels(task(icons, [2])[0]), [0] * 12, ["new"], index=1, known=model.class_names)
    objective = replay_objective(model.backbone, new, model.memory, torch.empty(3, 0), 2, model.settings)
    assert objective.count == 12 + 6
    for picked, weights in (([0, 13, 5, 12, 17], [1 / 2, 0.2, 1 / 2, 0.2, 0.2]), ([3], [1.0]), ([14, 15], [0.3, 0.3])):
        np.testing.assert_allclose(objective.weights(torch.tensor(picked)), weights, rtol=1e-6)


def test_balanced_fine_tuning_of_the_adapters_ends_at_a_tenth_of_its_rate(tiny_clip, icons, monkeypatch):
    phases, real = [], replay.train_adapters

    def noted(backbone, objective, phase, **others):
        phases.append(phase)
        return real(backbone, objective, phase, **others)

    monkeypatch.setattr(replay, "train_adapters", noted)
    model = MGCLIP.from_pretrained(tiny_clip, settings=settings(memory=8, balanced=True))
    for classes in ([0, 1], [2, 3]):
        model.learn(*task(icons, classes))
    assert [(phase.rate, phase.lowest, phase.epochs) for phase in phases] == [pytest.approx((2e-5, 2e-6, 3))]


def test_a_probe_after_a_task_of_one_class_leaves_the_old_images_to_the_adapter_phase(tiny_clip, icons):
    """The probe trains without them, so its adapters are not those of the adapter phase, even if it completes all epochs."""
    probed, given = (
        MGCLIP.from_pretrained(
            tiny_clip, settings=Settings(epochs=epochs, max_epochs=1, alpha=None, memory=10, adapter_batch_size=10)
        )
        for epochs in ("auto", 1)
    )
    for model in (probed, given):
        model.learn(*task(icons, [0]))
        result = model.learn(*task(icons, [1, 2]))
        assert (result.epochs, result.probe is None) == (1, model is given)
    theirs = adapter_state(given.backbone)
    assert all(torch.equal(theirs[name], weight) for name, weight in adapter_state(probed.backbone).items())


def test_without_a_memory_the_result_is_the_plain_method_bit_for_bit(tiny_clip, icons):
    changes = {"memory": 0, "replay_weight": 5.0}
    plain = MGCLIP.from_pretrained(tiny_clip, settings=Settings(epochs=2, adapter_batch_size=10, seed=1))
    off = MGCLIP.from_pretrained(tiny_clip, settings=Settings(epochs=2, adapter_batch_size=10, seed=1, **changes))
    on = MGCLIP.from_pretrained(tiny_clip, settings=Settings(epochs=2, adapter_batch_size=10, seed=1, memory=20))
    for number, classes in enumerate(STREAM):
        losses = [[], [], []]
        for model, to in zip((plain, off, on), losses, strict=True):
            model.learn(*task(icons, classes), on_step=lambda step, to=to: to.append(step.loss))
        assert losses[0] == losses[1]
        assert (losses[0] == losses[2]) == (number == 0)  # the first task has nothing to replay
    assert off.memory is None
    assert all(
        torch.equal(a, b)
        for a, b in zip(adapter_state(plain.backbone).values(), adapter_state(off.backbone).values(), strict=True)
    )
    assert torch.equal(plain.head, off.head)
    images = list(icons["x_test"])
    assert plain.predict(images).probabilities.tobytes() == off.predict(images).probabilities.tobytes()


def test_a_loaded_model_with_a_memory_learns_like_the_saved_one(tiny_clip, icons, tmp_path):
    model = MGCLIP.from_pretrained(tiny_clip, settings=settings(memory=20, balanced=True))
    model.learn(*task(icons, [0, 1]))
    model.save_pretrained(tmp_path / "shop")
    again = MGCLIP.from_pretrained(tmp_path / "shop")
    for one in (model, again):
        one.learn(*task(icons, [2, 3]))
    assert torch.equal(model.memory.pixels, again.memory.pixels)
    assert torch.equal(model.head, again.head)
    next((tmp_path / "shop").glob("mgclip-state-*/memory.safetensors")).unlink()
    with pytest.raises(InputError, match=r"The memory .* cannot be read"):
        MGCLIP.from_pretrained(tmp_path / "shop")


def test_settings_of_the_memory_that_cannot_work_are_refused(tiny_clip, icons):
    model = MGCLIP.from_pretrained(tiny_clip, settings=settings(memory=4))
    model.learn(*task(icons, [0, 1, 2]))
    with pytest.raises(InputError, match="memory = 4 is smaller than the number of classes \\(5\\): raise it"):
        model.learn(*task(icons, [3, 4]))
    with pytest.raises(InputError, match="balanced fine-tuning needs a memory: set memory, 2000"):
        Settings(balanced=True)


def test_without_head_epochs_the_head_stays_at_the_class_means(tiny_clip, icons):
    """Also if the replay is balanced."""
    settings = Settings(epochs=1, head_epochs=0, memory=8, balanced=True)
    model, phases = MGCLIP.from_pretrained(tiny_clip, settings=settings), []
    for classes in ([0, 1], [2, 3]):
        images = task(icons, classes)
        model.learn(*images, on_step=lambda step: phases.append(step.phase))
    assert set(phases) == {"adapter", "balance-adapter"}
    features, labels = model.encoder.images(model.encoder.pixels(images[0])), torch.tensor(images[1])
    means = torch.stack([features[labels == label].mean(0) for label in range(2)])
    torch.testing.assert_close(model.head[2:], means)
