"""Runs a program under strace and reads what it says: threads, calls, arguments, results."""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

# structs as addresses, but for what events show too; flags as number and words
STRUCTS = (
    "execve,execveat,connect,bind,sendto,accept,accept4,getsockname,getpeername,recvfrom,"
    "?socketcall,semctl,msgrcv"
)
OPTIONS = [*("-ff", "-q", "-s", "100000", "-X", "verbose"), *("-e", f"verbose={STRUCTS}")]
LIMIT_SECONDS = 60.0
PATH = "/usr/local/bin:/usr/bin:/bin"
UNKNOWN = "???"
"""What strace calls a call that it saw begin in a thread which was gone when it looked."""

LINE = re.compile(r"(\w+|\?\?\?)\((.*)\)\s+= (.*)", re.DOTALL)
NOISE = ("---", "<... execve resumed>)", "+++", "[ Process", "strace:")


@dataclass(frozen=True)
class Call:
    """A call as strace prints it; *result* is what stands behind the equals sign.

    *is_last*: the thread ended in it, or lost its memory to another's execve.
    """

    name: str
    args: tuple[str, ...]
    result: str
    is_last: bool = False


def split(text: str) -> tuple[str, ...]:
    """Return the arguments in *text*: commas in quotes, brackets and comments do not count."""
    found, start, at, depth = [], 0, 0, 0
    while at < len(text):
        one = text[at]
        if one == '"':
            at += 1
            while text[at] != '"':
                at += 2 if text[at] == "\\" else 1
        elif text.startswith("/*", at):
            at = text.index("*/", at) + 1
        elif one in "([{":
            depth += 1
        elif one in ")]}":
            depth -= 1
        elif one == "," and not depth:
            found.append(text[start:at].strip())
            start = at + 1
        at += 1
    last = text[start:].strip()
    return (*found, last) if last or found else ()


def parse(line: str) -> Call | None:
    """Return the call in *line*; None for what is no call."""
    if not line or line.startswith(NOISE):
        return None
    line = re.sub(r" <pid changed to \d+ \.\.\.>$", ") = 0", line)
    line = re.sub(r",?\s*<unfinished \.\.\.>(?=\) += \?$)", "", line)
    found = LINE.fullmatch(line)
    if found is None:
        raise ValueError(f"no call: {line!r}")
    name, args, result = found.groups()
    return Call(name, split(args), result)


def trace(user: str, script: str, cwd: Path, programs: Path) -> dict[int, list[Call]]:
    """Run *script* as *user* in *cwd*; return the calls of each thread in their order."""
    with tempfile.TemporaryDirectory(prefix="uidtraced-strace-") as directory:
        subprocess.run(
            ["strace", *OPTIONS, "-u", user, "-o", f"{directory}/log", "sh", "-c", script],
            cwd=cwd,
            env={"PATH": PATH, "HOME": str(cwd), "LC_ALL": "C.UTF-8", "BIN": str(programs)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=LIMIT_SECONDS,
        )
        return {
            int(path.suffix[1:]): calls_in(path.read_text("ascii"))
            for path in Path(directory).iterdir()
        }


def calls_in(log: str) -> list[Call]:
    """Return the calls of one thread's log."""
    found: list[Call] = []
    for line in log.splitlines():
        if line.startswith("+++") and found:
            found[-1] = replace(found[-1], is_last=True)
        if (call := parse(line)) is not None:
            found.append(call)
    return found
