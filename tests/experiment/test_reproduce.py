"""Tables of runs: what they run, resume, aggregate and write."""

import csv
import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from mgclip.errors import InputError
from mgclip.experiment.recipe import load_recipe
from mgclip.experiment.recipe_files import shipped_recipes
from mgclip.experiment.reproduce import finished, load_table, shipped_tables, table_runs
from mgclip.experiment.table_results import collect, per_seed
from mgclip.markdown import as_read
from mgclip.method.methods import METHODS
from mgclip.report.tables import frame, markdown, write_tables

SMALL = (
    "tasks=2",
    "train_per_class=3",
    "test_per_class=2",
    "classes_per_task=2",
    "epochs=1",
    "adapter_batch_size=4",
    "head_batch_size=4",
    "ranpac_width=20",
    "acil_width=20",
    "rapf_epochs=1",
)

SUMMARY = {
    "average": 0.5,
    "last": 0.4,
    "forgetting": None,
    "backward_transfer": None,
    "forward_transfer": 0.25,
    "epochs": 1,
    "seconds": 1.0,
    "accuracy_after": [0.5],
}


@pytest.mark.parametrize("name", shipped_tables())
def test_every_table_fits_its_recipes(name, tmp_path):
    table = load_table(name)
    assert shipped_tables()[name].read_text().startswith(f"# mgclip reproduce {name}")
    assert set(table.methods or ()) <= set(METHODS)
    assert {entry.recipe for entry in table.published} <= set(table.recipes)
    cells = table_runs(table, tmp_path, seeds=2, twin=False)
    assert len(cells) == 2 * len(table.recipes) * max(1, sum(map(len, table.vary.values())))
    assert len({cell.folder for cell in cells}) == len(cells)
    if all(load_recipe(recipe).twin for recipe in table.recipes):
        twins = table_runs(table, tmp_path, seeds=1, twin=True)
        assert all(cell.recipe.data == "icons100" and cell.recipe.clip == "iconclip" for cell in twins)
    else:
        assert name == table.recipes[0]
        assert name.startswith("icons100")
        with pytest.raises(InputError, match=f"The recipe {name} has no twin on icons100: leave --twin out"):
            table_runs(table, tmp_path, seeds=1, twin=True)


def test_every_published_recipe_is_in_a_table():
    tabled = {recipe for name in shipped_tables() for recipe in load_table(name).recipes}
    expected = {name for name in shipped_recipes() if load_recipe(name).expected_avg is not None and not name.startswith("icons")}
    assert expected <= tabled


def test_ablations_change_what_the_paper_changes():
    values = {name: load_table(f"ablation-{name}").vary for name in ("alpha", "beta", "rank", "projections")}
    assert values["alpha"] == {"alpha": [0.02, 0.05, 0.1, 0.2, 0.5, None]}
    assert values["beta"] == {"vision_weight": [0, 1, 2, 4, 8]}
    assert 8 in values["rank"]["rank"]
    assert values["projections"] == {"projections": ["kv", "qkvo"]}
    assert load_table("ablation-alpha").changes == {"epochs": "auto"}


@pytest.fixture
def reproduce(tiny_clip, mgclip):
    def call(table, *words, retention="{}"):
        return mgclip("reproduce", table, f"clip={tiny_clip}", *SMALL, f"retention={retention}", *words)

    return call


