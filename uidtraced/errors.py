"""Errors by what to do next; imports nothing of ours. Only `cli` maps them to exit codes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

NO_MEMORY: Final = (
    "not enough memory for so large a policy; raise the service's limit, or name ranges or groups"
)


class UidtracedError(Exception):
    """Base of every error that is told to the user as one line, without a traceback."""


class UnsupportedError(UidtracedError):
    """This kernel or machine lacks something that is needed; a restart does not help."""


class PermissionDeniedError(UidtracedError):
    """A capability is missing; a restart does not help."""


class AlreadyRunningError(UidtracedError):
    """Another instance holds the lock of this machine."""


class KernelError(UidtracedError):
    """A call into the kernel or libbpf failed: *call* names it, *errno* is positive."""

    def __init__(self, call: str, errno: int, message: str) -> None:
        super().__init__(message)
        self.call = call
        self.errno = errno


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing wrong with a policy file; *line* and *column* count from 1."""

    line: int
    column: int
    message: str
    path: str = ""

    def __str__(self) -> str:
        return self.text("error")

    def text(self, severity: str) -> str:
        """Return it in the form that editors and CI systems read, *severity* named."""
        return _one_line(f"{self.path}:{self.line}:{self.column}: {severity}: {self.message}")


def _one_line(text: str) -> str:
    """Return *text* with escapes for what ends a line, moves a cursor or is not seen."""
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text
    )


class PolicyError(UidtracedError):
    """A policy that was refused whole; *problems* is never empty and sorted by position."""

    def __init__(self, problems: list[Problem] | tuple[Problem, ...]) -> None:
        self.problems = tuple(sorted(problems))
        super().__init__("\n".join(str(problem) for problem in self.problems))
