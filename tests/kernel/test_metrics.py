"""The metrics of a daemon that runs, as Prometheus and others ask for them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse

from harness import COMMAND, Daemon, own_run
from scraping import POLICY, ask, loop, scrape, start
from uidtraced.scrape import CONNECTIONS

NAMES = ("matched", "written", "ring_full", "limited", "sink_dropped", "counted", "pending")


def test_the_identity_holds_by_uid_as_in_the_status():
    daemon, port = start()
    with daemon:
        for uid in (1000, 1002, 1003):
            loop(uid, 300)
        daemon.records.wait(lambda one: one.get("uid") == 1003)
        found = scrape(port)
        status = daemon.status()
        for one in status["users"]:
            uid = str(one["uid"])
            names = [f"uidtraced_{name}_total" for name in NAMES[:-1]] + ["uidtraced_pending"]
            assert [found[name][uid] for name in names] == [one[name] for name in NAMES]
            assert one["matched"] == 300
        assert found["uidtraced_policy_revision"][""] == 1
        assert found["uidtraced_policy_users"][""] == 3
        assert found["uidtraced_policy_last_reload_successful"][""] == 1
        applied = found["uidtraced_policy_last_reload_success_timestamp_seconds"][""]
        assert applied == pytest.approx(status["policy"]["applied_at"])
        assert found["uidtraced_attached"][""] == found["uidtraced_healthy"][""] == 1
        assert found["uidtraced_output_lag_seconds"][""] == 0
        assert f'sha256="{status["policy"]["sha256"]}"' in ask(port)[1]
        assert daemon.stop() == 0


def test_a_refused_edit_and_losses_show():
    daemon, port = start("--ring-size", "4096")
    with daemon:
        daemon.path.write_text("version: 1\nusers:\n  0: [opne]\n")
        daemon.log.wait(lambda line: line["event"] == "policy_refused")
        os.kill(daemon.pid, signal.SIGSTOP)
        loop(1000, 5000)
        os.kill(daemon.pid, signal.SIGCONT)
        daemon.records.wait(lambda one: one["event"] == "loss")
        found = scrape(port)
        assert found["uidtraced_policy_last_reload_successful"][""] == 0
        assert found["uidtraced_ring_full_total"]["1000"] > 0
        assert found["uidtraced_healthy"][""] == 0
        assert found["uidtraced_ring_size_bytes"][""] == 4096
        assert daemon.stop() == 0


def test_an_output_that_nobody_reads_falls_behind():
    policy = "version: 1\nusers:\n  1000: [chdir]\n"
    daemon, port = start(policy=policy)
    with daemon:
        with daemon.records._changed:  # the reader of its output stands still: the pipe fills
            loop(1000, 5000)
            found = scrape(port)
            while not found["uidtraced_output_lag_seconds"][""]:
                loop(1000, 100)
                found = scrape(port)
            assert daemon.status()["output"]["kind"] == "json"
            assert found["uidtraced_ring_pending_bytes"][""] > 0
            assert found["uidtraced_pending"]["1000"] > 0
        assert daemon.stop() == 0


@pytest.mark.parametrize("method", ["POST", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE", "get"])
def test_what_is_not_a_get_is_refused(served, method):
    response, _ = ask(served, method=method)
    assert (response.status, response.headers["Allow"]) == (405, "GET")


def test_openmetrics_is_spoken_where_it_is_asked_for(served):
    accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
    response, text = ask(served, Accept=accept)
    assert response.headers["Content-Type"].startswith("application/openmetrics-text")
    assert "uidtraced_matched" in {family.name for family in parse(text)}
    assert ask(served, "/")[0].status == 404
    assert ask(served, "/metrics?a=b")[0].status == 200


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (b"x\r\n\r\n", b"HTTP/1.1 400 "),
        (b"GET /metrics\r\n\r\n", b"HTTP/1.1 400 "),
        (b"\xff\0 \xff HTTP/1.1\r\n\r\n", b"HTTP/1.1 405 "),
        (b"GET / HTTP/1.1\r\nA: " + b"a" * 100_000 + b"\r\n\r\n", b"HTTP/1.1 431 "),
        (b"GET /metrics HTTP/1.1\r\nAccept: \xff\r\n :\r\n\r\n", b"HTTP/1.1 200 "),
        (b"", b""),
        (b"GET /metrics HTTP/1.0\r\n\r\n", b"HTTP/1.1 200 "),
        (b"GET /metrics HTTP/1.1\n\n", b""),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"HTTP/1.1 400 "),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 500, b""),
        (b"GET /metrics HTTP/1.1\r\nAccept: text/plain; version=x\r\n\r\n", b"HTTP/1.1 200 "),
    ],
)
def test_a_request_that_is_none_harms_nobody(served, request_, answer):
    with socket.create_connection(("127.0.0.1", served), 20) as client:
        client.sendall(request_)
        client.shutdown(socket.SHUT_WR)
        said = b""
        with contextlib.suppress(ConnectionResetError):
            while part := client.recv(1 << 16):
                said += part
    assert said.startswith(answer)
    assert ask(served)[0].status == 200


def say(port: int, request: bytes) -> bytes:
    """Return all that comes back until the end."""
    with socket.create_connection(("127.0.0.1", port), 20) as client:
        client.sendall(request)
        said = b""
        with contextlib.suppress(ConnectionResetError):
            while part := client.recv(1 << 16):
                said += part
    return said


def test_a_connection_is_one_request_and_one_answer(served):
    get = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n\r\n"
    said = say(served, get * 9)
    assert said.count(b"HTTP/1.1 ") == 1
    head, _, body = said.partition(b"\r\n\r\n")
    assert b"\r\nConnection: close" in head
    assert f"\r\nContent-Length: {len(body)}\r\n".encode() in head


def test_the_answer_to_a_head_has_no_body(served):
    said = say(served, b"HEAD /metrics HTTP/1.1\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 405 ")
    assert said.endswith(b"\r\nAllow: GET\r\n\r\n")


def test_nothing_of_a_request_becomes_a_header(served):
    accept = "application/openmetrics-text; version=1.0.0{}X-Forged: 1"
    for end in ("\r\n ", "\r\n\t", "\r", "\n", "\x85", "\0"):
        request = f"GET /metrics HTTP/1.1\r\nAccept: {accept.format(end)}\r\n\r\n"
        head, _, _ = say(served, request.encode("latin-1")).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        assert b"X-Forged" not in head


def test_who_is_slow_is_in_nobodys_way():
    daemon, port = start()
    with daemon, contextlib.ExitStack() as stack:
        slow = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), 20))
            for _ in range(CONNECTIONS)
        ]
        for one in slow:
            one.sendall(b"GET /metr")
        loop(1000, 1)
        daemon.records.wait(lambda one: one.get("uid") == 1000)  # events flow
        daemon.edit("version: 1\nusers:\n  1000: [kill]\n")  # and edits come into force
        assert ask(port)[0].status == 503
        slow[0].close()
        slow[1].sendall(b"ics HTTP/1.1\r\n\r\n")
        assert slow[1].recv(12) == b"HTTP/1.1 200"
        for one in slow[2:]:
            assert one.recv(1) == b""  # each has had its time
        assert ask(port)[0].status == 200
        assert daemon.stop() == 0


def test_it_listens_on_loopback_alone_and_only_where_told(served):
    tables = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
    rows = [line.split() for line in tables.splitlines()]
    listening = [row[1] for row in rows if row[3] == "0A" and row[1].endswith(f":{served:04X}")]
    assert listening == [f"0100007F:{served:04X}"]


@pytest.mark.parametrize("address", ["0.0.0.0:9464", "[::]:9464", "192.0.2.7:9464"])
def test_an_address_for_others_must_be_meant(address):
    command = own_run([*COMMAND, "run", "--metrics", address])
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert "other machines could read who does how much" in done.stderr
    assert "--metrics-public" in done.stderr


def test_an_address_that_is_taken_ends_the_start_and_says_so():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with Daemon(POLICY, "--metrics", f":{port}") as daemon:
            assert daemon.wait() == 1
            (said,) = [one for one in daemon.log.all if one["event"] == "failed"]
            assert said["problem"] == f"--metrics 127.0.0.1:{port}: Address already in use"


def test_without_the_option_the_library_is_not_loaded():
    code = "import sys, uidtraced.cli\nprint([n for n in sys.modules if 'prometheus' in n])"
    done = subprocess.run([COMMAND[0], "-P", "-c", code], capture_output=True, text=True)
    assert done.stdout == "[]\n"


@pytest.fixture(scope="module")
def served():
    daemon, port = start()
    with daemon:
        yield port
        assert daemon.status()["healthy"]
        assert daemon.stop() == 0


def test_the_status_has_what_the_metrics_have():
    daemon, _ = start()
    with daemon:
        done = daemon.ask("status")
        assert done.returncode == 0
        assert "output:  json, 0.000 s behind\n" in done.stdout
        assert "so far:  no gap, 0 changes by others put right" in done.stdout
        status = json.loads(daemon.ask("status", "--format", "json").stdout)
        assert status["since_start"] == {"gaps": 0, "gap_seconds": 0.0, "tampered": 0}
        assert daemon.stop() == 0
