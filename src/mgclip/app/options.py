"""Arguments and options that several commands share, each declared once; and option names of earlier versions."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperCommand

from mgclip.app.paths import refuse_empty
from mgclip.app.streams import end_on_closed_pipe
from mgclip.errors import InputError
from mgclip.missing import is_file

SavedModel = Annotated[Path, typer.Argument(help="Folder of a saved model.")]
Base = Annotated[str, typer.Option(help="Path of the model's CLIP, if it has moved.")]
NewBase = Annotated[
    str,
    typer.Option(
        help="CLIP that a new model starts from: a hub id, a folder, an OpenAI .pt file, or iconclip; default: "
        "openai/clip-vit-base-patch16, a download of 600 MB. For a saved model: path of its CLIP, if it has moved."
    ),
]
Architecture = Annotated[
    str, typer.Option("--arch", help="If the CLIP is a checkpoint of OpenCLIP: name of its configuration, such as ViT-B-16.")
]
Names = Annotated[str, typer.Option(help="Class names: a CSV file (folder,name,text), or folder=name,folder=name.")]
OnBadImage = Annotated[
    Literal["error", "skip"], typer.Option(help="Stop at an image that cannot be read, or skip and list such images.")
]
CHECKPOINT_EVERY = 100
CheckpointEvery = Annotated[
    int,
    typer.Option(min=1, help="Steps between checkpoints within a task. A stopped command resumes from the latest one."),
]
Changes = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings of a new model, such as rank=4.")]
Device = Annotated[str, typer.Option(help="Where to compute: cpu, cuda or cuda:N; default: a GPU if there is one.")]
KeepFeatures = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Keep features of images under the unchanged CLIP in this folder, and use those in it."),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print nothing, except the result of --json.")]

OLD_NAMES = {"--unknown": "--unknown-below", "--also": "--candidates"}
"""Option names of version 0.1, which one more release accepts -> their names now."""


def with_architecture(clip: str, architecture: str) -> str:
    """The reference of a CLIP with the name of its configuration, if one is given. Raises ``InputError`` if no CLIP is."""
    if architecture and not clip:
        raise InputError("--arch names the configuration of a checkpoint: give the checkpoint too.")
    return f"{clip}:{architecture}" if architecture else clip


class Command(TyperCommand):
    """A command of this package.

    It also accepts the old names of its options, which its help does not show. It ends quietly if the reader of its output closes
    the pipe. The list of commands shows all of its first sentence.
    """

    def get_short_help_str(self, limit: int = 45) -> str:
        """Return the first sentence of the help, which the list of commands wraps."""
        return " ".join((self.help or "").split()).partition(". ")[0].rstrip(".") + "."

    def invoke(self, ctx: Any) -> Any:
        """Run the command. If it can skip images that cannot be read, the error of such an image says how."""
        with end_on_closed_pipe():
            try:
                return super().invoke(ctx)
            except InputError as error:
                if ctx.params.get("on_bad_image") == "error":
                    _refuse_unreadable(error)
                raise

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Replace old option names, then parse as usual. Refuse empty paths and repeated settings."""
        options = args[: args.index("--")] if "--" in args else args
        renamed = ["=".join([OLD_NAMES.get(name, name), *value]) for name, *value in (a.split("=", 1) for a in options)]
        args = [*renamed, *args[len(options) :]]
        rest = list(super().parse_args(ctx, [*args]))
        given, *_ = self.make_parser(ctx).parse_args([*args])
        refuse_empty(self.params, ctx.params, given)
        for parameter in self.params:
            if "KEY=VALUE" in (getattr(parameter, "metavar", None) or ""):
                _refuse_repeated(ctx.params.get(parameter.name or "") or ())
        return rest


def _refuse_unreadable(error: InputError) -> None:
    """Raise an error that names the option, if this is the error of an image that cannot be read."""
    from mgclip.images import UnreadableImage

    if isinstance(error, UnreadableImage):
        raise InputError(
            f"The image {error.file} cannot be read ({error.reason}): give another file, or skip such images with --on-bad-image "
            "skip."
        ) from error


def _refuse_repeated(changes: Sequence[str]) -> None:
    settings = [change for change in changes if "=" in change and not is_file(change)]  # the path of a recipe may contain it
    keys = [setting.partition("=")[0].strip() for setting in settings]
    if repeated := [key for key in keys if keys.count(key) > 1]:
        raise InputError(f"The setting {repeated[0]} is given more than once: give it once.")


def with_device(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command with the option ``--device``, for commands that compute with a CLIP."""

    @wraps(command)
    def computing(*, device: str = "", **given: Any) -> Any:
        if device:
            os.environ["MGCLIP_DEVICE"] = device  # read when a CLIP is loaded
        return command(**given)

    own = inspect.signature(command, eval_str=True)
    added = inspect.Parameter("device", inspect.Parameter.KEYWORD_ONLY, default="", annotation=Device)
    computing.__signature__ = own.replace(parameters=[*own.parameters.values(), added])  # type: ignore[attr-defined]
    return computing
