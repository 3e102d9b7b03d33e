"""Published results apply only in their own setting, and are shown with their source."""

import csv

import pytest
import yaml

from mgclip.errors import InputError
from mgclip.experiment.published import published_results
from mgclip.experiment.recipe import load_recipe
from mgclip.experiment.recipe_files import read_yaml, shipped_recipes
from mgclip.experiment.reproduce import SOURCE_UNKNOWN, load_table, shipped_tables
from mgclip.experiment.run_folder import check_same, read_recipe
from mgclip.experiment.table_results import TableResult
from mgclip.report.tables import write_tables

LAION = {  # Avg and Last of SimpleCIL, RanPAC with a first-task adapter, and ACIL
    "cifar100-laion": [(84.2, 76.6), (89.3, 83.2), (89.4, 83.7)],
    "imagenet-r-laion": [(81.1, 74.5), (85.2, 79.8), (82.6, 77.5)],
    "cub200-laion": [(83.8, 77.5), (86.8, 80.5), (84.2, 78.8)],
    "cars-laion": [(92.0, 86.9), (93.7, 90.0), (92.9, 87.5)],
    "aircraft-laion": [(59.2, 48.1), (69.8, 60.3), (65.0, 56.7)],
    "sun-laion": [(82.1, 75.6), None, (87.0, 80.3)],
    "food-laion": [(87.9, 81.7), None, (91.0, 86.0)],
}


def accuracies(name, changes=()):
    found = published_results(load_recipe(name, changes))
    return {method: (entry.avg, entry.last) for method, entry in found.items()}


@pytest.mark.parametrize("name", LAION)
def test_the_published_results_with_laion_400m(name):
    expected = {method: value for method, value in zip(("simplecil", "ranpac", "acil"), LAION[name], strict=True) if value}
    assert accuracies(name) == expected
    found = published_results(load_recipe(name))
    assert found["simplecil"].source == "arXiv 2305.19270"
    assert "ranpac" not in found or found["ranpac"].source == "with an adapter of the first task; its paper is not known"
    assert found["acil"].source == "its paper is not known"


def test_the_published_results_with_openai_weights():
    assert accuracies("cifar100") == {"mg-clip": (87.00, 80.57), "rapf": (86.19, 79.04), "SeGP-CL": (89.8, 84.6)}
    assert accuracies("imagenet-r")["SeGP-CL"] == (88.9, 84.8)
    assert accuracies("cub200")["SeGP-CL"] == (85.4, 80.1)


@pytest.mark.parametrize("name", ["cars-laion-b50", "sun-laion-b150", "ucf-laion", "tiny-imagenet-laion-b100-inc10"])
def test_no_result_applies_to_another_protocol(name):
    assert accuracies(name) == {}


@pytest.mark.parametrize(
    "change",
    ["clip=openai/clip-vit-base-patch16", "clip=other/model", "class_order=1994", "class_order=dataset", "classes_per_task=20",
     "initial_classes=50", "tasks=5", "data=aircraft", "images_per_class=4", "prompt=a {}", "precision=bfloat16"],
)  # fmt: skip
def test_no_result_applies_if_the_setting_was_changed(change):
    assert accuracies("cars-laion", [change]) == {}


@pytest.mark.parametrize(
    "change",
    ["seed=3", "data_path=/elsewhere", "methods=simplecil,ranpac", "encode_batch_size=4",
     "clip=/models/vit_base_patch16_clip_224.laion400m_e32"],
)  # fmt: skip
def test_results_still_apply_if_nothing_that_matters_was_changed(change):
    assert accuracies("cars-laion", [change])["simplecil"] == (92.0, 86.9)


def test_the_setting_of_a_method_counts_if_the_method_is_run():
    assert accuracies("cars-laion", ["methods=ranpac", "ranpac_first_task_adapter=false"]) == {}
    assert accuracies("cars-laion", ["methods=simplecil", "ranpac_first_task_adapter=false"])["simplecil"] == (92.0, 86.9)


def test_the_file_of_openai_is_the_clip_of_its_hub_id():
    assert accuracies("cifar100", ["clip=weights/ViT-B-16.pt"])["mg-clip"] == (87.00, 80.57)
    for other in ("weights/ViT-B-32.pt", "openai/clip-vit-large-patch14", "mine.pt"):
        assert accuracies("cifar100", [f"clip={other}"]) == {}


def test_a_recipe_of_a_user_has_no_published_results(tmp_path):
    (tmp_path / "mine.yaml").write_text("extends: cars-laion\n")
    assert accuracies(str(tmp_path / "mine.yaml")) == {}


