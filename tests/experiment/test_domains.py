"""Streams of several data sets: how they are joined, which classes compete, and Transfer, Average and Last."""

import csv
import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from own_packages import forget_registered
from PIL import Image
from runs import read, run, stop_after

from mgclip import Dataset, DatasetEntry, Split, register_dataset
from mgclip.errors import InputError
from mgclip.experiment import domain_metrics, run_folder
from mgclip.experiment.open_run import build_stream, open_run
from mgclip.experiment.recipe import Recipe, load_recipe
from mgclip.method.baselines.make import load_learner
from mgclip.report.page_tables import domain_table
from mgclip.report.run_data import read_runs
from mgclip.stream.domains import domains_of

CLASSES = {"one": (0, 1, 2), "two": (2, 3, 4), "three": (5, 6)}
"""Three data sets of icon classes. The class 2 is in two of them."""
MATRIX = np.array([[0.9, 0.4, 0.2], [0.7, 0.8, 0.3], [0.6, 0.7, 0.95]])


@pytest.fixture(scope="module")
def folders(icons, tmp_path_factory):
    """A folder with a folder for each data set: 4 training and 3 test images of each class."""
    root = tmp_path_factory.mktemp("domains")
    for name, classes in CLASSES.items():
        for part, kept, each in (("train", 4, 12), ("test", 3, 4)):
            for c in classes:
                folder = root / name / part / str(icons["class_names"][c])
                folder.mkdir(parents=True)
                for i in range(kept):
                    Image.fromarray(icons[f"x_{part}"][each * c + i]).save(folder / f"{i}.png")
    return root


@pytest.fixture
def three(tiny_clip, folders):
    """A recipe of a few seconds: the first data set in two tasks, the others in one each."""
    sets = [{"data": "folder", "name": "one", "classes_per_task": 2}, *({"data": "folder", "name": n} for n in ("two", "three"))]
    return Recipe(
        name="three",
        clip=str(tiny_clip),
        datasets=sets,
        data_path=str(folders),
        class_order="dataset",
        methods=["zero-shot", "mg-clip"],
        epochs=1,
        adapter_batch_size=4,
        adapter_lr=0.01,
        head_batch_size=4,
    )


def records_of(matrix, names=("a", "b", "c")):
    """The records of a run with a task for each data set."""
    return [
        {
            "classes_seen": done + 1,
            "epochs": 1,
            "test_images": 10,
            "accuracy_per_task": row[: done + 1].tolist(),
            "domain": names[done],
            "accuracy_per_domain": dict(zip(names, row.tolist(), strict=True)),
            "seconds": {"learn": 1.0, "evaluate": 2.0},
        }
        for done, row in enumerate(matrix)
    ]


def test_transfer_average_and_last_agree_with_a_calculation_by_hand():
    summary = run_folder.summarise(records_of(MATRIX))
    assert summary["transfer"] == pytest.approx((0.4 + (0.2 + 0.3) / 2) / 2)
    assert summary["domain_average"] == pytest.approx((2.2 / 3 + 1.9 / 3 + 1.45 / 3) / 3)
    assert summary["domain_last"] == pytest.approx((0.6 + 0.7 + 0.95) / 3)


def test_a_metric_is_not_given_before_everything_it_needs_is_measured():
    summary = run_folder.summarise(records_of(MATRIX)[:2])
    assert summary["transfer"] == pytest.approx((0.4 + (0.2 + 0.3) / 2) / 2)
    assert (summary["domain_average"], summary["domain_last"]) == (None, None)
    assert run_folder.summarise(records_of(MATRIX)[:1])["transfer"] is None
    single = np.array([[0.5]])
    assert (domain_metrics.transfer(single), domain_metrics.average(single), domain_metrics.last(single)) == (None, 0.5, 0.5)


def test_a_table_of_streams_of_both_kinds_has_the_metrics_of_both():
    several = run_folder.summarise(records_of(MATRIX))
    plain = run_folder.summarise([{key: value for key, value in r.items() if "domain" not in key} for r in records_of(MATRIX)])
    headings = [[metric.heading for metric in domain_metrics.metrics_of(of)] for of in ([several], [plain], [plain, several])]
    assert headings[0] == ["Transfer", "Average", "Last"]
    assert headings[1] == ["Avg", "Last", "forgetting", "BWT", "FWT"]
    assert headings[2] == [*headings[1], "Transfer of data sets", "Average of data sets", "Last of data sets"]
    assert all(metric.of(plain) is None for metric in domain_metrics.DOMAIN_METRICS)


