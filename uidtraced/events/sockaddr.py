"""Socket addresses: from the kernel's bytes to names, and to strace's spelling."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, Final, TypeAlias

from uidtraced.events.flags import FAMILY
from uidtraced.events.text import quote_text, text

if TYPE_CHECKING:
    from collections.abc import Mapping

Address: TypeAlias = dict[str, int | str]
"""The members of the C struct by their names, numbers in the host's byte order."""

_FAMILY: Final = struct.Struct("=H")
_INET: Final = struct.Struct("!H4s")
_INET6: Final = struct.Struct("!HI16s")
_SCOPE: Final = struct.Struct("=I")
_NETLINK: Final = struct.Struct("=HII")
_INET_BYTES: Final = 16  # sizeof(struct sockaddr_in): the kernel takes no shorter one
_UNIX_BYTES: Final = 108  # UNIX_PATH_MAX, include/uapi/linux/un.h
_HAS_SCOPE: Final = 28  # sizeof(struct sockaddr_in6); RFC 2133 had none


def decode_sockaddr(raw: bytes) -> Address | None:
    """Return the address in *raw*; None where it is too short to have a family.

    An abstract Unix name begins with ``@``; the first byte of a path that does is escaped.
    """
    if len(raw) < _FAMILY.size:
        return None
    (number,) = _FAMILY.unpack_from(raw)
    body = raw[_FAMILY.size :]
    address: Address = {"sa_family": FAMILY(number)}
    if number == socket.AF_UNIX:
        if body:
            address["sun_path"] = _unix(body)
    elif number == socket.AF_INET and len(raw) >= _INET_BYTES:
        port, host = _INET.unpack_from(body)
        address |= {"sin_port": port, "sin_addr": socket.inet_ntop(socket.AF_INET, host)}
    elif number == socket.AF_INET6 and len(body) >= _INET6.size:
        port, flow, host = _INET6.unpack_from(body)
        address |= {"sin6_port": port, "sin6_flowinfo": flow}
        address["sin6_addr"] = socket.inet_ntop(socket.AF_INET6, host)
        if len(raw) >= _HAS_SCOPE:
            (address["sin6_scope_id"],) = _SCOPE.unpack_from(body, _INET6.size)
    elif number == socket.AF_NETLINK and len(body) >= _NETLINK.size:
        _, pid, groups = _NETLINK.unpack_from(body)
        address |= {"nl_pid": pid, "nl_groups": groups}
    elif body:
        address["sa_data"] = text(body)
    return address


def _unix(body: bytes) -> str:
    body = body[:_UNIX_BYTES]
    if body[:1] == b"\0":
        return "@" + text(body[1:])
    path = body.partition(b"\0")[0]
    return rf"\x40{text(path[1:])}" if path.startswith(b"@") else text(path)


def show_sockaddr(address: Mapping[str, int | str]) -> str:
    """Return *address* as strace prints it."""
    parts = [_member(name, value) for name, value in address.items()]
    return f"{{{', '.join(parts)}}}"


def _member(name: str, value: int | str) -> str:
    match name:
        case "sin_port" | "sin6_port":
            return f"{name}=htons({value})"
        case "sin_addr":
            return f'sin_addr=inet_addr("{value}")'
        case "sin6_flowinfo":
            return f"{name}=htonl({value})"
        case "sin6_addr":
            return f'inet_pton(AF_INET6, "{value}", &sin6_addr)'
        case "nl_groups":
            return f"{name}={value:#08x}" if value else f"{name}=00000000"
        case "sun_path" if str(value).startswith("@"):
            return f"sun_path=@{quote_text(str(value)[1:])}"
        case "sun_path" | "sa_data":
            return f"{name}={quote_text(str(value))}"
        case _:
            return f"{name}={value}"
