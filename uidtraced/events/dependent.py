"""Words for arguments whose meaning depends on another one: fcntl, prctl, socket options, ioctl."""

from __future__ import annotations

import functools
import importlib.resources
import socket
from typing import TYPE_CHECKING, Final

import msgspec

from uidtraced.events.flags import OPEN, SIGNAL
from uidtraced.events.words import WordsOrNumber, bits, choice, constants, flags, word_or_number

if TYPE_CHECKING:
    from collections.abc import Mapping


def _address(number: int) -> str:
    return hex(number) if number else "NULL"


def _signed(number: int) -> int:
    return ((number & 0xFFFFFFFF) ^ 0x80000000) - 0x80000000


_LOCK: Final = choice(constants("F_LOCK"))
_CAP: Final = choice(constants("CAP"))
_KEYRING: Final = word_or_number(constants("KEY_SPEC"), 32)

_FCNTL: Final[Mapping[str, WordsOrNumber]] = {
    "F_SETFD": flags({"FD_CLOEXEC": 1}),  # include/uapi/asm-generic/fcntl.h
    "F_SETFL": OPEN,
    "F_SETLEASE": _LOCK,
    "F_ADD_SEALS": flags(bits("F_SEAL")),
    "F_NOTIFY": flags(bits("DN")),
    "F_SETSIG": lambda number: SIGNAL(number) if number else 0,
    "F_SETOWN": _signed,
    **dict.fromkeys(
        ("F_GETLK", "F_SETLK", "F_SETLKW", "F_OFD_GETLK", "F_OFD_SETLK", "F_OFD_SETLKW"), _address
    ),
    **dict.fromkeys(("F_GETLK64", "F_SETLK64", "F_SETLKW64"), _address),
    **dict.fromkeys(("F_SETOWN_EX", "F_GETOWN_EX", "F_GETOWNER_UIDS"), _address),
}
_PRCTL_2: Final[Mapping[str, WordsOrNumber]] = {
    "PR_SET_PDEATHSIG": lambda number: SIGNAL(number) if number else 0,
    "PR_SET_DUMPABLE": choice(constants("SUID_DUMP")),
    "PR_SET_SECCOMP": choice(constants("SECCOMP_MODE")),
    "PR_CAPBSET_READ": _CAP,
    "PR_CAPBSET_DROP": _CAP,
    "PR_CAP_AMBIENT": choice(constants("PR_CAP_AMBIENT")),
    "PR_SET_MM": choice(constants("PR_SET_MM")),
    "PR_SET_VMA": choice(constants("PR_SET_VMA")),
    **dict.fromkeys(("PR_SET_NAME", "PR_GET_NAME", "PR_GET_PDEATHSIG"), _address),
    **dict.fromkeys(("PR_GET_CHILD_SUBREAPER", "PR_GET_TID_ADDRESS", "PR_GET_TSC"), _address),
}
_OPTIONS: Final[Mapping[str, WordsOrNumber]] = {
    "SOL_SOCKET": choice(constants("SO")),
    "SOL_IP": choice(constants("IP")),
    "SOL_IPV6": choice(constants("IPV6")),
    "SOL_TCP": choice(constants("TCP")),
    "SOL_UDP": choice(constants("UDP")),
    "SOL_PACKET": choice(constants("PACKET")),
    "SOL_NETLINK": choice(constants("NETLINK_OPTION")),
}
_IPPROTO: Final = choice(constants("IPPROTO"))
_ETH_P: Final = choice(constants("ETH_P"))
_PROTOCOLS: Final[Mapping[str, WordsOrNumber]] = {
    "AF_INET": _IPPROTO,
    "AF_INET6": _IPPROTO,
    "AF_NETLINK": choice(constants("NETLINK")),
    "AF_PACKET": lambda number: f"htons({_ETH_P(socket.ntohs(number & 0xFFFF))})" if number else 0,
}
_TRACE: Final = flags(bits("PTRACE_O"))
_PTRACE: Final[Mapping[str, WordsOrNumber]] = {
    "PTRACE_SETOPTIONS": _TRACE,
    "PTRACE_SEIZE": _TRACE,
    **dict.fromkeys(
        ("PTRACE_CONT", "PTRACE_DETACH", "PTRACE_SYSCALL", "PTRACE_SINGLESTEP", "PTRACE_LISTEN"),
        lambda number: SIGNAL(number) if number else 0,
    ),
}
_MATCH_ANY: Final = word_or_number({"FUTEX_BITSET_MATCH_ANY": 0xFFFFFFFF})  # linux/futex.h
_BITSETS: Final = (
    f"FUTEX_{one}_BITSET{private}{clock}"
    for one in ("WAIT", "WAKE")
    for private in ("", "_PRIVATE")
    for clock in ("", "|FUTEX_CLOCK_REALTIME")
)
_FUTEX: Final = dict.fromkeys(_BITSETS, _MATCH_ANY)


