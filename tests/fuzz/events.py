"""Events whose names, strings and numbers are hostile: decoded, and into all three outputs."""

from __future__ import annotations

import json
import os
import re
import struct
from typing import TYPE_CHECKING, Any

import msgspec

from fuzz import hostile
from uidtraced.events.decode import Decoder, Naming
from uidtraced.events.exes import exe_path
from uidtraced.events.records import GapRecord, LossRecord, PolicyRecord, SyscallEvent, TamperRecord
from uidtraced.events.render import journal_entry, json_lines, text_lines
from uidtraced.events.shapes import shaped
from uidtraced.events.text import bytes_of, text
from uidtraced.events.uring import LAYOUT, OPERATIONS, REGISTERED, URING
from uidtraced.kernel.ring import EVENT_OFFSETS, EVENT_SIZE
from uidtraced.policy.identity import _text as name_of_bytes
from uidtraced.policy.names import call_name, numbers
from uidtraced.rules import NR_MAX, Abi, Kind, Mark, Nr, Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from uidtraced.events.records import Record

_SIZES = {"args": 48, "comm": 16, "nr": 2, "abi": 2, "via": 2, "outcome": 2}
_WIDE = frozenset({"boot_ns", "seq", "ret", "duration_ns", "cgroup", "exe"})
_CALLS = {abi: tuple(nr for nr in numbers(abi).values() if nr < NR_MAX) for abi in Abi}
_BY_URING = {
    abi: tuple(
        numbers(abi)[name]
        for _, names in OPERATIONS.values()
        for name in sum((n if isinstance(n, tuple) else (n,) for n in names), ())
        if name in numbers(abi)
    )
    for abi in Abi
}
_FIELD = re.compile(rb"[A-Z][A-Z0-9_]{0,63}")
_ESCAPED_IN_JSON = re.compile(
    "[\0-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]"
)


class _Given:
    """One event as the kernel could send it, and what it was made of."""

    def __init__(self, random: Random) -> None:
        self.abi = random.choice(list(Abi))
        self.via = random.choice((0, 0, 0, URING, URING | REGISTERED))
        known: Sequence[int] = _BY_URING[self.abi] if self.via else _CALLS[self.abi]
        if not self.via and random.random() < 0.1:
            known = range(NR_MAX)
        self.nr = random.choice(known)
        self.comm = hostile.raw(random, 16).ljust(16, b"\0")
        self.args = [hostile.number(random) for _ in range(6)]
        self.strings: dict[str, bytes] = {}
        name = call_name(self.abi, Nr(self.nr))
        self.data = b""
        for argument, register, kind in shaped(LAYOUT if self.via else self.abi, name):
            self.data += b"".join(
                struct.pack("=HBB", len(part), register, marks) + part
                for marks, part in self._parts(random, argument, register, kind)
            )

    def _parts(
        self, random: Random, argument: str, register: int, kind: Kind
    ) -> list[tuple[int, bytes]]:
        pointer = (Mark.UNREADABLE, struct.pack("=Q", hostile.number(random)))
        if kind is Kind.STRINGS:
            parts = [
                random.choice(((0, hostile.raw(random, 200)), pointer))
                for _ in range(random.randrange(5))
            ]
            return parts + [(Mark.MORE, b"")] * random.randrange(2)
        if kind is Kind.STRING:
            whole = (0, hostile.raw(random, 4096).replace(b"\0", b""))
        else:
            family = struct.pack("=H", random.choice((0, 1, 2, 10, 16, 17, 65535)))
            whole = (0, random.choice((b"", family + hostile.raw(random, 126))))
        cut = (int(Mark.TRUNCATED), whole[1])
        parts = random.choice(([whole], [whole], [whole], [cut], [pointer], []))
        if random.random() < 0.1:
            parts = [pointer, (int(Mark.AGAIN), b""), *parts]
        if kind is Kind.STRING and parts and parts[-1] == whole and self.args[register]:
            self.strings[argument] = whole[1]
        return parts

    def packed(self, random: Random, data_at: int) -> bytes:
        """Return `struct event`."""
        values: dict[str, Any] = {
            "nr": self.nr,
            "abi": self.abi,
            "via": self.via,
            "comm": self.comm,
            "args": struct.pack("=6Q", *self.args),
            "outcome": random.choice(list(Outcome)),
            "data_at": data_at,
            "data_bytes": len(self.data),
            "boot_ns": random.getrandbits(60),
        }
        event = bytearray(EVENT_SIZE)
        for name, at in EVENT_OFFSETS.items():
            size = 8 if name in _WIDE else _SIZES.get(name, 4)
            value = values.get(name)
            if value is None:
                value = hostile.number(random) & (2 ** (8 * size) - 1)
            raw = value if isinstance(value, bytes) else int(value).to_bytes(size, "little")
            event[at : at + size] = raw
        return bytes(event)


