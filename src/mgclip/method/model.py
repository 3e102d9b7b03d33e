"""What a model has learned: saved and loaded, used for predictions, and edited without training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from typing_extensions import Self

from mgclip.clip import parallel
from mgclip.clip.adapters import adapters_agree, set_adapter_state
from mgclip.clip.ambient import in_ordinary_modes
from mgclip.clip.backbone import Backbone
from mgclip.clip.encoder import Encoder, check_finite
from mgclip.clip.pixels import PreparedImages
from mgclip.errors import InputError
from mgclip.home import in_home
from mgclip.method import class_edits, model_files, stored_texts
from mgclip.method.analytic.learned_images import Images
from mgclip.method.analytic.solved_head import SolvedHead
from mgclip.method.analytic.solving import frozen_features, logits_over, marked_images
from mgclip.method.change_settings import with_settings
from mgclip.method.fusion import branch_probabilities
from mgclip.method.labels import name_list
from mgclip.method.predictions import Predictions, candidate_texts, without_article
from mgclip.method.prepare import prepare
from mgclip.method.replay import Memory
from mgclip.method.settings import Settings, as_settings
from mgclip.names import is_missing
from mgclip.renamed import accepts_former_names
from mgclip.saving.store import Note
from mgclip.words import count, described_classes


class LearnedModel:
    """A CLIP with everything it has learned. ``MGCLIP`` adds how it learns."""

    saved_as = ""  # the name of the state from which the model was loaded, or as which it was saved

    @in_ordinary_modes
    def __init__(self, backbone: Backbone, settings: Settings | Mapping[str, Any]) -> None:
        self.backbone, self.settings = backbone, (settings := as_settings(settings))
        self.class_names: tuple[str, ...] = ()
        self.class_texts: tuple[str, ...] = ()
        self.task_sizes: tuple[int, ...] = ()
        self.epochs: int | None = None if settings.epochs == "auto" else settings.epochs
        self.head: Tensor = torch.empty(0, backbone.feature_dim, device=backbone.device)
        self.counts: Tensor = torch.zeros(0, dtype=torch.long, device=backbone.device)
        self.memory: Memory | None = None
        self.solved: SolvedHead | None = None
        prepare(backbone, settings)
        self.encoder = Encoder(
            backbone, prompt=settings.prompt, batch_size=settings.encode_batch_size, representation=settings.encoded
        )

    def __repr__(self) -> str:
        """What the model is: its CLIP, its head, and its classes."""
        head = {"analytic": "solved", "trained": "trained"}[self.settings.compensation]
        using = {"both": f"texts and {head} head", "text": "texts", "image": f"{head} head"}[self.settings.branches]
        return f"<{type(self).__name__} of {self.backbone.reference}, {using}, {described_classes(self.class_names)}>"

    @classmethod
    @accepts_former_names(computing="runtime")
    @in_ordinary_modes
    def from_pretrained(
        cls,
        reference: str | Path,
        *,
        settings: Settings | Mapping[str, Any] | None = None,
        base: str | Path | Backbone | None = None,
        device: str | torch.device | None = None,
        runtime: Mapping[str, Any] | None = None,
    ) -> Self:
        """A new model of a CLIP, or a saved one to continue with.

        Args:
            reference: A CLIP (hub id, local folder, checkpoint file, ``iconclip``), or a folder written by
                ``save_pretrained``.
            settings: Settings of a new model, as ``Settings`` or a mapping. A saved model keeps its own.
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
            model._load_state(replace(saved.state, settings=chosen))
            stored_texts.recall(saved.folder, model.encoder, model.class_texts)
            model.saved_as = saved.folder.name
        return model

    @accepts_former_names(beside="files")
    @in_ordinary_modes
    def save_pretrained(self, folder: str | Path, *, note: Note | None = None, files: Mapping[str, Any] | None = None) -> None:
        """Write the model, completely or not at all: peft adapter, head, classes, settings, and which CLIP it needs.

        Of several processes only the first one writes. The others may call this too, and do not wait for it.

        Args:
            folder: Folder of the model; ``~`` is expanded.
            note: What was done, as a mapping that JSON can store. With a note, or if the folder keeps versions, this is a new
                version (``saving/versions.py``); otherwise it replaces the model in the folder.
            files: JSON files to store next to it, by name.

        Raises:
            InputError: If something else is at ``folder``, nothing may be written there, or JSON cannot store ``note`` or
                ``files``.
            MGCLIPError: If the CLIP carries the adapters of another model.
        """
        self.encoder.require_own_adapters()
        if parallel.is_main():
            own = self.encoder, self._state()
            self.saved_as = model_files.save(Path(in_home(folder)), *own, note, files, self.saved_as)

    def _state(self) -> model_files.ModelState:
        """What was learned besides the adapters: all of it by one thread, even while another one replaces it."""
        now = vars(self).copy()
        state = model_files.ModelState(**{part.name: now[part.name] for part in fields(model_files.ModelState)})
        complete = state.settings.means and state.counts is not None and bool((state.counts > 0).all())
        return state if complete else replace(state, counts=None)

    def _load_state(self, state: model_files.ModelState) -> None:
        """Replace everything learned by this state, at once: other threads may predict, and a signal may end this one."""
        device = self.backbone.device
        counts = torch.zeros(len(state.head), dtype=torch.long) if state.counts is None else state.counts
        solved = None if state.solved is None else state.solved.to(device)
        here = replace(state, head=state.head.to(device), counts=counts.to(device), solved=solved)
        self.encoder.representation = here.settings.encoded if solved is None else solved.fourier.representation
        _before = vars(self).copy()  # what it held is freed at the end, because that may let other threads run
        vars(self).update({part.name: getattr(here, part.name) for part in fields(here)})

    def _restorer(self) -> Callable[[], None]:
        """A function that restores everything learned until now, besides the adapters."""
        before = {part.name: vars(self)[part.name] for part in fields(model_files.ModelState)}
        return partial(vars(self).update, before)

    @in_ordinary_modes
    def relabel(self, old: str, new: str, text: str | None = None) -> None:
        """Rename a learned class; prompts call it ``text``, by default its new name.

        If ``new`` was learned too, a solved head unites both classes. Raises ``InputError`` if ``old`` was not learned, if
        ``new`` or ``text`` is empty, or if the head is a trained one and ``new`` was learned.
        """
        new = "" if is_missing(new) else str(new)
        self._load_state(class_edits.relabel(self._state(), str(old), new, text, logits_over(self.encoder, self.settings)))

    @in_ordinary_modes
    def change_settings(self, **given: Any) -> None:
        """Change settings that need no training: ``branches``, ``fusion``, ``vision_weight``, ``text_weight``, ``unknown_below``,
        and ``precision`` and those of memory and speed, which take effect when the model is loaded again.

        Args:
            **given: Settings by name.

        Raises:
            InputError: If a setting needs training, has no effect on this model, or has a wrong value.
        """
        self._load_state(with_settings(self._state(), given, partial(logits_over, self.encoder)))

    @in_ordinary_modes
    def forget(self, name: str, *, images: Any = None) -> None:
        """Remove a class: its part of the head, its name and its images in the memory. What they taught the adapters remains.

        Args:
            name: The class.
            images: All images that the class was learned from. Then a solved head keeps no trace of them; without them, their
                scatter around the mean of the class stays in the sums (docs/method.md 10).

        Raises:
            InputError: If the class was not learned, or if these are not its images.
        """
        class_edits.check_forget(self._state(), str(name), with_images=images is not None)  # before images are encoded
        own = None if images is None else self._marked(self.encoder.pixels(images), str(name))
        self._load_state(class_edits.forget(self._state(), str(name), own, logits_over(self.encoder, self.settings)))

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
        learned = self.solved.learned.labels_of(marks)
        return [tuple(self.class_names[label] for label in dict.fromkeys(labels)) for labels in learned]

    @in_ordinary_modes
    def correct(self, images: Any, names: Sequence[str]) -> list[str | None]:
        """Give images their right classes. An image that was learned in another class is removed from that class.

        Args:
            images: The images. Those that were learned are recognised by their pixels.
            names: The right class of each image, all of them learned.

        Returns:
            The class under which each image was learned before, or None.

        Raises:
            InputError: If images and names do not match, a class was not learned or would lose its last image, one image is given
                two classes, or the head is not a solved one.
        """
        named = name_list(names)
        class_edits.check_correct(self._state(), named)  # before images are encoded
        pixels = self.encoder.pixels(images)
        if len(pixels) != len(named):
            raise InputError(f"Each image needs a class: found {count(len(pixels), 'image')} and {count(len(named), 'name')}.")
        marked = self._marked(pixels, named)
        logits = logits_over(self.encoder, self.settings)
        state, before = class_edits.correct(self._state(), marked, named, logits, pixels.images)
        self._load_state(state)
        return before

    def _marked(self, pixels: PreparedImages, facts: object) -> Images:
        """Images with all features that an edit of the solved head needs. Their ``facts`` must be the same in all processes."""
        parallel.check_same_in_all_processes("images", lambda: (facts, pixels.facts()))
        undecided = self.solved is not None and self.solved.frozen is not None
        return marked_images(self.encoder, pixels, frozen=frozen_features(self.encoder, pixels) if undecided else None)

    @in_ordinary_modes
    def merge(self, other: LearnedModel) -> None:
        """Add what another model of the same CLIP has learned, as if this one had learned its images too.

        Raises ``InputError`` if a head is not a solved one, if the models differ in their CLIP, their adapters, or the random
        features of their heads, or if ``other`` is this model.
        """
        for model in (self, other):
            if model is self or (model.settings.adapt != "never" and model.settings.epochs != 0):
                model.encoder.require_own_adapters()  # otherwise its adapters have no effect
            class_edits.solved_head_of(model._state(), "merge")
        if other is self:
            raise InputError("A model cannot be merged with itself, because every image would count twice: give another model.")
        same_clip = other.backbone.fingerprint == self.backbone.fingerprint
        if not same_clip or not adapters_agree(self.backbone, other.backbone):
            different = "adapters of the models differ" if same_clip else "models have different CLIPs"
            raise InputError(
                f"The {different}, so they cannot be merged: start the second model with --like and the folder of the first one."
            )
        self._load_state(class_edits.merge(self._state(), other._state(), logits_over(self.encoder, self.settings)))

    @accepts_former_names(also="candidates")
    @in_ordinary_modes
    def predict(self, images: Any, *, candidates: Sequence[str] = ()) -> Predictions:
        """Classify images among all learned classes and further candidates.

        Each process classifies its own images. Processes started by torchrun may classify different ones. Several threads may
        predict at the same time, also while another one changes the model, unless its adapters learn.

        Args:
            images: Paths, Pillow images or uint8 arrays; also a column of a table, a generator, one array or tensor of
                several images, or a single image, whose predictions have one row: ``model.predict("a.jpg").names[0]``.
            candidates: Texts of further classes, which are recognised by their text alone.

        Returns:
            Predictions with one row for each image.

        Raises:
            InputError: If nothing was learned, if these are not images, or if a candidate is a learned class, is empty
                or is given twice.
        """
        candidates = candidate_texts(candidates, self.class_names)  # checked before any image is opened
        return self.classify(self.encoder.images(self.encoder.pixels(images, keep_bytes=0)), candidates=candidates)

    @accepts_former_names(also="candidates")
    @in_ordinary_modes
    @torch.no_grad()
    def classify(self, features: Tensor, *, candidates: Sequence[str] = ()) -> Predictions:
        """Classify images by their normalised features ``(b, d)``; otherwise as ``predict``."""
        learned = self._state()
        candidates = candidate_texts(candidates, learned.class_names)
        check_finite(features)
        logits = self.text_logits(features, (*learned.class_texts, *map(without_article, candidates)))
        scores, scale = learned.scores(features), float(self.backbone.logit_scale)
        return Predictions(learned.class_names, candidates, logits, scores, scale, learned.settings, learned.calibration)

    @in_ordinary_modes
    @torch.no_grad()
    def head_scores(self, features: Tensor) -> Tensor:
        """Scores ``(b, classes)`` of the image branch alone: cosines of the trained head, or those of the solved one."""
        return self._state().scores(features)

    @in_ordinary_modes
    @torch.no_grad()
    def text_logits(self, features: Tensor, class_texts: Sequence[str]) -> Tensor:
        """Logits ``(b, len(class_texts))`` of the text branch alone, over any classes: zero-shot for those not learned."""
        return self.encoder.logits(features, class_texts)

    @in_ordinary_modes
    @torch.no_grad()
    def probabilities(self, features: Tensor, among: slice = slice(None)) -> Tensor:
        """Probabilities ``(b, classes)`` over all learned classes, or ``among`` some of them as if no other had been learned,
        from the branches the settings name (docs/method.md 7).
        """
        learned = self._state()
        logits = None if learned.settings.branches == "image" else self.text_logits(features, learned.class_texts)[:, among]
        return branch_probabilities(logits, learned.scores(features)[:, among], learned.settings, learned.calibration)
