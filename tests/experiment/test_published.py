"""Published results apply only in their own setting."""

import pytest

from mgclip.experiment.published import published_results
from mgclip.experiment.recipe import load_recipe

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
