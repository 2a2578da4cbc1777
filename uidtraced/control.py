"""The control socket: what `plan` and `status` ask of the running daemon. It changes nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
import structlog

from uidtraced.errors import UidtracedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

log = structlog.get_logger("control")
_T = TypeVar("_T")

SOCKET: Final = Path("/run/uidtraced/control")
_CREDENTIALS: Final = struct.Struct("3i")  # struct ucred of unix(7): pid, uid, gid
_MAX_QUESTION_BYTES: Final = 1024
_QUESTION_SECONDS: Final = 5.0
_ANSWER_SECONDS: Final = 10.0
_MAX_ANSWER_BYTES: Final = 1 << 28
CONNECTIONS: Final = 16
"""At once; who comes then is told to come again."""


_NOT_UNDERSTOOD: Final = (
    "the answer is none that this version gives; restart the daemon if it is of another one"
)


class NotRunningError(UidtracedError):
    """No daemon answers on this machine."""


class ControlError(UidtracedError):
    """The daemon runs, but does not tell us."""


class Control:
    """Answers questions on *path*, each by its function in *answers*, to root and to our user."""

    def __init__(
        self, answers: Mapping[str, Callable[[], Awaitable[object]]], path: Path = SOCKET
    ) -> None:
        self._answers = answers
        self._path = path
        self._server: asyncio.Server | None = None
        self._open = 0

    async def start(self) -> None:
        """Listen from now on; ControlError where the directory does not let us."""
        old = os.umask(0o177)
        try:
            with contextlib.suppress(FileNotFoundError):
                self._path.unlink()  # what a killed daemon left: the lock says that none runs
            self._server = await asyncio.start_unix_server(self._serve, self._path)
        except OSError as error:
            reason = os.strerror(error.errno or 0)  # asyncio has another text in strerror
            raise ControlError(f"{self._path} cannot be made ({reason}); remove it") from error
        finally:
            os.umask(old)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.set_write_buffer_limits(0)  # so that drain waits for all of it
        self._open += 1
        try:
            async with asyncio.timeout(_QUESTION_SECONDS):
                answer = await self._answer(reader, writer)
            async with asyncio.timeout(_ANSWER_SECONDS):
                writer.write(msgspec.json.encode(answer))
                await writer.drain()
        except (OSError, TimeoutError, ValueError):
            pass  # who asked went away, or asked nothing
        finally:
            self._open -= 1
            writer.transport.abort() if writer.transport.get_write_buffer_size() else writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> object:
        peer: socket.socket = writer.get_extra_info("socket")
        raw = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        _, uid, _ = _CREDENTIALS.unpack(raw)  # of who connected, whoever has the connection now
        if uid not in (0, os.geteuid()):
            return {"error": f"uid {uid} may not ask; root may"}
        if self._open > CONNECTIONS:
            return {"error": f"{CONNECTIONS} others ask at the moment; ask again"}
        question = (await reader.readline())[:_MAX_QUESTION_BYTES].decode("ascii", "replace")
        answer = self._answers.get(question.strip())
        if answer is None:
            return {"error": f"no such question; there are {', '.join(self._answers)}"}
        try:
            return await answer()
        except UidtracedError as error:
            return {"error": str(error)}

    async def stop(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()
            self._server = None
            with contextlib.suppress(OSError):
                self._path.unlink()


def ask(question: str, path: Path = SOCKET) -> Any:
    """Return the running daemon's answer to *question*.

    Raises NotRunningError where no daemon runs, ControlError where it does not answer.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_QUESTION_SECONDS + _ANSWER_SECONDS)
        try:
            connection.connect(str(path))
            with contextlib.suppress(BrokenPipeError):  # who may not ask is told so unasked
                connection.sendall(f"{question}\n".encode())
            said = _receive(connection)
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise NotRunningError("uidtraced is not running; systemctl start uidtraced") from error
        except PermissionError as error:
            raise ControlError(f"{path} may not be opened; run it as root") from error
        except OSError as error:
            raise ControlError(f"{path}: no answer ({error})") from error
    try:
        answer = msgspec.json.decode(said)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ControlError(f"{path}: the answer was cut off; ask again") from error
    if not isinstance(answer, dict):
        raise ControlError(f"{path}: {_NOT_UNDERSTOOD}")
    if "error" in answer:
        raise ControlError(str(answer["error"]))
    return answer


def understood(answer: Mapping[str, Any], read: Callable[[Mapping[str, Any]], _T]) -> _T:
    """Return what *read* makes of *answer*; ControlError where it is not as `ask` should have it.

    A daemon of another version may run, or something else listen there.
    """
    try:
        return read(answer)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ControlError(_NOT_UNDERSTOOD) from error


def _receive(connection: socket.socket) -> bytes:
    """Return all that comes; OSError where that is nothing, or has no end."""
    said = bytearray()
    try:
        while part := connection.recv(1 << 16):
            said += part
            if len(said) > _MAX_ANSWER_BYTES:
                raise OSError(f"more than {_MAX_ANSWER_BYTES} bytes")
    except ConnectionResetError:  # the question was not read: the answer came before
        if not said:
            raise
    return bytes(said)
