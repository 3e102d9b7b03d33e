import os
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from small_clip import make_small_clip

# Threads only slow down tensors this small. PyTorch reads this when it is imported, here and in the commands that tests run.
os.environ.setdefault("OMP_NUM_THREADS", "1")
CACHE = tempfile.TemporaryDirectory(prefix="mgclip-tests-")  # for the choice of precision; removed when the tests end
os.environ["MGCLIP_CACHE"] = CACHE.name
pytest_plugins = ["layouts", "learned"]


@pytest.fixture(scope="session", autouse=True)
def loaded_once():
    from loaded_once import clips_loaded_once

    with clips_loaded_once():
        yield


@pytest.fixture(scope="session")
def golden() -> Path:
    folder = os.environ.get("MGCLIP_GOLDEN")
    if not folder:
        pytest.skip("MGCLIP_GOLDEN is not set: it names a folder of recorded runs of the published code")
    return Path(folder)


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory) -> Path:
    """A CLIP with random weights in Hugging Face layout: every gradient is well above rounding noise."""
    return make_small_clip(tmp_path_factory.mktemp("tiny-clip"))


@pytest.fixture(scope="session")
def icons():
    """Train and test images of ten icon classes, drawn once: names, x_train, y_train, x_test, y_test."""
    from mgclip.stream import icons

    train, test = icons.load(12, 4)
    names = icons.class_names()[:10]
    return {
        "x_train": np.stack([np.asarray(train[i]) for i in range(120)]),
        "y_train": np.arange(10).repeat(12),
        "x_test": np.stack([np.asarray(test[i]) for i in range(40)]),
        "y_test": np.arange(10).repeat(4),
        "class_names": np.array(names),
    }


@pytest.fixture
def quick():
    """Settings of a quick training run that uses every part of the method."""
    from mgclip import Settings

    return Settings(epochs=1, adapter_batch_size=16, head_batch_size=16, head_epochs=2, adapter_lr=2e-3)


@pytest.fixture
def mgclip(monkeypatch, capsys):
    """Run a command in this process; returns its exit code, standard output and standard error."""
    import typer.main
    from loaded_once import get_command

    from mgclip.app import main as command

    monkeypatch.setattr(typer.main, "get_command", get_command)

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["mgclip", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            command.main()
        printed = capsys.readouterr()
        return end.value.code or 0, printed.out, printed.err

    return call


@pytest.fixture
def own_packages(tmp_path_factory, monkeypatch):
    """A folder of sys.path for packages with methods and data sets, with those in examples/."""
    import own_packages

    place = tmp_path_factory.mktemp("packages")
    own_packages.put_examples(place)
    monkeypatch.syspath_prepend(place)
    yield place
    own_packages.forget(place)


@pytest.fixture(scope="session")
def browser():
    """One Chromium for all tests of pages: a second one cannot be driven from the same process."""
    api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: extra dev")
    binary = os.environ.get("MGCLIP_CHROMIUM") or shutil.which("chromium")
    if not binary:
        pytest.skip("Chromium is not installed: install it or set MGCLIP_CHROMIUM")
    with api.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=binary, args=["--no-sandbox"])
        yield chromium
        chromium.close()
