"""From a policy file to its model: every error of the file at once, each where it stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from uidtraced.errors import PolicyError, Problem
from uidtraced.policy.document import Document, Path, Position, parse
from uidtraced.policy.model import Entry, Policy
from uidtraced.policy.names import advice, nearest
from uidtraced.policy.source import Source, read_source
from uidtraced.policy.who import parse_who

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Mapping

    from uidtraced.policy.who import Who

_HINTS: Final = 100
"""So many errors get the nearest right word, which takes about 1 ms each."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A valid policy, the file that it came from, and where the key of each entry stands."""

    policy: Policy
    source: Source
    where: Mapping[Who, Position]

    def problem(self, who: Who, message: str) -> Problem:
        """Return a problem with the entry of *who*."""
        at = self.where[who]
        return Problem(at.line, at.column, message, self.source.path)


def load(path: pathlib.Path) -> Loaded:
    """Read, parse and validate *path*. Raises PolicyError with all that is wrong."""
    return load_source(read_source(path))


def load_source(source: Source) -> Loaded:
    """Parse and validate *source*. Raises PolicyError with all that is wrong."""
    document = parse(source)
    try:
        policy = Policy.model_validate(document.value)
    except ValidationError as error:
        raise PolicyError(_problems(error, document, source.path)) from error
    if document.problems:
        raise PolicyError(document.problems)
    where = {
        parse_who(path[1]): position
        for path, position in document.key_positions.items()
        if len(path) == 2 and path[0] == "users"  # noqa: PLR2004  a key of users
    }
    return Loaded(policy, source, where)


def _problems(error: ValidationError, document: Document, path: str) -> list[Problem]:
    problems = list(document.problems)
    known = {(problem.line, problem.column) for problem in problems}
    hints = _HINTS
    for one in error.errors(include_url=False, include_input=False):
        at, is_key = _where(one["loc"], document)
        message = _words(one, hints > 0)
        hints -= 1
        positions = document.key_positions if is_key else document.positions
        found = positions.get(at) or document.positions[()]
        if (found.line, found.column) not in known:  # what the text's own problem left empty
            problems.append(Problem(found.line, found.column, message, path))
    return problems


def _where(loc: tuple[int | str, ...], document: Document) -> tuple[Path, bool]:
    """Return the path in the file of pydantic's *loc*, and whether the key itself is meant."""
    is_key = loc[-1:] == ("[key]",)
    path: Path = ()
    for part in loc:
        if (*path, part) in document.positions:  # the short form has no "syscalls" in the file
            path = (*path, part)
    return path, is_key


def _words(error: Any, with_hint: bool) -> str:  # noqa: FBT001
    kind, loc, context = error["type"], error["loc"], error.get("ctx", {})
    match kind:
        case "refused":
            return str(error["msg"])
        case "unknown_word":
            known = context["known"] if with_hint else frozenset()
            return f"{context['text']}; {advice(context['word'], known)}"
        case "extra_forbidden":
            known = frozenset((Entry if len(loc) > 1 else Policy).model_fields)
            hint = nearest(str(loc[-1]), known)
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
