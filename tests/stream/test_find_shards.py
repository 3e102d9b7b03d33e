"""Shards are found by file, folder, pattern and address, and divided into parts by their names."""

from pathlib import Path

import pytest
from shards import IMAGES, LABELS, members, write_tar

from mgclip.errors import InputError
from mgclip.stream.numbered_shards import missing_shards
from mgclip.stream.shards import find_shards


def names(found):
    return [[shard.name.rpartition("/")[2] for shard in part] for part in (found.train, found.test)]


def test_shards_are_found_by_file_folder_and_pattern(tmp_path):
    for name in ("b.tar", "a.tar", "c.parquet", "notes.txt", "d-07.tar", "d-08.tar", "d-09.tar", ".e.tar"):
        (tmp_path / name).touch()
    assert names(find_shards(str(tmp_path / "a.tar"))) == [["a.tar"], []]
    assert names(find_shards(str(tmp_path))) == [["a.tar", "b.tar", "c.parquet", "d-07.tar", "d-08.tar", "d-09.tar"], []]
    assert names(find_shards(f"{tmp_path}/d-*.tar")) == [["d-07.tar", "d-08.tar", "d-09.tar"], []]
    assert names(find_shards(f"{tmp_path}/d-{{08..09}}.tar")) == [["d-08.tar", "d-09.tar"], []]
    assert names(find_shards(f"file://{tmp_path}/d-0[79].tar")) == [["d-07.tar", "d-09.tar"], []]
    with pytest.raises(InputError, match="No shard matches"):
        find_shards(f"{tmp_path}/*.zip")
    assert find_shards(str(tmp_path / "notes.txt")) is None
    assert find_shards(str(tmp_path / "absent")) is None


def test_a_shard_that_matches_twice_is_read_once(tmp_path):
    for number in (1, 2, 11, 12):
        (tmp_path / f"{number}.tar").touch()
    assert names(find_shards(f"{tmp_path}/{{1..12}}*.tar")) == [["1.tar", "11.tar", "12.tar", "2.tar"], []]


@pytest.mark.parametrize("pattern", ["{0000..0003}.tar", "*.tar"])
@pytest.mark.parametrize("address", ["", "file://"])
def test_a_missing_shard_is_noticed_before_the_others_are_read(tmp_path, pattern, address):
    for number in (0, 2):
        write_tar(tmp_path / f"{number:04}.tar", members(IMAGES, LABELS))
    (tmp_path / "0003.tar").mkdir()
    (tmp_path / "0001.tar").symlink_to("nowhere")
    with pytest.raises(
        InputError, match=r"The shard .*0001\.tar cannot be opened \(No such file or directory\), and neither can 1 other"
    ):
        find_shards(f"{address}{tmp_path}/{pattern}")
    (tmp_path / "0001.tar").unlink()
    write_tar(tmp_path / "0001.tar", members(IMAGES, LABELS))
    with pytest.raises(InputError, match=r"The shard .*0003\.tar cannot be opened \(it is not a file\): restore it, or leave"):
        find_shards(f"{address}{tmp_path}/{pattern}")


