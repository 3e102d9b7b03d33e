"""What goes in and out of a command: lists on standard input, output in any encoding, closed streams, `~` in paths, ports."""

import csv
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from mgclip import MGCLIP, Settings

NAMES = ("čaj", "猫", "crème")


@pytest.fixture(scope="module")
def shop(tiny_clip, icons, tmp_path_factory):
    """A model of three classes whose names not every encoding holds, and a folder with their images."""
    place = tmp_path_factory.mktemp("shop")
    files, labels = [], []
    for c, name in enumerate(NAMES):
        (place / "photos" / name).mkdir(parents=True)
        for i in range(2):
            files.append(place / "photos" / name / f"{name}{i}.png")
            Image.fromarray(icons["x_train"][12 * c + i]).save(files[-1])
            labels.append(c)
    model = MGCLIP.from_pretrained(tiny_clip, settings=Settings(epochs=1, head_epochs=1, adapter_batch_size=6))
    model.learn(files, labels, NAMES)
    model.save_pretrained(place / "m", note={"what": "learned", "classes": list(NAMES)})
    return place


def mgclip_in(place, *words, given=b"", encoding="utf-8", **options):
    variables = {**os.environ, "PYTHONIOENCODING": encoding}
    options = {"stdout": subprocess.PIPE, **options}
    return subprocess.run(
        [sys.executable, "-m", "mgclip", *words], cwd=place, input=given, stderr=subprocess.PIPE, env=variables, timeout=120, **options
    )  # fmt: skip


def test_lists_as_other_programs_write_them():
    """Each form of a list gives the same names."""
    program = (
        "import sys; from mgclip.app.stdin_list import listed_files; print([str(each) for each in listed_files(['-'])])"
    )
    names = ["a.png", "b c.png", "é.png", f"{Path.home()}/d.png"]
    lines = ["a.png", "b c.png", "é.png", "~/d.png"]
    text = "\n".join(lines)
    forms = {
        "lines": text.encode(),
        "last line ended": text.encode() + b"\n\n",
        "Windows": text.replace("\n", "\r\n").encode(),
        "byte-order mark": b"\xef\xbb\xbf" + text.encode(),
        "PowerShell": text.encode("utf-16"),
        "null characters": "\0".join(lines).encode() + b"\0",
        "double quotes": "\n".join(f'"{line}"' for line in lines).encode(),
        "single quotes": "\n".join(f"'{line}'" for line in lines).encode(),
    }
    for form, given in forms.items():
        done = subprocess.run(
            [sys.executable, "-X", "utf8", "-c", program], input=given, capture_output=True, timeout=60
        )
        assert done.stdout.decode().strip() == str(names), (form, done.stderr)
    done = subprocess.run([sys.executable, "-c", program], input=b"a\nb.png\0c.png\0", capture_output=True, timeout=60)
    assert done.stdout.decode().strip() == str(["a\nb.png", "c.png"])


def test_what_is_no_image_on_a_list_is_refused_or_left_out(shop, tmp_path, mgclip, monkeypatch):
    good = sorted((shop / "photos").glob("*/*.png"))[0]
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "link").symlink_to("nothing")
    server = socket.socket(socket.AF_UNIX)
    monkeypatch.chdir(tmp_path)
    server.bind("socket")
    bad = [
        str(shop / "photos"), "pipe", "loop", "link", "socket", "/dev/zero", "a" * 300 + ".png", "nothing.png", f"{good}/x.png", "x\0y.png",
    ]  # fmt: skip
    for name in bad:
        given = f"{name}\n{good}\n".encode()
        monkeypatch.setattr(sys, "stdin", _Stdin(given))
        code, out, err = mgclip("predict", shop / "m", "-", "--quiet")
        assert (code, out, len(err.splitlines())) == (2, "", 1), (name, err)
        assert "unexpected" not in err
    monkeypatch.setattr(sys, "stdin", _Stdin("\n".join([*bad, str(good)]).encode()))
    code, out, err = mgclip("predict", shop / "m", "-", "--on-bad-image", "skip", "--quiet")
    assert (code, len(out.splitlines()), err.count("skipped: ")) == (0, 1, len(bad))
    server.close()


class _Stdin:
    """Standard input with these bytes: every line of its own, so that the list has no null character at its beginning."""

    def __init__(self, given):
        self.buffer = iter(given.splitlines(keepends=True))


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-16"])
def test_output_in_any_encoding_is_complete(shop, encoding):
    count, words = 6, ("photos", "--quiet")
    plain = mgclip_in(shop, "predict", "m", *words, encoding=encoding)
    assert (plain.returncode, plain.stderr) == (0, b"")
    assert len(plain.stdout.decode(encoding).splitlines()) == count
    asked = mgclip_in(shop, "predict", "m", *words, "--json", encoding=encoding)
    found = [json.loads(line) for line in asked.stdout.decode(encoding).splitlines()]
    assert sorted(Path(each["image"]).parent.name for each in found) == sorted(2 * NAMES)
    assert {each["class"] for each in found} <= set(NAMES)


@pytest.mark.parametrize(
    "words", [("predict", "m", "photos", "--csv", "--quiet"), ("evaluate", "m", "photos"), ("history", "m")]
)
def test_other_output_is_complete_too(shop, words):
    done = mgclip_in(shop, *words, encoding="ascii")
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\\u732b" in done.stdout


def test_a_reader_that_leaves_and_a_closed_stdout_end_quietly(shop):
    for words in (
        ("predict", "m", "photos", "--quiet"),
        ("predict", "m", "photos", "--csv"),
        ("evaluate", "m", "photos"),
        ("history", "m"),
    ):
        read, write = os.pipe()
        os.close(read)
        done = mgclip_in(shop, *words, stdout=write)
        os.close(write)
        assert (done.returncode in (0, 1, 141), done.stderr) == (True, b""), words
        command = f'exec "{sys.executable}" -m mgclip {" ".join(words)} >&-'
        done = subprocess.run(["sh", "-c", command], cwd=shop, stderr=subprocess.PIPE, timeout=120)
        assert (done.returncode, done.stderr) == (0, b""), words


