from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from fakes import EVENT
from uidtraced.events.render import json_lines

ROOT = Path(__file__).parents[2]


def test_the_docs_are_those_of_the_records():
    command = [sys.executable, "-P", ROOT / "script" / "gen-event-docs", "--check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_an_event_has_what_the_schema_requires_in_its_order():
    schema = json.loads((ROOT / "docs" / "events.schema.json").read_text("utf-8"))
    (syscall,) = (one for one in schema["oneOf"] if one["title"] == "SyscallEvent")
    found = json.loads(json_lines([EVENT]))
    fields = [name for name in syscall["properties"] if name in found]
    assert list(found) == fields
    assert set(syscall["required"]) == set(found)
    optional = {"via", "truncated", "unreadable", "ret", "errno", "duration_ns", "repeated"}
    assert set(syscall["properties"]) - set(found) == optional