PAPER, RERUN = "MG-CLIP paper, arXiv 2507.09118", "re-run by others; its paper is not known"


def test_every_published_number_of_the_package_has_its_own_source():
    """A recipe must not state the source of the number of the recipe that it extends."""
    for name, file in shipped_recipes().items():
        own = read_yaml(file)
        if own.get("expected_avg") is not None or own.get("expected_last") is not None:
            assert own.get("expected_source"), name
    for name in shipped_tables():
        assert [entry for entry in load_table(name).published if entry.source == SOURCE_UNKNOWN] == [], name


def test_the_numbers_of_the_paper_are_told_from_those_of_a_rerun_and_of_other_papers():
    papers = ("cifar100", "imagenet-r", "imagenet100", "imagenet1k", "vtab", "cub200")
    found = {name: published_results(load_recipe(name)) for name in shipped_recipes() if "retention" not in name}
    sources = {name: entries["mg-clip"].source for name, entries in found.items() if "mg-clip" in entries}
    assert {name for name, source in sources.items() if source == PAPER} == set(papers)
    reruns = {name for name, source in sources.items() if source == RERUN}
    assert reruns == sources.keys() - set(papers)
    assert len(reruns) == 10
    assert {entries["rapf"].source for entries in found.values() if "rapf" in entries} == {PAPER}
    assert {entries["SeGP-CL"].source for entries in found.values() if "SeGP-CL" in entries} == {
        "SeGP-CL paper, arXiv 2603.12055"
    }


def result(recipe, method="mg-clip"):
    values = {"Avg": (0.85, None), "Last": (0.8, None)}
    return TableResult(recipe, "", method, 1, values, (1,), 9.0, ((0.85,),))


def test_every_kind_of_table_names_the_source_of_a_published_number(tmp_path):
    rows = [result("cifar100"), result("cifar100-inc20"), result("cifar100", "zero-shot")]
    write_tables(rows, load_table("cifar100").published, [], {}, tmp_path, "t")
    text, latex = (tmp_path / "t.md").read_text(), (tmp_path / "t.tex").read_text()
    lines = [line.strip("| ").split(" | ") for line in text.splitlines()]
    place = lines[0].index("source")
    assert {(line[0], line[1]): (line[place - 2], line[place]) for line in lines[2:]} == {
        ("cifar100", "mg-clip"): ("87.00", PAPER),
        ("cifar100-inc20", "mg-clip"): ("87.44", RERUN),
        ("cifar100", "zero-shot"): ("-", "-"),
        ("cifar100", "rapf"): ("86.19", PAPER),
        ("cifar100", "SeGP-CL"): ("89.80", "SeGP-CL paper, arXiv 2603.12055"),
    }
    assert f"& 87.00 & 80.57 & {PAPER} &" in latex
    assert f"& 87.44 & -- & {RERUN} &" in latex
    with (tmp_path / "t.csv").open(encoding="utf-8") as file:
        found = [(line["published Avg"], line["source"]) for line in csv.DictReader(file)]
    assert found == [("87.0", PAPER), ("87.44", RERUN), ("", "")]


def test_a_number_without_a_source_has_an_unknown_one(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("about: mine\nrecipes: [icons100]\npublished: [{recipe: icons100, method: other, avg: 12.5}]\n")
    published = load_table(str(file)).published
    write_tables([result("icons100")], published, [], {}, tmp_path, "t")
    assert all(SOURCE_UNKNOWN in (tmp_path / f"t.{kind}").read_text() for kind in ("md", "tex"))
    file.write_text("extends: icons100\nexpected_avg: 12.5\n")
    assert load_recipe(str(file)).expected_source is None
    file.write_text("about: mine\nrecipes: [icons100]\npublished: [{recipe: icons100, method: other, avg: 1, source: ' '}]\n")
    with pytest.raises(InputError, match=r"published\.0\.source must be text that is not empty; found ' '"):
        load_table(str(file))
    with pytest.raises(InputError, match="expected_source must be text that is not empty; found ''"):
        load_recipe("icons100", ["expected_source=''"])


def test_a_run_of_a_version_without_sources_is_still_that_of_the_recipe(tmp_path):
    recipe = load_recipe("cifar100-inc20")
    values = {key: value for key, value in recipe.model_dump(mode="json").items() if key != "expected_source"}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({**values, "about": "other words"}))
    (tmp_path / "environment.json").write_text('{"format": 2}')
    check_same(tmp_path, recipe, "start a new run")
    assert published_results(read_recipe(tmp_path))["mg-clip"].source == RERUN
