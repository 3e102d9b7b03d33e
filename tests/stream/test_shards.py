"""Shards are found by path, pattern or address, and read in order; what is wrong with one is said in a sentence that names it."""

import functools
import gzip
import http.server
import io
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from shards import members, png, write_parquet, write_tar

from mgclip.errors import DamagedShard, InputError, MGCLIPError
from mgclip.images import UnreadableImage, to_rgb
from mgclip.stream.shard_images import PLACES
from mgclip.stream.shards import READERS, Shard, find_shards, shard_versions

IMAGES = [np.full((4, 6, 3), value, np.uint8) for value in (0, 50, 100, 150)]
LABELS = ["cat", "dog", "cat", "owl"]


def read(shard):
    """The class and the first value of each image."""
    return [(label, int(np.asarray(to_rgb(image))[0, 0, 0])) for image, label in shard]


EXPECTED = list(zip(LABELS, (0, 50, 100, 150), strict=True))


def test_the_images_of_a_tar_file_have_the_classes_of_the_members_of_their_name(tmp_path):
    for name in ("a.tar", "a.tar.gz", "a.tgz"):
        assert read(Shard(str(write_tar(tmp_path / name, members(IMAGES, LABELS))))) == EXPECTED
    image, _ = next(iter(Shard(str(tmp_path / "a.tar"))))
    assert image.name == f"{tmp_path / 'a.tar'}: 0.png"


@pytest.mark.parametrize(
    ("about", "label"),
    [
        ([("json", {"class_name": "owl", "id": 3})], ""),
        ([("json", {"label": "owl"})], ""),
        ([("json", {"cls": "owl"})], ""),
        ([("json", {"label": "bird", "species": "owl"})], "species"),
        ([("txt", "owl\n")], ""),
        ([("txt", "a photo of a bird"), ("cls", "owl")], ""),
        ([("kind", "owl"), ("cls", "bird")], "kind"),
    ],
)
def test_the_class_is_in_a_member_or_a_key_of_json(tmp_path, about, label):
    shard = write_tar(tmp_path / "a.tar", [("x/7.png", png(IMAGES[0])), *((f"x/7.{end}", content) for end, content in about)])
    assert read(Shard(str(shard), label)) == [("owl", 0)]


def test_class_numbers_need_a_list_of_names(tmp_path):
    shard = Shard(str(write_tar(tmp_path / "a.tar", members(IMAGES, ["0", "1", "0", "2"]))))
    with pytest.raises(
        InputError, match=r"0\.png in .*a\.tar has the class number 0, and there is no list of names: put classes"
    ):
        read(shard)
    other = tmp_path / "listed"
    other.mkdir()
    (other / "classes.txt").write_text("cat\ndog\nowl\n")
    assert read(Shard(str(write_tar(other / "a.tar", members(IMAGES, ["0", "1", "0", "2"]))))) == EXPECTED
    with pytest.raises(InputError, match=r"has the class number 3, which is not among the 3 of classes\.txt"):
        read(Shard(str(write_tar(other / "b.tar", members(IMAGES[:1], ["3"])))))


@pytest.mark.parametrize("value", [{"name": "owl"}, ["owl"], 1.5, True])
def test_a_class_that_is_neither_a_text_nor_a_whole_number_is_refused(tmp_path, value):
    shard = write_tar(tmp_path / "a.tar", [("7.png", png(IMAGES[0])), ("7.json", {"label": value})])
    with pytest.raises(InputError, match=r"The class of the image 7\.png in .*a\.tar is .*: expected a text or a whole number"):
        read(Shard(str(shard)))


def test_a_negative_class_number_is_no_name(tmp_path):
    shard = write_tar(tmp_path / "a.tar", members(IMAGES[:1], ["-1"]))
    (tmp_path / "classes.txt").write_text("cat\ndog\nowl\n")
    with pytest.raises(InputError, match=r"has the class number -1, which is not among the 3"):
        read(Shard(str(shard)))


