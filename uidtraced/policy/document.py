"""Parses YAML text to plain values with their positions, within limits, and without its traps.

libyaml's event stream is read as it comes: nothing is composed, so nothing nests, expands or
calls anything before it was looked at.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import yaml

from uidtraced.errors import PolicyError, Problem
from uidtraced.policy.scalars import resolve
from uidtraced.policy.syntax import character, end_of, explain, find_trap

if TYPE_CHECKING:
    from collections.abc import Mapping

    from uidtraced.policy.source import Source

MAX_DEPTH: Final = 8
MAX_NODES: Final = 250_000
MAX_PROBLEMS: Final = 10_000
MAX_WORD_CHARS: Final = 256
"""The longest word; names of users have 32 characters, those of a directory some more."""

TOO_MANY: Final = f"more than {MAX_PROBLEMS} problems; the others are not told"
_ENTRY_DEPTH: Final = 2
"""Where a user's entry is: many have the same."""
_NO_KEY: Final = "?"
"""Stands in the path of what has no place in the document's value."""

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
    """What the text says.

    *problems* are what is wrong with the text itself; None stands in *value* for what they hit.
    """

    value: Value
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class Places:
    """Where each value of a document stands, and each key."""

    values: Mapping[Path, Position]
    keys: Mapping[Path, Position]


def parse(source: Source) -> Document:
    """Return the one document of *source*; PolicyError where it cannot be read to its end."""
    if (trap := find_trap(source.text)) is not None:
        raise PolicyError([Problem(*trap, source.path)])
    parser = _Parser(source)
    try:
        value = parser.document()
    except (yaml.YAMLError, _StopError) as error:
        if isinstance(error, yaml.YAMLError):
            parser.problems.append(Problem(*explain(error, source.text), source.path))
        raise PolicyError(parser.problems) from error
    return Document(value, tuple(parser.problems))


def places(source: Source) -> Places:
    """Return where all of *source* stands, which `parse` has read to its end.

    A reading of its own: most files are good, and then nobody asks.
    """
    values: dict[Path, Position] = {}
    keys: dict[Path, Position] = {}
    _Parser(source, values, keys).document()
    return Places(values, keys)


class _StopError(Exception):
    """Reading ends here, for a Problem that is noted."""


