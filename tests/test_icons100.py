"""The embedded default at full size: what the README promises of it."""

import json

import pytest
from typer.testing import CliRunner

from mgclip.app.main import app


@pytest.mark.slow
def test_the_demonstration(tmp_path):
    done = CliRunner().invoke(app, ["run", "icons100", "--out", str(tmp_path / "run"), "--json", "--quiet"])
    assert done.exit_code == 0, done.output
    methods = json.loads(done.stdout)["methods"]
    assert methods["zero-shot"]["last"] >= 0.5
    assert methods["mg-clip"]["last"] >= methods["fine-tune"]["last"] + 0.03
    assert methods["mg-clip"]["last"] >= methods["zero-shot"]["last"] + 0.05
