"""TorchScript archives from other sources: none of their code runs, and they allocate no more than they contain."""

import io
import pickle
import time
import zipfile
from collections import OrderedDict

import pytest
import torch
from openai_clip import OpenAIClip, small_openai_clip

from mgclip.clip.load import load_backbone
from mgclip.clip.torchscript import read_torchscript
from mgclip.errors import InputError


class Restoring(torch.nn.Module):
    """A module that runs code when it is loaded: it creates a file."""

    def __init__(self, mark: str):
        super().__init__()
        self.mark = mark
        self.weight = torch.nn.Parameter(torch.ones(2))

    @torch.jit.export
    def __getstate__(self):
        return self.mark, self.weight, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[str, torch.Tensor, bool]):
        self.mark = state[0]
        self.weight = torch.from_file(self.mark, shared=True, size=2).copy_(state[1])
        self.training = state[2]

    def forward(self, x: torch.Tensor):
        return x + self.weight


@pytest.mark.filterwarnings("ignore")
def test_code_of_an_archive_does_not_run(tmp_path):
    mark = tmp_path / "ran"
    torch.jit.script(Restoring(str(mark))).save(str(tmp_path / "x.pt"))
    mark.unlink(missing_ok=True)
    with pytest.raises(InputError, match=r"x\.pt "):
        load_backbone(tmp_path / "x.pt")
    assert not mark.exists()
    torch.jit.load(str(tmp_path / "x.pt"))
    assert mark.exists(), "loaded by TorchScript it does run: the test would have seen it"


