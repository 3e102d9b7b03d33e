"""Shards are read in order, here or elsewhere; an error is one sentence that names the shard."""

import bz2
import gzip
import io
import lzma
import os
import tarfile

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from shards import EXPECTED, IMAGES, LABELS, members, png, read, write_parquet, write_tar
from web import serve

from mgclip.errors import DamagedShard, InputError, MGCLIPError
from mgclip.images import UnreadableImage
from mgclip.stream.parquet_shards import parquet_places
from mgclip.stream.shard_versions import shard_versions
from mgclip.stream.shards import READERS, Shard, find_shards
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
    packed = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}
    for kind, compress in packed.items():
        (tmp_path / f"cut.tar.{kind}").write_bytes(compress(whole)[:-80])  # of xz, more than the index at the end
        (tmp_path / f"text.tar.{kind}").write_bytes(b"not an archive" * 100)
        (tmp_path / f"changed.tar.{kind}").write_bytes(compress(whole)[:80] + bytes(200))
    (tmp_path / "none.tar").write_bytes(b"")
    (tmp_path / "text.tar").write_bytes(b"not an archive" * 100)
    (tmp_path / "text.parquet").write_bytes(b"not an archive" * 100)
    parquet = bytearray(write_parquet(tmp_path / "a.parquet", IMAGES, LABELS).read_bytes())
    parquet[4:40] = bytes(36)
    (tmp_path / "a.parquet").write_bytes(parquet)
    names = [f"{name}.tar.{kind}" for kind in packed for name in ("cut", "text", "changed")]
    for name in (*names, "none.tar", "text.tar", "text.parquet", "a.parquet", "absent.tar", "absent.parquet"):
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


@pytest.mark.parametrize("packed", [False, True])
def test_a_damaged_header_of_a_member_is_damage_and_not_the_end_of_the_archive(tmp_path, packed):
    whole = bytearray(write_tar(tmp_path / "a.tar", members(IMAGES, LABELS)).read_bytes())
    whole[512 * 8 + 5] ^= 1  # in the name of 2.png
    damaged = tmp_path / ("cut.tar.gz" if packed else "cut.tar")
    damaged.write_bytes(gzip.compress(whole) if packed else whole)
    seen = []
    with pytest.raises(
        DamagedShard, match=r"cut\.tar\S* cannot be read after 0\.png \(the header of a member is damaged: bad checksum\)"
    ):
        seen.extend(iter_into(seen, Shard(str(damaged))))
    assert [label for _, label in seen] == ["cat"]


@pytest.mark.parametrize("name", ["memory://none/a.parquet", "memory://none/a.tar", "none/a.tar", "none/a.parquet"])
def test_a_shard_that_does_not_exist_is_said_to_be_absent(name):
    with pytest.raises(
        DamagedShard, match=rf"^The shard {name} cannot be read at all \(No such file or directory\): replace it or leave"
    ):
        list(Shard(name))


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


@pytest.mark.parametrize("name", ["BZh9.png", "].png", "\x1f.png"])
def test_an_archive_whose_first_name_begins_like_a_compressed_file_is_not_one(tmp_path, name):
    file = write_tar(tmp_path / "a.tar", [(name, png(IMAGES[0])), (name.replace("png", "cls"), "cat")])
    assert read(Shard(str(file))) == [("cat", 0)]


@pytest.mark.parametrize("compress", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_of_joined_archives_not_only_the_first_is_read(tmp_path, compress):
    one = write_tar(tmp_path / "1.tar", members(IMAGES, LABELS)).read_bytes()
    name = tmp_path / "a.tar.gz"  # the content decides how it is compressed
    for joined in (compress(one + one), compress(one) + compress(one)):
        name.write_bytes(joined)
        with pytest.raises(
            InputError, match=r"The shard .*a\.tar\S* continues after the end of its archive, .* as separate files"
        ):
            read(Shard(str(name)))
    name.write_bytes(compress(one + bytes(1 << 21)))
    assert read(Shard(str(name))) == EXPECTED
    half = len(one) // 4  # an archive in several streams, as parallel programs compress it
    name.write_bytes(compress(one[:half]) + compress(one[half:]))
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


@pytest.mark.parametrize("kinds", [("binary", "string"), ("large_binary", "large_string"), ("binary_view", "string_view")])
def test_columns_of_bytes_and_text_may_have_any_type_that_arrow_has_for_them(tmp_path, kinds):
    if not hasattr(pa, kinds[0]):
        pytest.skip(f"this pyarrow has no type {kinds[0]}")
    stored = pa.array([png(image) for image in IMAGES], getattr(pa, kinds[0])())
    pq.write_table(pa.table([stored, pa.array(LABELS, getattr(pa, kinds[1])())], ["image", "label"]), tmp_path / "a.parquet")
    assert read(Shard(str(tmp_path / "a.parquet"))) == EXPECTED
    assert [place[2] for place in parquet_places(str(tmp_path / "a.parquet"), "")] == LABELS


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
    messages = datasets.logging.get_verbosity()
    with serve(tmp_path) as (place, _):
        for pattern in ("a-{000..001}.tar", "b-{000..001}.parquet"):
            train = find_shards(f"{place}/{pattern}").train
            assert [read(shard) for shard in train] == [EXPECTED, EXPECTED]
            assert datasets.logging.get_verbosity() == messages
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


def test_members_of_one_image_at_two_places_are_refused(tmp_path):
    """As `tar -r` adds them; `tar -x` would keep the last ones."""
    first, second = members(IMAGES[:2], LABELS[:2]), members(IMAGES[2:3], LABELS[2:3])
    file = write_tar(tmp_path / "a.tar", [*first, *second])
    for read_all in (lambda: read(Shard(str(file))), lambda: list(tar_places(str(file), ""))):
        with pytest.raises(InputError, match=r"a\.tar has members of the image /0 at two places, such as 0\.png: pack it again"):
            read_all()
