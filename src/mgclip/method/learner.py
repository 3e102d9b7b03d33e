"""MG-CLIP: one object that learns tasks one after another and predicts over everything learned so far."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from mgclip.clip import parallel
from mgclip.clip.adapters import adapter_state, set_adapter_state
from mgclip.clip.ambient import in_ordinary_modes
from mgclip.clip.backbone import Backbone
from mgclip.clip.encoder import Encoder
from mgclip.clip.load import load_backbone, load_base
from mgclip.clip.pixels import PreparedImages
from mgclip.errors import InputError
from mgclip.method import class_edits, model_files, replay
from mgclip.method.adapter_phase import train_adapters
from mgclip.method.build_settings import as_settings
from mgclip.method.compensation import append_rows, cosines, train_rows
from mgclip.method.fusion import branch_probabilities
from mgclip.method.predictions import Predictions, check_candidates
from mgclip.method.prepare import prepare
from mgclip.method.preservation import Preserved, Probe, preserve
from mgclip.method.settings import Settings
from mgclip.method.task import TaskData, make_task
from mgclip.method.training import OnStep
from mgclip.saving.checkpoints import TaskCheckpoints
from mgclip.saving.store import check_base, is_saved

ARTICLE = re.compile(r"^(a|an|the) ", re.IGNORECASE)


@dataclass(frozen=True)
class LearnResult:
    """What one call of ``learn`` did: the task's number, the epochs its adapter phase took, and the probe if it was probed."""

    task: int
    epochs: int
    probe: Probe | None


