"""A daemon that serves metrics, and who asks it for them."""

from __future__ import annotations

import contextlib
import http.client

from prometheus_client.parser import text_string_to_metric_families as parse

from harness import Daemon, as_user

POLICY = """version: 1
users:
  1000: [chdir]
  1002: {syscalls: [chdir], mode: count}
  1003: {syscalls: [chdir], limit: 10/s}
"""


def start(*arguments: str, policy: str = POLICY) -> tuple[Daemon, int]:
    daemon = Daemon(policy, "--metrics", "127.0.0.1:0", *arguments).ready()
    said = daemon.log.wait(lambda line: line["event"] == "metrics_listening")
    return daemon, int(said["address"].removeprefix("127.0.0.1:"))


def ask(port: int, path: str = "/metrics", method: str = "GET", **headers: str):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    with contextlib.closing(connection):
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return response, response.read().decode()


def scrape(port: int) -> dict[str, dict[str, float]]:
    """Return the samples by name, then by uid ("" for those of nobody)."""
    response, text = ask(port)
    assert response.status == 200
    found: dict[str, dict[str, float]] = {}
    for family in parse(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[sample.labels.get("uid", "")] = sample.value
    return found


def loop(uid: int, times: int) -> None:
    as_user(
        uid, "/usr/bin/python3", "-S", "-c", f"import os\nfor _ in range({times}): os.chdir('/')"
    )