class _Parser:
    def __init__(
        self,
        source: Source,
        values: dict[Path, Position] | None = None,
        keys: dict[Path, Position] | None = None,
    ) -> None:
        """Note in *values* and *keys* where they stand, where given."""
        self.source = source
        self.problems: list[Problem] = []
        self._values = values
        self._keys = keys
        self._words: dict[str, str] = {}
        self._entries: dict[str, Value] = {}
        self._nodes = 0
        self._end = Position(*end_of(source.text))
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
            raise _StopError
        if not isinstance(after := self._next(), yaml.StreamEndEvent):
            self._problem(after, "a second document; a policy is one, so join them without ---")
        return value

    def _empty(self) -> None:
        self._note(1, 1, "the file is empty; the least policy is: version: 1")

    def _next(self) -> Any:
        return self._loader.get_event()

    def _note(self, line: int, column: int, message: str) -> None:
        self.problems.append(Problem(line, column, message, self.source.path))
        if len(self.problems) == MAX_PROBLEMS:
            self.problems.append(Problem(line, column, TOO_MANY, self.source.path))
            raise _StopError

    def _place(self, event: Any) -> Position:
        mark = event.start_mark
        if mark.line >= self._end.line:  # libyaml ends the last line where the text does not
            return self._end
        return Position(mark.line + 1, mark.column + 1)

    def _problem(self, event: Any, message: str) -> None:
        place = self._place(event)
        self._note(place.line, place.column, message)

    def _count(self, event: Any) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            self._problem(event, f"more than {MAX_NODES} words and lists; name ranges or groups")
            raise _StopError

    def _node(self, event: Any, path: Path, depth: int) -> Value:
        self._count(event)
        if depth > MAX_DEPTH:
            self._problem(event, f"nested deeper than {MAX_DEPTH} levels")
            raise _StopError
        if self._values is not None:
            self._values[path] = self._place(event)
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
        is_list = isinstance(event, yaml.SequenceStartEvent)
        value = self._sequence(path, depth) if is_list else self._mapping(path, depth)
        if depth < _ENTRY_DEPTH:
            return value
        return self._entries.setdefault(repr(value), value)  # each once in memory

    def _tag(self, event: Any) -> None:
        tag = event.tag
        if tag.startswith("!") and not tag.startswith("!!"):
            hint = f'; to leave a call out, quote it: "{tag}"' if tag != "!" else ""
            self._problem(event, f"{tag} is a YAML tag, which a policy has not{hint}")
        else:
            short = tag.replace("tag:yaml.org,2002:", "!!")
            self._problem(event, f"{short} is a YAML tag, which a policy has not")

    def _sequence(self, path: Path, depth: int) -> list[Value]:
        items: list[Value] = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            items.append(self._node(event, (*path, len(items)), depth + 1))
        return items

    def _mapping(self, path: Path, depth: int) -> dict[Any, Value]:
        found: dict[Any, Value] = {}
        lines = array("I")  # of the keys in found
        line_of: dict[str | int, int] = {}  # the same, from the first key on that stands twice
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            line = event.start_mark.line + 1
            key = self._key(event, path, depth)
            if key is None:  # told already; the value may be wrong too
                self._node(self._next(), (*path, _NO_KEY), depth + 1)
                continue
            if (twin := _twin(key, found)) is None:
                lines.append(line)
                if line_of:
                    line_of[key] = line
            else:
                line_of = line_of or dict(zip(found, lines, strict=True))
                where = f"line {line_of[twin]}" if line_of[twin] != line else "this line"
                self._problem(event, f'"{key}" stands in {where} already; join the two')
                key = twin
            where_to = (*path, key)
            if self._keys is not None:
                self._keys[where_to] = self._place(event)
            found[key] = self._node(self._next(), where_to, depth + 1)
        return found

    def _key(self, event: Any, path: Path, depth: int) -> str | int | None:
        """Return the key that *event* is; None where it is none, which is noted."""
        if not isinstance(event, yaml.ScalarEvent) or event.anchor or event.tag:
            if isinstance(event, yaml.CollectionStartEvent):
                self._problem(event, "a list or mapping is no key; write a plain word or number")
            value = self._node(event, (*path, _NO_KEY), depth + 1)
        elif event.implicit[0] and event.value in ("", "<<"):
            said = (
                "<< is a YAML merge key, which a policy has not; write each entry out"
                if event.value
                else 'a key is missing before the ":"'
            )
            self._problem(event, said)
            return None
        else:
            self._count(event)
            value = self._scalar(event)
        return value if isinstance(value, str | int) else None

    def _scalar(self, event: Any) -> Value:
        if (length := len(event.value)) > MAX_WORD_CHARS:
            said = f"a word of {length} characters; a policy has none above {MAX_WORD_CHARS}"
            self._problem(event, said)
            return None
        if not event.value.isprintable() and event.style not in ("|", ">"):
            unseen = next(one for one in event.value if not one.isprintable())
            self._problem(event, f"{character(unseen)} is in this word, but not seen; remove it")
            return None
        if event.style in ("|", ">"):
            said = (
                f"{event.style} begins a text of many lines, which a policy has not; write a word"
            )
            self._problem(event, said)
            return None
        word = self._words.setdefault(event.value, event.value)  # each once in memory
        if not event.implicit[0]:  # quoted
            return word
        try:
            return resolve(word)
        except ValueError as error:
            self._problem(event, str(error))
            return None


def _twin(key: str | int, among: Mapping[str | int, Value]) -> str | int | None:
    """Return the key of the same text: 0 and "0" are one user."""
    if key in among:
        return key
    other = str(key) if isinstance(key, int) else int(key) if key.isdecimal() else None
    return other if other in among and str(other) == str(key) else None
