r"""Strings of traced programs, which are bytes: as JSON strings, and as strace quotes them.

What is UTF-8 is shown as it is, a byte that is not as ``\xNN``. So that nothing is ambiguous, a
backslash that would read as the start of such a thing is itself ``\x5c``: to have the bytes back,
replace each ``\xNN`` (two lower-case hex digits) by its byte, and encode the rest as UTF-8.
"""

from __future__ import annotations

import re
from typing import Final

_LIKE_ESCAPED: Final = re.compile(rb"\\(?=x[0-9a-f]{2})")
_ESCAPED: Final = re.compile(rb"\\x([0-9a-f]{2})")

_SHORT: Final = {0x22: '\\"', 0x5C: "\\\\", 9: "\\t", 10: "\\n", 11: "\\v", 12: "\\f", 13: "\\r"}
_PLAIN: Final = {code: chr(code) for code in range(0x20, 0x7F)} | _SHORT
_NEEDS_QUOTING: Final = re.compile(rb'[^ -~]|["\\]')
_OCTAL_DIGITS: Final = frozenset(b"01234567")


def text(raw: bytes) -> str:
    """Return *raw* as a string that a JSON document can hold."""
    shown = raw.decode("utf-8", "backslashreplace")
    if "\\x" in shown:
        return _LIKE_ESCAPED.sub(rb"\\x5c", raw).decode("utf-8", "backslashreplace")
    return shown


def bytes_of(shown: str) -> bytes:
    """Return the bytes that `text` shows as *shown*."""
    return _ESCAPED.sub(lambda found: bytes([int(found[1], 16)]), shown.encode())


def quote_text(shown: str) -> str:
    """Return the string that `text` shows as *shown* in quotes, as `quote` does."""
    if shown.isascii() and shown.isprintable() and '"' not in shown and "\\" not in shown:
        return f'"{shown}"'
    return quote(bytes_of(shown))


def quote(raw: bytes) -> str:
    """Return *raw* in quotes as strace prints it.

    What is not ASCII, and what moves a cursor, is in octal, with as few digits as the next
    character allows.
    """
    if not _NEEDS_QUOTING.search(raw):
        return f'"{raw.decode("ascii")}"'
    parts = []
    for at, code in enumerate(raw):
        short = _PLAIN.get(code)
        if short is not None:
            parts.append(short)
        elif raw[at + 1 : at + 2] and raw[at + 1] in _OCTAL_DIGITS:
            parts.append(f"\\{code:03o}")
        else:
            parts.append(f"\\{code:o}")
    return f'"{"".join(parts)}"'


def printable(shown: str) -> str:
    r"""Return *shown* with what cannot be printed as ``\xNN``, fit for a line of a terminal."""
    if shown.isprintable():
        return shown
    return "".join(one if one.isprintable() else _escape(one) for one in shown)


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code <= 0xFF else character.encode("unicode_escape").decode()  # noqa: PLR2004