def test_the_last_task_of_a_data_set_gives_its_row():
    first, second, third = records_of(MATRIX)
    early = {**first, "accuracy_per_domain": dict.fromkeys("abc", 0.0)}
    assert np.array_equal(domain_metrics.domain_matrix([early, first, second, third]), MATRIX)


def expected_answer(model, features, stream, competing):
    """The answer to an image, by hand: the text branch chooses between learned and other classes, then the method does."""
    texts = [text for task in stream for text in task.texts]
    logits = model.text_logits(features, [texts[label] for label in competing])[0]
    known = [label for label in competing if label < len(model.class_names)]
    answer = competing[int(logits.argmax())]
    if answer not in known or model.settings.branches == "text":
        return answer
    z = torch.stack([logits[competing.index(label)] for label in known])
    rows = torch.nn.functional.normalize(model.head[known], dim=-1)
    cosines = rows @ torch.nn.functional.normalize(features[0], dim=-1)
    return known[int((z.softmax(0).softmax(0) + 4 * cosines.softmax(0)).argmax())]


@pytest.mark.parametrize("task_known", [False, True])
def test_the_matrix_of_a_run_equals_the_answers_by_hand(three, tmp_path, task_known):
    recipe = three.model_copy(update={"task_known": task_known})
    stream, place = build_stream(recipe), tmp_path / "run"
    domains = domains_of(stream)
    assert [(each.name, each.first, each.end) for each in domains] == [("one", 0, 3), ("two", 3, 6), ("three", 6, 8)]
    found = {method: [] for method in recipe.methods}

    def by_hand(method, done, tasks, record):
        model = load_learner(place / method / "model")
        shares, answers = {}, []
        for domain in domains:
            competing = list(range(domain.first, domain.end)) if task_known else list(range(8))
            hits = []
            for task in stream:
                for image, label in zip(task.test.images, task.test.labels + task.first, strict=True):
                    if domain.first <= label < domain.end:
                        features = model.encoder.images(model.encoder.pixels([image]))
                        hits.append(expected_answer(model, features, stream, competing) == label)
                        answers.append(hits[-1])
            shares[domain.name] = np.mean(hits)
        assert record["accuracy_per_domain"] == pytest.approx(shares)
        assert record["domain"] == ["one", "one", "two", "three"][done - 1]
        rows = pd.read_parquet(place / method / "predictions" / f"task-{done:04}.parquet")
        assert rows["right"].tolist() == answers[: len(rows)]
        found[method].append(list(shares.values()))

    summaries = run(recipe, place, on_task=by_hand)
    for method, rows in found.items():
        a = [rows[1], rows[2], rows[3]]  # the first data set has two tasks
        assert summaries[method]["transfer"] == pytest.approx((a[0][1] + (a[0][2] + a[1][2]) / 2) / 2)
        assert summaries[method]["domain_average"] == pytest.approx(np.mean([np.mean([row[j] for row in a]) for j in range(3)]))
        assert summaries[method]["domain_last"] == pytest.approx(np.mean(a[2]))
    assert len({tuple(np.ravel(rows)) for rows in found.values()}) == 2
    learned = run_folder.read_records(place / "mg-clip")
    assert [record["next_task_text_accuracy"] is None for record in learned] == [False, False, False, True]


def test_only_the_classes_of_its_data_set_compete_if_it_is_known(three, tmp_path):
    for known in (True, False):
        run(three.model_copy(update={"task_known": known, "methods": ["mg-clip"]}), tmp_path / str(known))
        rows = pd.concat(
            pd.read_parquet(tmp_path / str(known) / "mg-clip" / "predictions" / f"task-{n:04}.parquet") for n in (1, 4)
        )
        own = {c for task in build_stream(three) for c in task.names if task.sources[0] == "one"}
        of_one = rows[rows["image"].str.startswith("one/")]
        for column in ("answer", "text_answer", "head_answer", "answer_2", "answer_3"):
            assert (set(of_one[column].dropna()) <= own) == known
        assert rows["group"].isna().all()