def test_an_empty_line_in_the_list_of_names_does_not_shift_the_numbers(tmp_path):
    shard = Shard(str(write_tar(tmp_path / "a.tar", members(IMAGES[:1], ["0"]))))
    (tmp_path / "classes.txt").write_text("cat\n\nowl\n")
    with pytest.raises(InputError, match=r"Line 2 of classes\.txt next to the shards is empty"):
        read(shard)
    (tmp_path / "classes.txt").write_text("\ufeffcat\r\nowl\r\n\r\n", encoding="utf-8")  # as editors on Windows write it
    assert read(shard) == [("cat", 0)]


def test_other_members_are_ignored_and_an_image_without_a_class_is_named(tmp_path):
    extra = [("readme.md", "hello"), ("9.png", png(IMAGES[0])), (".hidden.png", b"")]
    with pytest.raises(
        InputError, match=r"9\.png in .*a\.tar has no class: expected its name in 9\.cls or 9\.txt, or in 9\.json"
    ):
        read(Shard(str(write_tar(tmp_path / "a.tar", [*members(IMAGES, LABELS), *extra]))))
    with pytest.raises(InputError, match=r"a\.tar has no image"):
        read(Shard(str(write_tar(tmp_path / "a.tar", [("readme.md", "hello")]))))
    twice = [("1.png", png(IMAGES[0])), ("1.depth.png", png(IMAGES[0])), ("1.cls", "cat")]
    with pytest.raises(InputError, match=r"1\.png and 1\.depth\.png in .* are two images with the same name"):
        read(Shard(str(write_tar(tmp_path / "a.tar", twice))))


@pytest.mark.parametrize(
    ("others", "label", "why"),
    [
        (
            [],
            "",
            r"found only the image \(.*\): add the class, unpack the shard if 'cats' is the class, or name another member or key",
        ),
        ([("2.kind", "cat")], "", r"found cats/2\.kind: add the class, or name another member or key with --label"),
        ([("2.json", {"kind": "cat", "id": 1})], "", r"found cats/2\.json \(keys kind, id\): add the class, or name"),
        ([("2.cls", "cat")], "kind", r"the member 2\.kind, or the key 'kind' in 2\.json; found cats/2\.cls: add"),
    ],
)
def test_where_a_class_was_expected_and_what_there_is_instead(tmp_path, others, label, why):
    content = [("cats/2.png", png(IMAGES[0])), *((f"cats/{name}", about) for name, about in others)]
    with pytest.raises(InputError, match=rf"The image cats/2\.png in .*a\.tar has no class: expected .*{why}"):
        read(Shard(str(write_tar(tmp_path / "a.tar", content)), label))


@pytest.mark.parametrize(
    ("end", "content", "why"),
    [
        ("cls", b"caf\xe9", r"has no class \('utf-8' codec can't decode .*\): write its name in UTF-8, or choose another"),
        ("txt", b"\xff\xfec\0", r"has no class \('utf-8' codec can't decode"),
        ("kind", b"\xff", r"has no class \('utf-8' codec can't decode"),
        ("json", b'{"label": ', r"is not JSON \(Expecting value: line 1 .*\): replace it, or choose another member"),
        ("json", b'{"label": "caf\xe9"}', r"is not JSON \('utf-8' codec can't decode"),
        ("json", b"[" * 100_000, r"is not JSON \("),
    ],
)
def test_a_member_with_the_class_that_cannot_be_decoded_is_named(tmp_path, end, content, why):
    shard = write_tar(tmp_path / "a.tar", [*members(IMAGES, LABELS), ("x/7.png", png(IMAGES[0])), (f"x/7.{end}", content)])
    if end == "kind":
        write_tar(shard, [("x/7.png", png(IMAGES[0])), (f"x/7.{end}", content)])
    with pytest.raises(InputError, match=rf"The member x/7\.{end} of the shard .*a\.tar {why}") as error:
        read(Shard(str(shard), "kind" if end == "kind" else ""))
    assert not isinstance(error.value, DamagedShard)


def test_other_members_need_not_be_decoded(tmp_path):
    content = [("7.png", png(IMAGES[0])), ("7.cls", "\ufeffowl\r\n"), ("7.txt", b"\xff"), ("7.json", b"{")]
    assert read(Shard(str(write_tar(tmp_path / "a.tar", content)))) == [("owl", 0)]


