"""A process that holds the lock of a folder; a module of its own, so that a spawned process can import it by name."""

from mgclip.saving.lock import only_writer


def hold_lock(folder, holding, enough):
    """Hold the lock until ``enough`` is set; ``holding`` is set as soon as it is held."""
    with only_writer(folder):
        holding.set()
        enough.wait(60)