def test_a_table_is_run_resumed_and_written(reproduce, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(
        "about: mine\nrecipes: [icons100, icons100-5x10]\nmethods: [zero-shot, mg-clip, joint]\n"
        "published: [{recipe: icons100, method: other, avg: 12.5}, {recipe: icons100, method: mg-clip, last: 34}]\n"
    )
    out = tmp_path / "out"
    code, printed, err = reproduce(file, "--out", out, "--seeds", 1, retention="icons-concepts")
    assert code == 0, err
    assert "| icons100 | mg-clip |" in printed
    assert "other" not in printed  # published values apply to the shipped recipe only, and these runs are much smaller
    runs = sorted(str(f.parent.relative_to(out)) for f in out.rglob("recipe.yaml"))
    assert runs == ["icons100-5x10/seed-0", "icons100/seed-0"]
    stamps = {f: f.stat().st_mtime_ns for f in out.rglob("records.jsonl")}
    (out / "icons100" / "seed-0" / "summary.json").unlink()  # as if the run had been stopped
    code, printed, err = reproduce(file, "--out", out, "--seeds", 2, "--json", "--quiet", retention="icons-concepts")
    assert (code, err) == (0, "")
    untouched = out / "icons100-5x10" / "seed-0" / "mg-clip" / "records.jsonl"
    assert untouched.stat().st_mtime_ns == stamps[untouched]
    rows = {(row["recipe"], row["method"]): row for row in json.loads(printed)["rows"]}
    assert len(rows) == 6
    lasts = [json.loads((out / "icons100" / f"seed-{s}" / "summary.json").read_text())["mg-clip"]["last"] for s in (0, 1)]
    assert rows["icons100", "mg-clip"]["values"]["Last"] == [
        pytest.approx(np.mean(lasts)),
        pytest.approx(np.std(lasts, ddof=1)),
    ]
    with (out / "mine.csv").open(encoding="utf-8") as csv_file:
        lines = list(csv.DictReader(csv_file))
    mine = next(line for line in lines if (line["recipe"], line["method"]) == ("icons100", "mg-clip"))
    assert float(mine["Last"]) == pytest.approx(100 * np.mean(lasts))
    assert float(mine["Last sd"]) == pytest.approx(100 * np.std(lasts, ddof=1))
    assert (mine["published Last"], mine["published Avg"]) == ("", "")
    text = (out / "mine.tex").read_text()
    assert text.startswith("\\begin{table}")
    assert "$\\pm$" in text
    assert text.count("\\end{table}") == 2
    assert re.search(r"\\begin{tabular}{llr+}", text)
    best = max(
        (row for row in lines if row["recipe"] == "icons100" and row["method"] != "joint"), key=lambda row: float(row["Last"])
    )
    assert f"\\textbf{{{float(best['Last']):.1f} $\\pm$" in text
    with (out / "mine-seeds.csv").open(encoding="utf-8") as csv_file:
        seeds = [line for line in csv.DictReader(csv_file) if (line["recipe"], line["method"]) == ("icons100", "mg-clip")]
    assert [float(line["Last"]) for line in seeds] == pytest.approx([100 * last for last in lasts])
    assert [line["seed"] for line in seeds] == ["0", "1"]
    with (out / "mine-pairs.csv").open(encoding="utf-8") as csv_file:
        pairs = {(line["recipe"], line["first"], line["second"]): line for line in csv.DictReader(csv_file)}
    assert len(pairs) == 6
    pair = pairs["icons100", "zero-shot", "mg-clip"]
    assert int(pair["seeds"]) == 2
    assert float(pair["low"]) <= float(pair["difference"]) <= float(pair["high"])
    assert len(pair["McNemar p of each seed"].split()) == 2
    assert int(pair["images"]) >= 8
    assert (out / "mine-icons100.pdf").read_bytes().startswith(b"%PDF")
    assert "Differences between methods" in (out / "report.html").read_text()
    assert (out / "mine-icons100.svg").read_text().startswith("<?xml")
    code, _, err = reproduce(file, "--out", out, "head_epochs=2", retention="icons-concepts")
    assert code == 2
    assert "was started with head_epochs = 3, not 2: give another --out, or remove that folder" in err


def test_a_changed_setting_gets_a_figure(reproduce, tmp_path):
    code, printed, err = reproduce("ablation-beta", "--twin", "--out", tmp_path / "out")
    assert code == 0, err
    assert [line.split(" | ")[1] for line in printed.splitlines() if line.startswith("| icons100")] == [
        f"vision_weight={v}" for v in (0, 1, 2, 4, 8)
    ]
    assert "vision_weight" in (tmp_path / "out" / "ablation-beta-twin-icons100.svg").read_text()


def test_folders_of_a_table_have_names_that_every_system_allows(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text('about: mine\nrecipes: [icons100]\nvary: {prompt: ["a {}: <b> | \\"c\\" ?"], projections: [kv]}\n')
    cells = table_runs(load_table(str(file)), tmp_path, seeds=1, twin=False)
    names = [cell.folder.parent.name for cell in cells]
    assert names == ["icons100 prompt=a {} b  c", "icons100 projections=kv"]
    earlier = tmp_path / 'icons100 projections="kv"'
    earlier.mkdir()
    assert table_runs(load_table(str(file)), tmp_path, seeds=1, twin=False)[1].folder.parent == earlier


def test_a_run_of_a_table_is_finished_only_at_its_end(tmp_path):
    cells = table_runs(load_table("icons100"), tmp_path, seeds=1, twin=False)
    assert finished(cells[0]) is None
    with pytest.raises(InputError, match="There is no table icons10: did you mean icons100"):
        load_table("icons10")
    (tmp_path / "bad.yaml").write_text("about: x\nrecipes: []\nmethod: [a]\n")
    with pytest.raises(
        InputError,
        match=r"recipes must be a list of at least 1; found \[\]; there is no key method: did you mean methods\?",
    ):
        load_table(str(tmp_path / "bad.yaml"))


def test_a_recipe_in_place_of_a_table_is_recognised(tmp_path):
    file = tmp_path / "mine.yaml"
    for content in ("extends: icons100\ntasks: 2\n", "methods: [mg-clip]\nabout: mine\nseed: 3\n"):
        file.write_text(content)
        with pytest.raises(
            InputError, match=r"mine\.yaml is a recipe, not a table: run it with `mgclip run .*mine\.yaml`, or write"
        ):
            load_table(str(file))
    file.write_text("about: mine\nrecipe: icons100\n")
    with pytest.raises(InputError, match=r"recipes is missing; there is no key recipe: did you mean recipes\?"):
        load_table(str(file))


def test_no_name_breaks_a_table(tmp_path):
    cells = table_runs(load_table("icons100"), tmp_path, seeds=1, twin=False)
    rows = collect(cells, [{"a|b_c%*d*<i>": {**SUMMARY, "last": None}}])
    assert list(rows[0].values) == ["Avg", "FWT"]  # those that were measured, in the order of all tables
    text = markdown(frame(rows))
    assert r"| a\|b_c%\*d\*\<i\> |" in text
    assert "| a|b_c%*d*<i> |" in "".join(map(as_read, text.splitlines(keepends=True)))
    assert "50.0" in text
    written = write_tables(rows, (), per_seed(cells, [{"a|b_c%": SUMMARY}]), {}, tmp_path, "t")
    assert [file.name for file in written] == ["t.md", "t.csv", "t-seeds.csv", "t.tex"]
    assert r"a\textbar{}b\_c\%" in (tmp_path / "t.tex").read_text()


def test_a_metric_that_some_seeds_lack_is_the_mean_over_the_others(tmp_path):
    cells = table_runs(load_table("icons100"), tmp_path, seeds=3, twin=False)
    without, low, high = {"few": None}, {"few": 0.5, "old": 0.25}, {"few": 0.7}
    for found in ([without, low, high], [low, high, without]):
        rows = collect(cells, [{"simplecil": {**SUMMARY, **own}} for own in found])
        assert rows[0].values["few"] == pytest.approx((0.6, 0.02**0.5))
        assert rows[0].values["old"] == (0.25, None)


def test_seeds_count_from_the_given_one(tmp_path):
    cells = table_runs(load_table("icons100"), tmp_path, seeds=2, twin=False, changes=["seed=7"])
    assert [cell.recipe.seed for cell in cells] == [7, 8]
    assert [cell.folder.name for cell in cells] == ["seed-7", "seed-8"]


def test_a_recipe_by_path_runs_inside_the_folder_of_the_table(reproduce, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recs").mkdir()
    (tmp_path / "recs" / "mine.yaml").write_text("extends: icons100\nmethods: [zero-shot]\n")
    (tmp_path / "tab.yaml").write_text("about: mine\nrecipes: [recs/mine.yaml]\n")
    code, _, err = reproduce("tab.yaml", "--out", tmp_path / "out")
    assert code == 0, err
    names = sorted(entry.name for entry in (tmp_path / "out").iterdir())
    assert names == ["mine", "report.html", "tab-mine.pdf", "tab-mine.svg", "tab-seeds.csv", "tab.csv", "tab.md", "tab.tex"]


def test_an_interrupt_reports_how_to_resume(reproduce, tmp_path, monkeypatch):
    from mgclip.app.display import RunDisplay

    def stop(self, *args):
        raise KeyboardInterrupt

    monkeypatch.setattr(RunDisplay, "on_task", stop)
    code, _, err = reproduce("icons100", "methods=zero-shot", "--out", tmp_path / "out")
    assert code == 1
    assert "Stopped. Finished runs and tasks are saved: run the same command again to resume." in err
    monkeypatch.undo()


@pytest.fixture
def colours(tmp_path):
    """A folder of small images, of which one of two training images of a class may go."""
    for place in ("train/red/1.png", "train/red/2.png", "train/blue/1.png", "test/red/1.png", "test/blue/1.png"):
        (tmp_path / "here" / place).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32), place.split("/")[1]).save(tmp_path / "here" / place)
    return tmp_path / "here"


def test_no_mean_is_over_different_data(tiny_clip, mgclip, tmp_path, colours):
    shutil.copytree(colours, tmp_path / "moved")
    settings = (f"clip={tiny_clip}", "class_order=shuffled", "classes_per_task=1", "methods=zero-shot", "--out", tmp_path / "out")

    def reproduce(data, seeds):
        return mgclip("reproduce", "folder", f"data_path={tmp_path / data}", "--seeds", seeds, *settings)

    assert reproduce("here", 1)[0] == reproduce("moved", 2)[0] == 0
    (colours / "train" / "red" / "2.png").unlink()
    code, _, error = reproduce("here", 3)
    assert (code, (tmp_path / "out" / "folder" / "seed-2").exists()) == (2, False)
    assert "The data has changed since" in " ".join(error.split())
    assert reproduce("here", 2)[0] == 0  # no run is added


def test_no_mean_is_over_data_that_changes_between_its_runs(tiny_clip, mgclip, tmp_path, colours, monkeypatch):
    from mgclip.experiment import runner

    run, out = runner.run, tmp_path / "out"

    def run_and_change(*given, **more):
        found = run(*given, **more)
        (colours / "train" / "red" / "2.png").unlink(missing_ok=True)
        return found

    monkeypatch.setattr(runner, "run", run_and_change)
    settings = (f"clip={tiny_clip}", "classes_per_task=1", "methods=zero-shot", "--seeds", 2, "--out", out)
    code, _, error = mgclip("reproduce", "folder", f"data_path={colours}", *settings)
    assert code == 2 and f"The data has changed since {out}/folder/seed-0 was started (task" in " ".join(error.split())
    assert (out / "folder" / "seed-0").exists() and not (out / "folder" / "seed-1").exists() and not (out / "folder.md").exists()


def test_published_values_are_shown_for_published_settings_only(tmp_path):
    table = load_table("cifar100")
    for changes, shown in (((), {"87.00", "81.77"}), (("tasks=2",), set())):
        cells = table_runs(table, tmp_path, seeds=1, twin=False, changes=changes)
        found = frame(collect(cells, [{"mg-clip": SUMMARY}] * len(cells)), table.published)
        columns = set(found.get("published Avg", ()))
        assert columns - {"-"} >= shown
        assert bool(columns - {"-"}) == bool(shown)


@pytest.mark.parametrize(("orders", "shown"), [((1993,), True), ((1992, 1993), False), ((1993, 1994), False)])
def test_published_values_are_not_shown_next_to_a_mean_over_class_orders(tmp_path, orders, shown):
    cells = table_runs(load_table("aircraft-laion"), tmp_path, seeds=1, twin=False, class_orders=orders)
    rows = collect(cells, [{"simplecil": SUMMARY}] * len(cells))
    assert [row.as_published for row in rows] == [shown]


def test_a_recipe_is_a_table_of_itself():
    assert load_table("icons100-lt").recipes == ["icons100-lt"]
    assert load_table("icons100").methods  # a table has precedence over the recipe of its name
    with pytest.raises(InputError, match="There is no table icons100-ltt: did you mean icons100-lt"):
        load_table("icons100-ltt")