def test_the_best_classes_are_those_of_the_branch_that_answers(three, tmp_path):
    run(three.model_copy(update={"methods": ["mg-clip"]}), tmp_path / "run")
    names = [name for task in build_stream(three) for name in task.names]
    for done, learned in ((1, 2), (2, 3), (3, 6), (4, 8)):
        rows = pd.read_parquet(tmp_path / "run" / "mg-clip" / "predictions" / f"task-{done:04}.parquet")
        unseen = rows["text_answer"].isin(names[learned:])
        best = rows[["answer", *(f"answer_{place}" for place in range(2, 6))]].astype(object)
        shares = rows[["probability", *(f"probability_{place}" for place in range(2, 6))]].to_numpy()
        assert (best.nunique(axis=1) == np.where(unseen, 5, min(5, learned))).all()
        assert (np.isnan(shares) == best.isna()).all(None)
        assert (np.diff(np.nan_to_num(shares), axis=1) <= 0).all()
        assert best[~unseen].isin([*names[:learned], None, np.nan]).all(None)


def test_a_resumed_run_of_several_data_sets_equals_an_uninterrupted_one(three, tmp_path, folders):
    complete = run(three, tmp_path / "complete")
    stop_after(3, three, tmp_path / "part", method="mg-clip")
    (tmp_path / "moved").symlink_to(folders)  # the data may move
    resumed = run(three.model_copy(update={"data_path": str(tmp_path / "moved")}), tmp_path / "part", resume=True)
    for method in three.methods:
        assert read(tmp_path / "part", method) == read(tmp_path / "complete", method)
        assert {**resumed[method], "seconds": 0} == {**complete[method], "seconds": 0}
    with pytest.raises(InputError, match="was started with datasets = "):
        open_run(Recipe(**{**three.model_dump(), "datasets": three.datasets[:2]}), tmp_path / "part", resume=True)


def test_a_class_of_two_data_sets_stays_two_classes(three, icons):
    stream = build_stream(three)
    shared = str(icons["class_names"][2])
    assert stream[1].names == (shared,)
    assert stream[2].names == (f"{shared} (two)", *map(str, icons["class_names"][3:5]))
    assert stream[2].texts == tuple(map(str, icons["class_names"][2:5]))
    assert [np.bincount(task.train.labels).tolist() for task in stream] == [[4, 4], [4], [4, 4, 4], [4, 4]]


def test_each_data_set_has_its_own_text_and_number_of_images(three):
    sets = [{**three.datasets[0].model_dump(), "text": "{}, a symbol", "images_per_class": 2}, three.datasets[1]]
    stream = build_stream(Recipe(**{**three.model_dump(), "datasets": sets, "images_per_class": 3}))
    assert [text.endswith(", a symbol") for task in stream for text in task.texts] == [True] * 3 + [False] * 3
    assert [set(np.bincount(task.train.labels)) for task in stream] == [{2}, {2}, {3}]
    assert [len(task.test.labels) for task in stream] == [6, 3, 9]


def test_a_stream_that_stops_early_has_only_the_data_sets_it_reaches(three):
    short = build_stream(three.model_copy(update={"tasks": 3, "data_path": three.data_path}))
    assert [each.name for each in domains_of(short)] == ["one", "two"]


def test_joint_learns_all_data_sets_at_once(three, tmp_path):
    summary = run(three.model_copy(update={"methods": ["joint"]}), tmp_path / "run")["joint"]
    rows = pd.read_parquet(tmp_path / "run" / "joint" / "predictions")
    shares = rows.groupby(rows["image"].str.split("/").str[0])["right"].mean()
    assert rows["image"].is_unique
    assert summary["domain_last"] == pytest.approx(shares[["one", "two", "three"]].mean())
    assert (summary["transfer"], summary["domain_average"]) == (None, None)
    assert [row.name for row in domain_table(read_runs([tmp_path / "run"])[0].results[0]).rows] == ["1: all"]


def test_files_and_generated_images_can_follow_each_other(three):
    sets = ["icons-families", *three.datasets, {"data": "icons100", "name": "edges", "filter": "edges"}]
    stream = build_stream(Recipe(**{**three.model_dump(), "datasets": sets, "train_per_class": 2, "test_per_class": 1}))
    assert [task.sources[0] for task in stream] == ["icons-families", "one", "one", "two", "three", "edges"]
    for task in stream:
        assert len(task.train.images) == len(task.train.labels) == 2 * len(task.names)
    edges = build_stream(load_recipe("icons100-edges", ["class_order=dataset", "train_per_class=2", "test_per_class=1"]))
    assert np.array_equal(np.asarray(stream[5].train.images[0]), np.asarray(edges[0].train.images[0]))


