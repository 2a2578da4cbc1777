"""Says in a policy's own words why its text is no YAML, or has in it what editors do not show."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

    import yaml

Fault: TypeAlias = tuple[int, int, str]
"""Line and column, from 1, and what is wrong there."""

_TRAP: Final = re.compile(
    "\r(?!\n)"  # a line's end to YAML, and to few editors
    "|[^\t\n\r\x20-\x7e\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
    "|[\u2028\u2029]"
    # libyaml compares each directive with all before it: 4 MiB of them take two minutes
    "|^%",
    re.MULTILINE,
)
_SHOWN: Final = 60
"""So much of the text is quoted, in characters."""


def find_trap(text: str) -> Fault | None:
    """Return the first character of *text* that must not reach the parser; None if none."""
    found = _TRAP.search(text)
    if found is None:
        return None
    line, column = _place(text, found.start())
    match found.group():
        case "%":
            said = "a line with % in front is a YAML directive, which a policy has not; remove it"
        case "\r":
            said = "a carriage return without a line feed; save the file with Unix line ends"
        case "\0":
            said = "a NUL character; save the file as UTF-8 text"
        case one:
            said = f"{character(one)} is not seen in an editor; remove it"
    return line, column, said


def character(one: str) -> str:
    """Return what the character *one* is called, for people who cannot see it."""
    return f"U+{ord(one):04X} ({unicodedata.name(one, 'control character').lower()})"


def end_of(text: str) -> tuple[int, int]:
    """Return line and column, from 1, after the last character of *text*."""
    return _place(text, len(text))


def _place(text: str, at: int) -> tuple[int, int]:
    return text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)


def explain(error: yaml.YAMLError, text: str) -> Fault:
    """Return where and why libyaml could not read on in *text*, and what would be right."""
    problem: str = getattr(error, "problem", None) or "this cannot be read as YAML"
    here: Any = getattr(error, "problem_mark", None)
    start: Any = getattr(error, "context_mark", None) or here
    context = getattr(error, "context", None) or ""
    if here is None:
        return 1, 1, problem
    lines = text.split("\n")
    if here.line >= len(lines):  # libyaml ends the last line where the text does not
        at_end = end_of(text)
        rest = ""
    else:
        at_end = None
        rest = lines[here.line][here.column :]
    said = _first_character(rest, problem)
    if said is None:
        said = next((said for word, said in _IN_WORD.items() if word in context + problem), None)
        if said is not None or problem in _AT_START:
            here, at_end = start, None
    if said is None:
        said = _TOLD.get(problem, f"this is no YAML: {problem}")
    line, column = at_end or (here.line + 1, here.column + 1)
    return line, column, said.replace("{line}", str(start.line + 1))


def _first_character(rest: str, problem: str) -> str | None:
    """Return what is wrong where *rest* cannot be read, if its first character tells."""
    match rest[:1]:
        case "@":
            word = re.match(r"@[^\s,\]}:]*", rest[:_SHOWN])
            return f'a word with @ must be quoted: "{word.group() if word else rest}"'
        case "`" | "%" as one:
            return f"a word that begins with {one} must be quoted"
        case "\t":
            return "a tab cannot indent; use spaces"
        case "]" | "}" | "," as one if problem == "did not find expected key":
            return f'this "{one}" belongs to no list or mapping; remove it'
        case ":" if problem == "did not find expected key":
            return 'a key is missing before the ":"'
        case _:
            return None


_IN_WORD: Final[Mapping[str, str]] = {
    "alias": 'a * must be quoted: "*"',
    "anchor": "a word with & must be quoted",
    "tag": 'a word with ! must be quoted, such as "!close"',
    " tab ": "a tab cannot indent; use spaces",
}
"""What is wrong where libyaml speaks of such a thing."""

_TOLD: Final[Mapping[str, str]] = {
    "did not find expected ',' or ']'": 'a "," or "]" is missing in the list of line {line}',
    "did not find expected ',' or '}'": 'a "," or "}" is missing in the mapping of line {line}',
    "did not find expected key": (
        "this stands under nothing before it; indent it exactly as what it belongs with, "
        "or quote it whole"
    ),
    "did not find expected '-' indicator": (
        'this is not indented as the list from line {line} on; put a "- " exactly under its first'
    ),
    "did not find expected node content": (
        "a value is missing before this, or a bracket is not closed"
    ),
    "did not find expected <document start>": (
        "this belongs to nothing before it; look at the brackets and the indentation"
    ),
    "mapping values are not allowed in this context": (
        'a ":" has no place here; begin a new line, or quote the word that has it'
    ),
    "mapping keys are not allowed in this context": (
        'a "?" has no place here; write a plain word before the ":"'
    ),
    "block sequence entries are not allowed in this context": (
        'a list of "- " begins on a line of its own'
    ),
    "could not find expected ':'": 'a ":" is missing after this',
    "found unexpected end of stream": "the quotes that open here are never closed",
    "found unexpected document indicator": "the quotes that open here are never closed",
    "found unknown escape character": "this \\ has no meaning in double quotes; use single quotes",
    "did not find expected hexdecimal number": (
        "this \\ has no meaning in double quotes; use single quotes"
    ),
    "found invalid Unicode character escape code": (
        "this \\ has no meaning in double quotes; use single quotes"
    ),
}
"""libyaml's words and ours; {line} is where the thing began that could not be read on."""

_AT_START: Final = frozenset(
    {
        "could not find expected ':'",
        "found unexpected end of stream",
        "found unexpected document indicator",
    }
)
"""Problems that libyaml finds late: where they begin is the place to look at."""
