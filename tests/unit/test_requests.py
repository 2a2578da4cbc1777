"""Requests of io_uring, as the calls that they stand for."""

from __future__ import annotations

import pytest

from uidtraced.events.uring import (
    NO_CALL,
    OPERATIONS,
    REGISTERED,
    URING,
    request_args,
    stands_for,
)
from uidtraced.policy.names import call_name, numbers
from uidtraced.rules import Abi

TABLES = {abi: numbers(abi) for abi in Abi}


def names(op: str, abi: Abi) -> list[str]:
    both = stands_for(TABLES)[abi, OPERATIONS[op][0]]
    return [call_name(abi, nr) for nr in both]


@pytest.mark.parametrize("abi", [Abi.X86_64, Abi.ARM64, Abi.I386])
def test_every_operation_stands_for_a_call_of_each_abi(abi) -> None:
    found = {op for its_abi, op in stands_for(TABLES) if its_abi is abi}
    assert found == {number for number, _ in OPERATIONS.values()}


def test_a_call_is_the_one_that_the_abi_has() -> None:
    assert names("FTRUNCATE", Abi.X86_64) == ["ftruncate"] * 2
    assert names("FTRUNCATE", Abi.I386) == ["ftruncate64"] * 2
    assert names("EPOLL_WAIT", Abi.ARM64) == ["epoll_pwait"] * 2
    assert names("READ", Abi.X86_64) == ["pread64", "read"]
    assert names("FSYNC", Abi.I386) == ["fsync", "fdatasync"]


def test_no_operation_is_both_logged_and_left_out() -> None:
    assert not OPERATIONS.keys() & NO_CALL.keys()
    assert len({number for number, _ in OPERATIONS.values()}) == len(OPERATIONS)


def test_offsets_of_splice_are_numbers_and_none_is_null() -> None:
    raw = [5, 2**64 - 1, 6, 4096, 100, 1]
    assert request_args("splice", raw, URING) == {
        "fd_in": 5,
        "off_in": None,
        "fd_out": 6,
        "off_out": 4096,
        "len": 100,
        "flags": "SPLICE_F_MOVE",
    }


def test_what_the_kernel_has_not_kept_is_not_shown() -> None:
    assert list(request_args("epoll_ctl", [3, 1, 4, 0, 0, 0], URING)) == ["epfd", "op", "fd"]


def test_of_two_files_the_second_is_the_registered_one() -> None:
    via = URING | REGISTERED
    assert request_args("tee", [5, 6, 9, 0, 0, 0], via)["fdout"] == "registered 6"
    assert request_args("fsync", [6, 0, 0, 0, 0, 0], via)["fd"] == "registered 6"
