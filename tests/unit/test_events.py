from __future__ import annotations

import contextlib
import fcntl
import json
import os
import resource
import socket
import struct
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET
from msgspec.structs import replace

from fakes import EVENT
from fuzz.events import parse_entry
from uidtraced.events.clock import WallClock
from uidtraced.events.data import only_string, read_parts, show_data
from uidtraced.events.decode import Decoder, Naming, event_structs, printable_comm
from uidtraced.events.records import LossRecord, PolicyRecord
from uidtraced.events.render import journal_entry, json_lines, message, text_lines
from uidtraced.events.sinks import JournalSink, SinkClosedError, StreamSink
from uidtraced.journald import find_journald
from uidtraced.rules import Kind

POLICY = PolicyRecord("2026-01-02T03:04:05.000000000Z", "policy", 3, "/p", "ab", 1, 2, 3, 4, 5)
LOSS = LossRecord("2026-01-02T03:04:05.000000000Z", "loss", 1000, None, 12)


def test_an_event_is_one_json_object_a_line_in_the_documented_order() -> None:
    line, end = json_lines([EVENT]).split(b"\n")
    assert end == b""
    found = json.loads(line)
    assert list(found) == [
        *("ts", "event", "seq", "cpu", "uid", "user", "euid", "loginuid", "pid", "tid", "comm"),
        *("exe", "ppid", "cgroup"),
        *("abi", "nr", "syscall", "args", "revision"),
    ]
    assert found["loginuid"] is None
    assert found["args"] == {"filename": "/tmp"}


def test_a_message_is_what_strace_prints_after_the_user() -> None:
    assert message(EVENT) == 'alice: chdir("/tmp")'


def test_a_call_of_a_foreign_abi_says_so() -> None:
    foreign = replace(EVENT, abi="i386", user=None)
    assert message(foreign) == '1000: i386:chdir("/tmp")'


def test_a_line_of_text_has_time_and_thread() -> None:
    expected = b'2026-01-02T03:04:05.123456789Z bash[13] alice: chdir("/tmp")\n'
    assert text_lines([EVENT]) == expected


def test_policy_and_loss_have_messages() -> None:
    assert message(POLICY) == (
        "policy revision 3 in force: 1 created, 2 swapped, 3 deleted, 4 unchanged"
    )
    assert message(LOSS) == "12 events of 1000 lost: the ring buffer was full"


def test_a_journal_entry_has_every_field_by_its_own_name() -> None:
    fields = dict(parse_entry(journal_entry(EVENT)))
    assert fields["UIDTRACE_EVENT"] == b"syscall"
    assert fields["UIDTRACE_UID"] == b"1000"
    assert fields["UIDTRACE_USER"] == b"alice"
    assert fields["UIDTRACE_SYSCALL"] == b"chdir"
    assert fields["UIDTRACE_ARGS"] == b'{"filename":"/tmp"}'
    assert "UIDTRACE_LOGINUID" not in fields
    assert fields["PRIORITY"] == b"6"
    assert dict(parse_entry(journal_entry(LOSS)))["PRIORITY"] == b"4"


@given(st.binary(max_size=16))
def test_no_comm_forges_a_line_or_a_field(raw) -> None:
    hostile = replace(EVENT, comm=printable_comm(raw))
    assert json_lines([hostile]).count(b"\n") == 1
    assert json.loads(json_lines([hostile]))["comm"] == hostile.comm
    line = text_lines([hostile])
    assert line.count(b"\n") == 1
    assert line.decode()[:-1].isprintable()
    names = [name for name, _ in parse_entry(journal_entry(hostile))]
    assert names == [name for name, _ in parse_entry(journal_entry(EVENT))]
    assert dict(parse_entry(journal_entry(hostile)))["UIDTRACE_COMM"] == hostile.comm.encode()


@pytest.mark.parametrize("of", [list, tuple, iter])
def test_lines_leave_nothing_in_memory(of) -> None:
    json_lines(of([POLICY]))
    before = sys.getallocatedblocks()
    for _ in range(1000):
        json_lines(of([POLICY]))
    assert sys.getallocatedblocks() - before < 500


def test_json_says_what_is_not_seen_as_an_escape() -> None:
    unseen = "\x7f\x85\x9b\u2028\u2029\u202e\u2066\u200b\ufeff"
    (line,) = json_lines([replace(EVENT, comm=unseen + "é")]).decode().splitlines()
    assert json.loads(line)["comm"] == unseen + "é"
    assert "é" in line
    assert not set(unseen) & set(line)


