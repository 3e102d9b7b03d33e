"""Put runs of one recipe with different seeds together: a Markdown table of mean and spread, and the figure.

    python scripts/compare_seeds.py runs/icons-0 runs/icons-1 runs/icons-2 --figure docs/accuracy.svg --methods zero-shot,fine-tune,mg-clip

Spread is the standard deviation over runs (n - 1).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from mgclip.experiment.records import SUMMARY, read_recipe
from mgclip.report.figures import accuracy_figure

COLUMNS = {
    "Avg %": "average",
    "Last %": "last",
    "forgetting": "forgetting",
    "BWT": "backward_transfer",
    "FWT": "forward_transfer",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--figure", type=Path, help="SVG file for the curves")
    parser.add_argument("--methods", help="methods of the figure, in order; all by default")
    args = parser.parse_args()
    runs = [json.loads((run / SUMMARY).read_text()) for run in args.runs]
    print("| method | " + " | ".join(COLUMNS) + " | E | seconds |")
    print("|---|" + "---:|" * (len(COLUMNS) + 2))
    for method in runs[0]:
        cells = []
        for key in COLUMNS.values():
            values = 100 * np.array([run[method][key] for run in runs])
            cells.append(f"{values.mean():.1f} ± {values.std(ddof=1):.1f}" if len(runs) > 1 else f"{values[0]:.1f}")
        epochs = ", ".join(str(run[method]["epochs"]) for run in runs)
        seconds = np.median([run[method]["seconds"] for run in runs])
        print(f"| {method} | " + " | ".join(cells) + f" | {epochs} | {seconds:.0f} |")
    if args.figure:
        methods = args.methods.split(",") if args.methods else list(runs[0])
        after = {method: np.array([run[method]["accuracy_after"] for run in runs]) for method in methods}
        title = f"{read_recipe(args.runs[0]).name}: accuracy over all classes seen, {len(runs)} seeds"
        spread = (
            {method: values.std(axis=0, ddof=1).tolist() for method, values in after.items()} if len(runs) > 1 else None
        )
        accuracy_figure({m: v.mean(axis=0).tolist() for m, v in after.items()}, args.figure, title=title, spread=spread)


if __name__ == "__main__":
    main()
