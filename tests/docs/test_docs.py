"""Every command and program in README.md, CONTRIBUTING.md and docs/ runs. Those of the Makefile must be in the Makefile."""

import os
import re
import shlex
import subprocess
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from threading import local

import pytest
from forked import cores, mgclip, programs
from forked import program as run_program
from icon_tasks import month_folders
from PIL import Image
from shards import members, write_tar
from studio_server import studio

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
MAKEFILE = (ROOT / "Makefile").read_text()
COMMAND = "import runpy, sys; sys.argv[0] = 'mgclip'; runpy.run_module('mgclip', run_name='__main__')"
LAUNCH = ["torchrun", "--standalone", "--nproc-per-node", "2", "-m", "mgclip"]
"""How the pages start two processes. One of their commands starts them so; the other in forked processes, which start at once."""

FEW = {"train_per_class=": 2, "test_per_class=": 1}
"""How many icons of a class a run reads where its page gives a number."""


def blocks(language):
    return [(page.name, text) for page in PAGES for kind, text in BLOCK.findall(page.read_text()) if kind == language]


def makefile_commands():
    """The commands of the Makefile, as a person would type them in the folder of the project."""
    lines = [line.strip() for line in MAKEFILE.splitlines() if line.startswith("\t")]
    lines = [line.replace("$(PIP)", "$(VENV)/bin/pip").replace("$(PYTHON)", "python3") for line in lines]
    lines = [line.replace("$(PINS)", "-c constraints.txt") for line in lines]
    return {line.replace("$(VENV)", ".venv") for line in lines} | {"make demo", "make test"}


