"""Failures at addresses: a file that does not exist, and a server that cannot be reached."""

import errno
import io
import threading
import time
import types

import fsspec
import numpy as np
import pytest
from shards import EXPECTED, IMAGES, LABELS, members, read, write_parquet, write_tar
from web import serve

from mgclip.errors import DamagedShard, InputError, MGCLIPError
from mgclip.stream import remote
from mgclip.stream.remote import ask, failure
from mgclip.stream.shard_versions import shard_versions
from mgclip.stream.shards import Shard, find_shards


class ClientConnectorError(Exception):
    """As the library of the file system for the web calls it."""


def refused(status, holder="response"):
    """The error of a library that was refused a file."""
    error = RuntimeError(f"{status}, not this one")
    if holder == "response":
        error.response = types.SimpleNamespace(status_code=status)
    else:
        error.status = status
    return error


def caused_by(cause):
    error = FileNotFoundError("http://shop/a.tar")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (FileNotFoundError("a.tar"), ""),
        (caused_by(refused(404)), ""),
        (caused_by(refused(410, "status")), ""),
        (ValueError("damaged"), ""),
        (EOFError("the archive ends too early"), ""),
        (caused_by(ClientConnectorError("no route to host")), "no route to host"),
        (caused_by(refused(403)), "HTTP status 403: Forbidden"),
        (caused_by(refused(503, "status")), "HTTP status 503: Service Unavailable"),
        (refused(599), "HTTP status 599"),
        (ConnectionResetError(errno.ECONNRESET, "reset"), "[Errno 104] reset"),
        (TimeoutError(), "TimeoutError"),
        (PermissionError(errno.EACCES, "Permission denied"), "[Errno 13] Permission denied"),
    ],
)
def test_a_file_that_does_not_exist_differs_from_a_server_that_cannot_be_reached(error, reason):
    assert failure(error) == reason


def test_files_are_asked_about_at_the_same_time_and_within_a_limit():
    busy, most = [], []

    def question(number):
        busy.append(number)
        most.append(len(busy))
        time.sleep(0.01)
        busy.remove(number)
        return number

    assert ask(question, range(100)) == list(range(100))
    assert 2 <= max(most) <= remote.REQUESTS


def test_no_more_files_are_asked_about_after_an_error():
    asked = []

    def question(number):
        asked.append(number)
        threading.Event().wait(0.01)
        raise MGCLIPError("no network")

    with pytest.raises(MGCLIPError, match="no network"):
        ask(question, range(10_000))
    assert len(asked) < 1000


@pytest.fixture
def bucket():
    """A folder of a file system in memory with two shards; yields its address and the file system."""
    memory = fsspec.filesystem("memory")
    file = write_tar(io.BytesIO(), members(IMAGES, ["0", "1", "0", "2"]))
    memory.pipe({f"/shop/a-{number}.tar": file.getvalue() for number in (0, 2)})
    yield "memory://shop", memory
    memory.rm("/shop", recursive=True)


def test_missing_remote_shards_are_noticed_before_the_others_are_read(bucket):
    place, memory = bucket
    with pytest.raises(
        InputError,
        match=r"The shard memory://shop/a-1\.tar cannot be opened \(it does not exist\), and neither can 2 others "
        r"\(memory://shop/a-3\.tar, memory://shop/a-4\.tar\): restore it",
    ):
        find_shards(f"{place}/a-{{0..4}}.tar")
    with pytest.raises(InputError, match=r"b\.parquet cannot be opened \(it does not exist\): restore it"):
        find_shards(f"{place}/b.parquet")
    memory.mkdir("/shop/c.tar")
    with pytest.raises(InputError, match=r"c\.tar cannot be opened \(it is a folder\): restore it"):
        find_shards(f"{place}/c.tar")


def test_shards_that_were_listed_are_not_asked_about(bucket, monkeypatch):
    place, _ = bucket
    monkeypatch.setattr("mgclip.stream.shards.about", lambda address: pytest.fail(address))
    assert len(find_shards(f"{place}/*.tar").train) == 2


def test_a_server_that_cannot_be_reached_is_not_a_missing_shard(bucket, monkeypatch):
    place, memory = bucket

    def info(system, path):
        raise FileNotFoundError(path) from ClientConnectorError("no route to host")

    monkeypatch.setattr(type(memory), "info", info)
    with pytest.raises(
        MGCLIPError, match=r"shop/a-0\.tar cannot be reached \(no route to host\): run the command again later"
    ) as found:
        find_shards(f"{place}/a-{{0..2}}.tar")
    assert not isinstance(found.value, InputError)


