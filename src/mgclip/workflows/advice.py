"""What a person should know about a training run beyond its numbers: why something was not done, and what could be done next."""

from __future__ import annotations

from mgclip.method.learner import MGCLIP
from mgclip.workflows.branches import better_alone
from mgclip.workflows.note import LearnNote, LearnReport
from mgclip.workflows.split import MIN_IMAGES

ONE_CLASS = "the model knows a single class, so its confidence in that class is 100 % for every image: teach it another class"
"""What to say where a model of one class answers."""


def learn_report(model: MGCLIP, note: LearnNote, name: str, *, may_hold_out: bool = True, tested: bool = False) -> LearnReport:
    """The note of a training run with what ``mgclip learn`` reports besides.

    Args:
        model: The model after learning.
        note: The note of the version.
        name: The model's name in commands.
        may_hold_out: Whether images could have been held out, as from class folders.
        tested: Whether test images were given.
    """
    measured, left_out, settings = note["branches"], note["left_out"], model.settings
    advice = []
    adapts = settings.adapt == "always" or (settings.adapt == "first" and len(model.task_sizes) == 1)
    if not note["epochs"] and adapts and settings.epochs != 0 and len(note["classes"]) == 1:
        advice.append("no adapters were trained, because there is no second class to distinguish this one from")
    if len(model.class_names) == 1:
        advice.append("accuracy: not measured, because with a single class every answer is that class")
    elif not measured["images"] and left_out is None and tested:
        advice.append("accuracy: not measured, because no readable test image belongs to a class that the model knows")
    elif not measured["images"] and left_out is None:
        hold_out = f"hold some out (--hold-out, of classes with {MIN_IMAGES} images or more), or " if may_hold_out else ""
        advice.append(f"accuracy: not measured, because no image was held out: {hold_out}give test images with --test")
    if better := better_alone(model, measured if measured["images"] or left_out is None else left_out, name):
        advice.append(better)
    return {"model": name, **note, "classes_in_all": len(model.class_names), "advice": advice}
