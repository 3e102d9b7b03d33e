"""What the report rejects: folders that are not runs, runs without a record, damaged files, files that cannot be written."""

import pytest
from made_runs import make_run

from mgclip.errors import InputError
from mgclip.report.page import write_report


def spoil(run, file, text):
    (run / file).write_bytes(text)


@pytest.mark.parametrize(
    ("file", "text", "sentence"),
    [
        ("recipe.yaml", b"\xff", "is not YAML"),
        ("environment.json", b"{", "environment.json is not JSON: restore it"),
        ("environment.json", b"[1]", r"environment.json is damaged \(the content must be a mapping; found \[1\]\)"),
        ("environment.json", b'{"format": 3}', r"has files of format 3; this version reads formats up to 2: upgrade mg-clip"),
        ("mg-clip/records.jsonl", b"oops\n{}\n", "Line 1 of .* is not JSON"),
        ("mg-clip/records.jsonl", b"\xff\xfe", "records.jsonl cannot be read"),
        ("mg-clip/records.jsonl", b"{}\n", r"Line 1 of .* is damaged \(task is missing\)"),
        ("mg-clip/records.jsonl", b"3\n", "Line 1 of .* is damaged"),
        ("mg-clip/summary.json", b"{'", "summary.json is not JSON"),
        ("mg-clip/summary.json", b'{"retention": 3}', r"summary.json is damaged \(retention"),
        ("mg-clip/final.json", b"", "final.json is not JSON"),
        ("mg-clip/final.json", b'{"classes": [{}]}', r"final.json is damaged \(classes.0.name"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, file, text, sentence):
    run = make_run(tmp_path / "run")
    spoil(run, file, text)
    with pytest.raises(InputError, match=sentence):
        write_report([run], tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_records_out_of_order_are_rejected(tmp_path):
    run = make_run(tmp_path / "run")
    file = run / "mg-clip" / "records.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(InputError, match=r"Line 1 of .* is not the record of task 1"):
        write_report([run], tmp_path / "page.html")


def test_a_folder_that_is_not_a_run_is_rejected(tmp_path):
    empty = make_run(tmp_path / "empty", done={"zero-shot": 0, "mg-clip": 0})
    with pytest.raises(InputError, match="has no finished task yet"):
        write_report([empty], tmp_path / "page.html")
    with pytest.raises(InputError, match=r"is not a run, because it has no recipe.yaml"):
        write_report([tmp_path], tmp_path / "page.html")
    with pytest.raises(InputError, match="A report needs at least one run"):
        write_report([], tmp_path / "page.html")
    run = make_run(tmp_path / "run")
    for place in (tmp_path, run / "recipe.yaml" / "page.html"):
        with pytest.raises(InputError, match=r"cannot be written \("):
            write_report([run], place)
