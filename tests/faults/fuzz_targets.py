"""Fuzz targets: every reader of untrusted input as a function of bytes, which may raise our own errors only.

The seeds of a target are valid input. If the input is a folder, the first byte of the data selects the file that the rest replaces.
"""

from __future__ import annotations

import io
import json
import sys
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))
from made_runs import make_run
from small_clip import make_small_clip


@dataclass
class Target:
    """One kind of input: the ``files`` below ``place`` that data may replace, and the function that reads them."""

    place: Path
    files: Sequence[str]
    read: Callable[[Path], object]
    extra: Sequence[bytes] = ()
    kept: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.kept = {name: (self.place / name).read_bytes() for name in self.files}

    def seeds(self) -> list[bytes]:
        """Valid data, and some difficult data."""
        if len(self.files) == 1:
            return [self.kept[self.files[0]], *self.extra]
        return [bytes([number]) + content for number, content in enumerate(self.kept.values())] + list(self.extra)

    def feed(self, data: bytes) -> None:
        """Write data, read it, and restore the file. Raises every error that is not ours."""
        from mgclip.errors import MGCLIPError

        single = len(self.files) == 1
        name = self.files[0 if single or not data else data[0] % len(self.files)]
        (self.place / name).write_bytes(data if single else data[1:])
        try:
            self.read(self.place)
        except MGCLIPError as error:
            if "\n" in str(error):
                raise ValueError(f"more than one line: {error}") from error
        finally:
            (self.place / name).write_bytes(self.kept[name])


def images(place: Path) -> Target:
    """Image files in every format that Pillow can write."""
    from mgclip.clip.load import load_backbone
    from mgclip.image_formats import file_extensions
    from mgclip.images import open_image

    grey = np.add.outer(np.arange(24), np.arange(32)).astype(np.uint8)
    seeds = []
    for ending in sorted(file_extensions()):
        for mode in ("L", "RGB", "RGBA", "P", "CMYK", "I;16", "1"):
            made = io.BytesIO()
            try:
                picture = Image.fromarray(grey.astype(np.uint16) << 7) if mode == "I;16" else Image.fromarray(grey).convert(mode)
                picture.save(made, Image.registered_extensions()[ending])
            except (OSError, ValueError, KeyError):
                continue  # the format has no such mode
            seeds.append(made.getvalue())
    (place / "x.png").write_bytes(seeds[0])
    clip = place / "clip"
    clip.mkdir()
    transform = load_backbone(make_small_clip(clip)).transform
    for size in ((1, 20_000), (20_000, 1), (199, 1), (1, 1)):
        Image.new("RGB", size).save(made := io.BytesIO(), "PNG")
        seeds.append(made.getvalue())
    seeds.append(
        b"II\x2b\x00\x08\x00\x00\x00" + (1 << 50).to_bytes(8, "little")
    )  # a TIFF whose offset is beyond the end of any file
    return Target(place, ["x.png"], lambda there: transform([open_image(there / "x.png")]), sorted(set(seeds)))


def recipes(place: Path) -> Target:
    """Recipe files and changes to them."""
    from mgclip.experiment.recipe import load_recipe
    from mgclip.experiment.recipe_files import shipped_recipes

    def read(there: Path) -> None:
        load_recipe(str(there / "r.yaml"))
        text = (there / "r.yaml").read_bytes().decode("utf-8", "replace")
        load_recipe("icons100", [line for line in text.splitlines() if "=" in line])

    shipped = [file.read_bytes() for file in dict.fromkeys(shipped_recipes().values())]
    (place / "r.yaml").write_bytes(shipped[0])
    bomb = b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
        b"%c: &%c [%s]\n" % (c + 1, c + 1, b",".join([b"*%c" % c] * 9)) for c in range(97, 108)
    )
    hard = [
        bomb, b"epochs: .nan\nalpha: .inf", b"extends: r.yaml", b"? {a: b}\n: c", b"!!python/object/apply:os.system [touch x]",
        b"seed=-1\nepochs=auto\nclass_order=[0, 0]\nretention={a: b}", b"name: [1]\nmethods: {a: 1}", b"tasks: 0o17\nclip: null",
    ]  # fmt: skip
    return Target(place, ["r.yaml"], read, [*shipped[1:], *hard])


def models(place: Path) -> Target:
    """Folders of saved models."""
    from mgclip import MGCLIP, Settings, history
    from mgclip.app.versions import history_command
    from mgclip.clip.load import load_backbone
    from mgclip.export.card import version_notes
    from mgclip.method.model_files import undo
    from mgclip.workflows.held_out import read_held_out

    clip, shop = place / "clip", place / "shop"
    clip.mkdir()
    backbone = load_backbone(make_small_clip(clip))
    model = MGCLIP(backbone, Settings(epochs=1, head_epochs=1, memory=4))
    pictures = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    for names in (["first", "second"], ["third", "fourth"]):
        model.learn(pictures, [0, 0, 0, 1, 1, 1], names)
        model.save_pretrained(shop, note={"what": "learned"}, files={"held-out.json": {"first": ["a.png"]}})
    features = model.encoder.images(model.encoder.pixels(pictures))

    def read(there: Path) -> None:
        read_held_out(there)
        with redirect_stdout(io.StringIO()):
            history_command(there, keep=0, as_json=False)
        version_notes(there)
        MGCLIP.from_pretrained(there, base=backbone).classify(features)
        undo(there)
        undo(there, len(history(there)))

    names = sorted(str(file.relative_to(shop)) for file in shop.rglob("*") if file.is_file() and "lock" not in file.name)
    return Target(shop, names, read)