def test_no_name_looks_like_the_end_of_a_name() -> None:
    (line,) = text_lines([replace(EVENT, comm="x[1] root: kil", user="a: b")]).decode().splitlines()
    assert line == f'{EVENT.ts} x\\x5b1] root: kil[13] a\\x3a b: chdir("/tmp")'


def test_a_comm_ends_at_its_nul_and_keeps_what_is_not_utf8_visible() -> None:
    assert printable_comm(b"a\xff\0junk") == "a\\xff"


def test_the_decoder_reads_by_the_offsets_it_is_given() -> None:
    sizes = {"boot_ns": 8, "seq": 8, "args": 48, "ret": 8, "duration_ns": 8}
    sizes |= dict.fromkeys(("cpu", "revision", "data_at", "data_bytes"), 4)
    sizes |= dict.fromkeys(("nr", "abi", "via", "outcome"), 2)
    sizes |= {"cgroup": 8, "exe": 8}
    sizes |= dict.fromkeys(("uid", "euid", "loginuid", "pid", "tid", "ppid"), 4)
    sizes |= {"comm": 16}
    offsets, at = {}, 4
    for name, size in sizes.items():
        offsets[name] = at
        at += size + 4  # holes, as a compiler could leave
    raw = bytearray(at)
    values = {"seq": (8, 5), "uid": (4, 1000), "loginuid": (4, 2**32 - 1), "nr": (2, 80)}
    values |= {"revision": (4, 2), "pid": (4, 77), "tid": (4, 78), "cpu": (4, 1)}
    for name, (size, value) in values.items():
        raw[offsets[name] : offsets[name] + size] = value.to_bytes(size, "little")
    raw[offsets["comm"] : offsets["comm"] + 3] = b"cat"
    names = Naming(syscall=lambda abi, nr: f"{abi.label}-{nr}", user=lambda uid: f"u{uid}")
    decoder = Decoder(offsets, at, names)
    first, second = decoder.decode(memoryview(bytes(raw * 2)), memoryview(b""))
    assert first == second
    assert (first.seq, first.cpu, first.uid, first.user) == (5, 1, 1000, "u1000")
    assert (first.pid, first.tid, first.comm, first.loginuid) == (77, 78, "cat", None)
    assert (first.syscall, first.nr, first.abi, first.revision) == ("x86_64-80", 80, "x86_64", 2)


@given(st.lists(st.tuples(st.binary(max_size=40), st.sampled_from((0, 1, 2, 4, 8))), max_size=3))
def test_a_lone_string_is_read_as_it_would_be_among_others(parts) -> None:
    data = b"before" + b"".join(struct.pack("=HBB", len(one), 1, m) + one for one, m in parts)
    whole = only_string(data, 6, len(data))
    args = {"filename": "0x7f00"}
    found = read_parts(data, 6, len(data))
    said = show_data(args, (("filename", 1, Kind.STRING),), found, (0, 0x7F00, 0, 0, 0, 0))
    assert (whole is not None) == ([mark for _, mark in parts] == [0])
    if whole is not None:
        assert (args, said) == ({"filename": whole}, (UNSET, UNSET))


def test_an_event_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="struct event has the members boot_ns"):
        event_structs({"boot_ns": 0}, 8)


def test_times_are_rfc3339_with_nanoseconds() -> None:
    assert WallClock().format_ns(1_767_323_045_123_456_789) == "2026-01-02T03:04:05.123456789Z"


def read_all(fd: int) -> bytes:
    parts = []
    while part := os.read(fd, 65536):
        parts.append(part)
    return b"".join(parts)


def test_a_stream_that_is_full_keeps_the_rest_until_there_is_room() -> None:
    reader, writer = os.pipe()
    sink = StreamSink(writer, json_lines)
    records = [EVENT] * 1000  # more than a pipe holds
    assert not sink.write(records)
    parts = []
    while not sink.flush():
        parts.append(os.read(reader, 65536))
    sink.close()
    os.close(writer)
    assert b"".join(parts) + read_all(reader) == json_lines(records)
    os.close(reader)


def test_a_shared_pipe_stays_blocking_for_others() -> None:
    reader, writer = os.pipe()
    sink = StreamSink(writer, json_lines)
    assert os.get_blocking(writer)
    sink.close()
    os.close(reader)
    os.close(writer)


