"""Data sets of the class-incremental toolboxes: their layouts, the classes of their folders, and what is refused."""

import pytest
from layouts import folders_of, make_aircraft, make_split_imagenet_r, make_tiny_imagenet, make_toolbox, write, write_lines

from mgclip.errors import InputError
from mgclip.stream import metadata
from mgclip.stream.datasets import load_dataset
from mgclip.stream.toolbox import TOOLBOX, find_folders

IN_FOLDERS = [name for name, entry in TOOLBOX.items() if name not in ("aircraft", "tiny-imagenet")]


@pytest.mark.parametrize("name", IN_FOLDERS)
def test_the_label_of_an_image_is_that_of_its_folder(copies, name):
    data, folders = load_dataset(name, path=str(copies / name)), folders_of(name)
    for part, each in ((data.train, 2), (data.test, 1)):
        found = [path.parent.name for path in part.images]
        assert found == [folder for folder in folders for _ in range(each)]
        assert part.labels.tolist() == [label for label in range(len(folders)) for _ in range(each)]


def test_the_classes_of_aircraft_and_tiny_imagenet_are_those_of_their_lists(copies):
    data = load_dataset("aircraft", path=str(copies / "aircraft"))
    lists = copies / "aircraft" / "fgvc-aircraft-2013b" / "data"
    for part, file in ((data.train, "trainval"), (data.test, "test")):
        variants = dict(line.split(" ", 1) for line in (lists / f"images_variant_{file}.txt").read_text().splitlines())
        assert {path.stem: data.class_names[label] for path, label in zip(part.images, part.labels, strict=True)} == variants
    assert "F/A-18" in data.class_names
    data = load_dataset("tiny-imagenet", path=str(copies / "tiny-imagenet"))
    synsets = metadata.column("tiny_imagenet_classes.tsv", "wnid")
    assert [path.parts[-3] for path in data.train.images] == [synset for synset in synsets for _ in range(2)]
    answers = (copies / "tiny-imagenet/tiny-imagenet-200/val/val_annotations.txt").read_text().splitlines()
    found = {(path.name, synsets[label]) for path, label in zip(data.test.images, data.test.labels, strict=True)}
    assert found == {tuple(line.split("\t")[:2]) for line in answers}


def test_class_folders_can_be_split_by_lists(tmp_path):
    """SUN397 has two levels of folders; ObjectNet and ImageNet-A have one."""
    for name, folder in (("sun300", "SUN397"), ("objectnet200", "images"), ("imagenet-a", "imagenet-a")):
        place = tmp_path / name / folder
        deep = {"balcony": "b/balcony/exterior", "bar": "b/bar", "abbey": "a/abbey"} if name == "sun300" else {}
        paths = [f"{deep.get(each, each)}/{k}.jpg" for each in folders_of(name) for k in range(3)]
        write(place, *paths)
        write_lines(place / "train.txt", paths[::3] + paths[1::3])
        write_lines(place / "test.txt", paths[2::3])
        (place / "test.txt").write_bytes(b"\xef\xbb\xbf" + (place / "test.txt").read_bytes())  # as some editors save UTF-8
        data = load_dataset(name, path=str(place))
        classes = TOOLBOX[name].classes
        assert data.train.labels.tolist() == [c for c in range(classes) for _ in range(2)]
        assert [path.name for path in data.test.images] == ["2.jpg"] * classes
        assert data.test.labels.tolist() == list(range(classes))
    write_lines(place / "test.txt", ["somewhere/0.jpg"])
    with pytest.raises(InputError, match=r"test\.txt must name images of the data set's classes; found 'somewhere/0\.jpg'"):
        load_dataset("imagenet-a", path=str(place))
    write_lines(place / "test.txt", [paths[0], paths[0]])
    with pytest.raises(InputError, match=r"test\.txt must name each image once; found 'n01498041/0\.jpg' again"):
        load_dataset("imagenet-a", path=str(place))


@pytest.mark.parametrize("images", ["images", ""])
def test_the_published_lists_of_objectnet_name_parts_that_the_archive_does_not_have(tmp_path, images):
    folders = folders_of("objectnet200")
    write(tmp_path / images, *(f"{folder}/{k}.png" for folder in folders for k in range(3)), "zip tie/0.png")
    write_lines(tmp_path / "train.txt", (f"./train/{folder}/{k}.png" for folder in folders for k in (0, 2)))
    write_lines(tmp_path / "test.txt", (f"./test/{folder}/1.png" for folder in folders))
    data = load_dataset("objectnet200", path=str(tmp_path))
    for part, kept in ((data.train, [0, 2]), (data.test, [1])):
        assert [path.relative_to(tmp_path / images).as_posix() for path in part.images] == [
            f"{folder}/{k}.png" for folder in folders for k in kept
        ]
        assert part.labels.tolist() == [label for label in range(200) for _ in kept]