def test_parts_are_found_by_the_names_of_files_and_folders(tmp_path):
    for name in ("data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet", "data/test-00000-of-00001.parquet"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    train, test, unused = find_shards(str(tmp_path))
    assert (len(train), len(test), len(unused)) == (2, 1, 0)
    other = tmp_path / "other"
    for name in ("train/0.tar", "val/0.tar"):
        (other / name).parent.mkdir(parents=True)
        (other / name).touch()
    assert [[shard.name for shard in part] for part in find_shards(str(other))] == [
        [f"{other}/train/0.tar"],
        [f"{other}/val/0.tar"],
        [],
    ]


@pytest.mark.parametrize(
    "given",
    [
        ["imagenet-train-0.tar", "imagenet-val-0.tar"],
        ["train (1).parquet", "test (1).parquet"],
        ["my_train_set.tar", "my_valid_set.tar"],
        ["train/deep/below/0.tar", "x-test/0.tar"],
    ],
)
def test_test_shards_are_not_learned_wherever_the_word_is_in_their_names(tmp_path, given):
    for name in (*given, "train2.tar", "extra.tar"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    train, test, unused = ([Path(shard.name).relative_to(tmp_path).as_posix() for shard in p] for p in find_shards(str(tmp_path)))
    assert (train, test, unused) == (sorted([given[0], "train2.tar"]), [given[1]], ["extra.tar"])


@pytest.mark.parametrize(
    ("there", "missing"),
    [
        (["train-00000-of-00003.tar", "train-00001-of-00003.tar"], ["train-00002-of-00003.tar"]),
        (["a/train-1-of-3.tar", "a/train-3-of-3.tar", "test-0-of-1.tar"], ["a/train-2-of-3.tar"]),
        (["a/0-of-2.tar", "b/1-of-2.tar"], ["a/1-of-2.tar", "b/0-of-2.tar"]),
        (["2024-01-of-02-00000-of-00001.parquet", "one-of-a-kind.tar", "7.tar"], []),
    ],
)
def test_shards_are_missing_if_the_names_of_the_others_say_so(there, missing):
    assert missing_shards(there) == missing


def test_without_training_shards_it_is_not_guessed_what_to_learn(tmp_path):
    for name in ("a-0.tar", "val-0.tar"):
        (tmp_path / name).touch()
    with pytest.raises(InputError, match=r"has shards to test on, such as .*val-0\.tar, but no shard with the word train"):
        find_shards(str(tmp_path))
    assert names(find_shards(f"{tmp_path}/val-*.tar")) == [["val-0.tar"], []]


def test_a_folder_has_shards_at_any_depth_and_each_once(tmp_path):
    for name in ("a.tar", "b/c/d/e.tar", ".cache/f/g.tar"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "again").symlink_to(tmp_path / "b")
    assert [Path(shard.name).name for shard in find_shards(str(tmp_path)).train] == ["a.tar", "e.tar"]


def test_a_shard_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(InputError, match=r"There is no shard .*a\.tar: give a file, a folder, or a pattern"):
        find_shards(str(tmp_path / "a.tar"))


@pytest.mark.parametrize(
    "place", ["training", "./training", "training/", ".//training/.", "training/*.tar", "training/{0..1}*.tar"]
)
def test_the_name_of_the_place_says_nothing_about_the_part_however_it_is_written(tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    Path("training").mkdir()
    given = ("0-a.tar", "1-b.tar") if "{" in place else ("train-0.tar", "val-0.tar")
    for name in given:
        Path("training", name).touch()
    parts = names(find_shards(place))
    assert parts == ([[*given], []] if "{" in place else [["train-0.tar"], ["val-0.tar"]])


@pytest.mark.parametrize("pattern", ["data/*/*.tar", "data/**/*.tar", "./data/*/{0..1}.tar", "memory://data/*/*.tar"])
def test_the_folders_that_a_pattern_matches_are_parts(tmp_path, monkeypatch, pattern):
    import fsspec

    monkeypatch.chdir(tmp_path)
    for name in ("data/train/0.tar", "data/val/0.tar"):
        Path(name).parent.mkdir(parents=True)
        Path(name).touch()
        fsspec.filesystem("memory").pipe(f"/{name}", b"")
    assert [[Path(shard.name).parent.name for shard in part] for part in find_shards(pattern)] == [["train"], ["val"], []]


@pytest.mark.parametrize("name", ["{1..2}", "[1]", "a*"])
def test_a_folder_whose_name_looks_like_a_pattern_is_a_folder(tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "0.tar").touch()
    assert [shard.name for shard in find_shards(str(tmp_path / name)).train] == [str(tmp_path / name / "0.tar")]


def test_an_archive_next_to_images_is_not_a_data_set(tmp_path):
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "1.png").touch()
    (tmp_path / "backup.tar").touch()
    assert find_shards(str(tmp_path)) is None


@pytest.mark.parametrize("place", ["", "*", "b.*"])
@pytest.mark.parametrize("name", ["b.tar.zst", "b.tar.Z", "b.tar.lz4"])
def test_a_shard_that_cannot_be_decompressed_is_not_left_out_silently(tmp_path, place, name):
    for each in ("a.tar", name):
        (tmp_path / each).touch()
    with pytest.raises(InputError, match=rf"The shard .*{name} is compressed in a way that is not supported .*: decompress it"):
        find_shards(str(tmp_path / place))
