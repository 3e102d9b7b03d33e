"""OpenAI's ``.pt`` files are converted exactly, and anything that is not one is refused without running its code."""

import pickle
from pathlib import Path

import crops
import numpy as np
import pytest
import torch
from openai_clip import OpenAIClip, published_state, small_openai_clip
from PIL import Image

from mgclip.clip.load import load_backbone
from mgclip.clip.openai import openai_tokenizer
from mgclip.errors import InputError


@pytest.fixture(scope="module")
def openai_model():
    torch.manual_seed(2)
    model = OpenAIClip().eval()
    for weight in model.parameters():
        weight.data = weight.data.half().float()
    return model


@pytest.fixture(scope="module", params=["state dict", "archive", "wrapped"])
def openai_file(request, openai_model, tmp_path_factory):
    file = tmp_path_factory.mktemp("openai") / "ViT-tiny.pt"
    if request.param == "archive":
        example = (torch.zeros(1, 3, 32, 32), torch.zeros(1, 77, dtype=torch.long))
        torch.jit.trace(openai_model, example, check_trace=False).save(str(file))
    elif request.param == "wrapped":  # as training in several processes saves it
        state = {f"module.{name}": value for name, value in openai_model.state_dict().items()}
        torch.save({"state_dict": state}, file)
    else:
        torch.save(published_state(openai_model), file)
    return file


@torch.no_grad()
def test_an_openai_file_gives_openais_features(openai_file, openai_model):
    backbone = load_backbone(openai_file)
    config = backbone.model.config
    assert (backbone.image_size, backbone.feature_dim, config.vision_config.num_attention_heads) == (32, 48, 2)
    pixels = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8)
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)
    theirs = torch.nn.functional.normalize(openai_model.visual((pixels.float() / 255 - mean) / std), dim=-1)
    torch.testing.assert_close(backbone.image_features(pixels), theirs, rtol=1e-4, atol=2e-6)
    texts = ["a good photo of a goldfish.", "a good photo of a great white shark, seen from below."]
    ids = backbone.tokenizer(texts, padding="max_length", max_length=77, return_tensors="pt")["input_ids"]
    theirs = torch.nn.functional.normalize(openai_model.encode_text(ids), dim=-1)
    short = backbone.tokenize(texts)
    assert short.shape[1] < 20
    torch.testing.assert_close(backbone.text_features(short), theirs, rtol=1e-4, atol=2e-6)
    assert backbone.logit_scale.item() == pytest.approx(np.exp(openai_model.logit_scale.item()))


def test_images_are_resized_and_cropped_as_openai_does(openai_file):
    """The shorter side becomes 32 with bicubic interpolation, then the centre is kept."""
    wide, tall = crops.image(64, 40), crops.image(40, 80)
    pixels = load_backbone(openai_file).transform([wide, tall]).permute(0, 2, 3, 1).numpy()
    np.testing.assert_array_equal(pixels[0], wide.resize((51, 32), Image.Resampling.BICUBIC).crop((10, 0, 42, 32)))
    np.testing.assert_array_equal(pixels[1], tall.resize((32, 64), Image.Resampling.BICUBIC).crop((0, 16, 32, 48)))


def test_the_tokenizer_gives_openais_token_ids():
    """Token ids of OpenAI's own tokenizer, as its repository's example prints them, and of common words."""
    tokenizer = openai_tokenizer()
    assert len(tokenizer) == 49408
    assert tokenizer("a diagram")["input_ids"] == [49406, 320, 22697, 49407]
    assert tokenizer("a dog")["input_ids"] == [49406, 320, 1929, 49407]
    assert tokenizer("a cat")["input_ids"] == [49406, 320, 2368, 49407]


def test_resnet_clip_is_refused(tmp_path):
    torch.save(
        {"visual.layer1.0.conv1.weight": torch.zeros(1), "visual.attnpool.k_proj.weight": torch.zeros(1)},
        tmp_path / "RN50.pt",
    )
    with pytest.raises(InputError, match=r"RN50\.pt is a CLIP with a ResNet; a Vision Transformer is needed"):
        load_backbone(tmp_path / "RN50.pt")


