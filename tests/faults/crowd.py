"""Several processes learn, undo and predict with one model folder at once. No update may be lost or partial.

    python tests/faults/crowd.py --operations 1000 --processes 4

Learning takes the folder's lock and continues from the active version; reading takes no lock. At the end, every learned class has a
version, whose classes are those of its parent and its own.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from forked import SERVER, start_server

WAIT = 300.0


def work(folder: Path, clip: str, who: int, operations: int, results: multiprocessing.Queue) -> None:  # type: ignore[type-arg]
    """The operations of one process. It reports their numbers, and the error that ended it if there was one."""
    import torch

    from mgclip import MGCLIP, history, undo
    from mgclip.clip.load import load_backbone
    from mgclip.errors import InputError
    from mgclip.saving.lock import only_writer

    torch.set_num_threads(1)
    draw, done = random.Random(who), Counter[str]()
    backbone = load_backbone(clip)
    images = np.random.default_rng(who).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    try:
        for number in range(operations):
            what = draw.choices(("learn", "undo", "predict"), (1, 1, 2))[0]
            if what == "learn":
                with only_writer(folder, wait=WAIT):
                    model = MGCLIP.from_pretrained(folder, base=backbone)
                    name = f"class {who}-{number}"
                    model.learn(images, [name] * 3, [name])
                    model.save_pretrained(folder, note={"what": name, "classes": list(model.class_names)})
            elif what == "undo":
                try:
                    undo(folder, draw.choice([None, 1, len(history(folder))]))
                except InputError as error:
                    if "is the first one" not in str(error):
                        raise
            else:
                model = MGCLIP.from_pretrained(folder, base=backbone)
                found = model.predict(images)
                assert found.classes == model.class_names
                assert len(model.head) == len(model.class_names)
            done[what] += 1
        results.put((who, dict(done), None))
    except BaseException as error:
        results.put((who, dict(done), f"{type(error).__name__}: {error}"))


def crowd(folder: Path, clip: str, operations: int, processes: int) -> Counter[str]:
    """Run ``operations`` operations in all and check that nothing is lost.

    Returns:
        The number of operations of each kind.
    """
    from mgclip import MGCLIP, Settings, history, undo

    model = MGCLIP.from_pretrained(clip, settings=Settings(epochs=0, head_epochs=0))
    images = np.random.default_rng(99).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    model.learn(images, [0, 0, 1, 1], ["first", "second"])
    model.save_pretrained(folder, note={"what": "first", "classes": list(model.class_names)})
    start_server()
    results = SERVER.Queue()
    shares = [operations // processes] * processes
    workers = [SERVER.Process(target=work, args=(folder, clip, who, n, results)) for who, n in enumerate(shares)]
    for each in workers:
        each.start()
    reports = [results.get(timeout=3600) for _ in workers]
    for each in workers:
        each.join()
    assert not [error for _, _, error in reports if error], reports
    done = sum((Counter(counts) for _, counts, _ in reports), Counter[str]())
    versions = history(folder)
    assert [version.number for version in versions] == list(range(1, done["learn"] + 2))
    by_number = {version.number: version for version in versions}
    for version in versions[1:]:
        parent = by_number[version.parent or 0]
        assert version.note["classes"] == [*parent.note["classes"], version.note["what"]]
    for version in random.Random(0).sample(versions, min(20, len(versions))):
        undo(folder, version.number)
        assert list(MGCLIP.from_pretrained(folder).class_names) == version.note["classes"]
    states = {entry.name for entry in folder.glob("mgclip-state-*")}
    assert len(states) == len(versions)
    return done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--operations", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=4)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        begun = time.monotonic()
        done = crowd(Path(place) / "shop", "iconclip", args.operations, args.processes)
    print(json.dumps({**done, "seconds": round(time.monotonic() - begun, 1), "lost": 0}))


if __name__ == "__main__":
    main()
