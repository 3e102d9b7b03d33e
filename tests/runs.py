"""Run recipes, and read the folders of runs."""

from mgclip.experiment import run_folder, runner
from mgclip.experiment.open_run import open_run


def run(recipe, folder, resume=False, **watchers):
    """Run a recipe, or resume it; returns the summaries."""
    return runner.run(open_run(recipe, folder, resume=resume), **watchers)


def read(folder, method):
    """The records without their times, and the saved weights as bytes."""
    kept = [{k: v for k, v in record.items() if k != "seconds"} for record in run_folder.read_records(folder / method)]
    state = next((folder / method / "model").glob("mgclip-state-*"))
    weights = {str(file.relative_to(state)): file.read_bytes() for file in sorted(state.rglob("*.safetensors"))}
    assert "adapter/adapter_model.safetensors" in weights
    assert {"head.safetensors", "solved.safetensors"} & weights.keys()
    return kept, weights
