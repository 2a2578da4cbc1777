"""The benchmarks run; what they measure is for quiet machines to say."""

from __future__ import annotations

import json
import os
import subprocess
import sys

BENCH = [sys.executable, "-P", "-m", "bench"]


def run_bench(*arguments: str) -> str:
    environment = os.environ | {"PYTHONPATH": os.path.dirname(os.path.dirname(__file__))}
    done = subprocess.run(
        [*BENCH, *arguments], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_reload_is_measured(tmp_path) -> None:
    figures = tmp_path / "figures.json"
    few = ["--edits", "8", "--users", "300", "--large-edits", "2"]
    table = run_bench("reload", *few, "--json", str(figures))
    report = json.loads(figures.read_text())
    assert report["benchmark"] == "reload"
    rows = {row["what"]: row for row in report["rows"] if not row["what"].startswith(" ")}
    assert {what: row["count"] for what, row in rows.items()} == {
        "small policy: edit to in force": 8,
        "300 users: save to in force": 2,
        "300 users: one line edited": 2,
    }
    assert all(row["median_ms"] > 0 for row in rows.values())
    for row in report["rows"]:
        assert 0 <= row["median_ms"] <= row["p99_ms"] <= row["max_ms"]
        assert row["what"] in table
