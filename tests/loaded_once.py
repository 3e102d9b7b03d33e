"""Load each CLIP from its folder once. Tests load the same small ones thousands of times, which took a quarter of the time of most.

The first load of a folder is a real one; the others are copies of its result, until a file of the folder changes. They share its
tokenizer, which nothing changes.
"""

import copy
from contextlib import contextmanager
from unittest import mock

from mgclip.clip import load


@contextmanager
def clips_loaded_once():
    """Within this context, a CLIP is read from its folder at its first use only."""
    really, loaded = load._from_folder, {}

    def from_folder(folder, name):
        files = ((str(file), file.stat()) for file in sorted(folder.rglob("*")) if file.exists())
        key = (name, str(folder), *((file, about.st_size, about.st_mtime_ns, about.st_ino) for file, about in files))
        if key not in loaded:
            loaded[key] = really(folder, name)
        tokenizer = loaded[key][1]
        return copy.deepcopy(loaded[key], {id(tokenizer): tokenizer})

    with mock.patch.object(load, "_from_folder", from_folder):
        yield