def clips(place: Path) -> Target:
    """Folders of CLIPs."""
    from mgclip.clip.load import load_backbone

    make_small_clip(place)
    for large in (place / "tokenizer.json",):
        tokens = json.loads(large.read_text())
        large.write_text(json.dumps(tokens, separators=(",", ":")))
    return Target(place, sorted(file.name for file in place.iterdir()), load_backbone)


def runs(place: Path) -> Target:
    """Run folders, as a report and ``--resume`` read them."""
    from mgclip.experiment import run_folder
    from mgclip.experiment.schemas import Summary, read_run_file
    from mgclip.report.page import write_report

    make_run(place / "run", names=["first", "second"])

    def read(there: Path) -> None:
        write_report([there], there / "page.html")
        read_run_file(Summary, there / "mg-clip" / run_folder.SUMMARY)
        read_run_file(dict[str, Summary], there / run_folder.SUMMARY)
        run_folder.read_skipped(there)
        run_folder.kept_records(there / "mg-clip", 1)
        run_folder.check_data(there, {"task 1": {"classes": ["a"], "train": {}, "test": {}}})
        run_folder.check_same(there, run_folder.read_recipe(there), "no")

    run = place / "run"
    (run / "data.json").write_text('{"task 1": {"classes": ["a"], "train": {}, "test": {}}}')
    texts = [file for file in run.rglob("*") if file.suffix in (".json", ".jsonl", ".yaml")]
    pictures = run.glob("*/examples/000.png")  # the other examples are read in the same way
    return Target(run, sorted(str(file.relative_to(run)) for file in [*texts, *pictures]), read)


def archives(place: Path) -> Target:
    """CIFAR-100, an archive of pickles."""
    import pickle

    from mgclip.stream.datasets import load_dataset

    def add(archive: tarfile.TarFile, name: str, content: dict[str, object]) -> None:
        raw = pickle.dumps(content, protocol=2)
        entry = tarfile.TarInfo(f"cifar-100-python/{name}")
        entry.size = len(raw)
        archive.addfile(entry, io.BytesIO(raw))

    with tarfile.open(place / "cifar-100-python.tar.gz", "w") as archive:  # uncompressed, so that a change reaches the reader
        pixels = np.zeros((2, 3072), dtype=np.uint8)
        add(archive, "meta", {"fine_label_names": [f"c{i}" for i in range(100)]})
        for part in ("train", "test"):
            add(archive, part, {"data": pixels, "fine_labels": [0, 1]})
    return Target(place, ["cifar-100-python.tar.gz"], lambda there: load_dataset("cifar100", path=str(there)))


def sources(place: Path) -> Target:
    """Tables of class names next to class folders."""
    from mgclip.workflows.source import read_source

    for name in ("a", "b"):
        (place / name).mkdir()
        Image.new("RGB", (8, 8)).save(place / name / "x.png")
    (place / "classes.csv").write_text("folder,name,text\na,red fox,a red fox\nb,hen,a hen\n")

    def read(there: Path) -> None:
        read_source(there)
        read_source(there, names=(there / "classes.csv").read_bytes().decode("utf-8", "replace"))

    return Target(place, ["classes.csv"], read, [b"folder,name\na,\xff", b'folder,name\na,"b\nc', b"a=b,c=d", b"folder;name"])


def openai_files(place: Path) -> Target:
    """OpenAI's ``.pt`` files, whose pickles are read for weights only."""
    import torch
    from openai_clip import OpenAIClip, published_state

    from mgclip.clip.load import load_backbone

    torch.manual_seed(0)
    model = OpenAIClip(width=64, layers=1, text_width=8, text_layers=1).eval()
    torch.save(published_state(model), place / "x.pt")
    scripted = io.BytesIO()
    example = (torch.zeros(1, 3, 32, 32), torch.zeros(1, 77, dtype=torch.long))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(model, example, check_trace=False), scripted)
    return Target(place, ["x.pt"], lambda there: load_backbone(there / "x.pt"), [scripted.getvalue()])


def scripts(place: Path) -> Target:
    """The modules of OpenAI's TorchScript archives: pickles that are read without calling what they name."""
    import torch

    from mgclip.clip.load import load_backbone

    class Two(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.visual, self.short = torch.nn.Conv2d(3, 4, 2), torch.nn.Linear(2, 2).half()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.short(self.visual(x))

    scripted = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(Two()), scripted)
    with zipfile.ZipFile(scripted) as archive:
        parts = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    (place / "data.pkl").write_bytes(parts.pop("data.pkl"))

    def read(there: Path) -> None:
        with zipfile.ZipFile(there / "x.pt", "w") as archive:
            for name, content in {**parts, "data.pkl": (there / "data.pkl").read_bytes()}.items():
                archive.writestr(f"x/{name}", content)
        load_backbone(there / "x.pt")

    bombs = [
        b"\x80\x02N" + b"r\xff\xff\xff\xff.",
        b"\x80\x05\x96" + b"\xff" * 5 + bytes(3) + b".",
        b"\x80\x02cos\nsystem\n.",
    ]
    return Target(place, ["data.pkl"], read, bombs)


TARGETS: dict[str, Callable[[Path], Target]] = {
    "images": images, "recipes": recipes, "models": models, "clips": clips, "runs": runs, "archives": archives,
    "sources": sources, "openai-files": openai_files, "scripts": scripts,
}  # fmt: skip