def test_a_shard_that_cannot_be_reached_is_not_damaged(bucket, monkeypatch):
    """Otherwise it would be skipped with ``--on-bad-image skip``, and every shard after it."""
    place, memory = bucket

    def fails(system, path, *args, **options):
        raise FileNotFoundError(path) from ClientConnectorError("no route to host")

    monkeypatch.setattr(type(memory), "_open", fails)
    with pytest.raises(MGCLIPError, match=r"a-0\.tar cannot be read at all \(no route to host\): run the command again") as found:
        read(Shard(f"{place}/a-0.tar"))
    assert not isinstance(found.value, InputError)


@pytest.mark.parametrize("cause", [ClientConnectorError("no route to host"), refused(503)])
def test_a_list_of_classes_that_cannot_be_reached_is_not_a_missing_one(bucket, monkeypatch, cause):
    place, memory = bucket
    memory.pipe("/shop/classes.txt", b"cat\ndog\nowl\n")
    real = type(memory)._open

    def fails(system, path, *args, **options):
        if path.endswith(".txt"):
            raise FileNotFoundError(path) from cause
        return real(system, path, *args, **options)

    with monkeypatch.context() as patched:
        patched.setattr(type(memory), "_open", fails)
        shard = find_shards(f"{place}/a-0.tar").train[0]
        reason = r"no route to host|HTTP status 503: Service Unavailable"
        with pytest.raises(
            MGCLIPError, match=rf"shop/classes\.txt, which may list the class names, cannot be read \(({reason})\): run the"
        ) as found:
            read(shard)
        assert not isinstance(found.value, InputError)
    assert read(shard) == EXPECTED, "the failure was not remembered as no list"


def test_a_list_that_may_not_be_read_counts_as_missing(bucket, monkeypatch):
    """Object stores forbid what does not exist. The other usual name is tried."""
    place, memory = bucket
    memory.pipe("/shop/classnames.txt", b"cat\ndog\nowl\n")
    real = type(memory)._open

    def fails(system, path, *args, **options):
        if path.endswith("classes.txt"):
            raise FileNotFoundError(path) from refused(403)
        return real(system, path, *args, **options)

    monkeypatch.setattr(type(memory), "_open", fails)
    assert read(find_shards(f"{place}/a-0.tar").train[0]) == EXPECTED


def test_a_list_on_this_machine_that_cannot_be_read_is_not_a_missing_one(tmp_path):
    shard = Shard(str(write_tar(tmp_path / "a.tar", members(IMAGES, ["0", "1", "0", "2"]))))
    (tmp_path / "classes.txt").mkdir()
    with pytest.raises(MGCLIPError, match=r"classes\.txt, which may list the class names, cannot be read \(.*Is a directory"):
        read(shard)


@pytest.fixture
def web(tmp_path):
    pytest.importorskip("aiohttp")
    for number in range(2):
        write_tar(tmp_path / f"a-{number}.tar", members(IMAGES, LABELS))
        write_tar(tmp_path / f"n-{number}.tar", members(IMAGES, ["0", "1", "0", "2"]))
        write_parquet(tmp_path / f"b-{number}.parquet", IMAGES, LABELS)
    return tmp_path


@pytest.mark.parametrize("name", ["a-{0..3}.tar", "b-{0..3}.parquet"])
def test_missing_shards_on_the_web_are_noticed_before_the_others_are_read(web, name):
    with serve(web) as (place, requests):
        with pytest.raises(
            InputError, match=r"-2\.\w+ cannot be opened \(it does not exist\), and neither can 1 other \(http.*-3\."
        ):
            find_shards(f"{place}/{name}")
        asked = [command for command, name in requests if not name.partition(".")[0].endswith(("2", "3"))]
        assert asked == ["HEAD", "HEAD"], "no shard is fetched"
        assert len(find_shards(f"{place}/{name.replace('3', '1')}").train) == 2
        with pytest.raises(DamagedShard, match=r"-9\.\w+ cannot be read at all"):
            read(Shard(f"{place}/{name.replace('{0..3}', '9')}"))


