"""Policies that were mutated: accepted, or refused with positions inside the file, at once.

`python -m fuzz.policies FILE...` says what becomes of each file, in a process of its own, which may
crash or hang where uidtraced's may not.
"""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from fuzz import hostile
from uidtraced.errors import PolicyError
from uidtraced.policy import Identities, Names, load, understand
from uidtraced.rules import Uid

if TYPE_CHECKING:
    from random import Random

MAX_CPU_SECONDS = 3.0


class People:
    """A directory with two users, who are in one group."""

    users = {"alice": Uid(1000), "bob": Uid(1001)}
    groups = {"developers": frozenset(users.values())}

    def resolve(self, names: Names) -> Identities:
        return Identities(
            {name: uid for name, uid in self.users.items() if name in names.users},
            {name: uids for name, uids in self.groups.items() if name in names.groups},
        )

    def known(self) -> Names:
        return Names(frozenset(self.users), frozenset(self.groups))


def decide(path: Path) -> str:
    """Return what becomes of *path*; AssertionError where it is not what it may be."""
    started = time.process_time()
    try:
        understand(load(path), People())
    except PolicyError as error:
        problems = error.problems
    else:
        problems = ()
    took = time.process_time() - started
    assert took < MAX_CPU_SECONDS, f"took {took} s"
    # the mark at the start has no width in an editor
    lines = path.read_bytes().removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace").split("\n")
    for problem in problems:
        assert 1 <= problem.line <= len(lines), problem
        assert 1 <= problem.column <= len(lines[problem.line - 1]) + 1, problem
        assert str(problem).isprintable(), problem
    return f"{len(problems)} problems" if problems else "accepted"


SHORT = b"version: 1\nusers:\n  alice: [openat, chdir]\n  0: [chmod, bind]\n"
LONG = b"""version: 1
users:
  bob:
    syscalls: ["@file-system", "!close", "i386:execve", 321]
    match: login
    at: exit
    only: errors
    limit: 100/s
"""
GROUPS = b"""# a comment
version: 1
users:
  "10000-19999": ["@process"]
  "@developers": [execve]
  "*":
    - ptrace
    - "@all"
    - "!i386:@all"
"""
FLOW = b"{version: 1, users: {alice: {syscalls: [open], mode: count}, 1000: ['close']}}\n"
WINDOWS = b"\xef\xbb\xbfversion: 1\r\nusers:\r\n  alice:\r\n    - open\r\n"
POLICIES = (SHORT, LONG, GROUPS, FLOW, WINDOWS)

INDICATORS = b"[ ] { } , : - ? ?| & * ! !! &a *a | > ' \" # % @ ` ~ = << --- ... \\".split()
SPACES = b"\n|\r|\r\n|\t| |  |\n  |: |- |? | #|<<: |---\n|...\n|\n%TAG ! x\n".split(b"|")
UNSEEN = (
    *(b"\0", b"\x80", b"\xff", b"\xed\xa0\x80", b"\x7f", b"\x1b", b'"\\x1b"'),
    *(one.encode() for one in "\x85\u2028\ufeff\xa0\u202e\u200b\xe9\U0001f600"),
)
WORDS = (
    b"no|null|0777|1:30|0x1f|1e9|.inf|-0|alice|users:|version: 1\n|syscalls: "
    b"|open|@all|i386:|x32:0|'@file-system', |'!@known', |alice: [open]\n|1023|4294967294|0-9|\"*\""
).split(b"|")
GOOD_WORDS = (
    b"alice|bob|root|5|5-9|'*'|'@developers'|open|'@all'|'!open'|'i386:open'|[kill]|[]|real|login"
    b"|effective|enter|exit|errors|count|log|5/s|syscalls|match|at|only|mode|limit|version|users|1"
).split(b"|")
WORD = re.compile(rb"[\w*@!/-]+")
TOKENS = (*INDICATORS, *SPACES, *UNSEEN, *WORDS, b"9" * 25, b"a" * 300)

ONCE_IN = 100
"""So often something is repeated thousands of times, which takes its time."""


def mutate(random: Random, text: bytes) -> bytes:
    """Return *text* with one thing done to it."""
    at = random.randrange(len(text) + 1)
    often = random.choice((2, 9, 4000)) if random.randrange(ONCE_IN) == 0 else 1
    match random.randrange(8):
        case 6 | 7:
            word = random.choice(GOOD_WORDS)
            return WORD.sub(lambda found: found[0] if random.randrange(9) else word, text)
        case 0 | 1:
            return text[:at] + random.choice(TOKENS) * often + text[at:]
        case 2:
            return text[:at] + text[at + random.randrange(41) :]
        case 3:
            to = random.randrange(len(text) + 1)
            return text[:to] + text[at : at + random.randrange(80)] * often + text[to:]
        case 4:
            return text[:at] + random.randbytes(1) + text[at + 1 :]
        case _:
            return text[:at] + hostile.raw(random, 80) + text[at + random.randrange(2) :]


def run(random: Random, count: int, directory: Path) -> dict[str, int]:
    """Decide on *count* policies; return how many became what. *directory* has the last one."""
    path = directory / "policy.yaml"
    became = {"accepted": 0, "refused": 0}
    for _ in range(count):
        text = random.choice(POLICIES) if random.randrange(20) else hostile.raw(random, 60)
        for _ in range(random.choice((1, 1, 1, 2, 3, 8))):
            text = mutate(random, text)
        path.write_bytes(text)
        became["accepted" if decide(path) == "accepted" else "refused"] += 1
    return became


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(name, end=" ", flush=True)
        print(decide(Path(name)), flush=True)