def test_folders_may_have_full_stops_in_their_names(tmp_path):
    content = [("v1.0/a.b/7.png", png(IMAGES[0])), ("v1.0/a.b/7.cls", "owl")]
    assert read(Shard(str(write_tar(tmp_path / "a.tar", content)))) == [("owl", 0)]


@pytest.mark.parametrize("text", ["cat\ndog", "cat\r\n\r\ndog\r\n", "cat\u2028dog"])
@pytest.mark.parametrize("kind", ["cls", "txt", "json", "parquet", "label"])
def test_a_class_is_the_text_of_one_line(tmp_path, text, kind):
    def write(name):
        if kind == "parquet":
            return write_parquet(tmp_path / "a.parquet", IMAGES[:1], [name])
        if kind == "label":
            return write_parquet(tmp_path / "a.parquet", IMAGES[:1], [0], [name])
        return write_tar(
            tmp_path / "a.tar", [("7.png", png(IMAGES[0])), (f"7.{kind}", {"label": name} if kind == "json" else name)]
        )

    shard = Shard(str(write(text)))
    place = "row 0" if kind in ("parquet", "label") else rf"the member 7\.{kind}"
    with pytest.raises(
        InputError, match=rf"The class in {place} of the shard .*a\.\w+ has several lines \('cat.*dog'\): write one"
    ):
        read(shard)
    with pytest.raises(InputError, match=r"of the shard .* has several lines"):
        list(PLACES[Path(shard.name).suffix](shard.name, ""))
    assert read(Shard(str(write(" cat \n")))) == [("cat", 0)]


def test_a_parquet_file_has_texts_or_class_labels(tmp_path):
    assert read(Shard(str(write_parquet(tmp_path / "a.parquet", IMAGES, LABELS)))) == EXPECTED
    assert read(Shard(str(write_parquet(tmp_path / "b.parquet", IMAGES, [1, 2, 1, 0], ["owl", "cat", "dog"])))) == EXPECTED
    named = write_parquet(tmp_path / "c.parquet", IMAGES, [0, 0, 0, 0], ["animal"], species=LABELS)
    assert read(Shard(str(named))) == [("animal", value) for _, value in EXPECTED]
    assert read(Shard(str(named), "species")) == EXPECTED
    with pytest.raises(InputError, match=r"c\.parquet has no column 'kind'; it has image, label, species"):
        read(Shard(str(named), "kind"))


def test_a_column_called_name_is_not_the_class_if_there_are_class_labels(tmp_path):
    files = [f"{number}.png" for number in range(len(IMAGES))]
    both = write_parquet(tmp_path / "a.parquet", IMAGES, [1, 2, 1, 0], ["owl", "cat", "dog"], name=files)
    assert read(Shard(str(both))) == EXPECTED
    named = write_parquet(tmp_path / "b.parquet", IMAGES, [0, 0, 0, 0], ["animal"], class_name=LABELS)
    assert read(Shard(str(named))) == EXPECTED