@functools.cache
def _requests() -> Mapping[int, str]:
    """Return the names of ioctl's requests, by number; several names are joined as strace does."""
    data = importlib.resources.files(__package__).joinpath("ioctls.json").read_bytes()
    names: dict[int, list[str]] = {}
    for name, number in msgspec.json.decode(data, type=dict[str, int]).items():
        names.setdefault(number, []).append(name)
    return {number: " or ".join(one) for number, one in names.items()}


_DIRECTIONS: Final = {
    # include/uapi/asm-generic/ioctl.h
    0: "_IOC_NONE",
    1: "_IOC_WRITE",
    2: "_IOC_READ",
    3: "_IOC_READ|_IOC_WRITE",
}


def request(number: int) -> str:
    """Return the name of an ioctl's request, or what its number is made of."""
    known = _requests().get(number)
    if known is not None:
        return known
    kind, nr, size = number >> 8 & 0xFF, number & 0xFF, number >> 16 & 0x3FFF
    return f"_IOC({_DIRECTIONS[number >> 30]}, {_hex(kind)}, {_hex(nr)}, {_hex(size)})"


def _hex(number: int) -> str:
    return f"{number:#x}" if number else "0"


DEPENDENT: Final[Mapping[tuple[str, str], tuple[str, Mapping[str, WordsOrNumber]]]] = {
    ("fcntl", "arg"): ("cmd", _FCNTL),
    ("fcntl64", "arg"): ("cmd", _FCNTL),
    ("prctl", "arg2"): ("option", _PRCTL_2),
    ("prctl", "arg3"): (
        "arg2",
        dict.fromkeys(
            ("PR_CAP_AMBIENT_IS_SET", "PR_CAP_AMBIENT_RAISE", "PR_CAP_AMBIENT_LOWER"), _CAP
        ),
    ),
    ("setsockopt", "optname"): ("level", _OPTIONS),
    ("getsockopt", "optname"): ("level", _OPTIONS),
    ("socket", "protocol"): ("family", _PROTOCOLS),
    ("ptrace", "data"): ("request", _PTRACE),
    ("futex", "val3"): ("op", _FUTEX),
    ("futex_time64", "val3"): ("op", _FUTEX),
    ("keyctl", "arg2"): (
        "option",
        dict.fromkeys(
            set(constants("KEYCTL")) - {"KEYCTL_JOIN_SESSION_KEYRING", "KEYCTL_SET_REQKEY_KEYRING"},
            _KEYRING,
        ),
    ),
}
"""By call and argument: on which other argument it depends, and the words by that one's word."""


def dependents(call: str) -> list[tuple[str, str, Mapping[str, WordsOrNumber]]]:
    """Return each argument of *call* that depends on another: its name, the other's, the words."""
    return [(name, *of) for (one, name), of in DEPENDENT.items() if one == call]
