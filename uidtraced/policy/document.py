"""Parses YAML text to plain values with their positions, within limits, and without its traps.

libyaml's event stream is read as it comes: nothing is composed, so nothing nests, expands or
calls anything before it was looked at.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import yaml

from uidtraced.errors import PolicyError, Problem
from uidtraced.policy.scalars import resolve

if TYPE_CHECKING:
    from collections.abc import Mapping

    from uidtraced.policy.source import Source

MAX_DEPTH: Final = 8
MAX_NODES: Final = 250_000
MAX_PROBLEMS: Final = 1000

Value: TypeAlias = int | str | list["Value"] | dict[Any, "Value"] | None
Path: TypeAlias = tuple[str | int, ...]
"""Where a value is: the keys and indices that lead to it."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where a value starts in the text, from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Document:
    """What the text says: *value*, where each part of it stands, and where each key stands.

    *problems* are what is wrong with the text itself; None stands in *value* for what they hit.
    """

    value: Value
    positions: Mapping[Path, Position]
    key_positions: Mapping[Path, Position]
    problems: tuple[Problem, ...]


def parse(source: Source) -> Document:
    """Return the one document of *source*; PolicyError where it cannot be read to its end."""
    parser = _Parser(source)
    try:
        value = parser.document()
    except (yaml.YAMLError, _StopError) as error:
        if isinstance(error, yaml.YAMLError):
            parser.syntax_error(error)
        raise PolicyError(parser.problems) from error
    return Document(value, parser.positions, parser.key_positions, tuple(parser.problems))


class _StopError(Exception):
    """Reading ends here, for a Problem that is noted."""


class _Parser:
    def __init__(self, source: Source) -> None:
        self.source = source
        self.problems: list[Problem] = []
        self.positions: dict[Path, Position] = {}
        self.key_positions: dict[Path, Position] = {}
        self._nodes = 0
        self._loader = yaml.CSafeLoader(source.text)

    def document(self) -> Value:
        self._next()  # stream start
        if isinstance(self._next(), yaml.StreamEndEvent):
            self._empty()
            raise _StopError
        value = self._node(self._next(), (), 0)
        self._next()  # document end
        if value is None and not self.problems:
            self._empty()
        if not isinstance(after := self._next(), yaml.StreamEndEvent):
            self._problem(after, "a second document; a policy is one document, without ---")
        return value

    def _empty(self) -> None:
        self._note(1, 1, "the file is empty; the least policy is: version: 1")

    def _next(self) -> Any:
        return self._loader.get_event()

    def _note(self, line: int, column: int, message: str) -> None:
        self.problems.append(Problem(line, column, message, self.source.path))
        if len(self.problems) > MAX_PROBLEMS:
            raise _StopError

    def _problem(self, event: Any, message: str) -> None:
        mark = event.start_mark
        self._note(mark.line + 1, mark.column + 1, message)

    def _node(self, event: Any, path: Path, depth: int) -> Value:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            self._problem(event, f"more than {MAX_NODES} values; name ranges or groups")
            raise _StopError
        if depth > MAX_DEPTH:
            self._problem(event, f"nested deeper than {MAX_DEPTH} levels")
            raise _StopError
        mark = event.start_mark
        self.positions[path] = Position(mark.line + 1, mark.column + 1)
        if isinstance(event, yaml.AliasEvent):
            self._problem(
                event,
                f'"*{event.anchor}" is a YAML alias, which a policy has not; '
                'to mean every other user write "*", else repeat the value',
            )
            return None
        if event.anchor is not None:
            self._problem(event, f'"&{event.anchor}" is a YAML anchor, which a policy has not')
        if event.tag is not None:
            self._tag(event)
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(path, depth)
        return self._mapping(path, depth)

    def _tag(self, event: Any) -> None:
        tag = event.tag
        if tag.startswith("!") and not tag.startswith("!!"):
            hint = f'; to leave a call out, quote it: "{tag}"' if tag != "!" else ""
            self._problem(event, f"{tag} is a YAML tag, which a policy has not{hint}")
        else:
            self._problem(event, f'"{tag}" is a YAML tag, which a policy has not')

    def _sequence(self, path: Path, depth: int) -> list[Value]:
        items: list[Value] = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            items.append(self._node(event, (*path, len(items)), depth + 1))
        return items

    def _mapping(self, path: Path, depth: int) -> dict[Any, Value]:
        found: dict[Any, Value] = {}
        lines: dict[str, int] = {}  # by the key's text: 0 and "0" are one user
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            key = self._key(event)
            where = (*path, key)
            mark: Any = event.start_mark
            if (first := lines.setdefault(str(key), mark.line)) != mark.line or where in found:
                self._problem(event, f'"{key}" stands in line {first + 1} already; join the two')
            self.key_positions[where] = Position(mark.line + 1, mark.column + 1)
            found[key] = self._node(self._next(), where, depth + 1)
        return found

    def _key(self, event: Any) -> str | int:
        line = event.start_mark.line + 1
        if isinstance(event, yaml.ScalarEvent) and event.anchor is None and event.tag is None:
            value = self._scalar(event)
            if isinstance(value, str | int):
                return value
            if value is None and not self.problems:
                self._problem(event, 'a key is missing before the ":"')
            return f"line {line}"
        self._problem(event, "a key is a plain word or number here")
        raise _StopError

    def _scalar(self, event: Any) -> Value:
        if not event.implicit[0]:  # quoted
            return str(event.value)
        try:
            return resolve(event.value)
        except ValueError as error:
            self._problem(event, str(error))
            return None

    def syntax_error(self, error: yaml.YAMLError) -> None:
        """Note what libyaml could not read."""
        context = getattr(error, "context", None) or ""
        in_word = "alias" in context or "tag" in context
        mark: Any = getattr(error, "context_mark" if in_word else "problem_mark", None)
        line, column = (mark.line, mark.column) if mark is not None else self._unreadable(error)
        said = getattr(error, "problem", None) or getattr(error, "reason", None) or "not YAML"
        text = self.source.text.splitlines()
        rest = text[line][column:] if line < len(text) else ""
        if rest.startswith("@"):
            word = re.match(r"@[^\s,\]:]*", rest)
            said = f'a word with @ must be quoted: "{word.group() if word else rest}"'
        elif "alias" in context:
            said = 'a * must be quoted: "*"'
        elif "tag" in context:
            said = 'a word with ! must be quoted, such as "!close"'
        elif "\t" in rest[:1] or "tab" in said:
            said = "a tab cannot indent; use spaces"
        self._note(line + 1, column + 1, said)

    def _unreadable(self, error: yaml.YAMLError) -> tuple[int, int]:
        at = getattr(error, "position", 0)
        before = self.source.text[:at]
        return before.count("\n"), at - (before.rfind("\n") + 1)
