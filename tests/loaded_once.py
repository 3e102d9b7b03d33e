"""Load each CLIP from its folder once, and build the command line once, because tests use both thousands of times.

The first load of a folder is a real one; the others are copies of its result, until a file of the folder changes. They share its
tokenizer, which nothing changes.
"""

import copy
import functools
from contextlib import contextmanager
from unittest import mock

import typer.main

from mgclip.clip import load

get_command = functools.cache(typer.main.get_command)
"""What builds the commands of the command line from their functions, which a process of a user does once too."""


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
