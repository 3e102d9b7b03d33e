"""``mgclip bench``: speed and memory of this machine, next to a naive implementation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mgclip.app.options import Json
from mgclip.app.streams import print_json
from mgclip.errors import InputError
from mgclip.words import count

if TYPE_CHECKING:
    from rich.table import Table

    from mgclip.bench.measure import BenchResult
    from mgclip.bench.stream import Stream

ROUNDS = 5
"""Rounds of a measurement by default."""


def bench_command(
    shape: Annotated[
        str,
        typer.Option(
            help="vit-b-16, vit-b-32, vit-l-14, siglip-b-16 (random weights) or iconclip, or several separated by commas; "
            "default: iconclip, on a GPU vit-b-16,vit-l-14."
        ),
    ] = "",
    tasks: Annotated[int, typer.Option(min=1, help="Number of tasks.")] = 10,
    classes: Annotated[int, typer.Option(min=2, help="Classes per task.")] = 10,
    train_per_class: Annotated[int, typer.Option(min=1, help="Training images per class.")] = 500,
    test_per_class: Annotated[int, typer.Option(min=1, help="Test images per class.")] = 100,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of the adapter phase.")] = 1,
    batch: Annotated[int, typer.Option(min=1, help="Batch size of the adapter phase.")] = 128,
    images: Annotated[
        int | None, typer.Option(min=1, help="Images per timed pass; default: 16, on a GPU 128 or as many as fit.")
    ] = None,
    precision: Annotated[
        str,
        typer.Option(
            help="Precisions of the towers to compare: float32, bfloat16, float16; default: float32, on a GPU all three."
        ),
    ] = "",
    rounds: Annotated[int, typer.Option(min=1, help="Number of rounds; their medians are reported.")] = ROUNDS,
    memory: Annotated[bool, typer.Option("--memory", help="Also measure the peak memory of training.")] = False,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Only estimate the time on larger machines; measure nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Time training, encoding and prediction, extrapolate to a complete stream, and compare with a naive implementation."""
    from mgclip.bench.stream import Stream
    from mgclip.clip.parallel import local_device

    measured = {"--rounds": rounds != ROUNDS, "--memory": memory, "--images": images is not None, "--precision": precision}
    if estimate and (unused := [option for option, given in measured.items() if given]):
        raise InputError(f"{unused[0]} applies to a measurement only: leave {unused[0]} or --estimate out.")
    on_gpu = local_device().type == "cuda"
    shapes = _known("shape", shape or ("vit-b-16,vit-l-14" if on_gpu and not estimate else "iconclip"))
    precisions = _known("precision", precision or ("float32,bfloat16,float16" if on_gpu else "float32"))
    stream = Stream(tasks, classes, train_per_class, test_per_class, epochs, batch)
    results: list[Any] = []
    for each in shapes:
        if estimate:
            results.append(_estimated(each, stream))
        else:
            results.append(_measured(each, stream, precisions, rounds=rounds, images=images, memory=memory))
        if not as_json:
            (_show_estimate if estimate else _show)(results[-1])
    if as_json:
        print_json(results[0] if len(results) == 1 else results)


def _known(kind: str, words: str) -> list[str]:
    """Return the shapes or precisions in a comma-separated list. Raises ``InputError`` if one is unknown."""
    from mgclip.bench.shapes import SHAPES
    from mgclip.clip.compute import DTYPES

    known = {"shape": SHAPES, "precision": (*DTYPES,)}[kind]
    found = [word.strip() for word in words.split(",")]
    for word in found:
        if word not in known:
            raise InputError(f"There is no {kind} {word}: use one of {', '.join(known)}.")
    return found


def _measured(shape: str, stream: Stream, precisions: list[Any], *, rounds: int, images: int | None, memory: bool) -> BenchResult:
    from mgclip.bench.measure import bench
    from mgclip.bench.memory import training_peak
    from mgclip.bench.precision import default_batch, precision_speeds
    from mgclip.bench.prediction import prediction_times

    images = images or default_batch(shape)
    result = bench(shape, stream, rounds=rounds, images=images)
    result["precisions"] = precision_speeds(shape, precisions, rounds=rounds, images=images)
    result["prediction"] = prediction_times(shape, classes=(100, 10_000), batch=64, rounds=rounds)
    if memory:
        result["peak_memory"] = training_peak(shape, stream.batch)
    return result


