"""MG-CLIP: one object that learns tasks one after another and predicts over everything learned so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from torch import Tensor

from mgclip.clip import parallel
from mgclip.clip.ambient import in_ordinary_modes
from mgclip.clip.encoder import check_finite
from mgclip.method.alike_texts import warn_of_alike_names, warn_of_alike_texts
from mgclip.method.analytic.solving import solve_task, start_task
from mgclip.method.compensation import place_rows, train_head
from mgclip.method.model import LearnedModel
from mgclip.method.model_files import ModelState
from mgclip.method.prepare import unchanged_on_failure
from mgclip.method.preservation import LearnResult, preserve
from mgclip.method.replay import Memory, balance_adapters, balance_head, check_room, remember, replay_objective
from mgclip.method.shards.learn_shards import ShardsResult, learn_from_shards
from mgclip.method.shards.one_pass import Reading
from mgclip.method.shards.reader import ImageShard
from mgclip.method.task import TaskData, make_task
from mgclip.method.training import OnStep
from mgclip.saving.checkpoints import TaskCheckpoints


class MGCLIP(LearnedModel):
    """A CLIP that learns new classes, task after task.

    Attributes:
        backbone: The CLIP with the adapters. It serves one model at a time.
        encoder: Gives features of images and texts with the current adapters.
        settings: The settings of the model.
        class_names: All learned classes, in the order in which they were learned.
        class_texts: What prompts call these classes.
        task_sizes: The number of classes of each task.
        epochs: Length of the adapter phase; None until the probe has found it.
        head: Rows of the trained image-space classifier, ``(classes, d)``.
        counts: The number of images of each class ``(classes,)``, if these rows stay class means; otherwise zeros.
        solved: The solved classifier instead, with analytic compensation; None before the first task.
        memory: Old images, with replay.

    Example:
        >>> import numpy as np
        >>> from mgclip import MGCLIP
        >>> x, y = np.mgrid[-16:16, -16:16]
        >>> shapes = np.hypot(x, y) < 10, (abs(x) < 4) | (abs(y) < 4), abs(np.hypot(x, y) - 10) < 3
        >>> circle, plus, ring = (np.uint8(255 * ~shape)[..., None].repeat(3, 2) for shape in shapes)
        >>> model = MGCLIP.from_pretrained("iconclip", settings={"epochs": 1})
        >>> model.learn([circle, plus], ["circle", "plus"], class_names=["circle", "plus"]).epochs
        1
        >>> result = model.learn([ring], ["ring"], class_names=["ring"])
        >>> model.predict([plus, ring, circle]).names
        ['plus', 'ring', 'circle']
        >>> model
        <MGCLIP of iconclip, texts and trained head, 3 classes: 'circle', 'plus', 'ring'>
        >>> model.save_pretrained("shapes")
        >>> model = MGCLIP.from_pretrained("shapes")
        >>> model.relabel("circle", "disc")
        >>> model.forget("plus")
        >>> model.class_names
        ('disc', 'ring')
    """

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
        """Learn one task: all its classes at once.

        A known class can get more images if the head is solved (analytic compensation), or consists of class means of frozen
        features.

        If it is interrupted or fails, the model is unchanged.

        Args:
            images: Paths, Pillow images or uint8 arrays, one for each label; also a column of a table, a generator, or one
                array or tensor of all images.
            labels: For each image a name of ``class_names``, or its position there. Whole numbers that are names are read as
                names, and refused if they are positions of other classes as well.
            class_names: The task's classes.
            class_texts: What prompts call the classes: a list in the order of ``class_names``, or a mapping by class name.
                A class without a text is called by its name. A known class keeps its text.
            on_step: Called after each step.
            checkpoints: Checkpoints from which the same task resumes if the same model learns it again.

        Returns:
            The index of the task, its epochs, its probe, and what was decided about the adapters.

        Raises:
            InputError: If images, labels and names do not match, or if a class has no image, has the name of another, or was
                learned before by a model with a trained head.
            TrainingDiverged: If the loss becomes NaN or infinite.

        Warns:
            AlikeTexts: If a class text becomes the same tokens as another one, because the CLIP ignores case and cuts long texts,
                or a name differs from another one only in case, spaces, hyphens, underscores or the form of a letter.
        """
        task = self._task(images, labels, class_names, class_texts)
        names, texts = self._with_new_classes(task)
        checkpoints = checkpoints or TaskCheckpoints()
        with unchanged_on_failure(self.backbone, task.index, checkpoints, self._restorer()):
            start = start_task(self.solved, self.encoder, task, self.settings, checkpoints)
            result = replace(self._preserve(task, start.adapts, on_step, checkpoints), adapters=start.decision)
            memory = self._remember(task, result.epochs, on_step, checkpoints)
            head, counts, solved = self.head, self.counts, self.solved
            if self.settings.compensation == "analytic":
                solved = solve_task(start, self.encoder, task, names, texts, self.settings)
                if start.head is None and self.settings.representation == "auto":
                    result = replace(result, representation=solved.fourier.representation)
            else:
                head, counts = self._compensate(task, names, memory, on_step, checkpoints)
            epochs = self.epochs if result.probe is None else result.probe.epochs
            sizes = *self.task_sizes, len(names) - len(self.class_names)
            self._load_state(ModelState(self.settings, epochs, sizes, names, texts, head, memory, solved, counts))
        return result

    @in_ordinary_modes
    def learn_shards(
        self,
        shards: Sequence[ImageShard],
        *,
        class_texts: Mapping[str, str] | None = None,
        progress: str | Path | None = None,
        versions: Mapping[str, str] | None = None,
        skip_unreadable: bool = False,
    ) -> ShardsResult:
        """Learn one task from shards: each image is read once, and only sums over them grow. Images that the model has learned
        before are left out.

        Of several processes, each reads its share of the shards. If it is interrupted or fails, the model is unchanged.

        Args:
            shards: Each has a ``name`` and yields its images with the names of their classes, such as those of
                ``mgclip.stream.shards.find_shards``. The new classes are in alphabetical order.
            class_texts: What prompts call classes that are not called by their names. It may have classes that are not in the
                shards.
            progress: Folder for the sums so far, which are saved after each shard and resumed by the next call with the same
                model. The caller removes it once the model is saved.
            versions: A text for each shard, by name, that differs if the shard has changed: sums over its earlier content are
                not resumed.
            skip_unreadable: Leave out images and ends of shards that cannot be read, instead of raising an error.

        Returns:
            The classes, the number of images, and what was left out.

        Raises:
            InputError: If the model needs each image several times, two shards have one name, an image or shard cannot be read,
                or there is no new image.

        Warns:
            AlikeTexts: As ``learn`` does.
        """
        self.encoder.require_own_adapters()
        self.backbone.agree_on_precision()
        reading = Reading(None if progress is None else Path(progress), skip_unreadable, versions or {})
        state, result = learn_from_shards(self._state(), self.encoder, shards, class_texts or {}, reading)
        self._load_state(state)
        return result

    def _task(self, images: Any, labels: ArrayLike, names: Sequence[str], texts: Any) -> TaskData:
        """The next task, checked before anything is trained."""
        self.encoder.require_own_adapters()
        self.backbone.agree_on_precision()
        index, known = len(self.task_sizes), self.class_names
        grows = self.settings.grows and not (self.settings.means and bool((self.counts == 0).any()))
        pixels = self.encoder.pixels(images)
        task = make_task(pixels, labels, names, index=index, known=known, class_texts=texts, grows=grows)
        if self.settings.memory:
            check_room(self.settings.memory, len(known) + len(task.names))
        parallel.check_same_in_all_processes("task", task.facts)
        return task

    def _with_new_classes(self, task: TaskData) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Names and texts of all classes, those that are new in this task last. Warns of new ones that are like others."""
        new, texts = task.new_classes(self.class_names)
        warn_of_alike_names(self.class_names, new)
        warn_of_alike_texts(self.backbone, self.settings, self.class_texts, texts)
        return (*self.class_names, *new), (*self.class_texts, *texts)

    def _preserve(self, task: TaskData, adapts: bool, on_step: OnStep, checkpoints: TaskCheckpoints) -> LearnResult:
        """Train the adapters, if this task ``adapts`` them, as long as the modality gap allows (docs/method.md 4, 5), with old
        images if any are kept (8).
        """
        objective, settings, first = None, self.settings, len(self.class_names)
        if self.memory is not None:
            objective = replay_objective(self.backbone, task, self.memory, self._tokens(task), first, settings)
        epochs = self.epochs if adapts else 0
        return preserve(self.backbone, task, settings, epochs, on_step, checkpoints, replayed=objective)

    def _remember(self, task: TaskData, epochs: int, on_step: OnStep, checkpoints: TaskCheckpoints) -> Memory | None:
        """The memory of old images with those of this task; the adapters are fine-tuned on it if the replay is balanced (8)."""
        settings, first = self.settings, len(self.class_names)
        if not settings.memory:
            return None
        memory = remember(self.memory, task, first=first, limit=settings.memory, seed=settings.seed)
        if self._balances() and epochs:
            tokens = self._tokens(task)
            balance_adapters(self.backbone, memory, tokens, settings, task.index, on_step, checkpoints)
        return memory

    def _compensate(
        self, task: TaskData, names: Sequence[str], memory: Memory | None, on_step: OnStep, checkpoints: TaskCheckpoints
    ) -> tuple[Tensor, Tensor]:
        """The head ``(classes, d)`` with rows for this task, from the features of the adapted CLIP (docs/method.md 6); then all
        rows are fine-tuned on the images of ``memory`` if the replay is balanced (8). Also the number of images of each class.
        """
        settings, device = self.settings, self.head.device
        places = task.places_among(names).to(device)
        more = torch.bincount(task.labels, minlength=len(task.names)).to(device)

        def add_rows() -> Tensor:
            rows = self.head.new_zeros(len(task.names), self.head.shape[1])  # they stay zero if only texts predict
            if settings.uses_head:
                features = self.encoder.images(task.pixels, shared=True)
                check_finite(features)
                rows = train_head(features, task, settings, on_step)
            return place_rows(self.head, self.counts, rows, more, places)

        head = checkpoints.run("head", add_rows, recall=lambda done: done.tensors["head"].to(device))
        if memory is not None and self._balances() and settings.uses_head and settings.head_epochs:
            head = balance_head(head, memory, self.encoder, settings, task.index, on_step, checkpoints)
        counts = F.pad(self.counts, (0, len(names) - len(self.counts)))
        return head, counts.index_add(0, places, more) if settings.means else counts

    def _balances(self) -> bool:
        """Whether this task ends with balanced fine-tuning: not the first one, which has no old images."""
        return self.settings.balanced and self.memory is not None

    def _tokens(self, task: TaskData) -> Tensor:
        """Token ids of all classes so far, those of the task last."""
        return self.backbone.class_tokens(self.settings.templates, (*self.class_texts, *task.texts))
