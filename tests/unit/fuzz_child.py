"""Decides on policies in a process of its own, which may crash or hang where uidtraced's may not.

    fuzz_child.py decide FILE...        say what becomes of each
    fuzz_child.py fuzz SECONDS FILE     mutate policies for so long; FILE is what is decided on

Ends with 0 where each was accepted, or refused with positions inside the file, within a second.
"""

from __future__ import annotations

import faulthandler
import random
import sys
import time
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from uidtraced.errors import PolicyError
from uidtraced.policy import Identities, Names, load, understand
from uidtraced.rules import Uid

MAX_CPU_SECONDS = 2.0
HANG_SECONDS = 20.0


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
    faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
    started = time.process_time()
    try:
        understand(load(path), People())
    except PolicyError as error:
        problems = error.problems
    else:
        problems = ()
    took = time.process_time() - started
    faulthandler.cancel_dump_traceback_later()
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
TOKENS = (*INDICATORS, *SPACES, *UNSEEN, *WORDS, b"9" * 25, b"a" * 300)

places = st.integers(0, 400)
mutations = st.one_of(
    st.tuples(st.just("insert"), places, st.sampled_from(TOKENS), st.sampled_from((1, 2, 9, 4000))),
    st.tuples(st.just("cut"), places, st.integers(0, 40)),
    st.tuples(st.just("copy"), places, st.integers(1, 80), places, st.sampled_from((1, 3, 2000))),
    st.tuples(st.just("byte"), places, st.integers(0, 255)),
    st.tuples(st.just("end"), places),
)


def mutate(raw: bytes, step) -> bytes:
    """Return *raw* with one *step* done to it; places are taken modulo its length."""
    kind, at, *rest = step
    at %= len(raw) + 1
    if kind == "insert":
        return raw[:at] + rest[0] * rest[1] + raw[at:]
    if kind == "cut":
        return raw[:at] + raw[at + rest[0] :]
    if kind == "copy":
        length, to, times = rest
        to %= len(raw) + 1
        return raw[:to] + raw[at : at + length] * times + raw[to:]
    if kind == "byte":
        return raw[:at] + bytes([rest[0]]) + raw[at + 1 :]
    return raw[:at]


def fuzz(seconds: float, path: Path) -> None:
    """Decide on mutated policies, each written to *path*, so that a crash leaves it there."""
    counts: dict[str, int] = {}

    @settings(
        max_examples=500,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(
        st.one_of(st.sampled_from(POLICIES), st.binary(max_size=60)),
        st.lists(mutations, max_size=8),
    )
    def one(raw: bytes, steps) -> None:
        for step in steps:
            raw = mutate(raw, step)
        path.write_bytes(raw)
        became = "accepted" if decide(path) == "accepted" else "refused"
        counts[became] = counts.get(became, 0) + 1

    start = random.randrange(2**32)
    deadline = time.monotonic() + seconds
    batches = 0
    while time.monotonic() < deadline:
        print(f"seed {start + batches}", flush=True)
        seed(start + batches)(one)()
        batches += 1
    print(counts.get("accepted", 0), counts.get("refused", 0))


if __name__ == "__main__":
    if sys.argv[1] == "fuzz":
        fuzz(float(sys.argv[2]), Path(sys.argv[3]))
    else:
        for name in sys.argv[2:]:
            print(name, end=" ", flush=True)
            print(decide(Path(name)), flush=True)
