"""Compares what strace says of a call with the event of it."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any

from oracle import explained
from oracle.strace_log import UNKNOWN
from uidtraced.events.sockaddr import show_sockaddr
from uidtraced.events.text import bytes_of, quote

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from oracle.strace_log import Call

QUOTED = re.compile(r'"(?:\\.|[^"\\])*" /\* (?P<words>.*?) \*/')
IN6 = re.compile(r'sin6_addr=inet_pton\(AF_INET6, ("[^"]*")\)')
COMMENT = re.compile(r"(?P<number>-?\w+) /\* (?P<words>.*?) \*/")
UNNAMED = "?"
"""In what strace says of a number that has no name, such as ``0x3 /* PROT_??? */``."""
VARIABLES = " var"
NUMBER = re.compile(r"-?\d+|0x[0-9a-f]+")


def number_of(token: str) -> int | None:
    """Return the number that *token* is."""
    if token == "NULL":
        return 0
    if not NUMBER.fullmatch(token):
        return None
    if token.startswith("0") and token.isdigit():
        return int(token, 8)
    return int(token, 0)


def same_number(one: int, other: int) -> bool:
    """Whether they are equal as 64 or as 32 bits, whichever sign either was given."""
    return any(
        (one - other) % (1 << bits) == 0 and abs(one - other) in (0, 1 << bits) for bits in (32, 64)
    )


def flags(said: str) -> tuple[str | None, int]:
    """Return the words of *said*, such as ``0x3 /* A|B */|0x4 /* C */``, and the number."""
    words, number = [], 0
    if "/*" not in said:
        return None, 0
    for part in re.split(r"(?<=/)\|", said):
        found = COMMENT.fullmatch(part)
        if found is None and (plain := number_of(part)) is None:
            return None, 0
        words.append(found["words"] if found else part)
        number |= (number_of(found["number"]) or 0) if found else plain
    return "|".join(words), number


def plain_address(said: str) -> str:
    """Return a socket address as strace prints it without numbers beside the words."""
    said = said.replace(" /* AF_??? */", "")
    said = COMMENT.sub(r"\g<words>", QUOTED.sub(r"\g<words>", said))
    return IN6.sub(r"inet_pton(AF_INET6, \1, &sin6_addr)", said)


def same_argument(said: str, value: Any) -> bool:
    """Whether strace's *said* is the event's *value*."""
    words, number = flags(said)
    if words is None:
        number = number_of(said)
    match value:
        case None:
            return said == "NULL"
        case list():
            shown = [hex(one) if isinstance(one, int) else quote(bytes_of(one)) for one in value]
            return said == f"[{', '.join(shown)}]"
        case dict():
            return plain_address(said) == show_sockaddr(value)
        case int():
            plain = words is None or UNNAMED in words
            return plain and number is not None and same_number(number, value)
    if said == quote(bytes_of(value)) or COMMENT.sub(r"\g<words>", said) == value:
        return True
    if UNNAMED in said and said[0] != '"':
        return True
    if words is not None and VARIABLES not in words:
        return same_words(words, value)
    shown = number_of(value)
    return number is not None and shown is not None and same_number(number, shown)


def same_words(words: str, value: str) -> bool:
    """Whether both name the same flags; what has no name is told as a number, by both.

    Those that are newer than strace have one in an event alone.
    """
    theirs, ours = set(words.split("|")), set(value.split("|"))
    missing = theirs - ours
    newer = (
        len(missing) == 1 and NUMBER.fullmatch(missing.pop()) is not None and ours > theirs & ours
    )
    return theirs == ours or newer


def is_beginning(said: str, value: Any) -> bool:
    """Whether strace's *said* begins as the event's *value*, of which there is more."""
    match value:
        case list():
            shown = [hex(one) if isinstance(one, int) else quote(bytes_of(one)) for one in value]
            return said.startswith("[" + ", ".join(shown)[:-1])
        case str():
            return said.startswith(quote(bytes_of(value))[:-1])
    return False


def same_result(said: str, event: dict[str, Any]) -> bool:
    """Whether strace's result is the event's."""
    token, _, rest = said.partition(" ")
    if event["ret"] is None:
        return said == "?"
    if event["errno"] is not None:
        return rest.split(" ")[0] == event["errno"] and token in ("-1", "?")
    number = number_of(token)
    return number is not None and same_number(number, event["ret"])


def pairs(call: Call, args: dict[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Yield the name of each argument, strace's word for it and the event's value.

    strace leaves out what a call does not use, such as the mode of an open without O_CREAT.
    """
    names = explained.NAMED.get(call.name)
    if names is None:
        for name, said in zip(explained.names(call, args), call.args, strict=False):
            yield name, said, args[name]
        return
    for one in call.args:
        name, _, said = one.partition("=")
        yield name, said, args[names[name]]


def differences(call: Call, event: dict[str, Any]) -> list[str]:
    """Return what differs between the two, the explained left out."""
    found = []
    if call.name == "socketcall" and "via" in event:  # UNREADABLE
        event = {**event, "args": {"call": f"SYS_{event['syscall'].upper()}", **event["args"]}}
    if explained.is_no_call(call):
        event = {**event, "args": {}}
    elif len(call.args) > len(event["args"]) and call.name not in explained.NOT_ARGUMENTS:
        found.append(f"{len(call.args)} arguments, the event has {len(event['args'])}")
    for name, said, value in pairs(call, event["args"]):
        if name in event.get("truncated", ()) and is_beginning(said, value):
            continue
        if not same_argument(said, value) and not explained.argument(call, name, said, value):
            found.append(f"{name} is {said[:200]}, the event says {str(value)[:200]!r}")
    if not same_result(call.result, event) and not explained.result(call):
        found.append(f"= {call.result}, the event says {event['ret']}, {event['errno']}")
    return [f"{call.name}({', '.join(call.args)})"[:300] + f": {one}" for one in found]


def opcodes(names: Sequence[str], ours: Sequence[str]) -> Sequence[tuple[str, int, int, int, int]]:
    """Return how to come from one to the other; difflib takes long where many are the same."""
    if names == ours:
        return [("equal", 0, len(names), 0, len(ours))]
    return difflib.SequenceMatcher(None, names, ours, autojunk=False).get_opcodes()


def compare(calls: Sequence[Call], events: Sequence[dict[str, Any]]) -> list[str]:
    """Return what is missing, extra and different among the *events* of a thread."""
    newer = {explained.number_name(event) for event in events}
    calls = [call for call in calls if not explained.is_no_call(call) or call.name in newer]
    if calls and calls[-1].name == UNKNOWN:
        calls = calls[:-1]
        events = events[:-1] if len(events) == len(calls) + 1 else events
    names = [call.name for call in calls]
    ours = [
        number if (number := explained.number_name(event)) in names else explained.name(event)
        for event in events
    ]
    found = []
    for kind, a, b, c, d in opcodes(names, ours):
        if kind == "equal":
            for call, event in zip(calls[a:b], events[c:d], strict=True):
                found += differences(call, event)
        else:
            found += [f"missing: {one.name}({', '.join(one.args)})"[:300] for one in calls[a:b]]
            found += [f"extra: {one['syscall']}({one['args']})"[:300] for one in events[c:d]]
    return found
