"""Shards are found by path, pattern or address, and read in order; what is wrong with one is said in a sentence that names it."""

import gzip
import io
import os
import tarfile
from pathlib import Path

import pytest
from shards import EXPECTED, IMAGES, LABELS, members, png, read, write_parquet, write_tar
from web import serve

from mgclip.errors import DamagedShard, InputError, MGCLIPError
from mgclip.images import UnreadableImage
from mgclip.stream.shards import READERS, Shard, find_shards, shard_versions
from mgclip.stream.tar_shards import tar_places


def test_a_shard_is_read_up_to_its_damage(tmp_path):
    """A tar file that ends between two members would otherwise pass for a complete one."""
    whole = write_tar(tmp_path / "whole.tar", members(IMAGES, LABELS)).read_bytes()
    for length, found in ((512 * 8, 2), (512 * 8 + 700, 2), (512 * 8 + 100, 2), (700, 0)):
        cut = tmp_path / "cut.tar"
        cut.write_bytes(whole[:length])
        seen = []
        with pytest.raises(
            DamagedShard, match=r"The shard .*cut\.tar cannot be read (after 1\.png|at all|after 0\.png)"
        ) as error:
            seen.extend(iter_into(seen, Shard(str(cut))))
        assert len(seen) >= found - 1
        assert str(error.value).endswith("replace it or leave it out.")
    (tmp_path / "cut.tar.gz").write_bytes(gzip.compress(whole)[:-40])
    (tmp_path / "none.tar").write_bytes(b"")
    (tmp_path / "text.tar").write_bytes(b"not an archive" * 100)
    (tmp_path / "text.parquet").write_bytes(b"not an archive" * 100)
    parquet = bytearray(write_parquet(tmp_path / "a.parquet", IMAGES, LABELS).read_bytes())
    parquet[4:40] = bytes(36)
    (tmp_path / "a.parquet").write_bytes(parquet)
    for name in ("cut.tar.gz", "none.tar", "text.tar", "text.parquet", "a.parquet", "absent.tar", "absent.parquet"):
        with pytest.raises(DamagedShard, match=f"The shard .*{name} cannot be read"):
            read(Shard(str(tmp_path / name)))


@pytest.mark.parametrize("packed", [False, True])
def test_a_class_is_not_taken_from_the_members_before_the_damage(tmp_path, packed):
    """The preferred one may be behind it."""
    content = [*members(IMAGES[:1], LABELS[:1]), ("1.png", png(IMAGES[1])), ("1.txt", "a drawing"), ("1.cls", "dog")]
    complete = write_tar(tmp_path / "a.tar", content).read_bytes()
    for blocks in (6, 8):  # the header and the bytes of each member are two blocks
        cut = tmp_path / ("cut.tar.gz" if packed else "cut.tar")
        cut.write_bytes(gzip.compress(complete[: 512 * blocks]) if packed else complete[: 512 * blocks])
        seen = []
        with pytest.raises(DamagedShard, match=r"cut\.tar\S* cannot be read after 0\.png \(the archive ends too early\)"):
            seen.extend(iter_into(seen, Shard(str(cut))))
        assert [label for _, label in seen] == ["cat"]


@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.SYMTYPE])
@pytest.mark.parametrize("name", ["4.png", "4.cls"])
def test_a_link_in_a_tar_file_is_not_left_out_silently(tmp_path, kind, name):
    file = write_tar(tmp_path / "a.tar", [*members(IMAGES, LABELS), ("4.png", png(IMAGES[0])), ("4.txt", "a caption")])
    link = tarfile.TarInfo(name)
    link.type, link.linkname = kind, "0.png"
    with tarfile.open(file, "a") as archive:
        archive.addfile(link)
    for read_all in (lambda: read(Shard(str(file))), lambda: list(tar_places(str(file), ""))):
        with pytest.raises(
            InputError, match=rf"The member {name} of the shard .*a\.tar is a link to 0\.png, .* --hard-dereference"
        ):
            read_all()


def test_two_images_with_one_name_are_refused_also_one_after_the_other(tmp_path):
    file = write_tar(tmp_path / "a.tar", [*members(IMAGES[:1], LABELS[:1]), *members(IMAGES[1:2], LABELS[1:2])])
    for read_all in (lambda: read(Shard(str(file))), lambda: list(tar_places(str(file), ""))):
        with pytest.raises(InputError, match=r"The shard .*a\.tar has two members 0\.png: give each image its own name"):
            read_all()