def test_a_changed_file_of_any_data_set_stops_a_resumed_run(three, tmp_path, folders):
    copy = tmp_path / "data"
    shutil.copytree(folders, copy)
    recipe = three.model_copy(update={"data_path": str(copy), "methods": ["zero-shot"]})
    run(recipe, tmp_path / "run")
    file = next((copy / "three" / "train").glob("*/0.png"))
    file.rename(file.with_name("renamed.png"))
    with pytest.raises(InputError, match="task 4: its train images are different"):
        open_run(recipe, tmp_path / "run", resume=True)


def test_a_data_set_without_files_is_made_even_if_there_is_a_folder_of_its_name(three, tmp_path):
    split = Split([np.zeros((8, 8, 3), np.uint8)] * 2, np.array([0, 1]))
    register_dataset("mine", DatasetEntry("mine", "here", make=lambda test_only: Dataset("mine", ("a", "b"), split, split)))
    (tmp_path / "mine").mkdir()
    try:
        stream = build_stream(Recipe(**{**three.model_dump(), "datasets": ["mine"], "data_path": str(tmp_path)}))
    finally:
        forget_registered()
    assert [task.names for task in stream] == [("a", "b")]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ("datasets=[icons100, icons100]", "found 'icons100' twice: give one of them another name"),
        ("datasets=[icons10]", "datasets must name a data set; found 'icons10': did you mean icons100"),
        ("datasets=[{data: icons100, shots: 3}]", "there is no key datasets.0.shots"),
        ("datasets=[{data: icons100, text: a}]", "datasets.0.text must contain {} once, for the class name; found 'a'"),
        ("datasets=[{data: icons100, name: a/b}]", "datasets.0.name must be a name without a slash; found 'a/b'"),
        ("datasets=[3]", "datasets.0 must be a mapping; found 3"),
        ("data=icons-concepts", "retention is measured on data that is never trained on: leave icons-concepts out of"),
        ("task_known=true", "task_known needs several data sets: list them in datasets"),
        ("datasets=[icons100] classes_per_task=5", "classes_per_task does not apply to a stream of several data sets"),
        ("datasets=[icons100] filter=edges", "filter does not apply to a stream of several data sets"),
    ],
)
def test_wrong_data_sets_are_refused_in_one_sentence(mgclip, tmp_path, changes, sentence):
    words = changes.replace(", ", ",").split() if "{" not in changes else [changes]
    code, _, err = mgclip("run", "icons100", *words, "--out", tmp_path / "run")
    assert code == 2
    assert sentence in err
    assert not (tmp_path / "run").exists()


def test_a_missing_folder_of_a_data_set_is_named(three, tmp_path):
    with pytest.raises(InputError, match=f"{tmp_path / 'one'}"):
        build_stream(three.model_copy(update={"data_path": str(tmp_path)}))


def test_tables_and_the_report_show_transfer_average_and_last(three, tmp_path, mgclip):
    file = tmp_path / "three.yaml"
    kept = three.model_dump(mode="json", exclude={"name", "methods"})
    file.write_text(json.dumps({**kept, "methods": ["zero-shot", "simplecil"]}))
    table = tmp_path / "mine.yaml"
    table.write_text(f"about: mine\nrecipes: [{file}]\n")
    out = tmp_path / "out"
    code, printed, err = mgclip("reproduce", table, "--seeds", 2, "--out", out)
    assert code == 0, err
    header = "| recipe | method | Transfer % | Average % | Last % | E | seeds | seconds |"
    assert header in printed
    assert "Transfer \\% & Average \\% & Last \\%" in (out / "mine.tex").read_text()
    with (out / "mine-seeds.csv").open(encoding="utf-8") as csv_file:
        line = next(csv.DictReader(csv_file))
    summary = json.loads((out / "three" / "seed-0" / "summary.json").read_text())[line["method"]]
    assert [float(line[key]) for key in ("Transfer", "Average", "Last")] == pytest.approx(
        [100 * summary[key] for key in ("transfer", "domain_average", "domain_last")]
    )
    page = (out / "report.html").read_text()
    assert "Transfer %" in page
    assert "accuracy on each data set, %" in page
    code, printed, _ = mgclip("run", file, "--out", tmp_path / "run")
    assert code == 0
    assert "Transfer %" in printed
