"""The tracer in a test's own process: rules go in, events come out."""

from __future__ import annotations

import subprocess
import sys
import time

from harness import WAIT_SECONDS
from uidtraced.events.decode import Decoder, Naming
from uidtraced.events.exes import ExePaths
from uidtraced.events.shapes import shapes
from uidtraced.events.uring import stands_for
from uidtraced.kernel.ring import EVENT_OFFSETS, EVENT_SIZE
from uidtraced.kernel.tracer import Tracer
from uidtraced.policy import call_name
from uidtraced.policy.names import numbers
from uidtraced.reconcile import apply
from uidtraced.rules import (
    DEFAULT_FLAGS,
    Flag,
    Plan,
    Rule,
    Scope,
    ScopePlan,
    Uid,
    machine_abis,
)

NATIVE = machine_abis()[0]
NOBODY = Uid(65_501)
OTHER = Uid(65_502)
EXIT = Flag.LOG | Flag.EXIT | Flag.SUCCESS


def rules(*names: str, flags: Flag = DEFAULT_FLAGS, limit: int = 0) -> frozenset[Rule]:
    table = numbers(NATIVE)
    return frozenset(Rule(NATIVE, table[name], flags, limit) for name in names)


def native(*names: str) -> str:
    """Return the first of *names* that is a call of this machine: new ones have no old calls."""
    return next(name for name in names if name in numbers(NATIVE))


def put(tracer: Tracer, scope: Scope, uid: Uid, wanted: frozenset[Rule], revision: int = 1) -> None:
    tracer.prepare([wanted], revision)
    tracer.want([(rule.abi, rule.nr) for rule in wanted])
    tracer.use_scopes([(scope, False)])
    tracer.put(scope, {uid: wanted})


def drain(tracer: Tracer):
    decoder = Decoder(
        EVENT_OFFSETS, EVENT_SIZE, Naming(call_name, lambda _: None, exe=ExePaths(tracer.exe))
    )
    events = []
    while True:
        batch, data = tracer.ring.copy()
        if not batch:
            return events
        events += decoder.decode(batch, data)
        tracer.ring.release()


def enforce(tracer: Tracer, plan: ScopePlan, old: Plan | None = None, revision: int = 1) -> Plan:
    new = Plan({Scope.REAL: plan} if any(plan.rule_sets()) else {})
    apply(old or Plan(), new, tracer, revision)
    return new


def open_tracer(**options) -> Tracer:
    """Return a tracer that reads strings, and knows io_uring."""
    tables = {abi: numbers(abi) for abi in machine_abis()}
    return Tracer(shapes=shapes(tables), uring=stands_for(tables), **options)


class Blocked:
    """A process of NOBODY that is inside of a read; `release` lets it go on to a chdir."""

    def __init__(self) -> None:
        code = f"import os\nos.setresuid({NOBODY}, {NOBODY}, {NOBODY})\nos.write(1, b'r')\n"
        code += "os.read(0, 99)\nos.chdir('/')\n"
        self.process = subprocess.Popen(
            [sys.executable, "-S", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.process.stdout.read(1)
        deadline = time.monotonic() + WAIT_SECONDS
        while self._state() != f"{numbers(NATIVE)['read']} 0x0":
            assert time.monotonic() < deadline

    def _state(self) -> str:
        with open(f"/proc/{self.process.pid}/syscall") as file:
            return " ".join(file.read().split()[:2])

    def release(self) -> None:
        self.process.communicate(b"go")

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self.process.kill()
        self.process.communicate()
