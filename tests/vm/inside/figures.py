"""Prints what is measured in a guest, as JSON: emulation makes all but the waits far slower."""

from __future__ import annotations

import json
import os
import sys
import time

from uidtraced.kernel.tracer import Tracer
from uidtraced.rules import Nr, Rule, Scope, Uid, machine_abis

USERS = 10_000
RULE_SETS = 20


def main() -> None:
    abi = machine_abis()[0]
    sets = [frozenset({Rule(abi, Nr(number))}) for number in range(RULE_SETS)]
    users = {Uid(uid): sets[uid % RULE_SETS] for uid in range(USERS)}
    swapped = {uid: sets[(uid + 1) % RULE_SETS] for uid in users}
    figures = {"release": os.uname().release}
    start = time.monotonic()
    with Tracer() as tracer:
        figures["load_s"] = time.monotonic() - start
        tracer.prepare(sets, 1)
        for name, change in (
            ("create_s", lambda: tracer.put(Scope.REAL, users)),
            ("swap_s", lambda: tracer.put(Scope.REAL, swapped)),
            ("delete_s", lambda: tracer.remove(Scope.REAL, users)),
        ):
            start = time.monotonic()
            change()
            figures[name] = time.monotonic() - start
    json.dump(figures, sys.stdout)


main()
