"""The dependencies are pinned, have no known vulnerabilities, and have permissive licences."""

import json
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
RUNTIME = ("", "icons", "studio", "onnx")
COPYLEFT = re.compile(r"\b(A?GPL|SSPL|EUPL|OSL|CC-BY-(NC|SA)|GNU (Affero )?General|Proprietary|Commercial)", re.IGNORECASE)
CUDA = re.compile(r"(nvidia|cuda)-|triton$")
"""What builds of PyTorch for NVIDIA GPUs add. PyTorch itself pins it; its licences are NVIDIA's."""
LESSER = re.compile(r"L(esser )?GPL|Lesser", re.IGNORECASE)


def constraints():
    """The pinned requirements, by name."""
    lines = (line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and line[0] != "#")
    return {canonicalize_name(pin.name): pin for pin in map(Requirement, lines)}


def needed(package, extras):
    """The installed packages that a package needs with its extras, directly or not, without the CUDA libraries."""
    found, waiting = {}, [(package, frozenset(extras))]
    while waiting:
        name, wanted = waiting.pop()
        for need in map(Requirement, requires(name) or []):
            if need.marker is not None and not any(need.marker.evaluate({"extra": extra}) for extra in (*wanted, "")):
                continue
            key = canonicalize_name(need.name)
            if CUDA.match(key):
                continue
            if need.extras <= found.get(key, frozenset([None])) and key in found:
                continue
            try:
                version(need.name)
            except PackageNotFoundError:
                continue
            found[key] = found.get(key, frozenset()) | need.extras
            waiting.append((need.name, found[key]))
    return set(found) - {canonicalize_name(package)}


def test_every_requirement_is_pinned_to_a_version_within_its_bounds():
    pins = constraints()
    for need in map(Requirement, requires("mg-clip")):
        pin = pins[canonicalize_name(need.name)]
        (only,) = pin.specifier
        assert only.operator == "=="
        assert need.specifier.contains(only.version), need


def test_every_installed_dependency_is_pinned():
    pins = constraints()
    if sys.version_info < (3, 11) or version("torch").partition("+")[0] not in str(pins["torch"].specifier):
        pytest.skip("this environment was not installed with constraints.txt")
    missing = needed("mg-clip", [*RUNTIME, "dev"]) - pins.keys() - {"setuptools"}  # part of pip
    assert not missing, f"add to constraints.txt: {sorted(missing)}"


@pytest.mark.slow
def test_no_package_has_a_known_vulnerability(tmp_path):
    pytest.importorskip("pip_audit", reason="pip-audit is not installed: extra audit")
    pins = tmp_path / "pins.txt"
    pins.write_text("".join(f"{name}{pin.specifier}\n" for name, pin in constraints().items()))
    options = ["--no-deps", "--disable-pip", "--format", "json", "--progress-spinner", "off"]
    words = [sys.executable, "-m", "pip_audit", "-r", pins, *options]
    done = subprocess.run(words, capture_output=True, text=True, timeout=600)
    if not done.stdout:
        pytest.skip(f"the vulnerability service cannot be reached: {done.stderr.strip().splitlines()[-1][:200]}")
    packages = json.loads(done.stdout)["dependencies"]
    audited = [package for package in packages if "skip_reason" not in package]
    if not audited:
        pytest.skip(f"the vulnerability service knows none of {len(packages)} packages")
    found = {package["name"]: [each["id"] for each in package["vulns"]] for package in audited if package["vulns"]}
    assert not found
    assert len(audited) > 0.9 * len(packages)


@pytest.mark.slow
def test_no_licence_is_copyleft():
    pytest.importorskip("piplicenses", reason="pip-licenses is not installed: extra audit")
    done = subprocess.run(
        [sys.executable, "-m", "piplicenses", "--format", "json", "--from", "mixed", "--with-system"],
        capture_output=True,
        text=True,
        check=True,
    )
    known = {canonicalize_name(entry["Name"]): entry["License"] for entry in json.loads(done.stdout)}
    ours = needed("mg-clip", RUNTIME)
    assert len(ours) > 40
    assert ours <= known.keys()
    unknown = [name for name in ours if known[name] in ("UNKNOWN", "")]
    assert not unknown
    bad = {name: known[name] for name in ours if COPYLEFT.search(LESSER.sub("", known[name]))}
    assert not bad
