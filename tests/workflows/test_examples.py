"""The examples of the functions behind commands, run one after the other on the same folders."""

import doctest
from importlib import import_module

import numpy as np
from PIL import Image

from mgclip.stream.check import check_dataset
from mgclip.workflows.evaluate import evaluate_images
from mgclip.workflows.learn import learn_folder
from mgclip.workflows.plan import make_plan
from mgclip.workflows.predict import predict_files
from mgclip.workflows.source import read_images, read_source


def test_the_examples_of_the_commands_functions_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, rows, columns in (("minus", slice(14, 18), slice(0, 32)), ("bar", slice(0, 32), slice(14, 18))):
        (tmp_path / "march" / name).mkdir(parents=True)
        picture = np.full((32, 32, 3), 255, dtype=np.uint8)
        picture[rows, columns] = 0
        for number in range(4):
            Image.fromarray(picture).save(tmp_path / "march" / name / f"{number}.png")
    report = []
    for function in (check_dataset, learn_folder, predict_files, evaluate_images):
        module = import_module(function.__module__)
        helpers = {each.__name__: each for each in (make_plan, read_source, read_images)}
        found = doctest.DocTestFinder(recurse=False).find(function, function.__name__, module, {**vars(module), **helpers})
        assert found[0].examples, function.__name__
        done = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(found[0], out=report.append)
        assert not done.failed, "".join(report)
