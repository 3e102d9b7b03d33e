"""A researcher with a method of their own: a package of one file, compared with others over three seeds, with a paired test."""

import csv
import json
import os
import re
import subprocess
import sys

import forked
import numpy as np
import pandas as pd
import pytest
from own_packages import put_package
from PIL import Image
from scipy.stats import binomtest

PACKAGE = '''
"""Class means of image features, moved towards the texts of their classes."""

from typing import Annotated

import torch
from pydantic import BaseModel, Field
from torch.nn.functional import normalize

from mgclip import FeatureClassifier, Method


class Shares(BaseModel):
    text: Annotated[float, Field(ge=0, le=1)] = 0.2


class TextMeans(FeatureClassifier):
    learned = ("means",)

    def __init__(self, backbone, settings, own):
        super().__init__(backbone, settings, own)
        self.means = torch.zeros(0, backbone.feature_dim, device=backbone.device)

    def learn(self, task, on_step):
        features = normalize(task.features, dim=-1)
        new = [features[task.labels == label].mean(0) for label in range(task.first, len(task.texts))]
        self.means = torch.cat([self.means, torch.stack(new)])

    def scores(self, features, texts):
        prototypes = (1 - self.own.text) * normalize(self.means, dim=-1) + self.own.text * texts
        return 20 * normalize(features, dim=-1) @ normalize(prototypes, dim=-1).T


METHOD = Method("class means moved towards texts", "a story", classifier=TextMeans, settings=Shares)
'''

TABLE = """
about: my method next to two others
recipes: [mine.yaml]
methods: [zero-shot, simplecil, text-means]
"""

RECIPE = """
extends: icons100
classes_per_task: 8
tasks: 3
train_per_class: 6
test_per_class: 5
class_order: order.txt
retention: []
text_means_text: 0.3
"""


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """The researcher's folder: the installed package, a recipe, a class order by names, and a table of three methods."""
    from mgclip.stream import icons

    desk = tmp_path_factory.mktemp("desk")
    (desk / "site").mkdir()
    put_package(desk / "site", "text-means", "text_means", PACKAGE, "[mgclip.methods]\ntext-means = text_means:METHOD\n")
    (desk / "table.yaml").write_text(TABLE)
    (desk / "mine.yaml").write_text(RECIPE)
    (desk / "order.txt").write_text("\n".join(reversed(icons.class_names())))
    return desk


COMMAND = (
    "import runpy, sys; sys.path.insert(0, sys.argv.pop(1)); runpy.run_module('mgclip', run_name='__main__', alter_sys=True)"
)


def mgclip(desk, *words):
    """Run a command at the researcher's desk."""
    return forked.program(COMMAND, desk / "site", *words, cwd=desk)


def mgclip_in_a_new_interpreter(desk, *words):
    """Run a command as the researcher does, which finds the installed package when Python starts."""
    places = [str(desk / "site"), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(places)}
    command = [sys.executable, "-m", "mgclip", *map(str, words)]
    return subprocess.run(command, cwd=desk, env=environment, capture_output=True, text=True)


def rows(file):
    with file.open(encoding="utf-8") as opened:
        return list(csv.DictReader(opened))


