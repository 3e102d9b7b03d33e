"""Recipes: the shipped ones, inheritance, published values, and errors."""

import pytest

from mgclip.errors import InputError
from mgclip.experiment.recipe import load_recipe
from mgclip.experiment.recipe_files import shipped_recipes
from mgclip.method.methods import METHODS, method_settings
from mgclip.method.settings import Settings
from mgclip.stream.datasets import DATASETS, ICON_SETS
from mgclip.stream.orders import class_order
from mgclip.stream.tasks import task_sizes


@pytest.mark.parametrize("name", shipped_recipes())
def test_every_shipped_recipe_is_valid_and_opens_with_its_command(name):
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.about
    file = shipped_recipes()[name]
    command = "NAME data_path=FOLDER" if file.parent.name == "families" else name
    assert file.read_text().startswith(f"# mgclip run {command}")


def test_recipes_extend_others(tmp_path):
    base = load_recipe("cifar100")
    assert load_recipe("cifar100-b50-inc5") == base.model_copy(
        update={
            "name": "cifar100-b50-inc5", "about": "CIFAR-100, 50 classes, then 10 tasks of 5", "class_order": 1993,
            "initial_classes": 50, "classes_per_task": 5, "expected_avg": 81.77, "expected_last": None, "twin": "icons100-b50-inc5",
            "expected_source": "re-run by others; its paper is not known", "rapf_batch_size": 50, "rapf_old_classes": 4,
        }
    )  # fmt: skip
    (tmp_path / "a.yaml").write_text(f"extends: {tmp_path}/b.yaml\nseed: 3\n")
    (tmp_path / "b.yaml").write_text(f"extends: {tmp_path}/a.yaml\n")
    with pytest.raises(InputError, match=r"The recipe .*a\.yaml extends itself: .*a\.yaml -> .*b\.yaml -> .*a\.yaml"):
        load_recipe(str(tmp_path / "a.yaml"))
    (tmp_path / "b.yaml").write_text("extends: icons10\n")
    with pytest.raises(InputError, match=r"There is no recipe icons10: did you mean icons100\?"):
        load_recipe(str(tmp_path / "a.yaml"))
    (tmp_path / "b.yaml").write_text("extends: icons100\nseed: 5\nepochs: 4\n")
    found = load_recipe(str(tmp_path / "a.yaml"), ["epochs=2"])
    assert (found.name, found.seed, found.epochs, found.rapf_batch_size) == ("a", 3, 2, 64)


PUBLISHED = {
    "cifar100": (87.00, 80.57), "imagenet-r": (87.58, 82.67), "imagenet100": (87.31, 78.38), "imagenet1k": (81.88, 73.68),
    "vtab": (94.67, 91.53), "cub200": (80.6, 72.0), "cifar100-inc5": (86.53, None), "cifar100-inc10": (86.85, None),
    "cifar100-inc20": (87.44, None), "cifar100-b50-inc5": (81.77, None), "cifar100-b50-inc10": (83.87, None),
    "imagenet-r-inc10": (87.37, None), "imagenet-r-inc20": (87.47, None), "imagenet-r-inc40": (87.29, None),
    "imagenet-r-b100-inc10": (83.92, None), "imagenet-r-b100-inc20": (84.64, None),
}  # fmt: skip


def test_every_published_cell_has_its_recipe():
    recipes = {name: load_recipe(name) for name in shipped_recipes()}
    stated = {
        n: (r.expected_avg, r.expected_last)
        for n, r in recipes.items()
        if r.expected_avg is not None and not r.data.startswith("icons")
    }
    assert {name: stated.get(name) for name in PUBLISHED} == PUBLISHED
    assert set(stated) - set(PUBLISHED) == {"cifar100-retention"}
    large = {name for name, r in recipes.items() if r.clip == "openai/clip-vit-large-patch14"}
    assert large == {f"{name}-vit-l14" for name in ("cifar100", "imagenet-r", "imagenet100", "imagenet1k", "cub200", "vtab")}
    for name, recipe in recipes.items():
        classes = DATASETS[recipe.data].classes
        if classes is not None:
            assert sum(task_sizes(classes, initial=recipe.initial_classes, increment=recipe.classes_per_task)) == classes
            order = class_order(recipe.class_order, dataset=recipe.data, names=list(map(str, range(classes))), seed=recipe.seed)
            assert sorted(order) == list(range(classes))
        if recipe.twin:
            twin = recipes[recipe.twin]
            assert set(twin.data_names) <= set(ICON_SETS)
            shared = ("task_known", "images_per_class")
            assert not recipe.datasets or [getattr(recipe, key) for key in shared] == [getattr(twin, key) for key in shared], name
            if name not in ("icons100-5x10", "vtab", "vtab-vit-l14", "tiny-imagenet-laion-b100-inc5"):
                counts = [
                    len(task_sizes(DATASETS[r.data].classes, initial=r.initial_classes, increment=r.classes_per_task))
                    for r in (recipe, twin)
                ]
                assert counts[0] == counts[1], name
        elif name not in ("folder", "mtil-16-shot"):
            assert set(recipe.data_names) <= set(ICON_SETS)


