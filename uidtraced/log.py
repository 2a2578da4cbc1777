"""The daemon's own log: structlog to standard error, never to where events go.

Nobody who logs ever waits for who reads: a thread writes, and where it is stuck, the last thousand
lines wait.
"""

from __future__ import annotations

import atexit
import contextlib
import enum
import errno
import logging
import os
import select
import sys
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final, TextIO, cast

import msgspec
import structlog

from uidtraced.events.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable


class LogStyle(enum.Enum):
    """How the log is written."""

    JSON = "json"
    JOURNAL = "journal"
    """logfmt, with the priority in front that journald reads (sd-daemon(3))."""
    TEXT = "text"


_LINES_AT_MOST: Final = 1000
_PASSES: Final = frozenset({errno.ENOMEM, errno.ENOBUFS, errno.ENOSPC, errno.EDQUOT})
"""No memory for the pipe, no room on the disk: there may be some later."""
_RETRY_SECONDS: Final = 0.1
_END_SECONDS: Final = 1.0

_PRIORITY: Final = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}


def _journal(render: Any) -> Callable[[Any, str, Any], str]:
    def processor(logger: Any, name: str, event: Any) -> str:
        level = event.pop("level", "info")
        return f"<{_PRIORITY.get(level, 6)}>{render(logger, name, event)}"

    return processor


def _fit(_: Any, __: str, event: Any) -> Any:
    """Make what is said fit for UTF-8 and, but for tracebacks, for one line."""
    for key, value in event.items():
        if isinstance(value, str) and key != "exception":
            event[key] = printable(value)
    return event


class PatientStream:
    """What structlog writes to: passes lines on to *fd*, in a thread of its own."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._waiting: deque[str] = deque(maxlen=_LINES_AT_MOST)
        self._changed = threading.Condition()
        self._writes = False
        threading.Thread(target=self._run, name="log", daemon=True).start()

    def write(self, text: str) -> None:
        """Take *text*, a line with its end."""
        with self._changed:
            self._waiting.append(text)
            self._changed.notify_all()

    def flush(self) -> None:
        """Do nothing: each line is written as soon as it can be."""

    def drain(self, seconds: float) -> bool:
        """Wait until all is written, for *seconds* at most; False where it is not."""
        with self._changed:
            return self._changed.wait_for(lambda: not (self._waiting or self._writes), seconds)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                text = self._waiting.popleft()
                self._writes = True
            with contextlib.suppress(OSError):  # nobody reads it any more
                self._write(text.encode(errors="backslashreplace"))
            with self._changed:
                self._writes = False
                self._changed.notify_all()

    def _write(self, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(self._fd, data) :]
            except BlockingIOError:  # it is one with standard output, which does not block
                poll = select.poll()
                poll.register(self._fd, select.POLLOUT)
                poll.poll()
            except OSError as error:
                if error.errno not in _PASSES:
                    raise
                time.sleep(_RETRY_SECONDS)


def start_log(style: LogStyle) -> None:
    """Configure structlog for the whole process."""
    stream = PatientStream(sys.stderr.fileno())
    atexit.register(stream.drain, _END_SECONDS)
    processors: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        _fit,
    ]
    logfmt = structlog.processors.LogfmtRenderer(key_order=["event"], drop_missing=True)
    if style is LogStyle.JOURNAL:
        processors.append(_journal(logfmt))
    else:
        processors.append(structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"))
        if style is LogStyle.JSON:
            encoder = msgspec.json.Encoder(enc_hook=repr)
            processors.append(
                structlog.processors.JSONRenderer(
                    serializer=lambda value, **_: encoder.encode(value).decode()
                )
            )
        else:
            processors.append(structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()))
    structlog.configure(
        processors=processors,
        logger_factory=structlog.WriteLoggerFactory(file=cast("TextIO", stream)),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[_Libraries(logging.WARNING)], force=True)
    threading.excepthook = _thread_died


class _Libraries(logging.Handler):
    """What libraries say through the standard library's logging, in our form."""

    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger().log(
            record.levelno, "library_says", library=record.name, message=record.getMessage()
        )


def _thread_died(died: threading.ExceptHookArgs) -> None:
    name = died.thread.name if died.thread is not None else None
    error = (died.exc_type, died.exc_value, died.exc_traceback)
    structlog.get_logger().error("thread_died", thread=name, exc_info=error)