def run(random: Random, count: int, _: object = None) -> None:
    """Make *count* events and check what is written of them; AssertionError where it is wrong."""
    users = [os.fsdecode(hostile.raw(random, 40)) for _ in range(4)]
    groups = [hostile.raw(random, 255) for _ in range(4)]
    programs = [hostile.raw(random, 255).replace(b"\0", b"") for _ in range(4)]
    naming = Naming(
        call_name,
        lambda uid: None if uid % 5 == 4 else name_of_bytes(users[uid % 5]),
        lambda group: text(b"/" + groups[group % 4]),
        lambda exe: exe_path(programs[exe % 4] + b"\0bin\0", random.choice((0, *Mark))),
    )
    given = [_Given(random) for _ in range(count)]
    batch, data = b"", b""
    for one in given:
        batch += one.packed(random, len(data))
        data += one.data
    decoder = Decoder(EVENT_OFFSETS, EVENT_SIZE, naming)
    events = decoder.decode(memoryview(batch), memoryview(data))
    assert len(events) == count
    for one, event in zip(given, events, strict=True):
        assert bytes_of(event.comm) == one.comm.partition(b"\0")[0]
        assert event.syscall == call_name(one.abi, Nr(one.nr))
        for argument, said in one.strings.items():
            shown = event.args[argument]
            assert isinstance(shown, str)
            assert bytes_of(shown) == said, (shown, said)
    check([*events, *_others(random, name_of_bytes(users[0]))])


def _others(random: Random, name: str) -> list[Record]:
    when = "2026-01-02T03:04:05.000000000Z"
    path = hostile.raw(random, 100).decode("utf-8", "replace")
    return [
        LossRecord(when, "loss", 1000, name, hostile.number(random), 1, 0),
        PolicyRecord(when, "policy", 3, path, "ab", 1, 2, 3, 4, 5),
        GapRecord(when, "gap", when, 5, 1),
        TamperRecord(when, "tamper", "real", name, 1000, name, path, path),
    ]


def check(records: list[Record]) -> None:
    """Check each output of *records* with a reader of its own."""
    said = json_lines(records).decode()
    assert len(said.splitlines()) == len(records)
    for line, record in zip(said.split("\n")[:-1], records, strict=True):
        assert not _ESCAPED_IN_JSON.search(line), line
        assert json.loads(line) == msgspec.to_builtins(record), line
    shown = text_lines(records).decode()
    assert len(shown.splitlines()) == len(records)
    for line, record in zip(shown.split("\n")[:-1], records, strict=True):
        assert line.isprintable(), line
        if isinstance(record, SyscallEvent):
            _check_line(line, record)
    for record in records:
        _check_entry(journal_entry(record), record)


def _check_line(line: str, event: SyscallEvent) -> None:
    """Check that who reads *line* from its start on finds who made which call."""
    when, _, rest = line.partition(" ")
    _, _, rest = rest.partition("[")
    tid, _, rest = rest.partition("] ")
    user, _, rest = rest.partition(": ")
    assert (when, tid) == (event.ts, str(event.tid)), line
    plain = "".join(one if one.isprintable() and one != ":" else "\\" for one in event.user or "")
    assert (user if event.user is None else user[: len(plain.split("\\")[0])]) == (
        str(event.uid) if event.user is None else plain.split("\\")[0]
    ), line
    abi = "" if event.abi in ("x86_64", "arm64") else f"{event.abi}:"
    assert rest.startswith(f"{abi}{event.syscall}("), line


def _check_entry(raw: bytes, record: Record) -> None:
    fields = parse_entry(raw)
    names = [name for name, _ in fields]
    assert len(set(names)) == len(names), names
    found = dict(fields)
    assert found.pop("PRIORITY") in (b"3", b"4", b"6")
    assert found.pop("SYSLOG_IDENTIFIER") == b"uidtraced"
    assert found.pop("MESSAGE").decode().isprintable()
    expected = {
        f"UIDTRACE_{name.upper()}": value
        for name, value in msgspec.to_builtins(record).items()
        if value is not None
    }
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, dict | list):
            assert not _ESCAPED_IN_JSON.search(found[name].decode())
            assert json.loads(found[name]) == value
        else:
            assert found[name].decode() == str(value)


def parse_entry(raw: bytes) -> list[tuple[str, bytes]]:
    """Read an entry strictly as systemd's JOURNAL_NATIVE_PROTOCOL has it."""
    fields = []
    while raw:
        line, end, rest = raw.partition(b"\n")
        assert end
        name, equals, value = line.partition(b"=")
        if not equals:
            assert len(rest) > 8
            (size,) = struct.unpack("<Q", rest[:8])
            value, rest = rest[8 : 8 + size], rest[8 + size :]
            assert len(value) == size
            assert rest[:1] == b"\n"
            rest = rest[1:]
        assert _FIELD.fullmatch(name), name
        fields.append((name.decode(), value))
        raw = rest
    return fields
