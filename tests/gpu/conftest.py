"""What every test on a GPU needs: the device, and a sentence where there is none."""

import pytest
import torch
from on_device import DEVICE

MISSING = DEVICE.startswith("cuda") and not torch.cuda.is_available()
SENTENCE = "The tests in tests/gpu need an NVIDIA GPU, and PyTorch finds none: they were skipped."


def pytest_terminal_summary(terminalreporter):
    if MISSING:
        terminalreporter.write_line(SENTENCE)


@pytest.fixture(scope="session", autouse=True)
def device():
    if MISSING:
        pytest.skip(SENTENCE)
    return torch.device(DEVICE)


@pytest.fixture(autouse=True)
def default_device(device, monkeypatch):
    """Code that is given no device computes on the one under test."""
    monkeypatch.setenv("MGCLIP_DEVICE", str(device))


@pytest.fixture
def gpu(device):
    """The device of a test that needs properties of a GPU."""
    if device.type != "cuda":
        pytest.skip("This test needs properties of a GPU that a CPU does not have.")
    return device