def test_other_pt_files_are_refused(tmp_path, openai_model):
    torch.save({"weight": torch.zeros(3)}, tmp_path / "linear.pt")
    with pytest.raises(InputError, match=r"linear\.pt is not a CLIP in OpenAI's layout: it has no ln_final\.weight"):
        load_backbone(tmp_path / "linear.pt")
    for name in ("positional_embedding", "visual.positional_embedding", "token_embedding.weight", "logit_scale"):
        state = published_state(openai_model)
        del state[name]
        torch.save(state, tmp_path / "lacking.pt")
        with pytest.raises(InputError, match=rf"lacking\.pt is not a CLIP in OpenAI's layout: it has no {name}"):
            load_backbone(tmp_path / "lacking.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(InputError, match="contains values other than named tensors"):
        load_backbone(tmp_path / "list.pt")
    state = published_state(openai_model)
    del state["visual.transformer.resblocks.1.mlp.c_fc.bias"]
    torch.save(state, tmp_path / "partial.pt")
    with pytest.raises(InputError, match=r"is not a complete CLIP .*layers\.1\.mlp\.fc1\.bias is missing"):
        load_backbone(tmp_path / "partial.pt")
    (tmp_path / "cut.pt").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(InputError, match=r"cut\.pt cannot be read as an OpenAI CLIP"):
        load_backbone(tmp_path / "cut.pt")
    with pytest.raises(InputError, match=r"There is no CLIP file .*none\.pt"):
        load_backbone(tmp_path / "none.pt")


class Evil:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (Path(self.mark),))


def test_a_pickle_that_runs_code_does_not_run(tmp_path):
    mark = tmp_path / "ran"
    torch.save({"visual.proj": Evil(str(mark))}, tmp_path / "evil.pt")
    (tmp_path / "raw.pt").write_bytes(pickle.dumps(Evil(str(mark))))
    for name in ("evil.pt", "raw.pt"):
        refusal = r"cannot be read as an OpenAI CLIP \(it is damaged, or contains something other than tensors\): it must be"
        with pytest.raises(InputError, match=refusal):
            load_backbone(tmp_path / name)
    assert not mark.exists()


@pytest.mark.parametrize("kind", ["training", "weights", "archive"])
def test_openclip_checkpoints_are_refused(openai_model, tmp_path, kind):
    """Their tensors have the same names; activation and heads cannot be read from them."""
    file = tmp_path / "epoch_32.pt"
    counts = ("input_resolution", "context_length", "vocab_size")
    state = {name: value for name, value in openai_model.state_dict().items() if name not in counts}
    if kind == "training":
        torch.save({"epoch": 32, "name": "run", "state_dict": {f"module.{name}": value for name, value in state.items()}}, file)
    elif kind == "weights":
        torch.save(state, file)
    else:
        bare = OpenAIClip().eval()
        for name in counts:
            delattr(bare, name)
        example = (torch.zeros(1, 3, 32, 32), torch.zeros(1, 77, dtype=torch.long))
        torch.jit.trace(bare, example, check_trace=False).save(str(file))
    with pytest.raises(InputError, match=r"is not one of OpenAI's files, .* as in an OpenCLIP checkpoint"):
        load_backbone(file)


def test_tensors_that_claim_more_elements_than_the_file_contains_are_refused(tmp_path):
    state = published_state(small_openai_clip())
    state["visual.proj"] = torch.zeros(1).expand(100_000, 100_000)
    torch.save(state, tmp_path / "x.pt")
    with pytest.raises(InputError, match="its tensors claim more elements than the file contains"):
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
def test_tensors_of_unexpected_shapes_are_refused(tmp_path, name, shape):
    state = published_state(small_openai_clip())
    state[name] = torch.zeros(shape)
    torch.save(state, tmp_path / "x.pt")
    with pytest.raises(InputError, match=r"x\.pt "):
        load_backbone(tmp_path / "x.pt")


@pytest.mark.parametrize("state", [{1: torch.zeros(2)}, {"visual.proj": torch.eye(2).to_sparse()}, {"a": "b"}])
def test_a_file_without_named_dense_tensors_is_refused(tmp_path, state):
    torch.save(state, tmp_path / "x.pt")
    with pytest.raises(InputError, match="it contains values other than named tensors"):
        load_backbone(tmp_path / "x.pt")
