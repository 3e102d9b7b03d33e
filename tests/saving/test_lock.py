"""One process writes into a folder at a time."""

import json
import multiprocessing

import pytest
from lock_holder import hold_lock

from mgclip import history
from mgclip.errors import InputError
from mgclip.saving.lock import only_writer


def test_one_process_writes_at_a_time_and_a_killed_one_releases_the_lock(shop):
    context = multiprocessing.get_context("spawn")
    holding, enough = context.Event(), context.Event()
    other = context.Process(target=hold_lock, args=(shop, holding, enough))
    other.start()
    assert holding.wait(60)
    with pytest.raises(InputError, match=f"is being written by process {other.pid} on "), only_writer(shop):
        pass
    assert [v.number for v in history(shop)] == [1, 2]  # reading is still possible
    other.kill()
    other.join()
    with only_writer(shop), only_writer(shop):  # whoever holds the lock may enter again
        assert json.loads((shop / ".mgclip-lock-owner").read_text())["process"] != other.pid