@pytest.mark.parametrize(
    ("name", "file", "advice"),
    [
        ("cub200-resplit", "CUB_200_2011/train_test_split.txt", "; data=cub200 reads this split"),
        ("food100", "food-101/meta/train.txt", "; data=food101 reads this split, of 101 classes"),
        ("ucf100", "ucfTrainTestlist/trainlist01.txt", ""),
        ("sun300", "SUN397/Partitions/Training_01.txt", ""),
    ],
)
def test_the_official_split_of_another_split_is_refused(tmp_path, name, file, advice):
    write_lines(tmp_path / file, ["a/abbey/1.jpg"])
    with pytest.raises(InputError) as error:
        load_dataset(name, path=str(tmp_path), test_only=True)
    assert str(error.value) == (
        f"{tmp_path / file} is the official split, and {name} has its own, which cannot be made from it: give the archive of the "
        f"toolbox, or train.txt and test.txt with an image on each line{advice}."
    )


def test_original_archives_that_are_sorted_into_parts_are_found(tmp_path):
    make_toolbox("aircraft", "")(tmp_path / "sorted")
    sorted_ones = load_dataset("aircraft", path=str(tmp_path / "sorted"))
    assert [path.parent.name for path in sorted_ones.test.images] == folders_of("aircraft")
    make_tiny_imagenet(tmp_path)
    place = tmp_path / "tiny-imagenet-200" / "val"
    for line in (place / "val_annotations.txt").read_text().splitlines():
        image, synset, *_ = line.split("\t")
        (place / synset / "images").mkdir(parents=True)
        (place / "images" / image).rename(place / synset / "images" / image)
    data = load_dataset("tiny-imagenet", path=str(tmp_path))
    synsets = metadata.column("tiny_imagenet_classes.tsv", "wnid")
    assert [path.parts[-3] for path in data.test.images] == list(synsets)
    make_split_imagenet_r(tmp_path)
    place = tmp_path / "imagenet-r"
    tested = list(load_dataset("imagenet-r", path=str(place)).test.images)
    (place / "test").rename(place / "val")
    assert [path.name for path in load_dataset("imagenet-r", path=str(place)).test.images] == [path.name for path in tested]


def test_a_damaged_list_of_aircraft_is_refused(tmp_path):
    make_aircraft(tmp_path)
    write_lines(tmp_path / "fgvc-aircraft-2013b" / "data" / "images_variant_test.txt", ["0000001 Zeppelin"])
    with pytest.raises(InputError, match=r"images_variant_test\.txt must name images .*; found '0000001\.jpg'"):
        load_dataset("aircraft", path=str(tmp_path))


@pytest.mark.parametrize("listed", [False, True], ids=["folders", "lists"])
def test_cars_are_the_hundred_classes_that_exist(tmp_path, listed):
    table = TOOLBOX["cars100"].table
    every = [name.replace(" ", "_") for name in metadata.class_names(table)]
    assert len(every) == 102

    def make(names):
        parts = {part: [f"{name}/{k}.jpg" for name in names] for k, part in enumerate(("train", "test"))}
        for part, paths in parts.items():
            write(tmp_path if listed else tmp_path / part, *paths)
            if listed:
                write_lines(tmp_path / f"{part}.txt", paths)

    make(every[2:])
    data = load_dataset("cars100", path=str(tmp_path))
    assert data.class_names == metadata.class_names(table)[2:]
    assert [path.parent.name for path in data.test.images] == every[2:]
    assert data.test.labels.tolist() == list(range(100))
    make(every)
    with pytest.raises(InputError, match="must contain 100 of the 102 classes in the list of Cars; found 102: give the archive"):
        load_dataset("cars100", path=str(tmp_path))


def test_a_class_without_a_test_folder_is_reported(tmp_path, mgclip):
    make_toolbox("ucf100", "ucf")(tmp_path)
    (tmp_path / "ucf" / "test" / "YoYo").mkdir()
    (tmp_path / "ucf" / "test" / "Archery").rename(tmp_path / "gone")
    code, out, _ = mgclip("data", "check", "ucf100", tmp_path, "--quick")
    assert code == 1
    assert "missing class: test: the class 'Archery' has no image" in out
    assert "extra folder: test/YoYo is not a class of ucf100" in out
    assert "wrong count: test: 99 images; published are 2,639" in out
    assert "train: 200 images" not in out, "the published count of the training part does not add up"


def test_a_count_that_was_not_confirmed_is_no_problem(copies, mgclip):
    _, out, _ = mgclip("data", "check", "objectnet200", copies / "objectnet200", "--quick")
    assert "wrong count: test: 200 images; published are 6,628" in out
    assert "wrong count: train" not in out


def test_folders_of_another_data_set_are_not_found(copies):
    cars = TOOLBOX["cars100"]
    assert find_folders("cars100", cars.table, (), copies / "ucf100" / "ucf", False) is None
