"""Every setting of the method, with the values of the published code (docs/method.md 2-7, 10, 11)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from mgclip.clip.representation import Representation
from mgclip.errors import InputError
from mgclip.method.build_settings import CheckedSettings

Kernel = Literal["fourier", "relu"]
Positive = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)]

RUNTIME_SETTINGS = {"encode_batch_size", "micro_batch_size", "activation_checkpointing", "compile"}
"""Settings of memory and speed, which change results by rounding only."""


class Settings(CheckedSettings):
    """The method's settings, fixed once created.

    Every setting has a default, the value of the published code. Settings are given by name.

    Raises:
        InputError: If a name is unknown, or a value has the wrong type or is out of range.

    Example:
        >>> from mgclip import Settings
        >>> settings = Settings(epochs=2, adapter_lr=5e-4)
        >>> settings.epochs, settings.head_epochs
        (2, 3)
        >>> Settings(rank=0)
        Traceback (most recent call last):
        ...
        mgclip.errors.InputError: In the settings: rank must be at least 1; found 0.
    """

    prompt: str | list[str] = "a good photo of a {}."
    """Text of a class; ``{}`` stands for its name. With a list of texts, a class has the mean of their features."""
    rank: Positive = 8
    lora_alpha: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    """The adapters' scale is ``lora_alpha / rank``."""
    projections: str = "kv"
    """Which projections of each attention layer get adapters: letters of q, k, v and o."""
    adapter_init: str | None = None
    """A safetensors file of initial adapter matrices, instead of random ones."""

    adapt: Literal["always", "first", "never", "auto"] = "always"
    """The tasks whose adapter phase is run: all, the first one, or none, which leaves CLIP unchanged. ``auto``, for the solved
    head: as long as adapters help images that they have not seen."""
    epochs: Literal["auto"] | Annotated[int, Field(ge=0)] = "auto"
    """Epochs of the adapter phase: found by the probe on the first task, or given. 0 leaves the CLIP unchanged."""
    max_epochs: Positive = 10
    """Largest number of epochs of the probe."""
    alpha: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = 0.1
    """The probe stops when the negative similarity has changed by more than this share; null: never."""
    gap_average: Literal["published", "exact"] = "published"
    """Average of per-batch means, or the exact mean over images."""
    adapter_loss: Literal["cross-entropy", "align"] = "cross-entropy"
    """``align``: 1 - cosine of an image and its class's text, to study what closing the gap does."""
    adapter_lr: Rate = 1e-3
    adapter_batch_size: Positive = 128

    branches: Literal["both", "text", "image"] = "both"
    """What predicts: the texts, the image-space head, or both (the method)."""
    compensation: Literal["trained", "analytic"] = "trained"
    """The image-space head: rows of cosines trained once, or weights solved from sums over all images."""
    representation: Literal[Representation, "auto"] = "projected"
    """What the solved head classifies: the projected image feature, the one before the projection, or both joined; ``auto``: the
    one with the least error on images of the first task that are left out."""
    features: Positive = 2048
    """M: random features of the solved head."""
    kernel: Kernel = "fourier"
    """Their kind: Fourier features, or relu(R u) as in RanPAC and ACIL."""
    class_balance: bool = True
    """Every class weighs the same in the solved head; False: every image."""
    gamma: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Inverse width of the kernel of Fourier features; null: by the median rule on the first task."""
    bank_per_class: Positive = 64
    """Features of a class that the solved head keeps if the adapters keep learning; they are moved with the adapters."""
    head_epochs: Annotated[int, Field(ge=0)] = 3
    """0 leaves the head at the class means."""
    head_lr: Rate = 5e-4
    head_batch_size: Positive = 64
    vision_weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 4.0
    """beta: weight of the image branch; the text branch has weight 1."""
    fusion: Literal["published", "single-softmax", "calibrated"] = "published"
    """How the branches are mixed; ``calibrated`` is for the solved head, and the only one for it."""
    text_weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """b: weight of the text branch in calibrated fusion; null: fitted to the learned images."""
    unknown_below: Annotated[float, Field(ge=0, le=1)] = 0.0
    """``mgclip predict`` answers *unknown* if the likeness is below this; 0: never."""

    memory: Annotated[int, Field(ge=0)] = 0
    """Old images to keep, of all classes together; 0: none, the method as published."""
    replay_weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.1
    """Weight of the loss of the memory images."""
    balanced: bool = False
    """From the second task on, fine-tune on the memory, in which all classes weigh the same."""
    balanced_epochs: Positive = 1
    """Epochs of balanced fine-tuning, of the adapters and of the head each."""

    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] = 0
    """PyTorch accepts no larger one."""
    shuffle: bool = True
    """False: train on images in the order given, as in recorded runs."""
    jpeg_draft: bool = False
    """Decode a JPEG file at a half, a quarter or an eighth of its size if twice the size that CLIP needs is left. This is faster,
    and pixels differ slightly."""
    encode_batch_size: Positive = 128
    """Images per batch when nothing is trained; a CPU may split it into smaller passes. Changes results by rounding only."""
    micro_batch_size: Positive | None = None
    """Images per pass in training; null: as many as should fit, fewer when memory runs out. Changes results by rounding only."""
    activation_checkpointing: bool = False
    """Recompute activations in the backward pass: about a third slower, several times the images per pass."""
    precision: Literal["float32", "bfloat16", "float16", "auto"] = "float32"
    """Arithmetic of the towers. Everything published is float32. ``auto``: the image tower in float32 or bfloat16, whichever is
    measured to be faster on this machine, and the text tower in float32."""
    compile: bool = False
    """Compile both towers with ``torch.compile`` at their first use."""

    @field_validator("prompt")
    @classmethod
    def _one_place(cls, prompt: str | list[str]) -> str | list[str]:
        templates = [prompt] if isinstance(prompt, str) else prompt
        if not templates or len(set(templates)) < len(templates):
            raise ValueError("must be one text, or a list of different ones")
        if any(each.count("{}") != 1 or set("{}") & set(each.replace("{}", "")) for each in templates):
            raise ValueError("must contain {} once, for the class name, and no other brace")
        return prompt

    @field_validator("projections")
    @classmethod
    def _letters(cls, letters: str) -> str:
        if not letters or len(set(letters)) < len(letters) or set(letters) - set("qkvo"):
            raise ValueError("must be letters of q, k, v and o, each at most once")
        return "".join(letter for letter in "kvqo" if letter in letters)

    @model_validator(mode="after")
    def _fit_together(self) -> Settings:
        if (self.compensation == "analytic") != (self.fusion == "calibrated"):
            raise ValueError("compensation analytic and fusion calibrated belong together: set both or neither")
        if self.representation != "projected" and self.compensation != "analytic":
            raise ValueError("representation needs a solved head: set compensation to analytic and fusion to calibrated")
        if self.adapt == "auto" and self.compensation != "analytic":
            raise ValueError("adapt auto needs a solved head: set compensation to analytic and fusion to calibrated")
        if self.compensation == "analytic" and self.memory:
            raise ValueError("a solved head keeps no old images: set memory to 0")
        if self.balanced and not self.memory:
            raise ValueError("balanced fine-tuning needs a memory: set memory, 2000 in the published code")
        if self.memory and self.adapter_loss == "align":
            raise ValueError("adapter_loss align cannot be used with a memory: set memory to 0")
        return self

    def runtime(self) -> dict[str, Any]:
        """The settings of memory and speed, which may change from one task to the next."""
        return {key: getattr(self, key) for key in RUNTIME_SETTINGS}

    def changed(self, runtime: Mapping[str, Any]) -> Settings:
        """A copy with other settings of memory and speed. Raises ``InputError`` for any other, or a value out of range."""
        if others := sorted(runtime.keys() - RUNTIME_SETTINGS):
            raise InputError(f"Only {', '.join(sorted(RUNTIME_SETTINGS))} may change; found {others[0]}: leave it out.")
        return Settings(**{**self.model_dump(), **runtime})

    @property
    def templates(self) -> list[str]:
        """The texts of a class: one, or those of the list."""
        return [self.prompt] if isinstance(self.prompt, str) else self.prompt

    @property
    def encoded(self) -> Representation:
        """The representation in which the images of the first task are encoded: both, if it is chosen from them."""
        return "both" if self.representation == "auto" else self.representation

    @property
    def uses_head(self) -> bool:
        """Whether the head takes part in predictions."""
        return self.branches != "text"

    @property
    def grows(self) -> bool:
        """Whether known classes can learn more images: with a solved head, with means of frozen features, or without a head."""
        return self.compensation == "analytic" or (self.epochs == 0 and not self.memory and (self.means or not self.uses_head))

    @property
    def means(self) -> bool:
        """Whether the rows of the trained head stay the class means."""
        return self.compensation == "trained" and self.uses_head and self.head_epochs == 0


def as_settings(given: Settings | Mapping[str, Any] | None) -> Settings:
    """The settings of the method from ``Settings``, a mapping of some of them by name, or ``None`` for the defaults. Raises
    ``InputError`` if this is something else, or a name or a value is wrong.
    """
    if isinstance(given, Settings):
        return given
    if given is not None and not isinstance(given, Mapping):
        raise InputError(f'settings must be Settings(...) or a mapping such as {{"epochs": 2}}; found {type(given).__name__}.')
    return Settings(**{str(key): value for key, value in (given or {}).items()})