@pytest.mark.parametrize("name", ["a-1.tar", "b-1.parquet"])
@pytest.mark.parametrize("status", [403, 503])
def test_a_shard_on_the_web_that_is_refused_is_not_damaged(web, name, status):
    with serve(web, refused={name: status}) as (place, _):
        for use in (find_shards, lambda address: read(Shard(address))):
            with pytest.raises(
                MGCLIPError, match=rf"{name} cannot be .* \(HTTP status {status}: \w+.*\): run the command"
            ) as found:
                use(f"{place}/{name}")
            assert not isinstance(found.value, InputError)


@pytest.mark.parametrize("name", ["a-1.tar", "b-1.parquet"])
def test_a_server_that_has_gone_is_not_a_damaged_shard(web, name):
    with serve(web) as (place, _):
        shard = find_shards(f"{place}/{name}").train[0]
    for use in (read, lambda shard: find_shards(shard.name)):
        with pytest.raises(MGCLIPError, match=r"(?i)\(cannot connect to host 127\.0\.0\.1.*: run the command") as found:
            use(shard)
        assert not isinstance(found.value, InputError)


@pytest.fixture
def large(tmp_path):
    """A folder with shards that are larger than the part of a file for which a web server is asked at a time."""
    pytest.importorskip("aiohttp")
    noise = np.random.default_rng(0).integers(256, size=(1400, 1400, 3), dtype=np.uint8)
    write_tar(tmp_path / "a.tar", members([noise, *IMAGES], ["noise", *LABELS]))
    write_tar(tmp_path / "a.tar.gz", members([noise, *IMAGES], ["noise", *LABELS]))
    write_parquet(tmp_path / "a.parquet", [noise, *IMAGES], ["noise", *LABELS])
    return tmp_path


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz"])
def test_a_tar_shard_is_read_from_a_server_that_gives_no_parts_of_it(large, name):
    with serve(large) as (place, requests):
        assert read(find_shards(f"{place}/{name}").train[0])[1:] == EXPECTED
        assert ("GET", name) in requests


def test_a_parquet_shard_on_a_server_that_gives_no_parts_of_it_is_not_damaged(large):
    """Otherwise it would be skipped with ``--on-bad-image skip``."""
    with serve(large) as (place, _):
        with pytest.raises(InputError, match=r"The server of http.*/a\.parquet gives a file only from its beginning") as found:
            read(Shard(f"{place}/a.parquet"))
        assert not isinstance(found.value, DamagedShard)


def test_a_shard_on_the_web_may_be_read_slowly(large, monkeypatch):
    """The web library gives up a file of which the end is not read in time, by default after five minutes."""
    import aiohttp
    from fsspec.implementations.http import HTTPFileSystem

    monkeypatch.setattr("aiohttp.client.DEFAULT_TIMEOUT", aiohttp.ClientTimeout(total=0.5))
    HTTPFileSystem.clear_instance_cache()
    with serve(large) as (place, _):
        images = iter(Shard(f"{place}/a.tar"))
        next(images)
        time.sleep(0.7)
        assert len(list(images)) == len(EXPECTED)
    HTTPFileSystem.clear_instance_cache()


def test_a_tar_shard_on_the_web_is_read_as_the_configuration_of_fsspec_says(web, monkeypatch):
    from fsspec.implementations.http import get_client

    made = []

    async def make_client(**options):
        made.append(options)
        return await get_client(**options)

    login = {"headers": {"Authorization": "Bearer 1"}}
    monkeypatch.setitem(fsspec.config.conf, "http", {"client_kwargs": login, "get_client": make_client})
    with serve(web) as (place, _):
        assert read(Shard(f"{place}/a-0.tar"))
    assert made
    assert all(options.get("headers") == login["headers"] for options in made)


def test_a_list_of_classes_on_the_web_that_cannot_be_reached_is_not_a_missing_one(web):
    refuses = {"classes.txt": 503}
    with serve(web, refuses) as (place, _):
        shard = find_shards(f"{place}/n-0.tar").train[0]
        with pytest.raises(
            MGCLIPError, match=r"http://.*/classes\.txt, which may list .* \(HTTP status 503: Service Unavailable\)"
        ):
            read(shard)
        refuses.clear()
        with pytest.raises(InputError, match=r"has the class number 0, and there is no list of names: put classes\.txt next to"):
            read(shard)
        (web / "classes.txt").write_text("cat\ndog\nowl\n")
        shard_versions([shard])  # forgets the lists
        assert read(shard) == EXPECTED
