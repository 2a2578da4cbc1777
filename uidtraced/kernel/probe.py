"""What this machine has of what uidtraced needs; each answer is yes, no, or could not tell."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from uidtraced.errors import UidtracedError
from uidtraced.kernel.libbpf import ffi, lib
from uidtraced.kernel.lockdown import ADVICE, LOCKDOWN, lockdown_mode
from uidtraced.kernel.many import THREADS
from uidtraced.kernel.tracer import BTF, Tracer
from uidtraced.kernel.uring import look_at_uring
from uidtraced.rules import Abi, Nr, Rule, Scope, Uid, machine_abis

_CAPABILITIES: Final = {"CAP_BPF": 39, "CAP_PERFMON": 38}  # linux/capability.h
_CAP_SYS_ADMIN: Final = 21  # stands for both
_FIXED: Final = {(5, 10): 214, (5, 15): 153, (6, 1): 75, (6, 6): 14}
"""From which release of each long-term kernel CVE-2023-52447 (inner maps freed early) is fixed."""

_FIRST_FIXED: Final = (6, 7)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: *ok* is None where it could not be told."""

    name: str
    ok: bool | None
    detail: str
    needed: bool = True
    """False for what uidtraced runs without, only worse."""


def missing_capabilities(status: str | None = None) -> list[str]:
    """Return the capabilities that this process needs and has not.

    *status* is the text of /proc/self/status.
    """
    text = Path("/proc/self/status").read_text("ascii") if status is None else status
    found = re.search(r"^CapEff:\s*([0-9a-f]+)$", text, re.MULTILINE)
    effective = int(found[1], 16) if found else 0
    if effective >> _CAP_SYS_ADMIN & 1:
        return []
    return [name for name, bit in _CAPABILITIES.items() if not effective >> bit & 1]


def probe() -> list[Finding]:
    """Look at everything that matters; changes nothing that outlives the call."""
    missing = missing_capabilities()
    return [
        _machine(),
        Finding(
            "btf",
            os.access(BTF, os.R_OK),
            f"{BTF} is readable"
            if os.access(BTF, os.R_OK)
            else f"{BTF} is missing: boot a kernel with CONFIG_DEBUG_INFO_BTF",
        ),
        Finding(
            "capabilities",
            not missing,
            f"missing: {', '.join(missing)}; run as root" if missing else "all there",
        ),
        _lockdown(),
        *_try_for_real(bool(missing)),
        _io_uring(),
        _inner_map_fix(platform.release(), platform.version()),
    ]


def _machine() -> Finding:
    abis = machine_abis()
    machine = platform.machine()
    if not abis:
        return Finding("machine", False, f"{machine} is not supported, x86_64 and aarch64 are")
    return Finding("machine", True, f"{machine}: {', '.join(abi.label for abi in abis)}")


def _lockdown() -> Finding:
    mode = lockdown_mode()
    if mode is None:
        return Finding("lockdown", None, f"{LOCKDOWN} is missing: mount securityfs", needed=False)
    if mode == "confidentiality":
        return Finding("lockdown", False, f"{mode}: {ADVICE}")
    return Finding("lockdown", True, mode)


def _io_uring() -> Finding:
    tracepoint = look_at_uring().tracepoint
    detail = f"requests are seen, by the tracepoint {tracepoint}"
    if tracepoint is None:
        detail = (
            "requests are not seen (from 6.0, with CONFIG_IO_URING): "
            "log io_uring_setup to know who makes them"
        )
    return Finding("io_uring", tracepoint is not None, detail, needed=False)


def _try_for_real(powerless: bool) -> list[Finding]:  # noqa: FBT001
    """Load, attach and swap as the daemon does."""
    names = ("load and attach", *_OPTIONAL)
    if powerless:
        return [Finding(name, None, "cannot be tried without the capabilities") for name in names]
    rules = frozenset({Rule(Abi(0), Nr(0))})
    nobodies = {Uid(2**32 - 100 + number): rules for number in range(20)}
    try:
        with Tracer(ring_bytes=os.sysconf("SC_PAGESIZE")) as tracer:
            tracer.attach()
            tracer.want_results(wanted=True)
            tracer.prepare([rules], 1)
            tracer.put(Scope.REAL, nobodies)
            found = (tracer.batches, tracer.sees_exec, _loads_plainly())
    except UidtracedError as error:
        return [Finding(names[0], False, str(error))]
    return [
        Finding(names[0], True, "the program was loaded, attached and taken away again"),
        *(
            Finding(name, has, detail[not has], needed=False)
            for (name, detail), has in zip(_OPTIONAL.items(), found, strict=True)
        ),
    ]


def _loads_plainly() -> bool:
    """Whether the kernel tells programs the current task's type: what LOAD of bpf/task.h needs."""
    kind, helper = lib.BPF_PROG_TYPE_RAW_TRACEPOINT, lib.BPF_FUNC_get_current_task_btf
    return bool(lib.libbpf_probe_bpf_helper(kind, helper, ffi.NULL) > 0)


_OPTIONAL: Final = {
    "batched swaps": (
        "a change of many users waits once for the kernel",
        f"missing (comes with 6.8): a change of many users is made by {THREADS} threads",
    ),
    "sched_prepare_exec": (
        "what execve reads is read again once it has read it",
        "missing (comes with 6.10): strings of execve that are not in memory yet stay unread",
    ),
    "plain loads": (
        "the program reads the kernel's structs without calls",
        "missing (comes with 5.11): it copies what it reads, which makes a logged call slower",
    ),
}
"""What uidtraced runs without: what is said where it is there, and where it is not."""


def _inner_map_fix(release: str, version: str) -> Finding:
    """Judge by *release*, or by what *version* says where Debian names its kernels by their ABI."""
    name = "CVE-2023-52447"
    found = re.search(r"Debian (\d+)\.(\d+)\.(\d+)", version) or re.match(
        r"(\d+)\.(\d+)(?:\.(\d+))?", release
    )
    if found is None:
        return Finding(name, None, f"kernel {release}", needed=False)
    series = (int(found[1]), int(found[2]))
    said = found[0]
    if series >= _FIRST_FIXED or int(found[3] or 0) >= _FIXED.get(series, 2**31):
        return Finding(name, True, f"kernel {said} has the fix", needed=False)
    detail = f"kernel {said} may free an inner map that is in use: update the kernel"
    return Finding(name, None, detail, needed=False)
