"""Two processes on one card, which gloo connects, and one process with NCCL."""

import json

import pytest
from on_device import launch

RUN = (
    "run", "icons100", "tasks=2", "classes_per_task=3", "train_per_class=7", "test_per_class=5", "adapter_batch_size=8", "epochs=2",
    "head_batch_size=8", "features=32", "methods=mg-clip,mg-clip-analytic-adapt,rapf", "retention=[]", "--json", "--quiet",
)  # fmt: skip
PROGRAM = """
import json, os, sys, torch
from mgclip.clip import parallel
if sys.argv[2] == "one":
    parallel.is_distributed = lambda: True  # otherwise a single process exchanges nothing
rank, count = parallel.rank_and_world_size()
device = parallel.local_device()
rows = torch.arange(6.0, device=device).view(3, 2)[: rank + 1] + 10 * rank
exact = torch.full((3,), 1 + 1e-12, dtype=torch.float64, device=device)
parallel.sum_over_processes([exact])
found = {
    "backend": torch.distributed.get_backend(),
    "device": str(device),
    "rows": parallel.gather_rows(rows).tolist(),
    "on": rows.device == parallel.gather_rows(rows).device == exact.device,
    "sum": exact.tolist(),
    "first": parallel.broadcast_float(0.1 + rank),
    "items": parallel.gather_items([rank]),
    "place": [rank, count],
}
parallel.check_same_in_all_processes("numbers", lambda: 7)
parallel.wait()
open(f"{sys.argv[1]}/{rank}.json", "w").write(json.dumps(found))
"""


@pytest.fixture
def program(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    return tmp_path / "program.py"


def test_two_processes_share_a_card(program, tmp_path, device):
    launch(2, program, tmp_path, "two")
    found = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    for rank, each in enumerate(found):
        assert each["place"] == [rank, 2]
        assert each["backend"] == "gloo"
        assert each["device"] == ("cuda:0" if device.type == "cuda" else "cpu")
        assert each["rows"] == [[0, 1], [10, 11], [12, 13]]
        assert each["on"]
        assert each["sum"] == [2 + 2e-12] * 3
        assert each["first"] == 0.1
        assert each["items"] == [0, 1]


def test_nccl_connects_one_process(program, tmp_path, gpu):
    launch(1, program, tmp_path, "one")
    found = json.loads((tmp_path / "0.json").read_text())
    assert found["backend"] == "nccl"
    assert found["place"] == [0, 1]
    assert found["rows"] == [[0, 1]]
    assert found["on"]
    assert found["sum"] == [1 + 1e-12] * 3
    assert found["items"] == [0]


def test_two_processes_on_one_card_give_the_run_of_one(tiny_clip, tmp_path):
    for count in (1, 2):
        launch(count, "-m", "mgclip", *RUN, f"clip={tiny_clip}", "--out", tmp_path / str(count))
    for method in ("mg-clip", "mg-clip-analytic-adapt", "rapf"):
        one, two = (
            [json.loads(line) for line in (tmp_path / str(count) / method / "records.jsonl").read_text().splitlines()]
            for count in (1, 2)
        )
        assert len(one) == len(two) == 2
        for a, b in zip(one, two, strict=True):
            assert a["accuracy_per_task"] == b["accuracy_per_task"]
            assert b["gap"]["negative"] == pytest.approx(a["gap"]["negative"], abs=1e-3)