class Parts(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Linear(3, 2)
        self.same = self.inner
        self.short = torch.nn.Parameter(torch.arange(6.0).half().view(2, 3).T)
        self.names = ["a", "b"]
        self.numbers = {"a": 1}
        self.register_buffer("count", torch.tensor(7))

    def forward(self, x: torch.Tensor):
        return self.inner(x) + self.short.sum() + len(self.names) + self.numbers["a"] + self.count


@pytest.mark.filterwarnings("ignore")
def test_the_tensors_are_those_torchscript_reads(tmp_path):
    torch.jit.script(Parts()).save(str(tmp_path / "x.pt"))
    ours, theirs = read_torchscript(tmp_path / "x.pt"), torch.jit.load(str(tmp_path / "x.pt")).state_dict()
    assert ours.keys() == theirs.keys() >= {"inner.weight", "inner.bias", "short", "count"}
    for name, tensor in ours.items():
        assert tensor.dtype == theirs[name].dtype
        assert torch.equal(tensor, theirs[name])


@pytest.mark.filterwarnings("ignore")
def test_an_archive_that_claims_more_bytes_than_it_has_is_refused(tmp_path):
    example = (torch.zeros(1, 3, 32, 32), torch.zeros(1, 77, dtype=torch.long))
    torch.jit.trace(small_openai_clip().eval(), example, check_trace=False).save(str(tmp_path / "good.pt"))
    torch.save({"visual.conv1.weight": torch.zeros(64)}, tmp_path / "state.pt")
    for name in ("good", "state"):
        with (
            zipfile.ZipFile(tmp_path / f"{name}.pt") as good,
            zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as bomb,
        ):
            for entry in good.namelist():
                bomb.writestr(entry, good.read(entry))
            bomb.writestr(f"{name}/data/999", bytes(50_000_000))
        with pytest.raises(InputError, match="it would unpack to more than it is"):
            load_backbone(tmp_path / "bomb.pt")


def crafted(file, content, compression=zipfile.ZIP_STORED, **others):
    """An archive with code whose ``data.pkl`` holds these bytes."""
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr("x/data.pkl", content)
        archive.writestr("x/data/0", bytes(64))
        archive.writestr("x/code/a.py", "")
        for name, other in others.items():
            archive.writestr(name.replace("__", "/"), other)
    return file


MODULE = b"\x80\x02c__torch__\nM\n)\x81}("


class Stored:
    """Represents, in a pickle, numbers that are stored in another entry."""

    def __init__(self, key="0", count=16):
        self.pid = "storage", torch.FloatStorage, key, "cpu", count


class Rebuilt:
    """Represents a tensor in a pickle."""

    def __init__(self, size, stride=(1,), storage=None, offset=0):
        self.made_of = storage or Stored(), offset, size, stride, False, OrderedDict()

    def __reduce__(self):
        return torch._utils._rebuild_tensor_v2, self.made_of


class Pickler(pickle.Pickler):
    def persistent_id(self, value):
        return value.pid if isinstance(value, Stored) else None


def pickled(value):
    written = io.BytesIO()
    Pickler(written, protocol=2).dump(value)
    return written.getvalue()


def nest():
    lists = []
    for _ in range(30):
        lists = [lists] * 9
    return lists


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\x80\x02Nr\xff\xff\xff\xff0" + MODULE[2:] + b"ub.", "it has no ln_final"),
        (pickled(Stored(nest())), "invalid reference to a storage"),
        (pickled(Stored("1")), "no item named"),
        (pickled(Stored(count=1 << 50)), "invalid reference to a storage"),
        (pickled(Stored(count=17)), r"requested buffer length \(17"),
        (pickled(Rebuilt(("x", 1 << 36))), "more elements than its storage contains"),
        (pickled(Rebuilt((1 << 20, 1 << 20), (0, 0))), "more elements than its storage contains"),
        (pickled(Rebuilt((4,), (6,))), "out of bounds"),
        (pickled(Rebuilt((4,), (1,), offset=13)), "out of bounds"),
        (pickled(Rebuilt(nest())), "invalid tensor shape"),
        (
            b"\x80\x02c__torch__\nM\n}X\x0c\x00\x00\x00__setstate__ccollections\nOrderedDict\nsb.",
            "unexpected BUILD opcode",
        ),
        (b"\x80\x02cos\nsystem\n(X\x04\x00\x00\x00truetR.", r"os\.system is not allowed in this file"),
        (b"\x80\x02cbuiltins\neval\n(X\x01\x00\x00\x001tR.", r"builtins\.eval is not allowed in this file"),
        (MODULE + b"X\xe8\x03\x00\x00" + b"a" * 1000 + b"Nub.", "an attribute has an invalid name"),
        (b"\x80\x02K\x05.", "cannot be read"),
        (b"", "cannot be read"),
    ],
)
def test_crafted_archives_are_refused_at_once(tmp_path, content, reason):
    begun = time.monotonic()
    with pytest.raises(InputError, match=reason):
        load_backbone(crafted(tmp_path / "x.pt", content))
    assert time.monotonic() - begun < 2


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_nothing_of_an_archive_is_unpacked_to_disk(tmp_path, compression):
    file = crafted(tmp_path / "x.pt", bytes(1_000_000), compression)
    content = file.read_bytes()
    for place in (content.find(b"PK\x01\x02"), 0):  # both headers now claim 100 bytes
        at = place + (24 if place else 22)
        content = content[:at] + (100).to_bytes(4, "little") + content[at + 4 :]
    file.write_bytes(content)
    with pytest.raises(InputError, match="it would unpack to more than it is"):
        load_backbone(file)


def test_an_archive_with_several_roots_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"expected one data\.pkl"):
        load_backbone(crafted(tmp_path / "x.pt", MODULE + b"ub.", y__data="", **{"y__data.pkl": MODULE + b"ub."}))


class Kept(OpenAIClip):
    """A TorchScript archive with tensors that are not weights."""

    def __init__(self):
        super().__init__(width=64, layers=1, text_width=8, text_layers=1)
        self.mean = torch.ones(3)
        self.transformer.resblocks[0].attn_mask = torch.zeros(77, 77)

    def forward(self, image, ids):
        self.transformer.resblocks[0].attn_mask.sum()
        return super().forward(image * self.mean[0] * self.transformer.resblocks[0].attn_mask.exp().mean(), ids)


@pytest.mark.filterwarnings("ignore")
def test_tensors_that_are_not_weights_are_ignored(tmp_path):
    example = (torch.zeros(1, 3, 32, 32), torch.zeros(1, 77, dtype=torch.long))
    torch.jit.trace(Kept().eval(), example, check_trace=False).save(str(tmp_path / "x.pt"))
    assert "input_resolution" in read_torchscript(tmp_path / "x.pt")
    assert load_backbone(tmp_path / "x.pt").feature_dim == 48
