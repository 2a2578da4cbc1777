"""From a policy file to its model: every error of the file at once, each where it stands."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from uidtraced.errors import PolicyError, Problem
from uidtraced.policy.document import (
    MAX_PROBLEMS,
    TOO_MANY,
    Document,
    Path,
    Places,
    Position,
    parse,
    places,
)
from uidtraced.policy.model import Entry, Policy, Reading
from uidtraced.policy.names import NO_ADVICE, advice, nearest
from uidtraced.policy.source import Source, read_source
from uidtraced.policy.who import parse_who

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Sequence

    from uidtraced.policy.who import Who

_HINTS: Final = 100
"""So many errors get the nearest right word, which takes about 1 ms each."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A valid policy, and the file that it came from."""

    policy: Policy
    source: Source
    _known: dict[Who, Position] = field(default_factory=dict)

    def problems(self, found: Sequence[tuple[Who, str]]) -> tuple[Problem, ...]:
        """Return problems with entries, each where its entry stands."""
        if any(who not in self._known for who, _ in found):
            told = {who for who, _ in found}
            for path, position in places(self.source).keys.items():
                if len(path) == 2 and path[0] == "users":  # noqa: PLR2004  a key of users
                    who = parse_who(path[1])
                    if who in told:
                        self._known[who] = position
        where = self._known
        return tuple(
            sorted(
                Problem(where[who].line, where[who].column, message, self.source.path)
                for who, message in found
            )
        )


def load(path: pathlib.Path) -> Loaded:
    """Read, parse and validate *path*. Raises PolicyError with all that is wrong."""
    return load_source(read_source(path))


def load_source(source: Source) -> Loaded:
    """Parse and validate *source*. Raises PolicyError with all that is wrong."""
    document = parse(source)
    try:
        policy = Policy.model_validate(document.value, context=Reading(MAX_PROBLEMS))
    except ValidationError as error:
        raise PolicyError(_problems(error, document, source)) from error
    if document.problems:
        raise PolicyError(document.problems)
    return Loaded(policy, source)


def _problems(error: ValidationError, document: Document, source: Source) -> list[Problem]:
    path, stand = source.path, places(source)
    problems = list(document.problems)
    known = {(problem.line, problem.column) for problem in problems}
    hints = _HINTS
    found = error.errors(include_url=False, include_input=False)
    for one in found[: MAX_PROBLEMS + 1]:
        at, is_key = _where(one["type"], one["loc"], stand)
        message = _words(one, hints > 0)
        hints -= 1
        place = (stand.keys if is_key else stand.values).get(at) or stand.values[()]
        if (place.line, place.column) not in known:  # what the text's own problem left empty
            problems.append(Problem(place.line, place.column, message, path))
    problems.sort()
    if len(problems) > MAX_PROBLEMS:
        last = problems[MAX_PROBLEMS]
        problems[MAX_PROBLEMS:] = [Problem(last.line, last.column, TOO_MANY, path)]
    return problems


def _where(kind: str, loc: tuple[int | str, ...], stand: Places) -> tuple[Path, bool]:
    """Return where in the file pydantic's *kind* of error at *loc* is, and whether at its key."""
    is_key = loc[-1:] == ("[key]",) or kind == "extra_forbidden"
    path: Path = ()
    for part in loc:
        if (*path, part) in stand.values:  # the short form has no "syscalls" in the file
            path = (*path, part)
    return path, is_key


def _words(error: Any, with_hint: bool) -> str:  # noqa: FBT001
    kind, loc, context = error["type"], error["loc"], error.get("ctx", {})
    match kind:
        case "refused":
            return str(error["msg"])
        case "unknown_word":
            told = advice(context["word"]) if with_hint else NO_ADVICE
            return f"{context['text']}; {told}"
        case "extra_forbidden":
            known = frozenset((Entry if len(loc) > 1 else Policy).model_fields)
            hint = nearest(str(loc[-1]), known) if with_hint else None
            other = f'did you mean "{hint}"?' if hint else f"known are {', '.join(sorted(known))}"
            return f'unknown key "{loc[-1]}"; {other}'
        case "missing":
            what = {"version": "version: 1"}.get(str(loc[-1]), f"{loc[-1]}:")
            return f"{what} is missing"
        case "literal_error" | "enum":
            return f"{loc[-1]} must be {str(context['expected']).replace(chr(39), '')}"
        case "model_type":
            return "a policy is a mapping: version: 1, and users:"
        case "mapping_type" | "dict_type":
            return "users is a mapping of users to system calls, such as alice: [openat]"
        case _:
            return f"{loc[-1]}: {error['msg'][0].lower()}{error['msg'][1:]}"
