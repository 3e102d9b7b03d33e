"""The numbers in docs/method.md are those of the code."""

import math
from pathlib import Path

from mgclip import Settings
from mgclip.method import gap_rule, methods
from mgclip.method.adapter_phase import adapter_phase
from mgclip.method.analytic import bank, calibration, decision, evidence, learned_images, representation, ridge
from mgclip.method.baselines.settings import ACILSettings, RanPACSettings
from mgclip.method.compensation import head_phase

PAGE = " ".join((Path(__file__).parents[2] / "docs" / "method.md").read_text(encoding="utf-8").split())


def check(*sentences):
    """Check that these sentences are in the page, wherever its lines end."""
    assert [sentence for sentence in sentences if sentence not in PAGE] == []


def test_the_numbers_of_the_paper():
    s = Settings()
    phases = adapter_phase(s, task=0, epochs=2), head_phase(s, task=0)
    adapters, head = (f"down to {phase.lowest / phase.rate:.0%}".replace("%", " %") for phase in phases)
    check(
        f"The text of a class is `{s.prompt}`",
        f"Their rank is {s.rank} and their `lora_alpha` {s.lora_alpha:g}, so the scale is 1/{s.rank / s.lora_alpha:g}.",
        f"`gap_average: {s.gap_average}`, the default, averages the means of batches",
        f"with a cosine schedule over {s.max_epochs} epochs.",
        f"|n_e − n₀| / |n₀| > alpha = {s.alpha}.",
        f"If no epoch crosses alpha, E = {s.max_epochs}.",
        f"relative to max(|n₀|, {gap_rule.LEAST_SIMILARITY:g})",
        f"Cosine annealing is stepped once per epoch over E epochs, {adapters} of the rate.",
        f"The rows are trained for {s.head_epochs} epochs with Adam. Cosine annealing is stepped per iteration, {head} of the rate.",
        f"with β = {s.vision_weight:g} (`vision_weight`)",
        f"keeps {methods.MEMORY:,} images unless `memory` sets another number",
        f"plus {s.replay_weight} (`replay_weight`) times",
        f"take `balanced_epochs` epochs each ({s.balanced_epochs}, as published)",
    )


def test_the_numbers_beyond_the_paper():
    s, (head, text), sample = Settings(), calibration.PRIOR, learned_images.SAMPLE
    assert sample**2 == calibration.FITTED  # more classes than the sample has images take fewer images
    assert (decision.DEVIATIONS, bank.RIDGE) == (1, 1)  # "more than one standard error", "+ I"
    check(
        f"M = {s.features:,} (`features`)",
        f"by a head of {evidence.WIDTH} random features that has learned all the others",
        f"only if that lowers the squared error by more than {100 * representation.MARGIN:g} %",
        f"The ridge l, between {ridge.RIDGES[0]:.0e}".replace("e-0", "e-") + f" and {ridge.RIDGES[-1]:g},",
        f"downhill from 10^{math.log10(ridge.RIDGES[ridge.START]):g} and computes three to five of the {len(ridge.RIDGES)} errors",
        f"differ by less than {100 * ridge.EQUAL:g} %",
        f"none can be left out, and the ridge is {ridge.WITHOUT_EVIDENCE:g}.",
        f"the {sample:,} with the smallest fingerprints",
        f"With more than {calibration.FITTED // sample:,} classes",
        f"give 2^{math.log2(calibration.FITTED):g} scores",
        f"plus {calibration.PRIOR_WEIGHT} ((log a - log {head})² + (log b - log {text})²)",
        f"with the weight b / {calibration.TOGETHER},",
        "u + phi(u)^T (Phi^T Phi + I)^-1 Phi^T (Y - X)",
        "lower the error by more than one standard error",
    )


def test_the_numbers_of_the_baselines():
    acil = ACILSettings()
    epochs = {name: methods.BUILT_IN[name].changes["epochs"] for name in ("fine-tune", "align")}
    check(
        *(f"| `{name}` | {number} epochs per task" for name, number in epochs.items()),
        f"at the published width of {RanPACSettings().width:,}",
        f"M = {acil.width:,} and γ = {acil.ridge} are their values for CIFAR-100",
    )


def test_the_sizes_of_what_methods_store():
    """After 100 classes and 10,000 images, in MB, with features of 128 numbers (iconclip) and of 512 (ViT-B/16)."""
    sums, sample = Settings().features + 1, learned_images.SAMPLE
    solved = [8 * (sums * (sums + 1) // 2 + 2 * 100 * sums + 2 * 10_000) + sample * (4 * dim + 16) for dim in (128, 512)]
    acil, ranpac = (8 * (width**2 + 2 * 100 * width) for width in (ACILSettings().width, RanPACSettings().width))
    rapf = [4 * (dim**2 + 100 * dim * (dim + 1)) for dim in (128, 512)]
    check(
        f"**features of {sample:,} images**; a fingerprint and the class of each image | {solved[0] / 1e6:.0f} | {solved[1] / 1e6:.0f} |",
        f"a mean and a covariance for each class | {rapf[0] / 1e6:.1f} | {rapf[1] / 1e6:.0f} |",
        f"| `acil` | sums, weights | {acil / 1e6:.0f} |",
        f"| `ranpac` | sums, weights | {ranpac / 1e6:.0f} |",
        f"single images (section 11), here {sample / 10_000:.0%} of all.".replace("%", " %"),
    )