def test_the_home_folder_in_every_path(shop, tiny_clip, tmp_path, mgclip, monkeypatch):
    home = tmp_path / "home"
    shutil.copytree(shop / "photos", home / "photos")
    shutil.copytree(tiny_clip, home / "clip")
    (home / "names.csv").write_text("folder,name,text\n" + "".join(f"{name},{name},{name}\n" for name in NAMES))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("HOME", str(home))
    commands = [
        ("learn", "~/photos", "--model=~/shop", "--base", "~/clip", "--names", "~/names.csv", "--test=~/photos", "--retention=~/photos",
         "epochs=0", "head_epochs=1", "--quiet"),
        ("predict", "~/shop", "~/photos", "--quiet"),
        ("evaluate", "~/shop", "~/photos", "--csv", "~/classes.csv", "--page=~/page.html"),
        ("export", "~/shop", "--to=~/out", "--base=~/clip", "--quiet"),
        ("gap", "~/clip", "~/photos", "--out=~/gap", "--quiet"),
        ("relabel", "~/shop", "crème", "~/x"),
        ("history", "~/shop"),
        ("run", "folder", "data_path=~/stream", "clip=~/clip", "methods=zero-shot", "classes_per_task=3", "class_order=[0,1,2]", "--out=~/run",
         "--quiet"),
        ("report", "~/run", "--out", "~/report.html"),
    ]  # fmt: skip
    for part in ("train", "test"):
        shutil.copytree(home / "photos", home / "stream" / part)
    for words in commands:
        code, _, err = mgclip(*words)
        assert code == 0, (words, err)
    assert not list(work.iterdir())
    assert {"shop", "out", "gap", "run", "classes.csv", "page.html", "report.html"} <= {
        path.name for path in home.iterdir()
    }
    assert (
        MGCLIP.from_pretrained("~/shop").class_names == ("~/x", "čaj", "猫")
        or "~/x" in MGCLIP.from_pretrained("~/shop").class_names
    )
    MGCLIP.from_pretrained("~/shop").save_pretrained("~/again")
    assert (home / "again" / "mgclip.json").is_file()


@pytest.mark.parametrize("name", ["unknown", "Unknown"])
def test_a_class_called_unknown_is_told_from_the_answer(shop, tmp_path, mgclip, name):
    shutil.copytree(shop / "m", tmp_path / "m")
    photos = shop / "photos"
    code, out, err = mgclip("predict", tmp_path / "m", photos, "--unknown", "0.5", "--also", f"a zebra,{name}", "--csv")
    assert (code, out) == (2, "")
    assert f"A class is called '{name}', which is the answer for unknown images" in err
    assert mgclip("relabel", tmp_path / "m", "čaj", name)[0] == 0
    code, out, _ = mgclip("predict", tmp_path / "m", photos, "--csv", "--top", "3", "--quiet")
    assert name in {row["class"] for row in csv.DictReader(out.splitlines())}
    for form in ((), ("--json",), ("--csv",)):
        code, out, err = mgclip("predict", tmp_path / "m", photos, "--unknown", "0.5", *form)
        assert (code, out) == (2, "")
        assert f"A class is called '{name}'" in err
    from mgclip.app.studio.work import StudioModel
    from mgclip.errors import InputError

    studio = StudioModel(tmp_path / "m", base="", most=10)
    files = sorted(photos.glob("*/*.png"))
    with pytest.raises(InputError, match=f"A class is called '{name}'"):
        studio.predict(files, threshold=0.5)
    assert len(studio.predict(files)[0]) == len(files)


def test_a_taken_port_and_a_wrong_host_are_reported_first(mgclip, tmp_path):
    pytest.importorskip("gradio")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, out, err = mgclip("studio", tmp_path / "new", "--base", "iconclip", "--port", port)
        assert (code, out, err) == (2, "", f"mgclip: Port {port} is taken: give another one with --port.\n")
    for host, sentence in (
        ("203.0.113.7", "203.0.113.7 is not an address of this machine: give one that is with --host."),
        ("no.such.name.invalid", "There is no host no.such.name.invalid: give an address of this machine with --host."),
        ("a" * 70, f"There is no host {'a' * 70}: give an address of this machine with --host."),
    ):
        code, out, err = mgclip("studio", tmp_path / "new", "--base", "iconclip", "--host", host, "--port", port)
        assert (code, out, err) == (2, "", f"mgclip: {sentence}\n")


def test_texts_that_the_clip_cuts_to_the_same_tokens_are_reported(icons, tiny_clip, tmp_path, mgclip):
    from conftest import month_folders

    month_folders(icons, tmp_path, {"march": range(3)}, 2)
    names = [str(name) for name in icons["class_names"][:3]]
    long = "a very " * 30
    texts = {names[0]: f"{long}red one", names[1]: f"{long}blue one", names[2]: "another"}
    (tmp_path / "names.csv").write_text(
        "folder,name,text\n" + "".join(f"{n},{n},{text}\n" for n, text in texts.items())
    )
    words = (
        "learn",
        tmp_path / "march",
        "--model",
        tmp_path / "m",
        "--base",
        tiny_clip,
        "--names",
        tmp_path / "names.csv",
        "--dry-run",
    )
    code, _, err = mgclip(*words)
    assert code == 0
    assert err.count("are the same to this CLIP") == 1
    assert "red one" in err and "blue one" in err and "another" not in err
