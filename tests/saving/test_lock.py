"""One process writes into a folder at a time."""

import json
import multiprocessing

import pytest
from icon_tasks import month_folders
from lock_holder import hold_lock
from shards import write_tar

from mgclip import history
from mgclip.errors import InputError
from mgclip.saving.lock import only_writer


def test_one_process_writes_at_a_time_and_a_killed_one_releases_the_lock(shop, mgclip, icons, tmp_path):
    month_folders(icons, tmp_path, {"march": (4, 5)}, 1)
    (tmp_path / "shards").mkdir()
    write_tar(tmp_path / "shards" / "0.tar", [("0.png", b"none"), ("0.cls", "bell")])
    context = multiprocessing.get_context("spawn")
    holding, enough = context.Event(), context.Event()
    other = context.Process(target=hold_lock, args=(shop, holding, enough))
    other.start()
    assert holding.wait(60)
    with pytest.raises(InputError, match=f"is being written by process {other.pid} on "), only_writer(shop):
        pass
    for source in ("march", "shards"):  # the commands that may wait say so
        code, _, err = mgclip("learn", tmp_path / source, "--model", shop, "--wait", 0.1)
        assert code == 2 and f"process {other.pid} on " in err
        assert err.endswith(": try again when it is done, or wait for it with --wait SECONDS.\n")
    assert [v.number for v in history(shop)] == [1, 2]  # reading is still possible
    other.kill()
    other.join()
    with only_writer(shop), only_writer(shop):  # whoever holds the lock may enter again
        assert json.loads((shop / ".mgclip-lock-owner").read_text())["process"] != other.pid
