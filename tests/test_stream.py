"""Where images come from: orders, tasks, icons, folders."""

import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mgclip.errors import InputError
from mgclip.stream import icons
from mgclip.stream.data import Dataset, Split
from mgclip.stream.datasets import load_dataset
from mgclip.stream.folder import find_folder, load_folder, read_classes
from mgclip.stream.glyphs import FONTS, catalogue, render, split_style
from mgclip.stream.orders import class_order, published_orders
from mgclip.stream.tasks import make_tasks, task_sizes


@given(st.integers(1, 60), st.integers(0, 60), st.integers(1, 30))
def test_task_sizes(classes, initial, increment):
    if (initial or increment) > classes:
        with pytest.raises(InputError, match="lower initial_classes" if initial else "lower classes_per_task"):
            task_sizes(classes, initial=initial, increment=increment)
        return
    sizes = task_sizes(classes, initial=initial, increment=increment)
    assert sum(sizes) == classes
    assert sizes[0] == (initial or increment)
    assert all(size == increment for size in sizes[1:-1])
    assert min(sizes) >= 1


@given(st.data())
def test_tasks_split_classes_and_images_without_loss(data):
    classes = data.draw(st.integers(2, 8))
    extra = data.draw(st.lists(st.integers(0, classes - 1), max_size=30))
    labels = np.array(data.draw(st.permutations([*range(classes), *extra])), dtype=np.int64)
    order = data.draw(st.permutations(range(classes)))
    images = [f"image {i}" for i in range(len(labels))]
    part = Split(images, labels)
    dataset = Dataset("d", tuple(f"class {c}" for c in range(classes)), part, part)
    tasks = make_tasks(dataset, order, task_sizes(classes, initial=1, increment=2))
    assert [name for task in tasks for name in task.names] == [f"class {c}" for c in order]
    seen = []
    for task in tasks:
        positions = [int(image.split()[1]) for image in task.train.images]
        assert positions == sorted(positions)
        seen += positions
        for position, label in zip(positions, task.train.labels, strict=True):
            assert task.names[label] == f"class {labels[position]}"
            assert order[task.first + label] == labels[position]
    assert sorted(seen) == list(range(len(labels)))


def test_classes_of_one_name_are_told_apart_and_keep_their_text():
    part = Split(["a", "b", "c"], np.array([0, 1, 2]))
    first, second = make_tasks(Dataset("d", ("missile", "sea", "missile"), part, part), [2, 1, 0], [2, 1])
    assert (first.names, first.texts) == (("missile #2", "sea"), ("missile", "sea"))
    assert (second.names, second.texts) == (("missile",), ("missile",))


def test_class_orders():
    assert class_order("dataset", dataset="x", classes=4, seed=0) == [0, 1, 2, 3]
    assert class_order(1993, dataset="x", classes=100, seed=0)[:6] == [68, 56, 78, 8, 23, 84]
    assert class_order("published", dataset="cifar100", classes=100, seed=0)[:4] == [87, 0, 52, 58]
    assert class_order("shuffled", dataset="x", classes=9, seed=1) == class_order(
        "shuffled", dataset="y", classes=9, seed=1
    )
    assert class_order("shuffled", dataset="x", classes=9, seed=1) != class_order(
        "shuffled", dataset="x", classes=9, seed=2
    )
    for name, order in published_orders().items():
        assert sorted(order) == list(range({"cifar100": 100, "imagenet100": 100}.get(name, len(order)))), name
    with pytest.raises(InputError, match="No class order was published for icons100: there are orders for cifar100"):
        class_order("published", dataset="icons100", classes=100, seed=0)
    with pytest.raises(InputError, match="class_order must name each class from 0 to 2 once; found 2 entries"):
        class_order([0, 2], dataset="x", classes=3, seed=0)
    with pytest.raises(
        InputError, match="class_order must be dataset, published, shuffled, a number or a list; found random"
    ):
        class_order("random", dataset="x", classes=3, seed=0)


def test_icons100_is_as_defined():
    names = icons.class_names()
    assert len(names) == 100
    assert list(names) == sorted(names)
    families = {}
    for glyph in catalogue():
        families.setdefault(glyph.concept, []).append((glyph.family, glyph.style))
    for name in names:
        drawn = families[name]
        assert sum(family == "phosphor" for family, _ in drawn) >= 5
        assert any(family == "remix" for family, _ in drawn)
        assert any(family not in ("phosphor", "remix") for family, _ in drawn)
    train, test = icons.renditions(icons.TRAIN_STYLES), icons.renditions(icons.TEST_STYLES)
    assert list(train) == list(test) == list(names)
    assert {g.style for drawings in train.values() for g in drawings} <= {
        "thin",
        "light",
        "regular",
        "bold",
        "line",
        "plain",
    }
    assert {g.style for drawings in test.values() for g in drawings} <= {"fill", "duotone"}
    assert {g.family for part in (train, test) for drawings in part.values() for g in drawings} == {"phosphor", "remix"}


def test_icons_do_not_depend_on_how_many_are_drawn():
    few, many = icons.load(3, 2), icons.load(7, 5)
    for short, long, a, b in ((few[0], many[0], 3, 7), (few[1], many[1], 2, 5)):
        assert np.array_equal(np.asarray(short[4 * a + 1]), np.asarray(long[4 * b + 1]))
    assert not np.array_equal(np.asarray(many[0][0]), np.asarray(many[0][5]))
    assert len(many[0]) == 700
    assert np.asarray(many[0][699]).shape == (64, 64, 3)
    with pytest.raises(IndexError):
        many[0][700]


