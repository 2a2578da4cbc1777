from __future__ import annotations

import socket
import struct

import pytest

from uidtraced.events.sockaddr import decode_sockaddr, show_sockaddr

UNIX = struct.pack("=H", socket.AF_UNIX)
INET = struct.pack("=H", socket.AF_INET) + b"\0\x35\x7f\0\0\1"


# what strace 6.1 prints for these bytes
@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (UNIX, "{sa_family=AF_UNIX}"),
        (UNIX + b"\0", '{sa_family=AF_UNIX, sun_path=@""}'),
        (UNIX + b"\0ab\0c", '{sa_family=AF_UNIX, sun_path=@"ab\\0c"}'),
        (UNIX + b"p" * 109, '{sa_family=AF_UNIX, sun_path="' + "p" * 108 + '"}'),
        (INET, '{sa_family=AF_INET, sa_data="\\0005\\177\\0\\0\\1"}'),
        (
            INET + bytes(8),
            '{sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("127.0.0.1")}',
        ),
    ],
)
def test_an_address_reads_as_strace_prints_it(raw, expected) -> None:
    assert show_sockaddr(decode_sockaddr(raw)) == expected