@pytest.fixture
def workplace(icons, tmp_path, monkeypatch):
    for part, c, i in ((part, c, i) for part in ("train", "test") for c in range(4) for i in range(3)):
        folder = tmp_path / "stream" / part / str(icons["class_names"][c])
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(icons[f"x_{part}"][(12 if part == "train" else 4) * c + i]).save(folder / f"{i}.png")
    month_folders(icons, tmp_path / "photos", {"march": [0, 1, 2], "april": [3, 4]}, 3)
    right = []
    for c, i in ((2, 3), (2, 4), (5, 0)):  # more images of a known class, and a new class
        folder = tmp_path / "photos" / "may" / str(icons["class_names"][c])
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(icons["x_train"][12 * c + i]).save(folder / f"{i}.png")
    for name in map(str, icons["class_names"][:2]):
        right.append(f"photos/march/{name}/0.png,{icons['class_names'][0]}")
    (tmp_path / "shards").mkdir()
    for number in range(2):
        drawings = [(icons["x_train"][12 * c + 2 * number + i], str(icons["class_names"][c])) for c in range(3) for i in range(2)]
        write_tar(tmp_path / "shards" / f"{number}.tar", members(*zip(*drawings, strict=True)))
    (tmp_path / "answers.csv").write_text("image,class\n" + "\n".join(right) + "\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_code_blocks_are_in_a_language_that_is_tested():
    assert {kind for page in PAGES for kind, _ in BLOCK.findall(page.read_text())} <= {"sh", "python", "csv", "bibtex"}


def test_every_command_runs(workplace):
    """The pages run in parallel, each on a core of its own, and the commands of a page in their order.

    A command that another page shows too runs once: the pages share a folder, so it cannot depend on what its page did before.
    """
    pages, seen = {}, makefile_commands()
    for page in PAGES:
        lines = [line for name, text in blocks("sh") if name == page.name for line in text.splitlines()]
        pages[page.name] = [line for line in lines if line not in seen]
        seen.update(lines)
    free, reader = cores(), local()
    with ThreadPoolExecutor(len(free), initializer=lambda: setattr(reader, "core", free.pop())) as readers:
        longest_first = sorted(pages, key=lambda page: -len(pages[page]))
        ran = sum(readers.map(lambda page: run_all(page, pages[page], reader.core), longest_first))
    assert ran >= 40


def run_all(page, lines, core):
    """Run the commands of a page on a core; returns their number."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for line in lines:
        words = shlex.split(line)
        if words[:2] == ["mgclip", "studio"]:
            check_studio(words[2:], core)
            continue
        if words[0] == "mgclip":
            ended = [mgclip(*quick(words[1:]), core=core)]
        elif words[: len(LAUNCH)] == LAUNCH and "run" in words:
            ended = programs(2, COMMAND, *quick(words[len(LAUNCH) :]))
        elif words[: len(LAUNCH)] == LAUNCH:
            environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}
            ended = [subprocess.run([*LAUNCH, *quick(words[len(LAUNCH) :])], env=environment, capture_output=True, text=True)]
        else:
            raise AssertionError(f"{page} shows a command that no test runs: {line}")
        assert [done.returncode for done in ended] == [0] * len(ended), f"{page}: {line}\n{ended[0].stderr}"
    return len(lines)


def quick(words):
    """The words after ``mgclip``, with settings that shorten the work: a narrow head, few icons, no measurement on other data."""
    if "--base" in words:
        return [*words, "features=128"]
    if words[0] in ("run", "reproduce") and len(words) > 1 and "--resume" not in words:
        few = [word for word in words if not word.startswith(tuple(FEW))]
        given = [f"{name}{number}" for name, number in FEW.items() if any(word.startswith(name) for word in words)]
        return [*few, *given, "features=128", "retention={}"]
    return ["1" if before == "--rounds" else word for before, word in zip([None, *words], words, strict=False)]


def check_studio(words, core):
    """Start the studio, check that it answers, and stop it."""
    if find_spec("gradio") is None:
        return
    with studio(Path.cwd(), *words, core=core) as address, urllib.request.urlopen(address, timeout=60) as answer:
        assert b"MG-CLIP studio" in answer.read()


def test_the_notebook_runs_from_its_first_cell_to_its_last(workplace):
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(ROOT / "docs" / "tour.ipynb", as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells), "the notebook is kept without outputs"
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(workplace)}}).execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in shown)
    assert any("accuracy" in output.get("text", "") for output in shown)


@pytest.mark.parametrize(("page", "program"), blocks("python"))
def test_every_program_runs(workplace, page, program):
    done = run_program(program)
    assert done.returncode == 0, f"{page}\n{done.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_file_names_exist(page):
    text = page.read_text()
    for prefix in ("https://github.com/mg-clip/mg-clip/blob/main/", "https://raw.githubusercontent.com/mg-clip/mg-clip/main/"):
        text = text.replace(prefix, os.path.relpath(ROOT, page.parent) + "/")
    text = re.sub(r"^\[[^\]]+\]: (\S+)$", r"[](\1)", text, flags=re.MULTILINE)  # a link with a name
    for file, anchor in re.findall(r"\]\((?!http)([^)#]*)#([^)]+)\)", text):
        heads = re.findall(r"^#+ (.+)$", ((page.parent / file) if file else page).read_text(), re.MULTILINE)
        assert anchor in {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}, f"{page.name}: #{anchor}"
    for target in re.findall(r"\]\((?!http)([^)#]+)", text) + re.findall(r'src="(?!http)([^"]+)"', text):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"
    for source in re.findall(r"`(?:python )?(\w+/[\w/]+\.(?:py|sh))", text):
        assert (ROOT / "src" / "mgclip" / source).exists() or (ROOT / source).exists(), f"{page.name} names {source}"


def test_every_setting_is_documented_with_its_default():
    from mgclip.experiment.recipe import Recipe
    from mgclip.method.methods import BUILT_IN

    rows = re.findall(r"^\| `(\w+)` \| (.+?) \|", (ROOT / "docs" / "recipes.md").read_text(), re.MULTILINE)
    shown = dict(rows)
    every = Recipe(name="the file's name", methods=list(BUILT_IN)).model_dump()
    assert set(shown) == set(every)
    defaults = {**every, "about": "empty", "methods": "mg-clip"}

    def word(value):
        return str(value).lower() if value is None or isinstance(value, bool) else str(value)

    assert shown == {key: word(value) for key, value in defaults.items()}
