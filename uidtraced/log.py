"""The daemon's own log: structlog to standard error, never to where events go."""

from __future__ import annotations

import enum
import logging
import sys
import threading
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog

if TYPE_CHECKING:
    from collections.abc import Callable


class LogStyle(enum.Enum):
    """How the log is written."""

    JSON = "json"
    JOURNAL = "journal"
    """logfmt, with the priority in front that journald reads (sd-daemon(3))."""
    TEXT = "text"


_PRIORITY: Final = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}


def _journal(render: Any) -> Callable[[Any, str, Any], str]:
    def processor(logger: Any, name: str, event: Any) -> str:
        level = event.pop("level", "info")
        return f"<{_PRIORITY.get(level, 6)}>{render(logger, name, event)}"

    return processor


def start_log(style: LogStyle) -> None:
    """Configure structlog for the whole process."""
    processors: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
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
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
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