@pytest.mark.parametrize("packed", [False, True])
def test_of_joined_archives_not_only_the_first_is_read(tmp_path, packed):
    one = write_tar(tmp_path / "1.tar", members(IMAGES, LABELS)).read_bytes()
    name = tmp_path / ("a.tar.gz" if packed else "a.tar")
    name.write_bytes(gzip.compress(one + one) if packed else one + one)
    with pytest.raises(InputError, match=r"The shard .*a\.tar\S* continues after the end of its archive, .* as separate files"):
        read(Shard(str(name)))
    name.write_bytes(gzip.compress(one + bytes(1 << 21)) if packed else one + bytes(1 << 21))
    assert read(Shard(str(name))) == EXPECTED


@pytest.mark.parametrize("name", ["[01]", "a*", "a [1]", "a::b", "?"])
@pytest.mark.parametrize("ending", ["parquet", "tar"])
@pytest.mark.parametrize("address", ["", "file://"])
def test_a_shard_is_read_from_the_file_of_its_name_and_no_other(tmp_path, name, ending, address):
    """Readers of patterns and of chained addresses would read another one."""
    if name == "?" and address:
        pytest.skip("in an address, ? begins a query")
    for other in ("0", "ab", "a 1", "b"):
        (tmp_path / f"{other}.{ending}").write_bytes(b"")
    file = tmp_path / f"{name}.{ending}"
    if ending == "tar":
        write_tar(file, members(IMAGES, LABELS))
    else:
        write_parquet(tmp_path / "new", IMAGES, LABELS).rename(file)
    assert read(Shard(f"{address}{file}")) == EXPECTED


def test_a_parquet_file_on_this_machine_is_read_without_a_cache(tmp_path, monkeypatch):
    """Home folders of clusters and containers may be read-only, and thousands of shards would leave as many files there."""
    import datasets

    write_parquet(tmp_path / "a.parquet", IMAGES, LABELS)
    (tmp_path / "file").touch()
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "file" / "cache")
    assert read(Shard(str(tmp_path / "a.parquet"))) == EXPECTED


def iter_into(seen, shard):
    for item in shard:
        seen.append(item)
    return []


@pytest.mark.parametrize("error", [ConnectionResetError(104, "reset"), TimeoutError("no answer"), OSError(24, "Too many files")])
def test_a_failure_of_the_machine_or_the_network_is_not_damage(monkeypatch, tmp_path, error):
    """Which could be skipped, although the rest of the shard is fine."""

    def fails(name, label):
        yield png(IMAGES[0]), "cat", "0.png"
        raise error

    monkeypatch.setitem(READERS, ".tar", fails)
    with pytest.raises(MGCLIPError, match=r"a\.tar cannot be read after 0\.png \(.*\): run the command again later") as found:
        read(Shard(str(tmp_path / "a.tar")))
    assert not isinstance(found.value, InputError)


def test_a_member_that_is_no_image_is_named_with_its_shard(tmp_path):
    shard = Shard(str(write_tar(tmp_path / "a.tar", [("3.jpg", b"none"), ("3.cls", "cat")])))
    with pytest.raises(UnreadableImage, match=r"a\.tar: 3\.jpg cannot be read \(not an image in a supported format\)"):
        read(shard)


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


def test_an_archive_next_to_images_is_not_a_data_set(tmp_path):
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "1.png").touch()
    (tmp_path / "backup.tar").touch()
    assert find_shards(str(tmp_path)) is None


def test_shards_of_any_file_system_are_read():
    import fsspec

    memory = fsspec.filesystem("memory")
    data = io.BytesIO()
    write_tar(data, members(IMAGES, ["0", "1", "0", "2"]))
    memory.pipe({f"/bucket/a-{number:03}.tar": data.getvalue() for number in range(3)})
    memory.pipe({"/bucket/classes.txt": b"cat\ndog\nowl\n"})
    for pattern in ("memory://bucket/*.tar", "memory://bucket/a-{000..002}.tar"):
        train = find_shards(pattern).train
        assert [shard.name.rpartition("/")[2] for shard in train] == ["a-000.tar", "a-001.tar", "a-002.tar"]
        assert [read(shard) for shard in train] == [EXPECTED] * 3
    with pytest.raises(InputError, match=r"The shard nowhere://a/b\.tar cannot be read at all"):
        read(Shard("nowhere://a/b.tar"))


