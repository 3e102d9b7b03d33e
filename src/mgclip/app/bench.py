"""``mgclip bench``: speed and memory of this machine, against the plain method."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mgclip.bench.measure import BenchResult
    from mgclip.bench.stream import Stream


def bench_command(
    shape: Annotated[str, typer.Option(help="vit-b-16, vit-b-32, vit-l-14 (random weights) or iconclip.")] = "iconclip",
    tasks: Annotated[int, typer.Option(min=1, help="Tasks of the stream.")] = 10,
    classes: Annotated[int, typer.Option(min=2, help="Classes of each task.")] = 10,
    train_per_class: Annotated[int, typer.Option(min=1, help="Training images of each class.")] = 500,
    test_per_class: Annotated[int, typer.Option(min=1, help="Test images of each class.")] = 100,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of the adapter phase.")] = 1,
    batch: Annotated[int, typer.Option(min=1, help="Images of an adapter step.")] = 128,
    images: Annotated[int, typer.Option(min=1, help="Images that pass at a time while measured.")] = 16,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; medians are reported.")] = 5,
    memory: Annotated[bool, typer.Option("--memory", help="Also the peak memory of training with this batch.")] = False,
    estimate: Annotated[bool, typer.Option("--estimate", help="Only compute what larger machines would take.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Measure training, features and prediction, and compose a stream of them, beside the plain method in turn."""
    from mgclip.bench.measure import bench, prediction_overhead
    from mgclip.bench.shapes import SHAPES
    from mgclip.bench.stream import Stream
    from mgclip.errors import InputError

    if shape not in SHAPES:
        raise InputError(f"There is no shape {shape}: there are {', '.join(SHAPES)}.")
    stream = Stream(tasks, classes, train_per_class, test_per_class, epochs, batch)
    if estimate:
        _estimate(shape, stream, as_json=as_json)
        return
    result = bench(shape, stream, rounds=rounds, images=images)
    result["prediction"] = prediction_overhead(shape, classes=10_000, batch=64, rounds=rounds)
    if memory:
        from mgclip.bench.memory import training_peak

        result["peak_memory"] = training_peak(shape, batch)
    if as_json:
        typer.echo(json.dumps(result))
    else:
        _show(result)


def _show(result: BenchResult) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from mgclip.app.display import out

    units = Table(
        title=f"{result['shape']}, {result['threads']} threads: milliseconds", title_justify="left", box=SIMPLE_HEAD
    )
    composed = Table(title="composed, seconds", title_justify="left", box=SIMPLE_HEAD)
    for table, first in ((units, "one"), (composed, "what")):
        table.add_column(first)
        for column in ("ours", "plain", "plain / ours"):
            table.add_column(column, justify="right")
    for name, t in result["units"].items():
        units.add_row(
            name.replace("_", " "), *(f"{1e3 * t[w]:.2f}" for w in ("ours", "plain")), f"{t['plain'] / t['ours']:.2f}"
        )
    for name, each in result["composed"].items():
        composed.add_row(name, f"{each['ours']:,.2f}", f"{each['plain']:,.2f}", f"{each['ratio']:.2f}")
    out.print(units)
    out.print(composed)
    speed, share = result["images_per_second"], result["share_of_peak"]
    out.print(f"matrix multiply {result['matmul_peak'] / 1e9:,.0f} GFLOP/s")
    for phase in ("training", "encoding"):
        out.print(f"{phase} {speed[phase]:,.1f} images/s, {100 * share[phase]:.0f} % of the matrix multiply")
    overhead = result["prediction"]
    out.print(
        f"prediction of 64 images over 10,000 classes takes {1e3 * overhead['classify']:.1f} ms, with the five best of each "
        f"{1e3 * overhead['best five']:.1f} ms; encoding them takes {1e3 * overhead['encode']:.1f} ms"
    )
    if "peak_memory" in result:
        peak = result["peak_memory"]
        out.print(f"training at batch {peak['batch']} takes {peak['peak'] / 2**30:.2f} GiB at its peak")


def _estimate(shape: str, stream: Stream, *, as_json: bool) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from mgclip.app.display import out
    from mgclip.bench.estimate import MACHINES, adapter_count, estimate
    from mgclip.bench.shapes import make_config

    config = make_config(shape)
    found = {m.name: estimate(config, stream, m, adapter_numbers=adapter_count(config)) for m in MACHINES}
    if as_json:
        typer.echo(json.dumps({"shape": shape, "stream": vars(stream), "estimate": found}))
        return
    table = Table(
        title=f"{shape}, towers alone, computed, not measured: minutes", title_justify="left", box=SIMPLE_HEAD
    )
    table.add_column("machine")
    parts = ("training", "features", "evaluation", "communication", "total")
    for part in parts:
        table.add_column(part, justify="right")
    for name, cost in found.items():
        table.add_row(name, *(f"{cost[part] / 60:,.2f}" for part in parts))
    out.print(table)
    cost = next(iter(found.values()))
    saved, texts = cost["model_bytes"] / 2**20, cost["class_texts_bytes"] / 2**20
    out.print(f"saved model {saved:,.1f} MiB, class texts in memory {texts:,.1f} MiB")
    out.print(f"comparing an image with all classes takes {100 * cost['classify_share']:.2f} % of encoding it")