def test_every_glyph_of_the_stream_draws_something():
    for part in (icons.TRAIN_STYLES, icons.TEST_STYLES):
        for drawings in icons.renditions(part).values():
            for glyph in drawings:
                cover = np.asarray(render(glyph))
                assert cover.max() == 255
                assert 0.01 < (cover > 127).mean() < 0.8, glyph


def test_style_words():
    fonts = {font.family: font for font in FONTS}
    phosphor = {"bell": "", "bell-bold": "", "traffic-light": "", "traffic-light-fill": ""}
    assert split_style("bell-bold", fonts["phosphor"], phosphor) == ("bell", "bold")
    assert split_style("traffic-light", fonts["phosphor"], phosphor) == ("traffic-light", "regular")
    assert split_style("traffic-light-fill", fonts["phosphor"], phosphor) == ("traffic-light", "fill")
    assert split_style("bell-line", fonts["remix"], {}) == ("bell", "line")
    assert split_style("bell-variant-outline", fonts["materialdesign6"], {}) == ("bell", "line")


def test_missing_fonts_name_the_extra(monkeypatch):
    from mgclip.stream import glyphs

    glyphs.catalogue.cache_clear()
    monkeypatch.setattr(glyphs, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs the icon fonts .* run  pip install 'mg-clip\[icons\]'"):
        glyphs.catalogue()
    monkeypatch.undo()
    assert len(glyphs.catalogue()) > 20_000


def write_folder(root, train, test, test_name="test"):
    for part, classes in (("train", train), (test_name, test)):
        for name, count in classes.items():
            (root / part / name).mkdir(parents=True)
            for i in range(count):
                Image.new("RGB", (8, 8), (i, 0, 0)).save(root / part / name / f"{i}.png")


@pytest.mark.parametrize("test_name", ["test", "val"])
def test_folder(tmp_path, test_name):
    write_folder(tmp_path, {"cat": 3, "a dog": 2}, {"cat": 1, "a dog": 1}, test_name)
    (tmp_path / "train" / "cat" / "notes.txt").write_text("no image")
    (tmp_path / "train" / ".hidden").mkdir()
    dataset = load_folder(tmp_path)
    assert dataset.class_names == ("a dog", "cat")
    assert dataset.train.labels.tolist() == [0, 0, 1, 1, 1]
    assert [path.parent.name for path in dataset.train.images] == ["a dog"] * 2 + ["cat"] * 3
    assert dataset.test.labels.tolist() == [0, 1]


def test_where_a_folders_classes_are(tmp_path):
    from mgclip.stream.folder import Parts, find_parts, image_files

    write_folder(tmp_path / "split", {"cat": 1}, {"cat": 1}, "val")
    assert find_parts(tmp_path / "split") == Parts(tmp_path / "split" / "train", tmp_path / "split" / "val")
    for name in ("bus", "train"):
        (tmp_path / "vehicles" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "vehicles" / name / "a.png")
    assert find_parts(tmp_path / "vehicles") == Parts(tmp_path / "vehicles", None)
    (tmp_path / "vehicles" / "bus").rename(tmp_path / "vehicles" / ".bus")
    assert find_parts(tmp_path / "vehicles") == Parts(tmp_path / "vehicles", None)
    (tmp_path / "vehicles" / "train" / "scan.pdf").write_bytes(b"%PDF")
    (tmp_path / "vehicles" / "train" / "b.JPG").write_bytes(b"")
    assert [file.name for file in image_files(tmp_path / "vehicles" / "train")] == ["a.png", "b.JPG"]


def test_a_task_needs_a_test_image(tmp_path):
    write_folder(tmp_path, {"cat": 1, "dog": 1, "emu": 1}, {"cat": 1, "dog": 1})
    dataset = find_folder(tmp_path).dataset
    assert len(make_tasks(dataset, [0, 1, 2], [1, 2])) == 2
    with pytest.raises(InputError, match=r"Task 3 of .* \(emu\) has no test image\."):
        make_tasks(dataset, [0, 1, 2], [1, 1, 1])


def test_bad_folders(tmp_path):
    with pytest.raises(InputError, match="There is no folder"):
        read_classes(tmp_path / "none")
    with pytest.raises(InputError, match="has no class folder: expected one folder of images for each class"):
        read_classes(tmp_path)
    with pytest.raises(
        InputError,
        match=r"must hold the folders train/ and test/ \(or val/, valid/, validation/ ...\).*found no folder",
    ):
        load_folder(tmp_path)
    write_folder(tmp_path, {"cat": 1}, {"cow": 1})
    with pytest.raises(InputError, match=r"The class 'cat' has no image in .*test: the folder does not exist"):
        load_folder(tmp_path)
    (tmp_path / "test" / "cat").mkdir()
    with pytest.raises(InputError, match=r"The class 'cat' has no image in .*test: its folder is empty"):
        load_folder(tmp_path)
    Image.new("RGB", (8, 8)).save(tmp_path / "test" / "cat" / "a.png")
    with pytest.raises(InputError, match=r"The class 'cow' is in .*test and not in"):
        load_folder(tmp_path)
    shutil.rmtree(tmp_path / "test" / "cow")
    (tmp_path / "train" / "empty").mkdir()
    with pytest.raises(InputError, match="The class 'empty' has no image"):
        load_folder(tmp_path)
    with pytest.raises(InputError, match="The data set folder needs data_path"):
        load_dataset("folder", path=None, train_per_class=1, test_per_class=1)