def test_shards_are_read_from_the_web(tmp_path):
    pytest.importorskip("aiohttp")
    for number in range(2):
        write_tar(tmp_path / f"a-{number:03}.tar", members(IMAGES, LABELS))
        write_parquet(tmp_path / f"b-{number:03}.parquet", IMAGES, LABELS)
    with serve(tmp_path) as (place, _):
        for pattern in ("a-{000..001}.tar", "b-{000..001}.parquet"):
            train = find_shards(f"{place}/{pattern}").train
            assert [read(shard) for shard in train] == [EXPECTED, EXPECTED]
        with pytest.raises(DamagedShard, match=r"absent\.tar cannot be read at all"):
            read(Shard(f"{place}/absent.tar"))


def test_a_changed_shard_has_another_version(tmp_path):
    file = write_tar(tmp_path / "a.tar", members(IMAGES, LABELS))
    shard, about = Shard(str(file)), file.stat()

    def versions():
        return shard_versions([shard, Shard(str(file), "other")])

    first = versions()
    assert first == versions() and first[0] != first[1]
    os.utime(file, ns=(about.st_atime_ns, about.st_mtime_ns + 1000))
    assert versions() != first
    if os.name != "nt":  # there a file has no time of its last change of any kind
        file.write_bytes(file.read_bytes().replace(b"cat", b"dog"))
        os.utime(file, ns=(about.st_atime_ns, about.st_mtime_ns))
        assert (file.stat().st_size, file.stat().st_mtime_ns) == (about.st_size, about.st_mtime_ns)
        assert versions() != first
    file.write_bytes(file.read_bytes() + b"\0")
    os.utime(file, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert versions() != first


def test_another_list_of_class_names_is_another_version(tmp_path):
    """Class numbers in a tar file mean what the list next to it says."""
    shard = Shard(str(write_tar(tmp_path / "a.tar", members(IMAGES, ["0", "1", "0", "2"]))))
    without = shard_versions([shard])
    (tmp_path / "classes.txt").write_text("cat\ndog\nowl\n")
    first = shard_versions([shard])
    assert first != without
    assert read(shard) == EXPECTED
    (tmp_path / "classes.txt").write_text("cat\nowl\ndog\n")
    assert shard_versions([shard]) not in (first, without)
    assert read(shard) == [("cat", 0), ("owl", 50), ("cat", 100), ("dog", 150)]
    (tmp_path / "classes.txt").write_bytes(b"cat\n\xff\xfeowl\n")
    assert shard_versions([shard]) == without, "a shard of names does not need the list"
    with pytest.raises(InputError, match=r"classes\.txt next to the shards is not text in UTF-8 .*: save it as UTF-8"):
        read(Shard(str(tmp_path / "a.tar")))


@pytest.mark.parametrize(
    ("info", "changed"),
    [
        ({"size": 9, "ETag": "a"}, {"size": 9, "ETag": "b"}),  # the web, S3
        ({"size": 9, "Last-Modified": "Mon"}, {"size": 9, "Last-Modified": "Tue"}),
        ({"size": 9, "LastModified": 1.0}, {"size": 9, "LastModified": 2.0}),
        ({"size": 9, "blob_id": "a", "last_commit": None}, {"size": 9, "blob_id": "b", "last_commit": None}),  # the hub
        ({"size": 9, "mtime": 1.0, "atime": 1.0}, {"size": 9, "mtime": 2.0, "atime": 1.0}),
        ({"size": 9, "ETag": "a"}, {"size": 8, "ETag": "a"}),
    ],
)
def test_the_version_of_a_remote_shard_is_what_its_storage_says(monkeypatch, info, changed):
    import fsspec

    found = dict(info)
    memory = type(fsspec.filesystem("memory"))
    monkeypatch.setattr(memory, "info", lambda system, path: {"name": path, "type": "file", **found})
    shard = Shard("memory://bucket/a.tar")
    first = shard_versions([shard])
    assert first[0].is_known
    found["atime"] = found["url"] = "differs each time"
    assert shard_versions([shard]) == first
    found.update(changed)
    assert shard_versions([shard]) != first


@pytest.mark.parametrize("answer", [{"size": 9}, {"size": None, "ETag": None}, OSError("no network")])
def test_a_shard_of_which_nothing_is_known_says_so(monkeypatch, answer):
    import fsspec

    def info(system, path):
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "info", info)
    found = shard_versions([Shard("memory://bucket/a.tar"), Shard("nowhere://a/b.tar")])
    assert [version.is_known for version in found] == [False, False]