def test_recipes_have_the_published_settings():
    cifar = load_recipe("cifar100")
    for name, published in {
        "cifar100": (1, 128, 1e-3, 5e-4, 64, 42),
        "imagenet-r": (2, 64, 1e-3, 5e-4, 32, 0),
        "imagenet100": (2, 128, 5e-4, 1e-3, 128, 0),
        "imagenet1k": (1, 80, 5e-4, 5e-4, 64, 0),
    }.items():
        r = load_recipe(name)
        assert (r.epochs, r.adapter_batch_size, r.adapter_lr, r.head_lr, r.head_batch_size, r.seed) == published, name
        assert r.head_epochs == (2 if name == "imagenet1k" else 3), name
        assert (r.max_epochs, r.alpha, r.rank, r.lora_alpha, r.vision_weight) == (10, 0.1, 8, 1, 4), name
    for name in ("cub200", "vtab"):
        assert (load_recipe(name).epochs, load_recipe(name).adapter_batch_size) == ("auto", 128)
    assert (cifar.class_order, cifar.classes_per_task, cifar.clip) == ("published", 10, "openai/clip-vit-base-patch16")


RAPF = {  # batch, beta, b, tau, old classes a batch, shrinkage
    "cifar100": (100, 2, 0.6, 0.55, 2, False), "cifar100-inc5": (100, 2, 0.6, 0.55, 4, False),
    "cifar100-inc10": (100, 2, 0.6, 0.55, 2, False), "cifar100-inc20": (100, 2, 0.6, 0.55, 2, False),
    "cifar100-b50-inc5": (50, 2, 0.6, 0.55, 4, False), "cifar100-b50-inc10": (100, 2, 0.6, 0.55, 2, False),
    "imagenet-r": (64, 1, 0.7, 0.65, 5, True), "imagenet-r-inc10": (60, 2, 0.7, 0.60, 5, True),
    "imagenet-r-inc20": (64, 1, 0.7, 0.65, 5, True), "imagenet-r-inc40": (64, 0.5, 0.7, 0.60, 5, True),
    "imagenet-r-b100-inc10": (64, 2, 0.7, 0.65, 5, True), "imagenet-r-b100-inc20": (64, 1, 0.7, 0.65, 5, True),
    "imagenet100": (128, 1, 0.5, 0.65, 2, False), "imagenet100-inc5": (128, 1, 0.5, 0.65, 2, False),
    "imagenet100-inc20": (128, 0.5, 0.5, 0.65, 2, False), "imagenet100-b50-inc5": (128, 1, 0.5, 0.65, 2, False),
    "imagenet100-b50-inc10": (128, 1, 0.5, 0.65, 2, False), "imagenet1k": (128, 1, 0.5, 0.65, 2, False),
    "cub200": (32, 1, 0.8, 0.65, 10, True),
}  # fmt: skip


@pytest.mark.parametrize("name", RAPF)
def test_rapf_runs_with_its_authors_settings_for_each_protocol(name):
    r = load_recipe(name, ["methods=rapf"])
    found = r.rapf_batch_size, r.rapf_beta, r.rapf_bias, r.rapf_tau, r.rapf_old_classes, r.rapf_shrinkage
    assert (*found, r.rapf_epochs, r.rapf_init) == (*RAPF[name], 15, "default")


def test_changes_are_parsed_as_yaml():
    recipe = load_recipe("icons100", ["epochs=3", "methods=mg-clip,zero-shot", "class_order=[1,0]", "seed=7", "prompt=a {}"])
    assert (recipe.epochs, recipe.methods, recipe.class_order, recipe.seed) == (3, ["mg-clip", "zero-shot"], [1, 0], 7)
    assert recipe.settings() == Settings(
        **{**load_recipe("icons100").settings().model_dump(), "epochs": 3, "seed": 7, "prompt": "a {}"}
    )


