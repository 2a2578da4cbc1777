"""A 32-bit program on arm64; the host compiled it, since the guest's compiler cannot."""

from __future__ import annotations

import pytest

from harness import Daemon, as_user


@pytest.mark.kernels
def test_a_32_bit_program_has_its_own_numbers_and_names() -> None:
    policy = "version: 1\nusers:\n  1000: [open, chdir, openat, setxattr, lremovexattr]\n"
    with Daemon(policy).ready() as daemon:
        as_user(1000, "/vm/arm32")
        assert daemon.stop() == 0
    found = [
        (one["abi"], one["syscall"], one["args"]["filename"])
        for one in daemon.calls()
        if one["comm"] == "subject"
    ]
    assert found == [
        ("arm", "open", "/nowhere"),
        ("arm", "chdir", "/"),
        ("arm", "openat", "/nowhere"),
    ]
    assert daemon.calls()[-1]["args"] == {
        "dfd": "AT_FDCWD",
        "filename": "/nowhere",
        "flags": "O_RDONLY|O_CLOEXEC",
        "mode": 0,
    }
    assert daemon.calls()[-1]["nr"] == 322
