"""MG-CLIP: one object that learns tasks one after another and predicts over everything learned so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from mgclip.clip import parallel
from mgclip.clip.adapters import adapter_state, adapters_have_effect, set_adapter_state
from mgclip.clip.ambient import in_ordinary_modes
from mgclip.clip.backbone import Backbone
from mgclip.clip.encoder import Encoder, check_finite
from mgclip.errors import InputError
from mgclip.method import class_edits, model_files, solved_head
from mgclip.method.alike_texts import warn_of_alike_texts
from mgclip.method.calibration import Calibration
from mgclip.method.compensation import append_rows, cosines
from mgclip.method.fusion import branch_probabilities
from mgclip.method.labels import name_list
from mgclip.method.predictions import Predictions, candidate_texts, without_article
from mgclip.method.prepare import adapters_restored_on_failure, prepare
from mgclip.method.preservation import LearnResult, preserve
from mgclip.method.replay import Memory, balance_adapters, balance_head, check_room, remember, replay_objective
from mgclip.method.settings import Settings, as_settings
from mgclip.method.solved_head import SolvedHead
from mgclip.method.solving import logits_over, marked_images, solve_task
from mgclip.method.task import TaskData, make_task
from mgclip.method.training import OnStep
from mgclip.names import index_of
from mgclip.saving.checkpoints import TaskCheckpoints
from mgclip.saving.store import Note, expanded


class MGCLIP:
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
        >>> model.save_pretrained("shapes")
        >>> model = MGCLIP.from_pretrained("shapes")
        >>> model.relabel("circle", "disc")
        >>> model.forget("plus")
        >>> model.class_names
        ('disc', 'ring')
    """

    @in_ordinary_modes
    def __init__(self, backbone: Backbone, settings: Settings | Mapping[str, Any]) -> None:
        self.backbone, self.settings = backbone, (settings := as_settings(settings))
        self.class_names: tuple[str, ...] = ()
        self.class_texts: tuple[str, ...] = ()
        self.task_sizes: tuple[int, ...] = ()
        self.epochs: int | None = None if settings.epochs == "auto" else settings.epochs
        self.head: Tensor = torch.empty(0, backbone.feature_dim, device=backbone.device)
        self.memory: Memory | None = None
        self.solved: SolvedHead | None = None
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
        runtime: Mapping[str, Any] | None = None,
    ) -> MGCLIP:
        """A new model of a CLIP, or a saved one to continue with.

        Args:
            reference: A CLIP (hub id, local folder, OpenAI ``.pt`` file, ``iconclip``), or a folder written by
                ``save_pretrained``.
            settings: Settings of a new model, as ``Settings`` or a mapping. A saved model brings its own.
            base: The CLIP of a saved model, or its path if it has moved.
            device: Device to compute on: a GPU by default, if there is one.
            runtime: Settings of memory and speed, which may also change for a saved model.

        Raises:
            InputError: If the reference is neither a CLIP nor a saved model, if a setting is wrong, or if the base is not the
                CLIP that the saved model was trained on.
        """
        backbone, chosen, saved = model_files.open_model(reference, settings, base, device, runtime)
        model = cls(backbone, chosen)
        if saved is not None:
            set_adapter_state(backbone, saved.adapter)
            model._load_state(saved.state)
        return model

    @in_ordinary_modes
    def save_pretrained(
        self, folder: str | Path, *, note: Note | None = None, files: Mapping[str, Any] | None = None
    ) -> None:
        """Write the model, completely or not at all: peft adapter, head, classes, settings, and which CLIP it needs.

        Of several processes only the first one writes. The others may call this too, and do not wait for it.

        Args:
            folder: Folder of the model; ``~`` is expanded.
            note: What was done. With a note, or if the folder keeps versions, this is a new version (``saving/versions.py``);
                otherwise it replaces the model in the folder.
            files: JSON files to store next to it, by name.

        Raises:
            InputError: If something else is at ``folder``, or nothing may be written there.
            MGCLIPError: If the CLIP carries the adapters of another model.
        """
        self.encoder.require_own_adapters()
        if parallel.is_main():
            model_files.save(Path(expanded(folder)), self.backbone, self._state(), note, files)

    def _state(self) -> model_files.ModelState:
        """What was learned besides the adapters."""
        classes = self.task_sizes, self.class_names, self.class_texts
        return model_files.ModelState(self.settings, self.epochs, *classes, self.head, self.memory, self.solved)

    def _load_state(self, state: model_files.ModelState) -> None:
        """Replace everything learned by this state."""
        device = self.backbone.device
        self.head, self.memory, self.epochs = state.head.to(device), state.memory, state.epochs
        self.solved = None if state.solved is None else state.solved.to(device)
        self.task_sizes, self.class_names, self.class_texts = state.task_sizes, state.class_names, state.class_texts

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
        """Learn one task: all its classes at once. With analytic compensation, known classes grow by more images.

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
            The index of the task, its epochs and its probe.

        Raises:
            InputError: If images, labels and names do not match, or if a class has no image, has the name of another, or was
                learned before by a model with a trained head.
            TrainingDiverged: If the loss becomes NaN or infinite.

        Warns:
            AlikeTexts: If a class text becomes the same tokens as another one, because the CLIP ignores case and cuts long texts.
        """
        task = self._task(images, labels, class_names, class_texts)
        new = [place for place, name in enumerate(task.names) if index_of(name, self.class_names) is None]
        names = *self.class_names, *(task.names[place] for place in new)
        texts = *self.class_texts, *(task.texts[place] for place in new)
        warn_of_alike_texts(self.backbone, self.settings, self.class_texts, texts[len(self.class_texts) :])
        checkpoints = checkpoints or TaskCheckpoints()
        with adapters_restored_on_failure(self.backbone, task.index, checkpoints):
            before = self._features_before(task)
            result = self._preserve(task, on_step, checkpoints)
            memory = self._remember(task, result.epochs, on_step, checkpoints)
            if self.settings.compensation == "analytic":
                self.solved = solve_task(self.solved, self.encoder, task, names, texts, self.settings, before)
            else:
                self.head = self._compensate(task, memory, on_step, checkpoints)
        if result.probe is not None:
            self.epochs = result.probe.epochs
        self.memory, self.class_names, self.class_texts = memory, names, texts
        self.task_sizes += (len(new),)
        return result

    def _task(self, images: Any, labels: ArrayLike, names: Sequence[str], texts: Any) -> TaskData:
        """The next task, checked before anything is trained."""
        self.encoder.require_own_adapters()
        index, known = len(self.task_sizes), self.class_names
        pixels, grows = self.encoder.pixels(images), self.settings.compensation == "analytic"
        task = make_task(pixels, labels, names, index=index, known=known, class_texts=texts, grows=grows)
        if self.settings.memory:
            check_room(self.settings.memory, len(known) + len(task.names))
        if parallel.is_distributed():
            parallel.check_same_in_all_processes("task", task.facts())
        return task

    def _preserve(self, task: TaskData, on_step: OnStep, checkpoints: TaskCheckpoints) -> LearnResult:
        """Train the adapters as long as the modality gap allows (docs/method.md 4, 5), with old images if any are kept (8)."""
        objective, settings, first = None, self.settings, len(self.class_names)
        if self.memory is not None:
            objective = replay_objective(self.backbone, task, self.memory, self._tokens(task), first, settings)
        adapts = settings.adapt == "always" or (settings.adapt == "first" and task.index == 0)
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
        self, task: TaskData, memory: Memory | None, on_step: OnStep, checkpoints: TaskCheckpoints
    ) -> Tensor:
        """The head ``(classes, d)`` with rows for this task, from the features of the adapted CLIP (docs/method.md 6); then all
        rows are fine-tuned on the images of ``memory`` if the replay is balanced (8).
        """
        settings = self.settings

        def add_rows() -> Tensor:
            features = self.encoder.images(task.pixels, shared=True) if settings.uses_head else None
            return append_rows(self.head, features, task, settings, on_step)

        head = checkpoints.run("head", add_rows, recall=lambda done: done.tensors["head"].to(self.head.device))
        if memory is not None and self._balances() and settings.uses_head and settings.head_epochs:
            head = balance_head(head, memory, self.encoder, settings, task.index, on_step, checkpoints)
        return head

    def _features_before(self, task: TaskData) -> Tensor | None:
        """Features of the task's images before its adapter phase, if a solved head must follow the adapters."""
        follows = self.solved is not None and self.solved.bank is not None
        return self.encoder.images(task.pixels, shared=True) if follows else None

    def _balances(self) -> bool:
        """Whether this task ends with balanced fine-tuning: not the first one, which has no old images."""
        return self.settings.balanced and self.memory is not None

    def _tokens(self, task: TaskData) -> Tensor:
        """Token ids of all classes so far, those of the task last."""
        return self.backbone.tokenize(self.settings.prompts((*self.class_texts, *task.texts)))

    @in_ordinary_modes
    def relabel(self, old: str, new: str, text: str | None = None) -> None:
        """Rename a learned class; prompts call it ``text``, by default its new name.

        If ``new`` was learned too, a solved head unites both classes. Raises ``InputError`` if ``old`` was not learned, if
        ``new`` is empty, or if the head is a trained one and ``new`` was learned.
        """
        self._load_state(class_edits.relabel(self._state(), old, new, text, logits_over(self.encoder)))

    @in_ordinary_modes
    def forget(self, name: str, *, images: Any = None) -> None:
        """Remove a class: its part of the head, its name, its images in the memory; not what they taught the adapters.

        Args:
            name: The class.
            images: All images of the class, as they were learned. Then a solved head keeps no trace of them; without them, their
                scatter around the mean of the class stays in the sums (docs/method.md 10).

        Raises:
            InputError: If the class was not learned, or if these are not its images.
        """
        own = None
        if images is not None:
            own = marked_images(self.encoder, self.encoder.pixels(images))
        self._load_state(class_edits.forget(self._state(), name, own, logits_over(self.encoder)))

    @in_ordinary_modes
    def learned_as(self, images: Any) -> list[tuple[str, ...]]:
        """The classes in which each image was learned before, recognised by its pixels; none if it was not learned.

        A model with a trained head keeps no record of its images, so it returns none for all of them.
        """
        pixels = self.encoder.pixels(images, keep_bytes=0)
        if self.solved is None:
            return [()] * len(pixels)
        marks = pixels.record_marks()
        for part in torch.arange(len(pixels)).split(self.encoder.batch_size):
            pixels.batch(part)
        learned = solved_head.learned_as(self.solved, marks)
        return [tuple(self.class_names[label] for label in dict.fromkeys(labels)) for labels in learned]

    @in_ordinary_modes
    def correct(self, images: Any, names: Sequence[str]) -> list[str | None]:
        """Give images their right classes: each is added to its class and, if it was learned in another one, taken out of that.

        Args:
            images: The images; one is recognised by its pixels if it was learned.
            names: The right class of each image, all of them learned.

        Returns:
            The class as which each image was learned before, or None.

        Raises:
            InputError: If images and names do not match, a class was not learned or would lose its last image, one image is given
                two classes, or the head is not a solved one.
        """
        pixels, named = self.encoder.pixels(images), name_list(names)
        if len(pixels) != len(named):
            raise InputError(f"Each image needs a class: found {len(pixels)} images and {len(named)} names.")
        marked = marked_images(self.encoder, pixels)
        state, before = class_edits.correct(self._state(), marked, named, logits_over(self.encoder))
        self._load_state(state)
        return before

    @in_ordinary_modes
    def merge(self, other: MGCLIP) -> None:
        """Add what another model of the same CLIP has learned, as if this one had learned its images too.

        Raises ``InputError`` if the models differ in their CLIP, their adapters, or the random features of their heads.
        """
        if other.backbone.fingerprint != self.backbone.fingerprint:
            raise InputError("The models have different CLIPs, so they cannot be merged.")
        one, two = adapter_state(self.backbone), adapter_state(other.backbone)
        same = one.keys() == two.keys() and all(torch.equal(one[name].cpu(), two[name].cpu()) for name in one)
        if not same and (adapters_have_effect(self.backbone) or adapters_have_effect(other.backbone)):
            raise InputError(
                "The adapters of the models differ, so they cannot be merged: start the second one with --like and the first one."
            )
        self._load_state(class_edits.merge(self._state(), other._state(), logits_over(self.encoder)))

    @in_ordinary_modes
    def predict(self, images: Any, *, candidates: Sequence[str] = ()) -> Predictions:
        """Classify images among all learned classes and further candidates.

        Each process classifies its own images. Processes started by torchrun may classify different ones.

        Args:
            images: Paths, Pillow images or uint8 arrays; also a column of a table, a generator, one array or tensor of
                several images, or a single image.
            candidates: Texts of further classes, which are recognised by their text alone.

        Returns:
            Predictions with one row for each image.

        Raises:
            InputError: If nothing was learned, if these are not images, or if a candidate is a learned class, is empty
                or is given twice.
        """
        candidates = candidate_texts(candidates, self.class_names)  # checked before any image is opened
        return self.classify(self.encoder.images(self.encoder.pixels(images, keep_bytes=0)), candidates=candidates)

    @in_ordinary_modes
    @torch.no_grad()
    def classify(self, features: Tensor, *, candidates: Sequence[str] = ()) -> Predictions:
        """Classify images by their normalised features ``(b, d)``; otherwise as ``predict``."""
        candidates = candidate_texts(candidates, self.class_names)
        check_finite(features)
        logits = self.text_logits(features, (*self.class_texts, *map(without_article, candidates)))
        scale, calibration = float(self.backbone.logit_scale), self._calibration
        scores = self.head_scores(features)
        return Predictions(self.class_names, candidates, logits, scores, scale, self.settings, calibration)

    @in_ordinary_modes
    @torch.no_grad()
    def head_scores(self, features: Tensor) -> Tensor:
        """Scores ``(b, classes)`` of the image branch alone: cosines of the trained head, or those of the solved one."""
        return cosines(features, self.head) if self.solved is None else self.solved.scores(features)

    @property
    def _calibration(self) -> Calibration | None:
        return None if self.solved is None else self.solved.calibration

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
        return branch_probabilities(logits, self.head_scores(features), self.settings, self._calibration)
