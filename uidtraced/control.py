"""The control socket: what `plan` and `status` ask of the running daemon. It changes nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog

from uidtraced.errors import UidtracedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

log = structlog.get_logger("control")

SOCKET: Final = Path("/run/uidtraced/control")
_CREDENTIALS: Final = struct.Struct("3i")  # struct ucred of unix(7): pid, uid, gid
_MAX_QUESTION_BYTES: Final = 1024
_QUESTION_SECONDS: Final = 5.0
_ANSWER_SECONDS: Final = 10.0


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

    async def start(self) -> None:
        """Listen from now on; OSError where the directory does not let us."""
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()  # what a killed daemon left: the lock says that none runs
        old = os.umask(0o177)
        try:
            self._server = await asyncio.start_unix_server(self._serve, self._path)
        finally:
            os.umask(old)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.set_write_buffer_limits(0)  # so that drain waits for all of it
        try:
            async with asyncio.timeout(_QUESTION_SECONDS):
                answer = await self._answer(reader, writer)
            async with asyncio.timeout(_ANSWER_SECONDS):
                writer.write(msgspec.json.encode(answer))
                await writer.drain()
        except (OSError, TimeoutError, ValueError):
            pass  # who asked went away, or asked nothing
        finally:
            writer.transport.abort() if writer.transport.get_write_buffer_size() else writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> object:
        question = (await reader.readline())[:_MAX_QUESTION_BYTES].decode("ascii", "replace")
        peer: socket.socket = writer.get_extra_info("socket")
        raw = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        _, uid, _ = _CREDENTIALS.unpack(raw)
        if uid not in (0, os.geteuid()):
            return {"error": f"uid {uid} may not ask; root may"}
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
            connection.sendall(f"{question}\n".encode())
            parts = []
            while part := connection.recv(1 << 16):
                parts.append(part)
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise NotRunningError("uidtraced is not running; systemctl start uidtraced") from error
        except PermissionError as error:
            raise ControlError(f"{path} may not be opened; run it as root") from error
        except OSError as error:
            raise ControlError(f"{path}: no answer ({error})") from error
    try:
        answer = msgspec.json.decode(b"".join(parts))
    except msgspec.DecodeError as error:
        raise ControlError(f"{path}: the answer was cut off; ask again") from error
    if isinstance(answer, dict) and "error" in answer:
        raise ControlError(str(answer["error"]))
    return answer
