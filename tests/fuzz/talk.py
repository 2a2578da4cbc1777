"""What is said to the control socket and the metrics, and what a false daemon answers."""

from __future__ import annotations

import asyncio
import contextlib
import email.parser
import json
import socket
import threading
from typing import TYPE_CHECKING, Any

from fuzz import hostile
from uidtraced.accounts import Account
from uidtraced.control import Control, ControlError, ask, understood
from uidtraced.metrics import render
from uidtraced.planfile import from_plain, to_plain
from uidtraced.rules import Abi, Flag, Nr, Plan, Rule, Scope, ScopePlan, Uid, UidRange
from uidtraced.scrape import Address, Scrape
from uidtraced.status import Kernel, Output, Policy, SinceStart, Status, status_lines

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path
    from random import Random

_RULES = frozenset({Rule(Abi.X86_64, Nr(2), Flag.LOG, 5), Rule(Abi.I386, Nr(5), Flag.LOG, 0)})
_PLAN = Plan(
    {
        Scope.REAL: ScopePlan({Uid(5): _RULES}, {UidRange(Uid(7), Uid(9)): _RULES}, _RULES),
        Scope.LOGIN: ScopePlan({}, {}, _RULES),
    }
)
_STATUS = Status(
    *(1, "2026-01-02T03:04:05.000000000Z", ("a problem",)),
    Policy("/etc/uidtrace.yaml", "ab", 1, None, ("carol",), 5.0),
    *(_PLAN, Kernel(True, 4096, 0, None), Output("json", 0.0), SinceStart(0, 0.0, 0)),
    [Account(1000, "al\nice\x1b", 1, 1, 0, 0, 0, 0, 0)],
)
_ANSWERS = json.loads(
    json.dumps({"plan": {"revision": 1, "plan": to_plain(_PLAN)}, "status": _STATUS.plain()})
)
_VALUES = (None, True, 0, -1, 2**70, 1.5, "", "x", "\x1b[2J\n", [], [[]], {}, {"a": 1}, [1, 2, 3])
_HEADS = (
    *(b"GET /metrics HTTP/1.1\r\n", b"GET /metrics HTTP/1.0\r\n", b"GET / HTTP/1.1\r\n"),
    *(b"HEAD /metrics HTTP/1.1\r\n", b"POST /metrics HTTP/1.1\r\n", b"GET  /metrics HTTP/1.1\r\n"),
    *(b"GET /metrics\r\n", b"GET http://x/metrics HTTP/1.1\r\n", b"PRI * HTTP/2.0\r\n", b"\r\n"),
)
_FIELDS = (
    *(b"Accept: ", b"accept:", b"Host: x", b"Accept-Encoding: gzip", b"Content-Length: 5", b" "),
    *(b"application/openmetrics-text;", b" version=1.0.0;", b" version=0.0.4", b" version=x;"),
    *(
        b" escaping=allow-utf-8",
        b" version=9.9.9;",
        b" version=1.0.0.a;",
        b"text/plain;",
        b",",
        b":",
    ),
    *(b"version=1." + b"9" * 5000, b"\t", b"Transfer-Encoding: chunked", b"=?utf-8?q?=0A?="),
)
_STATUS_LINES = (b"200 OK", b"400 Bad Request", b"404 Not Found", b"405 Method Not Allowed")


def run(random: Random, count: int, directory: Path) -> None:
    """Say *count* things; AssertionError, or whatever is raised, where one does harm."""
    questions, heads, answers = [], [], []
    for _ in range(count):
        match random.randrange(4):
            case 0:
                questions.append(_question(random))
            case 1:
                heads.append(_head(random))
            case 2:
                answers.append(_answer(random))
            case _:
                _read(random)
    asyncio.run(_asked(questions, heads, directory / "control"))
    _answered(answers, directory / "false")


def _question(random: Random) -> bytes:
    if random.random() < 0.2:
        return random.choice((b"plan\n", b"status\n", b" status \n", b"status", b"plan\nstatus\n"))
    return hostile.raw(random, random.choice((100, 100_000))) * random.choice((1, 1, 1, 50))