def test_a_reader_that_is_gone_is_told() -> None:
    reader, writer = os.pipe()
    sink = StreamSink(writer, json_lines)
    os.close(reader)
    with pytest.raises(SinkClosedError, match="standard output: Broken pipe"):
        sink.write([EVENT])
    sink.close()
    os.close(writer)


def test_a_file_is_appended_to_where_it_is(tmp_path) -> None:
    path = tmp_path / "out"
    with path.open("wb") as file:
        file.write(b"before\n")
        file.flush()
        sink = StreamSink(file.fileno(), json_lines)
        assert sink.write([EVENT])
        assert sink.writable_fd() is None
        sink.close()
    assert path.read_bytes() == b"before\n" + json_lines([EVENT])


@pytest.fixture
def journal(tmp_path):
    server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    server.bind(str(tmp_path / "journal"))
    server.setblocking(False)
    yield server
    server.close()


def test_the_journal_gets_a_datagram_an_entry(journal, tmp_path) -> None:
    sink = JournalSink(tmp_path / "journal")
    assert sink.write([EVENT, POLICY])
    assert journal.recv(65536) == journal_entry(EVENT)
    assert journal.recv(65536) == journal_entry(POLICY)
    sink.close()


def test_a_journal_that_is_slow_gets_all_in_order(journal, tmp_path) -> None:
    sink = JournalSink(tmp_path / "journal")
    records = [LossRecord("t", "loss", number, None, 1) for number in range(5000)]
    assert not sink.write(records)
    soon = sink.retry_seconds
    while not sink.flush() and sink.retry_seconds < 50 * soon:
        pass  # who takes nothing is asked less and less often
    got = []
    while len(got) < len(records):
        try:
            got.append(journal.recv(65536))
        except BlockingIOError:
            assert sink.flush() or sink.retry_seconds == soon
    assert got == [journal_entry(record) for record in records]
    assert sink.flush()
    sink.close()


def test_an_entry_too_long_for_a_datagram_comes_in_a_sealed_file(journal, tmp_path) -> None:
    sink = JournalSink(tmp_path / "journal")
    long = replace(EVENT, comm="x" * 16 * 2**20)  # longer than any buffer that the sink asks for
    assert sink.write([EVENT, long, EVENT])
    assert journal.recv(65536) == journal_entry(EVENT)
    said, (fd,), _, _ = socket.recv_fds(journal, 65536, 1)
    assert said == b""
    with open(fd, "rb") as file:
        file.seek(0)
        assert file.read() == journal_entry(long)
        assert fcntl.fcntl(file, fcntl.F_GET_SEALS) & fcntl.F_SEAL_WRITE
    assert journal.recv(65536) == journal_entry(EVENT)
    sink.close()


@contextlib.contextmanager
def no_fd_to_be_had():
    """Let this process open nothing."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_too_many_open_files_are_no_end_of_the_journal(journal, tmp_path) -> None:
    with no_fd_to_be_had():
        sink = JournalSink(tmp_path / "journal")
        assert not sink.write([EVENT])
        assert find_journald() is None
    assert sink.flush()
    assert journal.recv(65536) == journal_entry(EVENT)
    sink.close()


def test_a_journal_that_went_away_and_came_back_gets_what_waited(journal, tmp_path) -> None:
    path = tmp_path / "journal"
    sink = JournalSink(path)
    journal.close()
    path.unlink()
    assert not sink.write([EVENT])
    assert not sink.flush()
    assert sink.writable_fd() is None
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as again:
        again.bind(str(path))
        assert sink.flush()
        assert again.recv(65536) == journal_entry(EVENT)
    sink.close()


def test_an_entry_that_can_never_be_sent_is_given_up_and_the_next_ones_are_sent(
    journal, tmp_path, capsys
) -> None:
    """The file that a long entry needs is larger than this process may write: EFBIG, each time."""
    sink = JournalSink(tmp_path / "journal")
    long = replace(EVENT, comm="x" * 16 * 2**20)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, hard))
    try:
        assert sink.write([EVENT, long, POLICY, long, EVENT])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    for expected in (EVENT, POLICY, EVENT):
        assert journal.recv(65536) == journal_entry(expected)
    assert sink.refused() == [long, long]
    assert sink.refused() == []
    assert capsys.readouterr().out.count("File too large") == 1
    sink.close()


def test_a_device_without_room_is_not_asked_again_and_again() -> None:
    with open("/dev/full", "wb", buffering=0) as full:
        sink = StreamSink(full.fileno(), json_lines)
        assert not sink.write([EVENT])
        assert sink.writable_fd() is None  # poll would say "writable" for ever
        sink.close()
