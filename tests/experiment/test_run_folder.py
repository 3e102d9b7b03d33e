"""The records of a run as lines of JSON."""

import pytest

from mgclip.errors import InputError
from mgclip.experiment import run_folder


def test_a_damaged_line_is_named(tmp_path):
    (tmp_path / "records.jsonl").write_text('{"task": 0}\nnot json\n{"task": 2}\n')
    with pytest.raises(InputError, match=r"Line 2 of .*records\.jsonl is not JSON"):
        run_folder.read_records(tmp_path)


def test_records_accept_any_class_name(tmp_path):
    record = {
        "task": 0,
        "classes": ["a\u2028b", "\u0085", "犬", '"\n'],
        "classes_seen": 4,
        "test_images": 4,
        "accuracy": 1.0,
        "accuracy_per_task": [1.0],
        "gap": {"positive": None, "negative": None},
        "epochs": 1,
        "seconds": {"learn": 1.0, "evaluate": 0.5},
    }
    for _ in range(2):
        run_folder.append_record(tmp_path, record)
    with (tmp_path / "records.jsonl").open("ab") as file:
        file.write(b'{"classes": ["\\u72')
    assert run_folder.read_records(tmp_path) == [record, record]
    assert run_folder.kept_records(tmp_path, 1) == [record]


def test_a_run_of_a_method_that_is_not_installed_says_what_to_do(tmp_path):
    (tmp_path / "recipe.yaml").write_text("name: mine\nmethods: [simplecil, of-the-lab]\nof_the_lab_steps: 3\n")
    with pytest.raises(
        InputError, match=r"is a run of the method of-the-lab, which is not installed: install its package, or"
    ) as said:
        run_folder.read_recipe(tmp_path)
    assert "of_the_lab_steps" not in str(said.value)
