"""Damaged lists of files are refused."""

import pytest
from layouts import (
    make_cub,
    make_food,
)

from mgclip.errors import InputError
from mgclip.stream.datasets import load_dataset


def test_damaged_lists_are_refused(tmp_path):
    make_cub(tmp_path)
    lists = tmp_path / "CUB_200_2011"

    def damaged(file, old, new, sentence):
        text = (lists / file).read_text()
        (lists / file).write_text(text.replace(old, new, 1))
        with pytest.raises(InputError, match=sentence):
            load_dataset("cub200", path=str(tmp_path))
        (lists / file).write_text(text)

    damaged("classes.txt", "1 001.Black_footed_Albatross", "1 001.Penguin", r"must name class 1 001\.Black_footed_Albatross")
    damaged(
        "images.txt",
        "1 001.",
        "one 001.",
        r"images\.txt must contain a number and a word on each line; found 'one 001\.",
    )
    damaged("images.txt", "3 001.", "9999 001.", r"The lists in .* name different images")
    damaged("images.txt", "3 001.", "2 001.", r"images\.txt must contain each number once; found 2 again")
    damaged("image_class_labels.txt", "5 2", "5 201", "give image 5 no class or no part")
    make_food(tmp_path)
    (tmp_path / "food-101" / "meta" / "test.txt").write_text("plum_pie/1\n")
    with pytest.raises(InputError, match=r"test\.txt must name images of the data set's classes; found 'plum_pie/1\.jpg'"):
        load_dataset("food101", path=str(tmp_path))
    (tmp_path / "food-101" / "meta" / "test.txt").write_text("apple_pie/12\napple_pie/12\n")
    with pytest.raises(InputError, match=r"test\.txt must name each image once; found 'apple_pie/12\.jpg' again"):
        load_dataset("food101", path=str(tmp_path))