@pytest.mark.parametrize(
    ("reference", "changes", "sentence"),
    [
        ("icon100", [], "There is no recipe icon100: did you mean icons100?"),
        ("icons100", ["epoch=3"], r"In recipe icons100: there is no key epoch: did you mean epochs\?$"),
        ("icons100", ["seed=x"], r"seed must be a whole number; found 'x'\.$"),
        ("icons100", ["epochs=many"], r"epochs must be 'auto' or a whole number; found 'many'"),
        ("icons100", ["methods=mgclip"], r"methods must name methods; found 'mgclip': did you mean mg-clip\?$"),
        ("icons100", ["adapter_lr=.nan"], r"adapter_lr must be a finite number; found nan"),
        ("icons100", ["rapf_beta=0"], r"rapf_beta must be at least 0\.1; found 0"),
        ("icons100", ["rapf_init=zeros"], r"rapf_init must be 'default' or 'identity'; found 'zeros'"),
        ("icons100", ["rank=0"], r"rank must be at least 1; found 0"),
        ("icons100", ["data=cifar"], r"data must name a data set; found 'cifar': did you mean cifar100\?$"),
        (
            "icons100",
            ["adapter_loss=align", "methods=mg-clip,mg-clip-replay"],
            "adapter_loss align cannot be used with a memory: leave mg-clip-replay out of methods",
        ),
        (
            "icons100",
            ["retention=[{food101: /x}]"],
            r"retention must be a list of names, or \{name: path, \.\.\.\}; found \[",
        ),
        ("icons100", ["retention=food10"], r"retention must name a data set; found 'food10': did you mean food101\?"),
        ("icons100", ["memory=-1"], r"memory must be at least 0; found -1"),
        ("icons100", ["="], "A change is written key=value; found '='"),
    ],
)
def test_a_wrong_recipe_is_rejected_with_a_sentence(reference, changes, sentence):
    with pytest.raises(InputError, match=sentence):
        load_recipe(reference, changes)


@pytest.mark.parametrize("key", ["train_per_class", "tasks", "gamma", "text_weight", "micro_batch_size", "expected_avg"])
def test_none_restores_a_default_that_the_documentation_calls_none(key):
    changed, restored = load_recipe("icons100", [f"{key}=3"]), load_recipe("icons100", [f"{key}=3", f"{key}=none"])
    assert (getattr(changed, key), getattr(restored, key)) == (3, None)
    assert load_recipe("icons100", ["filter=none"]).filter == "none", "a value of its own"


def test_all_errors_are_reported_at_once():
    with pytest.raises(InputError) as error:
        load_recipe("icons100", ["epoch=3", "seed=x", "alpha=0"])
    assert all(part in str(error.value) for part in ("no key epoch", "seed must be", "alpha must be more than 0"))


def test_a_recipe_can_be_a_file(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("data: icons100\nepochs: 2\n")
    assert load_recipe(str(file)).name == "mine"
    file.write_text("- a list")
    with pytest.raises(InputError, match="must contain settings, one key: value per line; found list"):
        load_recipe(str(file))
    file.write_text("a: [")
    with pytest.raises(InputError, match=r"mine\.yaml is not YAML"):
        load_recipe(str(file))


def test_a_table_in_place_of_a_recipe_is_recognised(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("about: mine\nrecipes: [icons100]\n")
    with pytest.raises(InputError, match=r"mine\.yaml is a table, not a recipe: run it with `mgclip reproduce .*mine\.yaml`\."):
        load_recipe(str(file))


def test_the_settings_of_each_method():
    plain = Settings(epochs=4)
    assert method_settings("mg-clip", plain) == plain
    with_memory = Settings(epochs=4, memory=50, balanced=True)
    assert method_settings("mg-clip-replay", with_memory) == with_memory
    assert method_settings("mg-clip-replay", plain) == plain.model_copy(update={"memory": 2000})
    for method in set(METHODS) - {"mg-clip-replay"}:
        assert (method_settings(method, with_memory).memory, method_settings(method, with_memory).balanced) == (
            0,
            False,
        )
    for method in ("zero-shot", "simplecil", "compensation-only"):
        assert method_settings(method, Settings(adapter_init="x.safetensors")).adapter_init is None
    for method in METHODS:
        Settings(**method_settings(method, plain).model_dump())
    assert method_settings("fine-tune", plain).epochs == 10
    assert not method_settings("zero-shot", plain).uses_head
    assert not method_settings("preservation-only", plain).uses_head
    assert method_settings("compensation-only", plain).epochs == 0


def test_the_alignment_loss_can_be_used_by_every_method_without_a_memory():
    methods = [method for method in METHODS if not METHODS[method].replays]
    for change in ("memory=0", "memory=50"):
        recipe = load_recipe("icons100", ["adapter_loss=align", f"methods={','.join(methods)}", change])
        for method in methods:
            made = Settings(**method_settings(method, recipe.settings()).model_dump())
            assert (made.memory, made.adapter_loss) == (0, "align")
    with pytest.raises(InputError, match="adapter_loss align cannot be used with a memory: set memory to 0"):
        Settings(adapter_loss="align", memory=50)


def test_the_replay_method_has_a_memory_and_can_balance_it():
    for changes, memory in (([], 2000), (["memory=300"], 300)):
        recipe = load_recipe("icons100", ["methods=mg-clip-replay", "balanced=true", *changes])
        made = Settings(**method_settings("mg-clip-replay", recipe.settings()).model_dump())
        assert (made.memory, made.balanced, made.balanced_epochs) == (memory, True, 1)