def _show(result: BenchResult) -> None:
    from mgclip.app.display import make_table, out

    columns = ("ours", "naive", "naive / ours")
    device = count(result["threads"], "thread") if result["device"] == "cpu" else result["device"]
    title = f"{result['shape']}, {device}: milliseconds"
    units = make_table("step", *columns, title=title)
    composed = make_table("stream", *columns, title="extrapolated, seconds")
    for name, t in result["units"].items():
        ours, naive = t["ours"], t["plain"]
        units.add_row(name.replace("_", " "), f"{1e3 * ours:.2f}", f"{1e3 * naive:.2f}", f"{naive / ours:.2f}")
    for name, each in result["composed"].items():
        composed.add_row(name, f"{each['ours']:,.2f}", f"{each['plain']:,.2f}", f"{each['ratio']:.2f}")
    out.print(units)
    out.print(composed)
    out.print(_precision_table(result))
    predicted = result["prediction"]
    title = f"{count(predicted['images'], 'image')}: milliseconds"
    answers = make_table("head", "classes", "answers", "five best", "total / encoding", title=title)
    for head in predicted["heads"]:
        times = (f"{1e3 * head['classify']:.2f}", f"{1e3 * head['best_five']:.2f}")
        answers.add_row(head["head"], f"{head['classes']:,}", *times, f"{head['ratio']:.3f}")
    out.print(answers)
    out.print(f"encoding {count(predicted['images'], 'image')}: {1e3 * predicted['encode']:.1f} ms")
    if "peak_memory" in result:
        peak = result["peak_memory"]
        out.print(f"peak memory of training with batch size {peak['batch']}: {peak['peak'] / 2**30:.2f} GiB")


def _precision_table(result: BenchResult) -> Table:
    from mgclip.app.display import make_table

    title = f"{count(result['images'], 'image')} per pass: images/s, share of the speed of matrix multiplication"
    table = make_table("precision", "TFLOP/s", "pass", "ours", "naive", "share", "GiB", title=title)
    for speed in result["precisions"]:
        for name, each in (("training", speed["training"]), ("encoding", speed["encoding"])):
            memory = f"{each['memory'] / 2**30:.2f}" if each["memory"] else "-"
            speeds = (f"{each['ours']:,.1f}", f"{each['plain']:,.1f}", f"{100 * each['share_of_peak']:.0f} %")
            table.add_row(speed["precision"], f"{speed['matmul_peak'] / 1e12:,.2f}", name, *speeds, memory)
    return table


def _estimated(shape: str, stream: Stream) -> dict[str, Any]:
    from mgclip.bench.estimate import MACHINES, adapter_count, estimate
    from mgclip.bench.shapes import make_config

    config = make_config(shape)
    found = {m.name: estimate(config, stream, m, adapter_numbers=adapter_count(config)) for m in MACHINES}
    return {"shape": shape, "stream": vars(stream), "estimate": found}


def _show_estimate(result: dict[str, Any]) -> None:
    from mgclip.app.display import make_table, out

    found = result["estimate"]
    parts = ("training", "features", "evaluation", "communication", "total")
    table = make_table("machine", *parts, title=f"{result['shape']}: minutes in the two towers, computed, not measured")
    for name, cost in found.items():
        table.add_row(name, *(f"{cost[part] / 60:,.2f}" for part in parts))
    out.print(table)
    cost = next(iter(found.values()))
    saved, texts = cost["model_bytes"] / 2**20, cost["class_texts_bytes"] / 2**20
    out.print(f"saved model: {saved:,.1f} MiB; class texts in memory: {texts:,.1f} MiB")
    share = 100 * cost["classify_share"]
    out.print(f"comparing an image with all classes takes {share:.2f} % of the time of encoding it")
