"""The policies under config/: valid, without warnings, and as the schema has them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import fastjsonschema
import pytest
import yaml

from fakes import Users
from uidtraced.policy import load, schema_text, understand

CONFIG = Path(__file__).parents[2] / "config"
POLICIES = [CONFIG / "uidtrace.yaml", *sorted((CONFIG / "examples").glob("*.yaml"))]
MACHINE = Users(
    {"alice": 1000, "root": 0, "ci": 998, "www-data": 33}, {"ci": [998], "users": [1000, 1001]}
)
SCHEMA = json.loads(schema_text())
VALIDATE = fastjsonschema.compile(SCHEMA)


def test_there_is_an_example_for_each_case() -> None:
    assert len(POLICIES) == 6


@pytest.mark.parametrize("path", POLICIES, ids=lambda path: path.stem)
def test_a_policy_that_we_ship_is_valid_and_does_what_it_means(path) -> None:
    intent = understand(load(path), MACHINE, sees_io_uring=True)
    assert intent.warnings == ()
    assert intent.plan.rule_sets()


README = (CONFIG.parent / "README.md").read_text("utf-8")


@pytest.mark.parametrize(
    "text", re.findall(r"^```yaml\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
)
def test_a_policy_in_the_readme_is_valid(text, tmp_path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(text)
    assert understand(load(path), MACHINE).plan.rule_sets()
    VALIDATE(as_editors_see(path))


def as_editors_see(path: Path) -> object:
    """Return the document with keys as strings, as JSON has them."""
    return json.loads(json.dumps(yaml.safe_load(path.read_text("utf-8"))))


@pytest.mark.parametrize("path", POLICIES, ids=lambda path: path.stem)
def test_a_policy_that_we_ship_names_the_schema_and_agrees_with_it(path) -> None:
    first = path.read_text("utf-8").splitlines()[0]
    named = path.parent / first.removeprefix("# yaml-language-server: $schema=")
    assert named.resolve() == CONFIG / "uidtrace.schema.json"
    VALIDATE(as_editors_see(path))


def test_the_schema_is_fresh() -> None:
    assert (CONFIG / "uidtrace.schema.json").read_text("utf-8") == schema_text()


@pytest.mark.parametrize(
    "policy",
    [
        {},
        {"version": 2},
        {"version": 1, "user": {}},
        {"version": 1, "users": {"a/b": []}},
        {"version": 1, "users": {"alice": "openat"}},
        {"version": 1, "users": {"alice": [1024]}},
        {"version": 1, "users": {"alice": {"match": "real"}}},
        {"version": 1, "users": {"alice": {"syscalls": [], "match": "rel"}}},
        {"version": 1, "users": {"alice": {"syscalls": [], "at": "leave"}}},
        {"version": 1, "users": {"alice": {"syscalls": [], "only": "success"}}},
        {"version": 1, "users": {"alice": {"syscalls": [], "limit": "100"}}},
        {"version": 1, "users": {"alice": {"syscalls": [], "mode": "drop"}}},
        {"version": 1, "users": {"alice": {"syscalls": [], "matc": "real"}}},
    ],
)
def test_the_schema_refuses_what_the_daemon_refuses(policy, tmp_path) -> None:
    with pytest.raises(fastjsonschema.JsonSchemaValueException):
        VALIDATE(policy)
    path = tmp_path / "p.yaml"
    path.write_text(yaml.safe_dump(policy))
    with pytest.raises(Exception, match=r"p\.yaml:\d+:\d+: error: "):
        load(path)


def test_every_field_of_the_schema_is_described() -> None:
    entry = SCHEMA["definitions"]["Entry"]
    assert set(entry["properties"]) == {"syscalls", "match", "mode", "at", "only", "limit"}
    for name, field in {**SCHEMA["properties"], **entry["properties"]}.items():
        assert field["description"], name
    assert "openat" in SCHEMA["definitions"]["Call"]["anyOf"][0]["enum"]
