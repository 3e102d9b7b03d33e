"""Give images their right classes in a saved model, from a table of answers that a person has checked, as a new version."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from typing_extensions import TypedDict

from mgclip.errors import InputError
from mgclip.home import in_home
from mgclip.images import find_unreadable_images
from mgclip.method.class_edits import position_of, solved_head_of
from mgclip.method.learner import MGCLIP
from mgclip.method.model_files import read
from mgclip.missing import not_found
from mgclip.names import canonical, has_surrogate
from mgclip.saving.lock import only_writer
from mgclip.saving.store import HELD_OUT, WAIT, check_state
from mgclip.saving.versions import check_saved
from mgclip.words import count, were
from mgclip.workflows.answers import UNKNOWN
from mgclip.workflows.branches import leave_one_out
from mgclip.workflows.held_out import as_json, fingerprint, read_held_out
from mgclip.workflows.table import read_table


class CorrectReport(TypedDict):
    """What was corrected: images that were not learned before, those moved from another class, and those that were right.

    ``moved`` counts the images by the class under which they were learned before.
    """

    model: str
    images: int
    added: int
    moved: dict[str, int]
    unchanged: int


def read_corrections(table: Path) -> dict[Path, tuple[str, int]]:
    """Read a table with the columns image and class, such as one that ``mgclip predict --csv`` wrote.

    Only the rows with rank 1 count if there is a column rank; all other columns are ignored. A path that is not absolute is
    relative to the folder of the table or, if there is no such file, to the current folder.

    Returns:
        The right class of each image, and the line that gives it.

    Raises:
        InputError: If the table cannot be used, an image does not exist or cannot be read, or it has two different classes.
    """
    if not table.is_file():
        raise not_found("table of answers", table)
    cells, rows = read_table(table, "table of answers", errors="surrogateescape")  # names of files need not be UTF-8
    _check_utf8(",".join(cells), table, 1)
    columns = [cell.casefold() for cell in cells]
    if any(columns.count(name) != 1 for name in ("image", "class")) or columns.count("rank") > 1:
        raise InputError(f"The first line of {table} must have the columns image and class once; found {','.join(cells)[:80]!r}.")
    right: dict[Path, tuple[str, int]] = {}
    for number, row in rows:
        found = dict(zip(columns, row, strict=False))
        image, name = found.get("image", ""), found.get("class", "").strip()
        if found.get("rank", "1").strip() != "1":
            continue
        if not image.strip() or not name:
            raise InputError(f"Line {number} of {table} needs an image and its right class.")
        _check_utf8(name, table, number)
        file = _find(image, table, number)
        other = right.setdefault(file, (name, number))[0]
        if canonical(other) != canonical(name):
            raise InputError(f"{table} gives {image.strip()} two classes, {other!r} and {name!r}: keep one of them.")
    if not right:
        raise InputError(f"{table} lists no image: give each image and its right class one line.")
    files = list(right)
    for index, reason in find_unreadable_images(files).items():
        raise InputError(f"Line {right[files[index]][1]} of {table}: {files[index]} cannot be read ({reason}).")
    return right


def _find(cell: str, table: Path, number: int) -> Path:
    """The image of a cell. Spaces around its name belong to it if there is such a file."""
    name = cell.strip()
    for given in (cell, name):
        for file in (table.parent / given, Path(in_home(given))):
            if file.is_file():
                return file.resolve()
    _check_utf8(name, table, number)
    raise InputError(f"Line {number} of {table}: there is no image {name}, neither in {table.parent} nor in the current folder.")


def _check_utf8(text: str, table: Path, number: int) -> None:
    if has_surrogate(text):  # the bytes of names of files only
        raise InputError(f"Line {number} of the table of answers {table} is not UTF-8: save it as CSV in UTF-8.")


def correct_table(folder: Path, table: Path, *, base: str = "") -> CorrectReport:
    """Correct a saved model by a table.

    Args:
        folder: Folder of the model.
        table: The table of images and their right classes.
        base: Path of the model's CLIP, if it has moved.

    Raises:
        InputError: If the table cannot be used, it names a class that was not learned, or the head is a trained one.
    """
    check_saved(folder)
    solved_head_of(read(folder).state, "correct single images")  # before the table, which then does not matter
    right = read_corrections(table)
    with only_writer(folder, wait=WAIT):
        model = MGCLIP.from_pretrained(folder, base=base or None)
        for name, number in right.values():
            try:
                position_of(model.class_names, name)
            except InputError as error:
                why = "the image is unknown: give its class, or remove the line." if name == UNKNOWN else error
                raise InputError(f"Line {number} of {table}: {why}") from None
        return correct_images(model, folder, {file: name for file, (name, _) in right.items()}, origin=str(table))


def correct_images(model: MGCLIP, folder: Path, right: Mapping[Path, str], *, origin: str) -> CorrectReport:
    """Give images their right classes and save this as a new version, unless nothing changes. The caller holds the lock.

    Args:
        model: The model, which will be changed.
        folder: Folder of the model.
        right: The right class of each image.
        origin: Where the corrections come from, for the note.

    Raises:
        InputError: If an image cannot be read, a class was not learned, or the head is a trained one.
    """
    before = model.correct(list(right), list(right.values()))
    names = [model.class_names[position_of(model.class_names, name)] for name in right.values()]
    corrected = [name for was, name in zip(before, names, strict=True) if was != name]
    moved = Counter(was for was, name in zip(before, names, strict=True) if was is not None and was != name)
    added = before.count(None)
    changed = added + moved.total()
    if changed:
        learned = {file.resolve() for file in right}
        contents = {fingerprint(file) for file in right} - {""}  # a copy of a held-out image, such as an upload, has another path
        held_out = {
            name: [image for image in images if image.fingerprint not in contents and image.path.resolve() not in learned]
            for name, images in read_held_out(folder).items()
        }
        note = {
            "what": f"corrected {count(changed, 'image')}",
            "origin": origin,
            "classes": list(dict.fromkeys(corrected)),
            "images": changed,
            "moved": dict(moved),
            "leave_one_out": leave_one_out(model),
        }
        check_state(folder, model.saved_as)
        model.save_pretrained(folder, note=note, files={HELD_OUT: as_json(held_out, folder)})
    return {
        "model": str(folder),
        "images": len(names),
        "added": added,
        "moved": dict(moved),
        "unchanged": len(names) - changed,
    }


def describe_corrections(report: CorrectReport) -> str:
    """What was corrected, in one sentence."""
    parts = [f"{count(number, 'image')} moved from {name}" for name, number in report["moved"].items()]
    if report["added"]:
        parts.append(f"{count(report['added'], 'image')} added that {were(report['added'])} not learned before")
    if report["unchanged"]:
        parts.append(f"{count(report['unchanged'], 'image')} already learned in the right class")
    return "; ".join(parts)
