"""The make targets, continuous integration, commit hooks and issue forms are consistent."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from mgclip import __version__

ROOT = Path(__file__).parents[2]
TARGETS = set(re.findall(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[0].split())


def read(name):
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def commands():
    """Every command of continuous integration, with its job."""
    jobs = read(".github/workflows/ci.yml")["jobs"]
    return [(job, step["run"]) for job, what in jobs.items() for step in what["steps"] if "run" in step]


@pytest.mark.parametrize(("job", "command"), commands())
def test_continuous_integration_runs_make_targets_and_scripts(job, command):
    words = shlex.split(command)
    if words[0] == "make":
        assert {word for word in words[1:] if "=" not in word} <= TARGETS
        assert {word.partition("=")[0] for word in words[1:] if "=" in word} <= {"PYTHON", "PINS"}
    else:
        assert (ROOT / words[0]).stat().st_mode & 0o100, "the script is not executable"


def test_every_supported_python_is_tested():
    jobs = read(".github/workflows/ci.yml")["jobs"]
    package = (ROOT / "pyproject.toml").read_text()
    oldest = re.search(r'requires-python = ">=(.+)"', package)[1]
    supported = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', package)
    assert jobs["newest"]["strategy"]["matrix"]["python"] == supported == ["3.10", "3.11", "3.12", "3.13"]
    assert jobs["lowest"]["steps"][1]["with"]["python-version"] == oldest == "3.10"


def test_commit_hooks_are_local_and_run_the_checks_of_make_lint():
    (repository,) = read(".pre-commit-config.yaml")["repos"]
    assert repository["repo"] == "local"
    recipe = (ROOT / "Makefile").read_text().partition("\nlint:")[2].partition("\n\n")[0]
    checks = re.findall(r"\$\(VENV\)/bin/([\w-]+)(?: (check|format))?", recipe)
    entries = [hook["entry"] for hook in repository["hooks"]]
    assert [re.search(r"^\.venv/bin/([\w-]+)(?: (check|format))?", entry).groups("") for entry in entries] == checks


def test_issue_forms_are_complete_and_a_bug_report_asks_for_versions():
    for form in sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*_*.yml")):
        content = read(form.relative_to(ROOT))
        assert content.keys() >= {"name", "description", "body"}
        ids = [part["id"] for part in content["body"]]
        assert len(ids) == len(set(ids))
        assert all(part["attributes"]["label"] for part in content["body"])
    bug = {part["id"]: part for part in read(".github/ISSUE_TEMPLATE/bug_report.yml")["body"]}
    assert "mgclip --version --json" in bug["versions"]["attributes"]["description"]
    assert bug["versions"]["validations"]["required"]


def test_the_changelog_has_this_version_and_keeps_its_form():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## \[(.+?)\]", text, re.MULTILINE)
    assert versions[0] == "Unreleased"
    becomes = re.search(r"^This section becomes (.+)\.$", text, re.MULTILINE)
    assert __version__ == (versions[1] if becomes is None else f"{becomes[1]}.dev0")
    assert set(re.findall(r"^### (.+)$", text, re.MULTILINE)) <= {
        "Added", "Changed", "Deprecated", "Removed", "Fixed", "Security",
    }  # fmt: skip


def test_no_test_imports_from_a_conftest():
    """Several folders have one: which of them an import finds depends on the tests that ran before."""
    texts = {file.name: file.read_text(encoding="utf-8") for file in (ROOT / "tests").rglob("*.py")}
    assert [name for name, text in texts.items() if re.search(r"\b(from|import) conftest\b", text)] == []
