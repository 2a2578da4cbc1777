"""The alert rules and the dashboard: by their own tools, and against what a daemon exports."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from scraping import ask, loop, start

CONFIG = Path(__file__).parents[2] / "config"
RULES = CONFIG / "prometheus" / "uidtraced.rules.yml"
DASHBOARD = json.loads((CONFIG / "grafana" / "uidtraced.json").read_text())
METRIC = re.compile(r"\b(?:uidtraced|process)_[a-z_]+")
GRID_COLUMNS = 24
NOBODY = 65534  # has a name on every machine


def promtool(*arguments: str | Path) -> None:
    command = [Path(sys.executable).parent / "promtool", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=RULES.parent)
    assert done.returncode == 0, done.stdout + done.stderr


def expressions() -> list[str]:
    """Return what the dashboard asks Prometheus, with its variables filled in."""
    found = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    found += [one["expr"] for one in DASHBOARD["annotations"]["list"]]
    found += [
        re.search(r"label_values\((.*), \w+\)", one["definition"])[1]
        for one in DASHBOARD["templating"]["list"]
        if one["type"] == "query"
    ]
    filled = {"$__rate_interval": "1m", "$__interval": "1m", "$instance": ".*", "$uid": ".*"}
    for name, value in filled.items():
        found = [one.replace(name, value) for one in found]
    return found


def test_the_rules_and_the_configuration_are_valid_and_fire_when_they_should():
    promtool("check", "rules", "--lint-fatal", RULES)
    promtool("check", "config", "--lint-fatal", "prometheus.yml")
    promtool("test", "rules", "uidtraced.test.yml")


def test_each_alert_is_tested_to_fire_and_to_be_silent():
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    alerts = {rule["alert"] for rule in group["rules"] if "alert" in rule}
    tests = yaml.safe_load((RULES.parent / "uidtraced.test.yml").read_text())["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    assert {one["alertname"] for one in cases if one["exp_alerts"]} == alerts
    assert {one["alertname"] for one in cases if not one["exp_alerts"]} == alerts


def test_the_dashboard_asks_what_prometheus_understands(tmp_path):
    rules = [{"record": f"a{n}", "expr": text} for n, text in enumerate(expressions())]
    path = tmp_path / "rules.yml"
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("check", "rules", path)


def test_the_dashboard_has_the_shape_of_one():
    assert DASHBOARD["uid"] == DASHBOARD["title"] == "uidtraced"
    panels = DASHBOARD["panels"]
    ids = [panel["id"] for panel in panels]
    assert len(set(ids)) == len(ids)
    taken = set()
    for panel in panels:
        place = panel["gridPos"]
        assert 0 <= place["x"] < place["x"] + place["w"] <= GRID_COLUMNS, panel["title"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, f"{panel['title']} lies on another"
        taken |= cells
        assert panel["title"]
        assert panel["targets"]
        refs = [target["refId"] for target in panel["targets"]]
        assert len(set(refs)) == len(refs)
        for one in (panel, *panel["targets"]):  # of whoever imports it, not of our data source
            assert one["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    names = {one["name"] for one in DASHBOARD["templating"]["list"]}
    used = set(re.findall(r"\$\{?([a-z]+)", json.dumps(DASHBOARD)))
    assert used == names


@pytest.fixture(scope="module")
def exported() -> set[str]:
    daemon, port = start(policy="version: 1\nusers:\n  nobody: [chdir]\n")
    with daemon:
        loop(NOBODY, 10)
        daemon.records.wait(lambda one: one.get("uid") == NOBODY)
        daemon.status()  # asks for the user's name, too
        text = ask(port)[1]
        assert daemon.stop() == 0
    return set(re.findall(r"^([a-z_]+)", text, re.MULTILINE))


def test_every_metric_that_they_use_is_one_that_is_there(exported):
    used = set(METRIC.findall(" ".join([*expressions(), RULES.read_text()])))
    used |= set(METRIC.findall((CONFIG / "prometheus" / "uidtraced.test.yml").read_text()))
    assert used - exported == {"uidtraced_lost"}  # a recording rule


def test_the_docs_list_the_metrics(exported):
    docs = (CONFIG.parent / "docs" / "metrics.md").read_text()
    listed = set(re.findall(r"^\| `([a-z_]+)", docs, re.MULTILINE)) - {"process_"}
    assert listed == {name for name in exported if name.startswith("uidtraced_")}


def test_every_metric_of_ours_is_on_the_dashboard(exported):
    shown = set(METRIC.findall(" ".join(expressions())))
    mine = {name for name in exported if name.startswith("uidtraced_")}
    assert mine - shown == set()
