"""The benchmarks run; what they measure is for quiet machines to say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from xml.etree import ElementTree as ET

TESTS = os.path.dirname(os.path.dirname(__file__))
BENCH = [sys.executable, "-P", "-m", "bench"]


def run_bench(*arguments: str) -> str:
    environment = os.environ | {"PYTHONPATH": f"{TESTS}:{TESTS}/system"}
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
    assert all(row["median"] > 0 for row in rows.values())
    for row in report["rows"]:
        assert 0 <= row["median"] <= row["p99"] <= row["max"]
        assert row["what"] in table


def test_cost_is_measured_with_each_tracer_in_turns(tmp_path) -> None:
    figures = tmp_path / "figures.json"
    few = ["--visits", "1", "--users", "300", "--peers", "strace", "sysdig"]
    run_bench("cost", *few, "--json", str(figures))
    rows = {row["what"]: row for row in json.loads(figures.read_text())["rows"]}
    # a system call that strace stops at takes many times longer, whatever else runs here
    assert rows["strace: traced process, another call"]["median"] > 1000
    assert rows["empty program"]["count"] == 1
    assert rows["uidtraced, 300 users: a call logged"]["count"] == 1
    assert rows["sysdig"]["count"] == 0
    assert "modern BPF probe" in rows["sysdig"]["note"]


def rows_of(path) -> list[dict]:
    return json.loads(path.read_text())["rows"]


def test_events_are_drained_into_a_file(tmp_path) -> None:
    figures = tmp_path / "figures.json"
    run_bench("events", "--events", "3000", "--turns", "1", "--json", str(figures))
    rate, _, lost = rows_of(figures)[:3]
    assert rate["what"] == "uidtraced: ring to JSON lines"
    assert rate["median"] > 0
    assert lost["max"] == 0


def test_a_range_takes_no_more_memory_for_its_size(tmp_path) -> None:
    figures = tmp_path / "figures.json"
    run_bench("ranges", "--sizes", "1000", "300000", "--turns", "1", "--json", str(figures))
    rows = {(row["what"], row["at"]): row for row in rows_of(figures)}
    few = rows["blocks: kernel memory", 1000]["median"]
    assert 0 < rows["blocks: kernel memory", 300_000]["median"] < 2 * few
    assert rows["one by one: kernel memory", 1000]["median"] > 10 * few
    assert ("one by one: kernel memory", 300_000) not in rows


def test_growth_is_drawn(tmp_path) -> None:
    figures, plot = tmp_path / "figures.json", tmp_path / "growth.svg"
    few = ["--sizes", "1", "200", "--rates", "1000", "--turns", "1"]
    run_bench("growth", *few, "--json", str(figures), "--plot", str(plot))
    whats = {row["what"] for row in rows_of(figures)}
    assert "a further user: kernel memory" in whats
    drawn = ET.parse(plot).getroot()
    curves = drawn.findall(".//{http://www.w3.org/2000/svg}polyline")
    assert len(curves) == 10


def test_every_call_of_eight_processes_is_counted(tmp_path) -> None:
    figures = tmp_path / "figures.json"
    run_bench("counts", "--calls", "300000", "--json", str(figures))
    rows = {row["what"]: row["median"] for row in json.loads(figures.read_text())["rows"]}
    assert rows == {
        **dict.fromkeys(("uid 2001, logged: bpftrace", "uid 2001, logged: matched"), 150_000),
        **dict.fromkeys(("uid 2002, counted: bpftrace", "uid 2002, counted: matched"), 150_000),
        **dict.fromkeys(("uid 2001, logged: difference", "uid 2002, counted: difference"), 0),
    }
