"""``mgclip report``."""

import json

from made_runs import make_run


def test_json_of_a_report_keeps_characters_that_the_output_can_write(mgclip, tmp_path):
    run = make_run(tmp_path / "čaj 猫")
    code, out, _ = mgclip("report", run, "--json")
    page = tmp_path / "čaj 猫" / "report.html"
    assert code == 0
    assert json.loads(out) == {"report": str(page), "bytes": page.stat().st_size, "runs": [str(run)]}
    assert str(page) in out