def _head(random: Random) -> bytes:
    fields = b""
    for _ in range(random.randrange(5)):
        parts = [
            random.choice(_FIELDS) if random.random() < 0.8 else hostile.raw(random, 60)
            for _ in range(random.randrange(4))
        ]
        fields += b"".join(parts) + b"\r\n"
    start = random.choice(_HEADS) if random.random() < 0.8 else hostile.raw(random, 60) + b"\r\n"
    return start + fields + b"\r\n"


def _mutated(random: Random, value: Any) -> Any:
    """Return *value* with something in it changed."""
    if isinstance(value, dict) and value and random.random() < 0.9:
        key = random.choice(list(value))
        if random.random() < 0.1:
            return {one: value[one] for one in value if one != key}
        return value | {key: _mutated(random, value[key])}
    if isinstance(value, list) and value and random.random() < 0.9:
        at = random.randrange(len(value))
        return [*value[:at], _mutated(random, value[at]), *value[at + 1 :]]
    return random.choice((*_VALUES, hostile.number(random)))


def _read(random: Random) -> None:
    plan = _mutated(random, _ANSWERS["plan"])
    if isinstance(plan, dict):
        with contextlib.suppress(ControlError):
            assert isinstance(understood(plan, lambda found: from_plain(found["plan"])), Plan)
    status = _mutated(random, _ANSWERS["status"])
    if isinstance(status, dict):
        with contextlib.suppress(ControlError):
            assert all(isinstance(one, str) for one in understood(status, status_lines))


def _answer(random: Random) -> bytes:
    if random.random() < 0.5:
        return hostile.raw(random, 200)
    if random.random() < 0.02:
        return random.choice((b"[", b'{"a":')) * 50_000
    said = json.dumps(_mutated(random, _ANSWERS["status"])).encode()
    at = random.randrange(len(said) + 1)
    return random.choice((said, said[:at], said[:at] + hostile.raw(random, 20) + said[at:]))


def _answered(answers: list[bytes], path: Path) -> None:
    """Ask a false daemon that gives these *answers*."""
    with socket.socket(socket.AF_UNIX) as false:
        false.bind(str(path))
        false.listen()

        def serve() -> None:
            for one in answers:
                with false.accept()[0] as connection:
                    connection.recv(100)
                    with contextlib.suppress(OSError):
                        connection.sendall(one)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        for _ in answers:
            try:
                assert isinstance(ask("status", path), dict)
            except ControlError as error:
                assert len(str(error).splitlines()) <= 2
        thread.join()
    path.unlink()


async def _asked(questions: list[bytes], heads: list[bytes], path: Path) -> None:
    def tells(answer: object) -> Callable[[], Awaitable[object]]:
        async def tell() -> object:
            return answer

        return tell

    control = Control({name: tells(value) for name, value in _ANSWERS.items()}, path)
    await control.start()
    for question in questions:
        reader, writer = await asyncio.open_unix_connection(path)
        said = b""
        with contextlib.suppress(ConnectionError):
            writer.write(question)
            writer.write_eof()
            said = await reader.read()
        writer.close()
        if said:
            known = _ANSWERS.get(question.partition(b"\n")[0].decode("ascii", "replace").strip())
            answer = json.loads(said)
            assert answer == known if known else list(answer) == ["error"], question
    await control.stop()

    async def metrics(accept: str) -> tuple[str, bytes]:
        return render(_STATUS, accept)

    scrape = Scrape(Address("127.0.0.1", 0), metrics)
    for head in heads:
        _check_response(await scrape._respond(head), head)


def _check_response(said: bytes, head: bytes) -> None:
    start, _, rest = said.partition(b"\r\n")
    assert start.removeprefix(b"HTTP/1.1 ") in _STATUS_LINES, start
    fields, end, body = rest.partition(b"\r\n\r\n")
    assert end
    lines = fields.split(b"\r\n")
    allowed = ["Content-Type", "Content-Length", "Connection"]
    names = [line.decode("ascii").partition(": ")[0] for line in lines]
    assert names == allowed + ["Allow"] * start.endswith(b"405 Method Not Allowed"), lines
    assert all(line.decode("ascii").isprintable() for line in lines), lines
    length = email.parser.HeaderParser().parsestr(fields.decode())["Content-Length"]
    assert len(body) == (0 if head.startswith(b"HEAD ") else int(length)), head
    assert not start.endswith(b"200 OK") or head.startswith(b"GET /metrics"), head
