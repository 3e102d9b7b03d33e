"""Untrusted files with random changes are either used or refused in one sentence, and nothing else happens."""

import copy
import json

import pytest
import yaml
from fuzz import LIMIT, SHARES, Watch, fuzz
from fuzz_targets import TARGETS
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(10**18, 10**30) | st.floats() | st.text(max_size=20)
    | st.sampled_from(["../../x", "/etc/passwd", "\x00", "a" * 10_000, "<b>", "{}", "\ud800", "-1", "nan", "a\nb", "\u202e"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=6,
)  # fmt: skip
CHANGES = st.lists(
    st.tuples(st.integers(0, 10**6), st.sampled_from(["replace", "remove", "add", "twice"]), VALUES),
    min_size=1,
    max_size=3,
)
QUICK = settings(
    max_examples=40,
    deadline=LIMIT * 1000,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],
    derandomize=True,
)
FEW = settings(QUICK, max_examples=20)
LONG = settings(QUICK, max_examples=5_000)


def places(tree):
    """Every entry in a tree of lists and dictionaries: its container, and its key there."""
    found, waiting = [], [tree]
    while waiting:
        holder = waiting.pop()
        for key in range(len(holder)) if isinstance(holder, list) else list(holder):
            found.append((holder, key))
            if isinstance(holder[key], list | dict):
                waiting.append(holder[key])
    return found


def changed(tree, changes):
    """A tree with some entries changed."""
    tree = copy.deepcopy(tree)
    for where, how, value in changes:
        if not (entries := places(tree)):
            continue
        holder, key = entries[where % len(entries)]
        if how == "replace":
            holder[key] = value
        elif how == "remove":
            del holder[key]
        elif isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[key]) if how == "twice" else value)
        else:
            holder[f"{key} {how}"] = copy.deepcopy(holder[key]) if how == "twice" else value
    return tree


def rewritten(name, content, changes):
    """The content of a file with its tree changed, as bytes; None for a file without a tree."""
    if name.endswith(".json"):
        return json.dumps(changed(json.loads(content), changes)).encode()
    if name.endswith(".jsonl"):
        lines = changed([json.loads(line) for line in content.splitlines()], changes)
        return "".join(json.dumps(line) + "\n" for line in lines).encode()
    if name.endswith(".yaml"):
        return yaml.safe_dump(changed(yaml.safe_load(content), changes)).encode()
    if name.endswith(".safetensors"):
        tensors = load(content)
        for where, how, _ in changes:
            key = sorted(tensors)[where % len(tensors)] if tensors else None
            if key is None:
                continue
            tensor = tensors.pop(key)
            if how != "remove":
                other = {
                    "replace": tensor.flatten(),
                    "add": tensor.double(),
                    "twice": tensor.repeat(2, *[1] * (tensor.ndim - 1)),
                }
                tensors[key] = other[how].contiguous() if tensor.ndim else tensor
        return save(tensors)
    return None


@pytest.fixture(scope="module")
def ready(tmp_path_factory):
    """A function that returns a target and its audit hook; each target is created once."""
    made = {}

    def get(name):
        if name not in made:
            place = tmp_path_factory.mktemp(name)
            target = TARGETS[name](place)
            target.feed(target.seeds()[0])
            made[name] = target, Watch(place)
        return made[name]

    return get


def feed_changed(ready, name, which, changes):
    target, watch = ready(name)
    trees = [file for file in target.files if rewritten(file, target.kept[file], [])]
    file = trees[which % len(trees)]
    data = rewritten(file, target.kept[file], changes)
    with watch.on():
        target.feed(data if len(target.files) == 1 else bytes([list(target.files).index(file)]) + data)


NAMES = ["models", "runs", "recipes", "clips"]


@pytest.mark.parametrize("name", NAMES)
def test_files_with_changed_values_are_used_or_refused(ready, name):
    chosen = FEW if name in ("runs", "clips") else QUICK  # a report is drawn and a CLIP is loaded for each example
    chosen(given(st.integers(0, 99), CHANGES)(lambda which, changes: feed_changed(ready, name, which, changes)))()


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_files_with_many_changed_values_are_used_or_refused(ready, name):
    LONG(given(st.integers(0, 99), CHANGES)(lambda which, changes: feed_changed(ready, name, which, changes)))()


@pytest.mark.parametrize("name", [name for name in SHARES if name not in ("clips", "openai-files")])
def test_valid_and_truncated_files_are_used_or_refused(ready, name):
    target, watch = ready(name)
    for seed in target.seeds():
        for data in (seed, seed[: len(seed) // 2], seed[:3], seed[:-1] + b"\xff"):
            with watch.on():
                target.feed(data)


def test_the_audit_hook_reports_what_is_forbidden(tmp_path):
    watch = Watch(tmp_path)
    (tmp_path.parent / "outside").touch()
    for forbidden in (
        lambda: (tmp_path.parent / "outside").write_text("x"),
        lambda: (tmp_path.parent / "outside").unlink(),
        lambda: __import__("subprocess").run(["true"]),
        lambda: __import__("pickle").loads(b"cos\nsystem\n."),
    ):
        watch.seen.clear()
        with pytest.raises(AssertionError, match="forbidden"), watch.on():
            forbidden()
    watch.seen.clear()
    with watch.on():
        (tmp_path / "inside").write_text("x")


@pytest.mark.slow
def test_a_hundred_thousand_inputs_guided_by_coverage_find_nothing():
    pytest.importorskip("atheris", reason="atheris is not installed: extra audit, on Linux and Python 3.11 or newer")
    fed = 0
    for name, share in SHARES.items():
        result = fuzz(name, round(100_000 * share), seed=1)
        assert not result["found"], f"{name}: {result['found'][0]}"
        fed += result["fed"]
    assert fed >= 100_000
