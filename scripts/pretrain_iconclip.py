"""Pre-train iconclip, the small CLIP inside the package, on glyphs and captions of every family that icons100 does not use.

    python scripts/pretrain_iconclip.py --out runs/iconclip --bf16 --export src/mgclip/assets/iconclip

This trains, or resumes from the checkpoint in --out, and writes the finished model. It takes about an hour on two cores with
bfloat16 units, and about twice as long without --bf16. It needs the extra `icons`.

The training is contrastive, on pairs of a drawn glyph and a caption. The concepts of a batch are distinct, and each is drawn by one
of its families. Phosphor and Remix, the families of icons100, are left out. Accuracy is logged on concepts outside icons100, drawn
by Phosphor; the classes of icons100 are not used while training.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, models, trainers
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

from mgclip.stream import icons
from mgclip.stream.glyphs import CANVAS, Glyph, catalogue, render

PLAIN_PROMPT = "a good photo of a {}."
STYLE_PROMPTS = (
    "a {style} icon of a {name}.",
    "a {style} drawing of a {name}.",
    "a {ink} {name}.",
    "a {ink} icon of a {name} on a {paper} background.",
    "{name}",
)
STYLE_NAMES = {"line": ("outline", "line", "thin"), "solid": ("solid", "filled", "bold")}
COLOURS = {
    "black": (0.05, 0.05, 0.05), "white": (0.97, 0.97, 0.97), "gray": (0.5, 0.5, 0.5), "red": (0.85, 0.12, 0.12),
    "green": (0.12, 0.6, 0.2), "blue": (0.12, 0.25, 0.85), "yellow": (0.96, 0.86, 0.15), "orange": (0.97, 0.55, 0.1),
    "purple": (0.5, 0.15, 0.65), "pink": (0.97, 0.6, 0.75), "brown": (0.45, 0.28, 0.12), "cyan": (0.15, 0.8, 0.85),
}  # fmt: skip
SIDE, VOCABULARY = 32, 4096


def pretraining_glyphs() -> list[list[Glyph]]:
    """The training glyphs of each concept."""
    seen = [glyph for glyph in catalogue() if glyph.family not in icons.STREAM_FAMILIES]
    return list(icons.by_concept(seen).values())


def train_tokenizer(concepts: list[str]) -> CLIPTokenizer:
    """A byte-level BPE like CLIP's, trained on the captions of the concepts."""
    words = [PLAIN_PROMPT.format(c) for c in concepts]
    words += [
        p.format(name="", style=s, ink=i, paper=i) for p in STYLE_PROMPTS for i in COLOURS for s in ("outline", "line", "solid")
    ]
    form = CLIPTokenizer().backend_tokenizer
    bpe = Tokenizer(models.BPE(unk_token="<|endoftext|>", continuing_subword_prefix="", end_of_word_suffix="</w>"))
    bpe.normalizer, bpe.pre_tokenizer = form.normalizer, form.pre_tokenizer
    special = ["<|startoftext|>", "<|endoftext|>"]
    bpe.train_from_iterator(words, trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=special, end_of_word_suffix="</w>"))
    learned = json.loads(bpe.to_str())["model"]
    return CLIPTokenizer(vocab=learned["vocab"], merges=[tuple(m) for m in learned["merges"]], model_max_length=32)


