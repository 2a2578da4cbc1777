"""Bytes that somebody chose to break what reads them: a little of each, mixed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

PIECES = (
    # what ends a line, for somebody
    *(b"\n", b"\r\n", b"\r", b"\x0b", b"\x0c", b"\x1c", b"\x1d", b"\x1e"),
    *(one.encode() for one in ("\x85", "\u2028", "\u2029")),
    # what a terminal obeys
    *(b"\x1b[2J", b"\x1b]0;x\x07", b"\x08\x08", b"\x9b31m", "\x9b31m".encode(), b"\x7f"),
    # what turns or hides text
    *(one.encode() for one in ("\u202e", "\u2066", "\u200b", "\u061c", "\xad", "\ufeff")),
    # what is not UTF-8, or should not be
    *(b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\x80", b"\xf8\x88\x80\x80\x80"),
    *(
        one.encode()
        for one in ("\U000e0041", "\ufffe", "\U0010ffff", "\xe9", "e\u0301", "\U0001f600")
    ),
    # what another syntax means something by
    *(b"\\", b"\\x", b"\\x0a", b"\\x5cx0a", b"\\n", b'"', b"'", b'\\"', b"%s%n", b"{}", b"${x}"),
    *(
        b"[13] root: ",
        b"alice: kill(1, SIGKILL)",
        b"[",
        b"] ",
        b": ",
        b"=",
        b"@",
        b"...",
        b"/",
        b" ",
    ),
    *(b"\nMESSAGE=x\n", b"\nUIDTRACE_USER=root\n", b"\nPRIORITY\n\1\0\0\0\0\0\0\0000\n", b"<0>"),
    *(b'"}\n{"event":"syscall","uid":0}\n', b"\0", b"\0\0", b"(deleted)", b"NULL", b"AT_FDCWD"),
)

NUMBERS = (
    *(0, 1, 2, 3, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFF9C, 2**63 - 1, 2**63, 2**64 - 1),
    *(2**64 - 100, 0o777, 0o100644, 0x80000, 0x7FFD5C0E1B2A, 4096, 255, 1023),
)


def raw(random: Random, most: int) -> bytes:
    """Return at most *most* bytes."""
    kind = random.random()
    if kind < 0.25:
        return random.randbytes(random.randrange(min(most, 40) + 1))
    parts = []
    for _ in range(random.randrange(6)):
        if random.random() < 0.3:
            parts.append(b"abc/de"[: random.randrange(7)])
        else:
            parts.append(random.choice(PIECES))
    found = b"".join(parts)
    if kind > 0.99:
        found *= 400
    return found[:most]


def number(random: Random) -> int:
    """Return 64 bits."""
    kind = random.random()
    if kind < 0.6:
        return random.choice(NUMBERS)
    return random.getrandbits(16 if kind < 0.8 else 64)


def environment(random: Random, most: int) -> bytes:
    """Return what an environment variable or an argument can hold."""
    return raw(random, most).replace(b"\0", b"")