def test_columns_of_lists_and_structures_are_no_classes_and_no_images(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    stored = [{"bytes": png(image), "path": None} for image in IMAGES[:1]]
    pq.write_table(pa.table({"image": stored, "label": [["cat"]], "tags": [{"a": "cat"}]}), tmp_path / "a.parquet")
    for label in ("label", "tags"):
        with pytest.raises(
            InputError, match=rf"The column '{label}' of the shard .*a\.parquet has no class names: expected texts"
        ):
            read(Shard(str(tmp_path / "a.parquet"), label))
    pq.write_table(pa.table({"image": [["a"]], "label": ["cat"]}), tmp_path / "b.parquet")
    with pytest.raises(InputError, match=r"must have one column of images; found 0 among .*: give it the type Image"):
        read(Shard(str(tmp_path / "b.parquet")))
    pq.write_table(pa.table({"image": stored, "mask": stored, "label": ["cat"]}), tmp_path / "c.parquet")
    with pytest.raises(InputError, match=r"found 2 among the columns image, mask: remove the others"):
        read(Shard(str(tmp_path / "c.parquet")))


def test_a_parquet_file_without_the_columns_is_refused(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    stored = [{"bytes": png(image), "path": None} for image in IMAGES]
    pq.write_table(pa.table({"image": stored, "label": [0, 1, 0, 2]}), tmp_path / "numbers.parquet")
    with pytest.raises(InputError, match=r"numbers\.parquet has no column of class names among image, label: expected texts"):
        read(Shard(str(tmp_path / "numbers.parquet")))
    pq.write_table(pa.table({"label": LABELS}), tmp_path / "none.parquet")
    with pytest.raises(InputError, match="must have one column of images; found 0 among the columns label"):
        read(Shard(str(tmp_path / "none.parquet")))
    pq.write_table(pa.table({"image": stored, "label": ["cat", None, "cat", "owl"]}), tmp_path / "hole.parquet")
    with pytest.raises(InputError, match=r"Row 1 of the shard .*hole\.parquet has no class"):
        read(Shard(str(tmp_path / "hole.parquet")))


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
    return [[shard.name.rpartition("/")[2] for shard in part] for part in found]


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
    train, test = find_shards(str(tmp_path))
    assert (len(train), len(test)) == (2, 1)
    other = tmp_path / "other"
    for name in ("train/0.tar", "val/0.tar"):
        (other / name).parent.mkdir(parents=True)
        (other / name).touch()
    assert [[shard.name for shard in part] for part in find_shards(str(other))] == [
        [f"{other}/train/0.tar"],
        [f"{other}/val/0.tar"],
    ]


@pytest.mark.parametrize(
    "place", ["training", "./training", "training/", ".//training/.", "training/*.tar", "training/{0..1}*.tar"]
)
def test_the_name_of_the_place_says_nothing_about_the_part_however_it_is_written(tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    Path("training").mkdir()
    names = ("0-a.tar", "1-b.tar") if "{" in place else ("train-0.tar", "val-0.tar")
    for name in names:
        Path("training", name).touch()
    parts = [[Path(shard.name).name for shard in part] for part in find_shards(place)]
    assert parts == ([[*names], []] if "{" in place else [["train-0.tar"], ["val-0.tar"]])


@pytest.mark.parametrize("pattern", ["data/*/*.tar", "data/**/*.tar", "./data/*/{0..1}.tar", "memory://data/*/*.tar"])
def test_the_folders_that_a_pattern_matches_are_parts(tmp_path, monkeypatch, pattern):
    import fsspec

    monkeypatch.chdir(tmp_path)
    for name in ("data/train/0.tar", "data/val/0.tar"):
        Path(name).parent.mkdir(parents=True)
        Path(name).touch()
        fsspec.filesystem("memory").pipe(f"/{name}", b"")
    assert [[Path(shard.name).parent.name for shard in part] for part in find_shards(pattern)] == [["train"], ["val"]]


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
        train, _ = find_shards(pattern)
        assert [shard.name.rpartition("/")[2] for shard in train] == ["a-000.tar", "a-001.tar", "a-002.tar"]
        assert [read(shard) for shard in train] == [EXPECTED] * 3
    with pytest.raises(InputError, match=r"The shard nowhere://a/b\.tar cannot be read at all"):
        read(Shard("nowhere://a/b.tar"))


def test_shards_are_read_from_the_web(tmp_path):
    pytest.importorskip("aiohttp")
    for number in range(2):
        write_tar(tmp_path / f"a-{number:03}.tar", members(IMAGES, LABELS))
        write_parquet(tmp_path / f"b-{number:03}.parquet", IMAGES, LABELS)
    quiet = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(quiet, directory=str(tmp_path))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        place = f"http://127.0.0.1:{server.server_port}"
        for pattern in ("a-{000..001}.tar", "b-{000..001}.parquet"):
            train, _ = find_shards(f"{place}/{pattern}")
            assert [read(shard) for shard in train] == [EXPECTED, EXPECTED]
        with pytest.raises(DamagedShard, match=r"absent\.tar cannot be read at all"):
            read(Shard(f"{place}/absent.tar"))
        server.shutdown()


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