class MGCLIP:
    """A CLIP that learns new classes, task after task.

    ``class_names`` are all classes learned, in order, and ``class_texts`` what prompts call them; ``task_sizes`` how many came
    with each task; ``epochs`` the length of the adapter phase once it is known; ``head`` the image-space classifier's rows
    ``(classes, d)``; ``memory`` the old images of the replay variant. ``encoder`` gives features with the adapters as they are.
    A backbone serves one model at a time: it carries the model's adapters.
    """

    @in_ordinary_modes
    def __init__(self, backbone: Backbone, settings: Settings | Mapping[str, Any]) -> None:
        settings = as_settings(settings)
        self.backbone, self.settings = backbone, settings
        self.class_names: tuple[str, ...] = ()
        self.class_texts: tuple[str, ...] = ()
        self.task_sizes: tuple[int, ...] = ()
        self.epochs: int | None = None if settings.epochs == "auto" else settings.epochs
        self.head: Tensor = torch.empty(0, backbone.feature_dim, device=backbone.device)
        self.memory: replay.Memory | None = None
        prepare(backbone, settings)
        self.encoder = Encoder(backbone, prompt=settings.prompt, batch_size=settings.encode_batch_size)

    @classmethod
    @in_ordinary_modes
    def from_pretrained(
        cls,
        reference: str | Path,
        *,
        settings: Settings | Mapping[str, Any] | None = None,
        base: str | Path | Backbone | None = None,
        device: str | torch.device | None = None,
        computing: Mapping[str, Any] | None = None,
    ) -> MGCLIP:
        """A new model of a CLIP, or a saved one to continue with.

        Args:
            reference: A CLIP (hub id, local folder, OpenAI ``.pt`` file, ``iconclip``), or a folder written by
                ``save_pretrained``.
            settings: Settings of a new model, as ``Settings`` or a mapping. A saved model brings its own.
            base: The CLIP of a saved model, or its path if it has moved.
            device: Device to compute on: a GPU by default, if there is one.
            computing: Settings of memory and speed, which may also change for a saved model.

        Returns:
            The model.

        Raises:
            InputError: If there is nothing usable, if a setting is wrong, or if the base is not the CLIP that the saved model
                was trained on.
        """
        reference, base = expanded(reference), base if isinstance(base, Backbone | None) else expanded(base)
        if not isinstance(computing, Mapping | None):
            raise InputError(f"computing must be a mapping of settings; found {type(computing).__name__}.")
        if not is_saved(reference):
            chosen = as_settings(settings).changed(computing or {})
            if base is not None:
                raise InputError(f"There is no saved model at {reference}, so base={base} has no use: leave it out.")
            return cls(load_backbone(reference, device), chosen)
        if settings is not None:
            raise InputError(f"{reference} is a saved model and keeps its own settings: leave settings out.")
        folder = Path(reference)
        found = model_files.read(folder)
        backbone = base if isinstance(base, Backbone) else load_base(folder, base or "", found.reference, device)
        check_base(folder, backbone, reference=found.reference, fingerprint=found.fingerprint)
        if found.state.head.shape[1] != backbone.feature_dim:
            rows, width = found.state.head.shape[1], backbone.feature_dim
            raise InputError(f"The head in {reference} has rows of {rows} numbers; this CLIP's features have {width}.")
        model = cls(backbone, found.state.settings.changed(computing or {}))
        set_adapter_state(backbone, found.adapter)
        model._load_state(found.state)
        return model

    @in_ordinary_modes
    def save_pretrained(
        self, folder: str | Path, *, note: Mapping[str, Any] | None = None, beside: Mapping[str, Any] | None = None
    ) -> None:
        """Write the model: peft adapter, head, classes, settings, and which CLIP it needs, all of it or nothing.

        One process of several writes.

        Args:
            folder: Folder of the model; ``~`` is expanded.
            note: A note of what was done. With it, or if the folder keeps versions, this is a new version
                (``saving/versions.py``); otherwise it replaces the model in the folder.
            beside: JSON files to store next to it, by name.

        Raises:
            InputError: If something else is at ``folder``, or nothing may be written there.
        """
        if parallel.is_main():
            model_files.save(Path(expanded(folder)), self.backbone, self._state(), note, beside)
        parallel.wait()

    def _state(self) -> model_files.ModelState:
        """What was learned besides the adapters."""
        names, texts, sizes = self.class_names, self.class_texts, self.task_sizes
        return model_files.ModelState(self.settings, self.epochs, sizes, names, texts, self.head, self.memory)

    def _load_state(self, learned: model_files.ModelState) -> None:
        """Have learned this."""
        self.head, self.memory, self.epochs = learned.head.to(self.backbone.device), learned.memory, learned.epochs
        self.class_names, self.class_texts, self.task_sizes = (
            learned.class_names,
            learned.class_texts,
            learned.task_sizes,
        )

    @in_ordinary_modes
    def learn(
        self,
        images: Any,
        labels: ArrayLike,
        class_names: Sequence[str],
        *,
        class_texts: Sequence[str] | Mapping[str, str] | None = None,
        on_step: OnStep = lambda step: None,
        checkpoints: TaskCheckpoints | None = None,
    ) -> LearnResult:
        """Learn one task: all its classes at once, none of them learned before.

        If it is interrupted or fails, the model stays as it was.

        Args:
            images: Paths, Pillow images or uint8 arrays, one for each label; also a column of a table, a generator, or one
                array or tensor of all images.
            labels: For each image a name of ``class_names``, or its position there. Whole numbers that are names are read as
                names, and refused if they are positions of other classes as well.
            class_names: The task's classes.
            class_texts: What prompts call the classes: a list in the order of ``class_names``, or a mapping by class name.
                A class without a text is called by its name.
            on_step: Called after each step.
            checkpoints: Checkpoints from which the same task resumes if the same model learns it again.

        Returns:
            The task's index, its epochs and its probe.

        Raises:
            InputError: If this cannot be learned.
            TrainingDiverged: If the loss becomes NaN or infinite.
        """
        pixels = self.encoder.pixels(images)
        index, known = len(self.task_sizes), self.class_names
        task = make_task(pixels, labels, class_names, index=index, known=known, class_texts=class_texts)
        if self.settings.memory:
            replay.check_room(self.settings.memory, len(self.class_names) + len(task.names))
        if parallel.is_distributed():
            parallel.check_same_in_all_processes("task", task.facts())
        before, epochs_before = adapter_state(self.backbone), self.epochs
        checkpoints = checkpoints or TaskCheckpoints()
        checkpoints.begin_task(index, lambda: adapter_state(self.backbone))
        try:
            preserved = self._preserve(task, on_step, checkpoints)
            if preserved.probe is not None:
                self.epochs = preserved.probe.epochs
            memory = self._remember(task, on_step, checkpoints)
            head = self._compensate(task, memory, on_step, checkpoints)
        except BaseException:
            set_adapter_state(self.backbone, before)
            self.epochs = epochs_before
            raise
        self.head, self.memory = head, memory
        self.class_names += task.names
        self.class_texts += task.texts
        self.task_sizes += (len(task.names),)
        return LearnResult(task.index, preserved.epochs, preserved.probe)

    def _preserve(self, task: TaskData, on_step: OnStep, checkpoints: TaskCheckpoints) -> Preserved:
        """Train the adapters as long as the modality gap allows (docs/method.md 4, 5), with old images if any are kept (8)."""
        replayed = None
        if self.memory is not None:
            replayed = replay.replay_objective(
                self.backbone,
                task,
                self.memory,
                self._tokens(task),
                first=len(self.class_names),
                settings=self.settings,
            )
        return preserve(
            self.backbone, task, self.settings,
            epochs=self.epochs, replayed=replayed, on_step=on_step, checkpoints=checkpoints,
        )  # fmt: skip

    def _remember(self, task: TaskData, on_step: OnStep, checkpoints: TaskCheckpoints) -> replay.Memory | None:
        """Update the memory of old images; fine-tune the adapters on it if the settings say so (docs/method.md 8)."""
        settings, first = self.settings, len(self.class_names)
        if not settings.memory:
            return None
        memory = replay.remember(self.memory, task, first=first, limit=settings.memory, seed=settings.seed)
        if self._balances() and self.epochs:
            objective = replay.balanced_objective(self.backbone, memory, self._tokens(task))
            phase = replay.balanced_phase(settings, task.index, "balance-adapter")
            checkpoints.run(
                phase.name,
                lambda: train_adapters(self.backbone, objective, phase, on_step=on_step, checkpoints=checkpoints),
                recall=lambda done: set_adapter_state(self.backbone, done.part("adapter")),
            )
        return memory

    def _compensate(
        self, task: TaskData, memory: replay.Memory | None, on_step: OnStep, checkpoints: TaskCheckpoints
    ) -> Tensor:
        """The head ``(classes, d)`` with this task's rows, trained on the features of the adapted CLIP (docs/method.md 6); then
        all of its rows on the ``memory`` if the settings say so (8).
        """
        settings = self.settings

        def add_rows() -> Tensor:
            features = self.encoder.images(task.pixels, shared=True) if settings.uses_head else None
            return append_rows(self.head, features, task, settings, on_step)

        head = checkpoints.run("head", add_rows, recall=lambda done: done.tensors["head"].to(self.head.device))
        if memory is None or not self._balances() or not settings.uses_head:
            return head

        def balance() -> Tensor:
            features, labels = (
                self.encoder.images(PreparedImages.of(memory.pixels), shared=True),
                memory.labels.to(head.device),
            )
            return train_rows(
                head, features, labels, replay.balanced_phase(settings, task.index, "balance-head"), on_step
            )

        checkpoints.carried["head"] = head
        return checkpoints.run("balance-head", balance, recall=lambda done: done.tensors["head"])

    def _balances(self) -> bool:
        """Whether this task ends with balanced fine-tuning, which needs old images to weigh the same as the task's own."""
        return self.settings.balanced and self.memory is not None

    def _tokens(self, task: TaskData) -> Tensor:
        """Token ids of all classes so far, the task's own last."""
        texts = (*self.class_texts, *task.texts)
        return self.backbone.tokenize([self.settings.prompt.format(text) for text in texts])

    @in_ordinary_modes
    def relabel(self, old: str, new: str, text: str | None = None) -> None:
        """Give a learned class another name, in prompts ``text`` (the name). Raises ``InputError`` where that cannot be."""
        self._load_state(class_edits.relabel(self._state(), old, new, text))

    @in_ordinary_modes
    def forget(self, name: str) -> None:
        """Drop a learned class: its row of the head, its name, its images in the memory. What its images taught the adapters
        stays (docs/learn.md). Raises ``InputError`` for a class that was not learned.
        """
        self._load_state(class_edits.forget(self._state(), name))

    @in_ordinary_modes
    def predict(self, images: Any, *, also: Sequence[str] = ()) -> Predictions:
        """Classify images among all learned classes, and ``also`` among classes known by their text alone.

        Each process classifies its own images; several that torchrun started may ask for different ones.

        Args:
            images: Paths, Pillow images or uint8 arrays; also a column of a table, a generator, one array or tensor of
                several images, or a single image.
            also: Texts of further classes.

        Returns:
            Predictions with one row for each image.

        Raises:
            InputError: If nothing was learned, if these are not images, or if a text in ``also`` is a learned class, is empty
                or is given twice.
        """
        also = self._candidates(also)
        return self.classify(self.encoder.images(self.encoder.pixels(images, keep_bytes=0)), also=also)

    @in_ordinary_modes
    @torch.no_grad()
    def classify(self, features: Tensor, *, also: Sequence[str] = ()) -> Predictions:
        """Classify images by their features.

        Args:
            features: Normalised image features ``(b, d)``.
            also: Texts of further classes.

        Returns:
            Predictions with one row for each image.

        Raises:
            InputError: If nothing was learned, or if a text in ``also`` is a learned class, is empty or is given twice.
        """
        also = self._candidates(also)
        texts = [ARTICLE.sub("", candidate) for candidate in also]  # the prompt has its own
        logits = self.text_logits(features, (*self.class_texts, *texts))
        cosine = cosines(features, self.head)
        return Predictions(
            self.class_names, tuple(also), logits, cosine,
            scale=float(self.backbone.logit_scale), settings=self.settings,
        )  # fmt: skip

    def _candidates(self, also: Iterable[str]) -> tuple[str, ...]:
        """The texts of further classes, checked before any image is opened."""
        if not self.class_names:
            raise InputError("This model has learned no class yet: call learn first.")
        texts = (also,) if isinstance(also, str) or not isinstance(also, Iterable) else tuple(also)
        if texts == (also,) or not all(isinstance(text, str) for text in texts):
            raise InputError(f"also must be a list of texts; found {also!r}.")
        check_candidates(texts, self.class_names)
        return texts

    @in_ordinary_modes
    @torch.no_grad()
    def text_logits(self, features: Tensor, class_texts: Sequence[str]) -> Tensor:
        """Logits ``(b, len(class_texts))`` of the text branch alone, over any classes: zero-shot for those not learned."""
        return self.encoder.logits(features, class_texts)

    @in_ordinary_modes
    @torch.no_grad()
    def probabilities(self, features: Tensor) -> Tensor:
        """Probabilities ``(b, classes)`` over all learned classes, from the branches the settings name (docs/method.md 7)."""
        logits = None if self.settings.branches == "image" else self.text_logits(features, self.class_texts)
        return branch_probabilities(logits, cosines(features, self.head), self.settings)


def expanded(path: str | Path) -> str | Path:
    """A path with ``~`` replaced by the home folder; a hub id stays as it is."""
    return Path(path).expanduser() if str(path).startswith("~") else path