def test_a_method_of_an_own_package_is_compared_over_three_seeds(desk):
    # One command runs the table: three methods, three seeds.
    done = mgclip(desk, "reproduce", "table.yaml", "--seeds", 3, "--out", "out", "--quiet")
    assert done.returncode == 0, done.stderr
    out, seeds = desk / "out", [desk / "out" / "mine" / f"seed-{seed}" for seed in range(3)]

    # The class order in the file was by name, and is part of the recorded recipe.
    first = json.loads((seeds[0] / "text-means" / "records.jsonl").read_text().splitlines()[0])
    assert first["classes"] == (desk / "order.txt").read_text().splitlines()[:8]

    # The table has a row for each method, and a file has a row for each seed.
    last = {row["method"]: float(row["Last"]) for row in rows(out / "table.csv")}
    assert list(last) == ["zero-shot", "simplecil", "text-means"]
    single = [float(row["Last"]) for row in rows(out / "table-seeds.csv") if row["method"] == "text-means"]
    assert (len(single), last["text-means"]) == (3, pytest.approx(np.mean(single)))

    # The paired test follows from the raw predictions, which pandas reads.
    right = {}
    for method in last:
        found = [pd.read_parquet(seed / method / "predictions") for seed in seeds]
        final = [each[each["task"] == 2].set_index("image")["right"] for each in found]
        assert [100 * each.mean() for each in final] == pytest.approx(
            [float(row["Last"]) for row in rows(out / "table-seeds.csv") if row["method"] == method]
        )
        right[method] = pd.concat(final, axis=1)
    pair = next(row for row in rows(out / "table-pairs.csv") if (row["first"], row["second"]) == ("zero-shot", "text-means"))
    difference = (right["zero-shot"].astype(float) - right["text-means"].astype(float)).to_numpy()
    assert (int(pair["images"]), int(pair["seeds"])) == (120, 3)
    assert int(pair["groups"]) == found[0]["group"].nunique() < 120  # the images of a drawing are alike
    assert float(pair["difference"]) == pytest.approx(100 * difference.mean())
    assert float(pair["low"]) < float(pair["difference"]) < float(pair["high"]) < 0  # the method is better than the texts alone
    assert float(pair["p"]) < 0.05
    exact = [
        binomtest(int((column == 1).sum()), int((column != 0).sum())).pvalue if (column != 0).any() else 1
        for column in difference.T
    ]
    assert [float(p) for p in pair["McNemar p of each seed"].split()] == pytest.approx(exact, rel=1e-3)

    # The table can go into a paper: numbers to the right, the best in bold, a caption.
    paper = (out / "table.tex").read_text(encoding="utf-8")
    assert re.search(r"\\begin{tabular}{llr+}", paper)
    best = max(last.values())
    assert rf"\textbf{{{best:.1f} $\pm$" in paper
    assert paper.count(r"\caption{") == paper.count(r"\toprule") == 2
    assert (out / "table-mine.pdf").read_bytes().startswith(b"%PDF")
    report = (out / "report.html").read_text(encoding="utf-8")
    assert "Differences between methods" in report and "text-means" in report

    # The same command again runs nothing, and a changed setting of the method needs a folder of its own.
    times = {file: file.stat().st_mtime_ns for file in out.rglob("records.jsonl")}
    assert mgclip(desk, "reproduce", "table.yaml", "--seeds", 3, "--out", "out", "--quiet").returncode == 0
    assert times == {file: file.stat().st_mtime_ns for file in out.rglob("records.jsonl")}
    done = mgclip(desk, "reproduce", "table.yaml", "text_means_text=0.9", "--out", "out")
    assert (done.returncode, "was started with text_means_text = 0.3, not 0.9" in done.stderr) == (2, True)


def test_the_learned_model_predicts_and_a_bug_is_named(desk):
    from mgclip.stream import icons

    done = mgclip(desk, "run", "mine.yaml", "methods=text-means", "tasks=2", "--out", "run", "--json")
    assert done.returncode == 0, done.stderr
    _, test = icons.load(1, 1)
    Image.fromarray(np.asarray(test[99])).save(desk / "icon.png")
    done = mgclip(desk, "predict", "run/text-means/model", "icon.png", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["class"] in (desk / "order.txt").read_text().splitlines()[:8]

    # An own method with a bug fails with one sentence; the traceback is one option away.
    module = desk / "site" / "text_means.py"
    module.write_text(PACKAGE.replace("torch.stack(new)", "torch.stack(now)"))
    done = mgclip(desk, "run", "mine.yaml", "methods=text-means", "--out", "broken", "--quiet")
    assert done.returncode == 1
    sentence = "mgclip: The method text-means of the package text-means failed when it learned task 1 (NameError: name 'now' is not defined)"
    assert done.stderr.strip().splitlines()[-1].startswith(sentence)
    assert "Traceback" not in done.stderr
    done = mgclip(desk, "--debug", "run", "mine.yaml", "methods=text-means", "--out", "again", "--quiet")
    assert "text_means.py" in done.stderr and "NameError" in done.stderr

    # When it is repaired, the run resumes. A wrong setting is refused before anything starts.
    module.write_text(PACKAGE)
    done = mgclip(desk, "run", "--resume", "broken", "--quiet")
    assert done.returncode == 0, done.stderr
    changes = ("text_means_text=2", "text_means_txt=1")
    done = mgclip_in_a_new_interpreter(desk, "run", "mine.yaml", "methods=text-means", *changes, "--out", "wrong")
    assert done.returncode == 2
    assert "there is no key text_means_txt: did you mean text_means_text?" in done.stderr
    assert "text_means_text must be at most 1; found 2" in done.stderr
    assert not (desk / "wrong").exists()
