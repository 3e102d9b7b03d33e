"""OpenAI's ``.pt`` files from elsewhere: no code of theirs runs, and none makes more than it holds."""

import zipfile
from pathlib import Path

import pytest
import torch
from openai_clip import OpenAIClip, published_state

from mgclip.clip.load import load_backbone
from mgclip.clip.torchscript import read_torchscript
from mgclip.errors import InputError


class Restoring(torch.nn.Module):
    """A module with code of its own for when it is loaded: it makes a file."""

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


def small():
    torch.manual_seed(0)
    return OpenAIClip(width=64, layers=1, text_width=8, text_layers=1, vocabulary=49408)


@pytest.mark.filterwarnings("ignore")
def test_an_archive_that_unpacks_to_more_is_refused(tmp_path):
    example = (torch.zeros(1, 3, 32, 32), torch.zeros(1, 77, dtype=torch.long))
    torch.jit.trace(small().eval(), example, check_trace=False).save(str(tmp_path / "good.pt"))
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


def test_tensors_of_more_numbers_than_are_stored_are_refused(tmp_path):
    state = published_state(small())
    state["visual.proj"] = torch.zeros(1).expand(100_000, 100_000)
    torch.save(state, tmp_path / "x.pt")
    with pytest.raises(InputError, match="its tensors have more numbers than are stored"):
        load_backbone(tmp_path / "x.pt")


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("visual.conv1.weight", (64, 3)),
        ("visual.conv1.weight", (100_032, 1, 1, 1)),
        ("text_projection", (8,)),
        ("visual.transformer.resblocks.0.attn.in_proj_weight", (2, 64)),
        ("positional_embedding", ()),
        ("logit_scale", (3,)),
    ],
)
def test_tensors_of_other_shapes_are_refused(tmp_path, name, shape):
    state = published_state(small())
    state[name] = torch.zeros(shape)
    torch.save(state, tmp_path / "x.pt")
    with pytest.raises(InputError, match=r"x\.pt "):
        load_backbone(tmp_path / "x.pt")


@pytest.mark.parametrize("state", [{1: torch.zeros(2)}, {"visual.proj": torch.eye(2).to_sparse()}, {"a": "b"}])
def test_what_is_no_state_is_refused(tmp_path, state):
    torch.save(state, tmp_path / "x.pt")
    with pytest.raises(InputError, match="it holds something else than named tensors"):
        load_backbone(tmp_path / "x.pt")


def test_a_folder_whose_configuration_is_larger_than_its_weights_is_refused(tiny_clip, tmp_path):
    import json
    import shutil

    shutil.copytree(tiny_clip, tmp_path / "clip")
    file = Path(tmp_path, "clip", "config.json")
    good = json.loads(file.read_text())
    for part, key, value, sentence in (
        ("vision_config", "hidden_size", 32_768, "it asks for"),
        ("text_config", "vocab_size", 400_000, "bytes of them are there"),
        ("vision_config", "image_size", 8_192, "tokens"),
    ):
        changed = {**good, part: {**good[part], key: value}}
        file.write_text(json.dumps(changed))
        with pytest.raises(InputError, match=sentence):
            load_backbone(tmp_path / "clip")
