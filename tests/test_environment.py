"""The versions that a bug report and a run's environment.json name."""

import json
import os
import subprocess
import sys
from importlib.metadata import requires, version

import pytest
from packaging.requirements import Requirement

from mgclip import __version__
from mgclip.environment import installed_versions, version_of
from mgclip.experiment.run_folder import environment

USERS_EXTRAS = ("", "icons", "onnx", "studio", "heic")


def test_versions_as_json_are_instant_and_import_nothing_heavy():
    begun = os.times()
    words = [sys.executable, "-X", "importtime", "-m", "mgclip", "--version", "--json"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    ended = os.times()
    busy = ended.children_user + ended.children_system - begun.children_user - begun.children_system
    assert busy < 0.5, "seconds of processor time, which a busy machine does not change"
    found = json.loads(done.stdout)
    assert found == installed_versions()
    assert found["python"] == sys.version.split()[0]
    assert found["packages"]["mg-clip"] == __version__
    assert found["packages"]["torch"] == version("torch")
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not imported & {"torch", "transformers", "peft", "numpy", "PIL"}


@pytest.mark.parametrize("words", [("--version", "--json"), ("--json", "--version")])
def test_the_options_come_in_any_order(mgclip, words):
    code, out, _ = mgclip(*words)
    assert code == 0
    assert json.loads(out) == installed_versions()


def test_the_version_alone_is_one_line(mgclip):
    assert mgclip("--version") == (0, f"mgclip {__version__}\n", "")


def test_json_in_front_of_a_command_is_refused(mgclip):
    code, out, err = mgclip("--json", "recipes")
    assert (code, out) == (2, "")
    assert "put it after the command" in " ".join(err.replace("│", " ").split())


def test_every_package_that_is_required_is_named():
    needs = [Requirement(need) for need in requires("mg-clip")]
    needed = {need.name for need in needs if not need.marker or any(need.marker.evaluate({"extra": x}) for x in USERS_EXTRAS)}
    assert needed <= installed_versions()["packages"].keys()


def test_a_missing_package_is_reported_as_not_installed(monkeypatch):
    monkeypatch.setattr("mgclip.environment.PACKAGES", "no-such-package")
    assert installed_versions()["packages"] == {"mg-clip": __version__, "no-such-package": "not installed"}


def test_a_run_records_the_same_versions():
    recorded = environment()
    assert {key: recorded[key] for key in installed_versions()} == installed_versions()
    assert {"format", "threads", "device"} <= recorded.keys()


def test_the_version_of_this_package_is_that_of_its_code(monkeypatch):
    """The metadata of an editable installation keeps the version that it was installed with."""
    monkeypatch.setattr("mgclip.environment.version", lambda package: "0.0.1")
    assert version_of("mg-clip") == __version__
    assert version_of("torch") == "0.0.1"
