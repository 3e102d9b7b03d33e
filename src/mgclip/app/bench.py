"""``mgclip bench``: speed and memory of this machine, next to a naive implementation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mgclip.app.options import Json
from mgclip.app.streams import print_json
from mgclip.errors import InputError
from mgclip.words import count

if TYPE_CHECKING:
    from mgclip.bench.measure import BenchResult
    from mgclip.bench.stream import Stream


def bench_command(
    shape: Annotated[
        str, typer.Option(help="vit-b-16, vit-b-32, vit-l-14, siglip-b-16 (random weights) or iconclip.")
    ] = "iconclip",
    tasks: Annotated[int, typer.Option(min=1, help="Number of tasks.")] = 10,
    classes: Annotated[int, typer.Option(min=2, help="Classes per task.")] = 10,
    train_per_class: Annotated[int, typer.Option(min=1, help="Training images per class.")] = 500,
    test_per_class: Annotated[int, typer.Option(min=1, help="Test images per class.")] = 100,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of the adapter phase.")] = 1,
    batch: Annotated[int, typer.Option(min=1, help="Batch size of the adapter phase.")] = 128,
    images: Annotated[int, typer.Option(min=1, help="Batch size used for timing.")] = 16,
    rounds: Annotated[int, typer.Option(min=1, help="Number of rounds; their medians are reported.")] = 5,
    memory: Annotated[bool, typer.Option("--memory", help="Also measure the peak memory of training.")] = False,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Only estimate the time on larger machines; measure nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Time training, encoding and prediction, extrapolate to a complete stream, and compare with a naive implementation."""
    from mgclip.bench.measure import bench
    from mgclip.bench.prediction import prediction_times
    from mgclip.bench.shapes import SHAPES
    from mgclip.bench.stream import Stream

    if shape not in SHAPES:
        raise InputError(f"There is no shape {shape}: use one of {', '.join(SHAPES)}.")
    stream = Stream(tasks, classes, train_per_class, test_per_class, epochs, batch)
    if estimate:
        _estimate(shape, stream, as_json=as_json)
        return
    result = bench(shape, stream, rounds=rounds, images=images)
    result["prediction"] = prediction_times(shape, classes=(100, 10_000), batch=64, rounds=rounds)
    if memory:
        from mgclip.bench.memory import training_peak

        result["peak_memory"] = training_peak(shape, batch)
    if as_json:
        print_json(result)
    else:
        _show(result)


def _show(result: BenchResult) -> None:
    from mgclip.app.display import make_table, out

    columns = ("ours", "naive", "naive / ours")
    title = f"{result['shape']}, {count(result['threads'], 'thread')}: milliseconds"
    units = make_table("step", *columns, title=title)
    composed = make_table("stream", *columns, title="extrapolated, seconds")
    for name, t in result["units"].items():
        ours, naive = t["ours"], t["plain"]
        units.add_row(name.replace("_", " "), f"{1e3 * ours:.2f}", f"{1e3 * naive:.2f}", f"{naive / ours:.2f}")
    for name, each in result["composed"].items():
        composed.add_row(name, f"{each['ours']:,.2f}", f"{each['plain']:,.2f}", f"{each['ratio']:.2f}")
    out.print(units)
    out.print(composed)
    speed, share = result["images_per_second"], result["share_of_peak"]
    out.print(f"matrix multiplication: {result['matmul_peak'] / 1e9:,.0f} GFLOP/s")
    for phase in ("training", "encoding"):
        out.print(f"{phase}: {speed[phase]:,.1f} images/s, {100 * share[phase]:.0f} % of the speed of matrix multiplication")
    predicted = result["prediction"]
    answers = make_table(
        "head",
        "classes",
        "answers",
        "five best",
        "total / encoding",
        title=f"{count(predicted['images'], 'image')}: milliseconds",
    )
    for head in predicted["heads"]:
        times = (f"{1e3 * head['classify']:.2f}", f"{1e3 * head['best_five']:.2f}")
        answers.add_row(head["head"], f"{head['classes']:,}", *times, f"{head['ratio']:.3f}")
    out.print(answers)
    out.print(f"encoding {count(predicted['images'], 'image')}: {1e3 * predicted['encode']:.1f} ms")
    if "peak_memory" in result:
        peak = result["peak_memory"]
        out.print(f"peak memory of training with batch size {peak['batch']}: {peak['peak'] / 2**30:.2f} GiB")


def _estimate(shape: str, stream: Stream, *, as_json: bool) -> None:
    from mgclip.app.display import make_table, out
    from mgclip.bench.estimate import MACHINES, adapter_count, estimate
    from mgclip.bench.shapes import make_config

    config = make_config(shape)
    found = {m.name: estimate(config, stream, m, adapter_numbers=adapter_count(config)) for m in MACHINES}
    if as_json:
        print_json({"shape": shape, "stream": vars(stream), "estimate": found})
        return
    parts = ("training", "features", "evaluation", "communication", "total")
    table = make_table("machine", *parts, title=f"{shape}: minutes in the two towers, computed, not measured")
    for name, cost in found.items():
        table.add_row(name, *(f"{cost[part] / 60:,.2f}" for part in parts))
    out.print(table)
    cost = next(iter(found.values()))
    saved, texts = cost["model_bytes"] / 2**20, cost["class_texts_bytes"] / 2**20
    out.print(f"saved model: {saved:,.1f} MiB; class texts in memory: {texts:,.1f} MiB")
    share = 100 * cost["classify_share"]
    out.print(f"comparing an image with all classes takes {share:.2f} % of the time of encoding it")
