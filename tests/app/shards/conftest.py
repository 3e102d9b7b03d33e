"""Shards of drawings that the command learns."""

import pytest
from shards import members, write_parquet, write_tar


@pytest.fixture
def place(icons, tmp_path):
    """Two training shards of three classes and one to measure on; the drawings of two more classes."""
    names = [str(name) for name in icons["class_names"]]
    folder = tmp_path / "shards"
    folder.mkdir()
    for number in range(2):
        rows = [12 * c + 6 * number + i for c in range(3) for i in range(4)]
        write_tar(folder / f"train-{number}.tar", members(icons["x_train"][rows], [names[row // 12] for row in rows]))
    write_tar(folder / "test-0.tar", members(icons["x_test"][:16], [names[row // 4] for row in range(16)]))
    rows = [*range(36, 40), *range(48, 52)]
    write_parquet(tmp_path / "more.parquet", icons["x_train"][rows], [names[row // 12] for row in rows])
    return tmp_path
