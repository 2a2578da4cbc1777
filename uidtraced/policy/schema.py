"""The JSON Schema of the policy, by which editors complete and check it."""

from __future__ import annotations

import json
from typing import Any, Final

from uidtraced.policy.model import Entry, Policy
from uidtraced.policy.names import numbers
from uidtraced.policy.sets import call_sets
from uidtraced.rules import NR_MAX, Abi

_DIALECT: Final = "http://json-schema.org/draft-07/schema#"
"""What yaml-language-server and most editors know."""

_NUMBER: Final = r"(0|[1-9][0-9]{0,9})"
_WHO: Final = rf"^(\*|{_NUMBER}|{_NUMBER}-{_NUMBER}|@?(?![0-9 -]+$)[^\s:/,!*@\-][^:/,!*]*)$"


_CONDITIONS: Final = {
    "allOf": [
        {
            "if": {"required": ["only"]},
            "then": {"required": ["at"], "properties": {"at": {"const": "exit"}}},
        },
        {
            "if": {"required": ["mode"], "properties": {"mode": {"const": "count"}}},
            "then": {
                "properties": {"at": {"const": "enter"}, "only": False, "limit": False},
            },
        },
    ]
}
"""What has no meaning beside something else; the model says the same (`Entry`)."""


def policy_schema() -> dict[str, Any]:
    """Return the schema; it is the same on every machine: the names of all ABIs are in it."""
    entry = Entry.model_json_schema(ref_template="#/definitions/{model}")
    definitions = entry.pop("$defs", {})
    calls = {"type": "array", "items": _call(), "description": entry["description"]}
    properties = entry["properties"]
    properties["syscalls"] = {**calls, "description": properties["syscalls"]["description"]}
    policy = Policy.model_fields
    users = {
        "type": ["object", "null"],
        "description": policy["users"].description,
        "propertyNames": {"pattern": _WHO},
        "additionalProperties": {"anyOf": [calls, {"$ref": "#/definitions/Entry"}]},
    }
    return {
        "$schema": _DIALECT,
        "title": "uidtraced policy",
        "description": "Which users have which system calls logged.",
        "type": "object",
        "additionalProperties": False,
        "required": ["version"],
        "properties": {
            "version": {"const": 1, "description": policy["version"].description},
            "users": users,
        },
        "definitions": {**definitions, "Entry": {**entry, **_CONDITIONS}, "Call": _calls()},
    }


def _call() -> dict[str, Any]:
    return {"$ref": "#/definitions/Call"}


def _calls() -> dict[str, Any]:
    names = sorted({name for abi in Abi for name in numbers(abi)})
    words = [*sorted(call_sets()), *names]
    abis = "|".join(abi.label for abi in Abi)
    return {
        "description": "A system call or a set of them.",
        "anyOf": [
            {"enum": words},
            {
                "type": "string",
                "pattern": rf"^!?(({abis}):)?({'|'.join(words)}|[0-9]{{1,4}})$",
                "description": "!WORD takes away; ABI:WORD is of one ABI.",
            },
            {
                "type": "integer",
                "minimum": 0,
                "maximum": NR_MAX - 1,
                "description": "A number of the native ABI.",
            },
        ],
    }


def schema_text() -> str:
    """Return the schema as it stands in config/uidtrace.schema.json."""
    return json.dumps(policy_schema(), indent=1) + "\n"
