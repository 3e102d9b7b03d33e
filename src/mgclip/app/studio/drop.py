"""The drop zone for images and folders, and what was dropped, checked: a path from a browser may be any path."""

from __future__ import annotations

import json
import re
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder

from mgclip.app.error_messages import describe_error
from mgclip.app.studio.look import DROP, message, render, text_of
from mgclip.errors import InputError, MGCLIPError
from mgclip.image_formats import PHONE_EXTENSIONS, file_extensions
from mgclip.words import count

UPLOADING = "uploading"
"""The value of a drop zone until all its images are uploaded."""

LEARNED = "learned"
"""The value that empties a drop zone, because the model has learned its images."""


@dataclass(frozen=True)
class Limits:
    """Limits of an upload: megabytes of an image, and images per request."""

    megabytes: int
    images: int


@dataclass(frozen=True)
class Upload:
    """An uploaded image.

    Attributes:
        file: The uploaded file, whose name has no characters that a file system may refuse.
        group: The name of its class; empty if no name was given.
        place: Its path from the outermost folder that was dropped.
    """

    file: Path
    group: str
    place: str


def drop_zone(name: str, limits: Limits, *, grouped: bool = False) -> gr.HTML:
    """A drop zone for images and folders. Its value is read by ``uploads``.

    Args:
        name: Its id.
        limits: Limits, which its text names.
        grouped: Whether images belong to classes; that of an image in a folder is the name of the folder.
    """
    endings = sorted({*file_extensions(), *PHONE_EXTENSIONS})  # without a plugin too: the error then names it
    return gr.HTML(
        "",
        html_template=render("drop", grouped=grouped, limits=limits, extensions=endings),
        elem_id=name,
        elem_classes="area",
        apply_default_css=False,
        padding=False,
        js_on_load=text_of(DROP),
    )


def uploads(value: object, limits: Limits) -> list[Upload]:
    """Return the images in a drop zone.

    Args:
        value: The value of the drop zone: a JSON list of ``{path, group, place}``.
        limits: The limits of an upload.

    Raises:
        InputError: If there is no image or there are too many, or a file was not uploaded or is deleted.
    """
    if value == UPLOADING:
        raise InputError("The images are still being uploaded: wait a moment.")
    try:
        entries = json.loads(str(value or "[]"))
        found = [(Path(each["path"]), str(each.get("group") or ""), str(each.get("place") or "")) for each in entries]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise InputError("The list of images is damaged: reload the page and drop them again.") from None
    if not found:
        raise InputError("There is no image: drop some first.")
    if len(found) > limits.images:
        raise InputError(f"At most {count(limits.images, 'image')} at a time; found {len(found):,}: drop fewer.")
    return [Upload(_uploaded(file, place or file.name), group, place or file.name) for file, group, place in found]


def _uploaded(file: Path, place: str) -> Path:
    try:
        if not file.resolve().is_relative_to(Path(get_upload_folder()).resolve()):
            raise InputError(f"{place} is not among the uploads of this studio: drop it again.")
        if not file.is_file():
            raise InputError(f"{place} was deleted a while after its upload: drop it again.")
    except (OSError, ValueError):  # a name that is too long, or with a null character
        raise InputError("The name of an image cannot be used: rename it and drop it again.") from None
    return file


def places_of(dropped: Sequence[Upload]) -> dict[Path, list[str]]:
    """The files of uploads with their places. Images with the same content and name have one file, and count once."""
    places: dict[Path, list[str]] = {}
    for each in dropped:
        known = places.setdefault(each.file, [])
        if each.place not in known:
            known.append(each.place)
    return places


def form_of(event: gr.EventData) -> Mapping[str, Any]:
    """The fields of the form that was sent; none if a program calls the function without a form."""
    try:
        form = event.form
    except (AttributeError, TypeError):
        return {}
    return form if isinstance(form, Mapping) else {}


def without_upload_folder(text: str) -> str:
    """A sentence without the paths of uploads, of which only the names of the files mean something to a reader."""
    places = {get_upload_folder(), str(Path(get_upload_folder()).resolve())}
    return re.sub(rf"(?:{'|'.join(map(re.escape, places))})[\\/][^\\/\s]*[\\/]", "", text)


def with_places(text: str, places: Mapping[Path, Sequence[str]]) -> str:
    """A sentence with the places of uploads instead of their paths."""
    for file in sorted(places, key=lambda file: len(str(file)), reverse=True):  # a path may start with another one
        text = text.replace(str(file), ", ".join(places[file]))
    return without_upload_folder(text)


@contextmanager
def errors_with_places(places: Mapping[Path, Sequence[str]]) -> Iterator[None]:
    """Name uploads by their places in an error that is raised inside."""
    try:
        yield
    except MGCLIPError as error:
        raise MGCLIPError(with_places(str(error), places)) from error


def safely(work: Callable[..., Any], *instead: Any) -> Callable[..., Any]:
    """A function of the page whose last output is a message.

    If it raises an error, the message describes the error and the other outputs are ``instead``.
    """

    @wraps(work)
    def safe(*given: Any, **more: Any) -> Any:
        try:
            return work(*given, **more)
        except MGCLIPError as error:
            text = str(error)
        except Exception as error:  # a bug, or a fault of the machine
            traceback.print_exc()
            text = describe_error(error, more="the terminal shows the traceback", again="do the same again")
        shown = message(without_upload_folder(text), error=True)
        return (*instead, shown) if instead else shown

    return safe
