"""What differs between Linux, macOS and Windows, as far as one of them shows it."""

import ast
import io
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import mgclip as package
import mgclip.words as words_module
from mgclip.app import image_arguments, streams
from mgclip.clip.load import is_hub_id
from mgclip.errors import InputError

SOURCES = sorted(Path(package.__file__).parent.rglob("*.py"))


def without_encoding(tree):
    """The lines on which a file is read or written as text in the encoding of the system."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name | ast.Attribute):
            continue
        name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
        given = {keyword.arg for keyword in node.keywords}
        modes = [each.value for each in node.args if isinstance(each, ast.Constant) and isinstance(each.value, str)]
        binary = any("b" in mode for mode in modes)
        opens_text = name in ("read_text", "write_text") or (name in ("open", "fdopen") and modes and not binary)
        if opens_text and "encoding" not in given and not (name == "write_text" and isinstance(node.func, ast.Name)):
            yield node.lineno


def test_text_files_have_an_encoding_that_does_not_depend_on_the_system():
    found = [f"{file.name}:{line}" for file in SOURCES for line in without_encoding(ast.parse(file.read_text(encoding="utf-8")))]
    assert found == []


def test_no_module_needs_what_only_unix_has():
    modules = [".".join(file.relative_to(Path(package.__file__).parents[1]).with_suffix("").parts) for file in SOURCES]
    program = (
        "import importlib, sys\n"
        "for name in ('resource', 'fcntl', 'pwd', 'grp', 'termios'): sys.modules[name] = None\n"
        f"for name in {[name for name in modules if 'studio' not in name and not name.endswith('__main__')]!r}:\n"
        "    importlib.import_module(name.removesuffix('.__init__'))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-500:]


def test_rows_of_answers_end_with_one_line_end_on_windows(monkeypatch, tmp_path):
    from mgclip.app import predict
    from mgclip.workflows.answers import Answer, RankedClass

    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="utf-8", newline="\r\n"))  # as Windows opens it
    show = predict._writer("csv", branches=False)
    show(Answer(tmp_path / "a.png", "cat", 0.9, (RankedClass("cat", 0.9, 0.9, 0.9),)))
    assert b"\r\r\n" not in written.getvalue()
    assert written.getvalue().count(b"\r\n") == 2


def test_a_closed_pipe_ends_a_command_quietly_on_windows_too(monkeypatch):
    ended = []
    monkeypatch.setattr(streams, "discard_output", ended.append)
    for windows, quiet in ((True, True), (False, False)):
        monkeypatch.setattr(streams, "WINDOWS", windows)
        try:
            with streams.end_on_closed_pipe():
                raise OSError(22, "Invalid argument")
        except OSError:
            assert not quiet
    assert ended == [sys.stdout]


def test_a_path_with_a_drive_is_not_the_name_of_a_repository():
    assert is_hub_id("openai/clip-vit-base-patch16")
    assert not is_hub_id("C:/clip")


def test_a_list_that_is_not_utf_8_is_named_where_file_names_are_text(monkeypatch):
    monkeypatch.setattr(image_arguments.os, "fsdecode", lambda name: name.decode("utf-8"))
    with pytest.raises(InputError, match="Line 2 of the list on standard input is not UTF-8"):
        list(image_arguments._names(io.BytesIO(b"a.png\nh\xfct.png\n")))


def test_a_command_to_type_has_the_quotes_of_the_system(monkeypatch):
    words = ["mgclip", "run", "--resume", "runs\\my run", "runs\\x"]
    assert words_module.command_line(words) == "mgclip run --resume 'runs\\my run' 'runs\\x'"
    monkeypatch.setattr(words_module, "os", SimpleNamespace(name="nt"))
    assert words_module.command_line(words) == 'mgclip run --resume "runs\\my run" runs\\x'
