"""The HTTP side of `--metrics`: hands one document to who GETs it, and says no to all else.

It runs on the daemon's loop, so nobody may hold it up: few connections at a time, a request of few
bytes within a few seconds, one answer, and the end.
"""

from __future__ import annotations

import asyncio
import email.parser
import ipaddress
import os
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Self

import structlog

from uidtraced.errors import UidtracedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

log = structlog.get_logger("metrics")

PATH: Final = "/metrics"
CONNECTIONS: Final = 16
"""At once; who comes then is told to come again."""
_REQUEST_BYTES: Final = 16 * 1024
_REQUEST_SECONDS: Final = 3.0
_ANSWER_SECONDS: Final = 10.0
_PORT_MAX: Final = 2**16 - 1
_TEXT: Final = "text/plain; charset=utf-8"


class ListenError(UidtracedError):
    """The metrics' address cannot be listened on."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen; port 0 is one that the kernel chooses."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return what *text* names; ValueError where that is no address.

        Names are not asked of a resolver: what one answers tomorrow may not be this machine.
        """
        host, colon, port = text.rpartition(":")
        if not colon or not port.isdecimal() or int(port) > _PORT_MAX:
            raise ValueError(f"{text!r} is no ADDR:PORT, such as 127.0.0.1:9464")
        if host in ("", "localhost"):
            return cls("127.0.0.1", int(port))
        bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        try:
            found = ipaddress.ip_address(bare)
        except ValueError:
            raise ValueError(f"{host!r} is no IP address, such as 127.0.0.1 or [::1]") from None
        if (found.version == 6) != (bare is not host):  # noqa: PLR2004
            raise ValueError(f"{text!r}: an IPv6 address, and no other, stands in brackets")
        return cls(str(found), int(port))

    @property
    def is_loopback(self) -> bool:
        """Whether nobody but this machine can connect."""
        return ipaddress.ip_address(self.host).is_loopback

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Scrape:
    """Serves *answer* at `/metrics` of *address*.

    *answer* gets the request's Accept header and returns a content type and a document.
    """

    def __init__(
        self, address: Address, answer: Callable[[str], Awaitable[tuple[str, bytes]]]
    ) -> None:
        self._address = address
        self._answer = answer
        self._server: asyncio.Server | None = None
        self._open = 0

    async def start(self) -> None:
        """Listen from now on; ListenError where that cannot be."""
        host, port = self._address.host, self._address.port
        try:
            self._server = await asyncio.start_server(
                self._serve, host, port, limit=_REQUEST_BYTES, backlog=CONNECTIONS
            )
        except OSError as error:
            reason = os.strerror(error.errno or 0)  # asyncio has another text in strerror
            raise ListenError(f"--metrics {self._address}: {reason}") from error
        bound = self._server.sockets[0].getsockname()[1]
        log.info("metrics_listening", address=str(Address(host, bound)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open > CONNECTIONS:
                writer.write(_response(HTTPStatus.SERVICE_UNAVAILABLE))
                return
            async with asyncio.timeout(_REQUEST_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
            async with asyncio.timeout(_ANSWER_SECONDS):
                writer.write(await self._respond(head))
                await writer.drain()
        except asyncio.LimitOverrunError:
            writer.write(_response(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE))
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass  # who asked went away, is slow, or asked nothing
        finally:
            self._open -= 1
            writer.transport.abort() if writer.transport.get_write_buffer_size() else writer.close()

    async def _respond(self, head: bytes) -> bytes:
        line, _, rest = head.decode("latin-1").partition("\r\n")
        words = line.split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):  # noqa: PLR2004
            return _response(HTTPStatus.BAD_REQUEST)
        method, target, _ = words
        if method != "GET":
            return _response(HTTPStatus.METHOD_NOT_ALLOWED, Allow="GET", bare=method == "HEAD")
        if target.partition("?")[0] != PATH:
            return _response(HTTPStatus.NOT_FOUND)
        accept = email.parser.HeaderParser().parsestr(rest).get("Accept", "")
        plain = accept.isascii() and accept.isprintable()  # part of it comes back as a header
        kind, document = await self._answer(accept if plain else "")
        return _response(HTTPStatus.OK, document, kind)

    async def stop(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()
            self._server = None


def _response(
    status: HTTPStatus,
    document: bytes = b"",
    kind: str = _TEXT,
    *,
    bare: bool = False,
    **headers: str,
) -> bytes:
    """Return a whole response, after which the connection ends; without its body where *bare*."""
    body = document or f"{status.value} {status.phrase}\n".encode()
    fields = {"Content-Type": kind, "Content-Length": str(len(body)), "Connection": "close"}
    lines = [f"{name}: {value}\r\n" for name, value in (fields | headers).items()]
    return f"HTTP/1.1 {status.value} {status.phrase}\r\n{''.join(lines)}\r\n".encode() + body * (
        not bare
    )
