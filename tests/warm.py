"""Imported by the server of forked processes before it forks: what is slow only the first time is done here, once.

A small table reads the fonts of the icons, loads a CLIP, encodes images and draws figures. Nothing is trained, because PyTorch
cannot fork after a backward pass.
"""

import contextlib
import os
import sys
import tempfile
import warnings
from pathlib import Path
from unittest import mock

import torch
import tqdm

from mgclip.app.main import main

TABLE = ("reproduce", "icons100", "--seeds", "1", "methods=zero-shot", "tasks=1", "classes_per_task=2", "test_per_class=1")
torch.set_num_threads(1)  # a forked process has the main thread only
tqdm.tqdm.monitor_interval = 0
with tempfile.TemporaryDirectory() as place, Path(os.devnull).open("w") as nowhere, warnings.catch_warnings():
    warnings.simplefilter("ignore")  # a forked process must not take a warning for one that was shown before
    words = ["mgclip", *TABLE, "train_per_class=1", "retention={}", "--quiet", "--out", f"{place}/table"]
    with mock.patch.object(sys, "argv", words), contextlib.redirect_stdout(nowhere), contextlib.suppress(SystemExit):
        main()