def build_model(tokenizer: CLIPTokenizer) -> CLIPModel:
    """The architecture of iconclip: a 4-layer image tower of width 192, a 2-layer text tower of width 128."""
    vision = dict(
        image_size=SIDE,
        patch_size=8,
        hidden_size=192,
        intermediate_size=768,
        num_hidden_layers=4,
        num_attention_heads=6,
    )
    text = dict(
        vocab_size=len(tokenizer), hidden_size=128, intermediate_size=512, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=32, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    activation = dict(hidden_act="gelu", projection_dim=128)
    model = CLIPModel(CLIPConfig(vision_config=vision | activation, text_config=text | activation, projection_dim=128))
    # The position of a stroke matters from the first step, so position embeddings start as large as those of patches, not a tenth.
    torch.nn.init.normal_(model.vision_model.embeddings.position_embedding.weight, std=0.2)
    return model


def change_stroke(masks: torch.Tensor, chance: float, rng: torch.Generator) -> torch.Tensor:
    """Thicken, thin or hollow out some masks ``(n, 1, s, s)``, as the styles of designers differ."""
    choice = torch.rand(len(masks), generator=rng)
    thick = F.max_pool2d(masks, 3, 1, 1)
    thin = -F.max_pool2d(-masks, 3, 1, 1)
    hollow = F.max_pool2d(masks, 5, 1, 2) + F.max_pool2d(-masks, 3, 1, 1)
    for k, changed in enumerate((thick, thin, hollow)):
        pick = (choice >= k * chance / 3) & (choice < (k + 1) * chance / 3)
        masks = torch.where(pick[:, None, None, None], changed, masks)
    return masks


def draw(masks: torch.Tensor, ink: torch.Tensor, paper: torch.Tensor, strength: float, rng: torch.Generator) -> torch.Tensor:
    """Draw masks ``(n, 64, 64)`` uint8 in colours ``(n, 3)`` as images ``(n, 3, 32, 32)`` in 0..1, varied with ``strength`` 0..1."""
    n = len(masks)

    def uniform(low: float, high: float, *shape: int) -> torch.Tensor:
        return low + (high - low) * torch.rand(n, *shape, generator=rng)

    cover = change_stroke(masks[:, None].float() / 255, 0.5 * strength, rng)
    angle = torch.deg2rad(uniform(-25, 25) * strength)
    stretch = torch.exp(uniform(-0.15, 0.15, 2) * strength) / (1 + uniform(-0.4, 0.1) * strength)[:, None]
    shear = uniform(-0.15, 0.15) * strength
    rotation = torch.stack([angle.cos(), -angle.sin() + shear, angle.sin(), angle.cos()], 1).view(n, 2, 2)
    theta = torch.cat([rotation * stretch[:, :, None], (uniform(-0.22, 0.22, 2) * strength)[:, :, None]], 2)
    grid = F.affine_grid(theta, [n, 1, CANVAS, CANVAS], align_corners=False)
    cover = F.avg_pool2d(F.grid_sample(cover, grid, align_corners=False), CANVAS // SIDE)
    ramp = torch.linspace(-0.5, 0.5, SIDE)
    slope = ramp[None, :, None] * uniform(-1, 1, 1, 1) + ramp[None, None, :] * uniform(-1, 1, 1, 1)
    background = paper[:, :, None, None] + slope[:, None] * uniform(-0.4, 0.4, 3, 1, 1) * strength
    noise = torch.randn(n, 3, SIDE, SIDE, generator=rng) * uniform(0, 0.1, 1, 1, 1) * strength
    return (background * (1 - cover) + ink[:, :, None, None] * cover + noise).clamp(0, 1)


def colour_pair(rng: random.Random, strength: float) -> tuple[str, str]:
    """Two colour names whose luminance differs by at least 0.3. While ``strength`` is low, they are mostly black and white.

    Colours are learned in a few steps and shapes in thousands, so colours from the start would hide the shapes.
    """
    if rng.random() > strength:
        return "black", "white"
    light = {name: 0.299 * r + 0.587 * g + 0.114 * b for name, (r, g, b) in COLOURS.items()}
    while True:
        ink, paper = rng.sample(sorted(COLOURS), 2)
        if abs(light[ink] - light[paper]) >= 0.3:
            return ink, paper


def caption(glyph: Glyph, ink: str, paper: str, rng: random.Random) -> str:
    if rng.random() < 2 / 3:
        return PLAIN_PROMPT.format(glyph.concept)
    style = rng.choice(STYLE_NAMES[glyph.style])
    return rng.choice(STYLE_PROMPTS).format(name=glyph.concept, style=style, ink=ink, paper=paper)


def normalise(pictures: torch.Tensor, processor: CLIPImageProcessorPil) -> torch.Tensor:
    mean, std = torch.tensor(processor.image_mean), torch.tensor(processor.image_std)
    return (pictures - mean[:, None, None]) / std[:, None, None]


def token_ids(tokenizer: CLIPTokenizer, captions: list[str]) -> torch.Tensor:
    ids: torch.Tensor = tokenizer(captions, padding=True, truncation=True, max_length=32, return_tensors="pt")["input_ids"]
    return ids


@torch.no_grad()
def held_out_accuracy(model: CLIPModel, tokenizer: CLIPTokenizer, processor: CLIPImageProcessorPil) -> float:
    """Zero-shot accuracy on the held-out concepts in every style of Phosphor, with the variations of icons100."""
    groups = icons.held_out_glyphs()
    texts = F.normalize(
        model.get_text_features(token_ids(tokenizer, [PLAIN_PROMPT.format(n) for n in groups])).pooler_output, dim=-1
    )
    rng = np.random.default_rng(1)
    pictures = [icons.vary(render(g), rng) for drawings in groups.values() for g in drawings]
    labels = torch.tensor([label for label, drawings in enumerate(groups.values()) for _ in drawings])
    images = processor(pictures, return_tensors="pt")["pixel_values"]
    features = F.normalize(model.get_image_features(images).pooler_output, dim=-1)
    return float((features @ texts.T).argmax(1).eq(labels).float().mean())


def variation(progress: float) -> float:
    """Strength of the augmentation at a share of the run: low at first, and full from a third on."""
    return float(np.interp(progress, [0, 3 / 14, 5 / 14], [0.1, 5 / 14, 1.0]))


def learning_rate(step: int, steps: int, peak: float) -> float:
    warm = max(1, min(200, steps // 10))
    return peak * min((step + 1) / warm, 0.5 * (1 + math.cos(math.pi * max(0, step - warm) / max(1, steps - warm))))


def draw_batch(
    groups: list[list[Glyph]], masks: dict[Glyph, torch.Tensor], size: int, step: int, steps: int, seed: int
) -> tuple[torch.Tensor, list[str]]:
    """The images ``(size, 3, 32, 32)`` and captions of a step. Each pass over the concepts has an order of its own."""
    turn, place = divmod(step, len(groups) // size)
    order = random.Random(f"{seed} pass {turn}").sample(range(len(groups)), len(groups))
    rng, noise = random.Random(f"{seed} step {step}"), torch.Generator().manual_seed(seed * 10_000_019 + step)
    glyphs = []
    for k in order[place * size : (place + 1) * size]:
        family = rng.choice(sorted({g.family for g in groups[k]}))
        glyphs.append(rng.choice([g for g in groups[k] if g.family == family]))
    strength = variation(step / steps)
    pairs = [colour_pair(rng, strength) for _ in glyphs]
    ink, paper = (
        torch.stack([torch.tensor(COLOURS[p[k]]) for p in pairs]) + 0.08 * strength * torch.randn(len(pairs), 3, generator=noise)
        for k in (0, 1)
    )
    pictures = draw(torch.stack([masks[g] for g in glyphs]), ink, paper, strength, noise)
    return pictures, [caption(g, *pair, rng) for g, pair in zip(glyphs, pairs, strict=True)]


def contrastive_loss(model: CLIPModel, pixels: torch.Tensor, tokens: torch.Tensor, *, bf16: bool) -> torch.Tensor:
    # PyTorch's fused attention has no fast backward for bfloat16 on CPUs: the plain one halves the step's time.
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16), sdpa_kernel(SDPBackend.MATH):
        images = model.get_image_features(pixels).pooler_output
        texts = model.get_text_features(tokens).pooler_output
    logits = model.logit_scale.exp() * F.normalize(images.float(), dim=-1) @ F.normalize(texts.float(), dim=-1).T
    own = torch.arange(len(logits))
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def train(args: argparse.Namespace) -> None:
    args.out.mkdir(parents=True, exist_ok=True)
    groups = pretraining_glyphs()
    tokenizer = train_tokenizer([drawings[0].concept for drawings in groups])
    processor = CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    masks = {glyph: torch.from_numpy(np.array(render(glyph))) for drawings in groups for glyph in drawings}
    torch.manual_seed(args.seed)
    model = build_model(tokenizer)
    decayed, others = ([p for p in model.parameters() if (p.ndim >= 2) is matrix] for matrix in (True, False))
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}],
        betas=(0.9, 0.98),
        fused=True,
    )
    checkpoint, first = args.out / "checkpoint.pt", 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["step"]
    weights = sum(p.numel() for p in model.parameters())
    print(f"{len(groups)} concepts, {len(masks)} glyphs, {weights:,} parameters, from step {first}", flush=True)
    start = time.monotonic()
    for step in range(first, args.steps):
        pictures, captions = draw_batch(groups, masks, args.batch_size, step, args.steps, args.seed)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, args.steps, args.lr)
        tokens = token_ids(tokenizer, captions)
        loss = contrastive_loss(model, normalise(pictures, processor), tokens, bf16=args.bf16)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))
        if (step + 1) % args.log_every == 0 or step + 1 == args.steps:
            line = dict(step=step + 1, loss=round(loss.item(), 4), logit_scale=round(model.logit_scale.exp().item(), 2))
            line["held_out"] = round(held_out_accuracy(model, tokenizer, processor), 4)
            line["seconds"] = round(time.monotonic() - start, 1)
            with open(args.out / "log.jsonl", "a") as log:
                print(json.dumps(line), file=log)
            print(line, flush=True)
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1}
            torch.save(state, checkpoint.with_suffix(".new"))
            checkpoint.with_suffix(".new").replace(checkpoint)
    if args.export:
        for part in (model.half(), tokenizer, processor):
            part.save_pretrained(args.export)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint and the log")
    parser.add_argument("--export", type=Path, help="folder to write the finished model to")
    parser.add_argument("--steps", type=int, default=10500)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log-every", type=int, default=200)
    parser.add_argument("--bf16", action="store_true", help="autocast to bfloat16")
    train(parser.parse_args())


if __name__ == "__main__":
    main()
