"""A load that is no loop: redis and its own benchmark, over loopback."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from typing import TYPE_CHECKING

from bench.programs import CALLER_CPU, TRACER_CPU
from bench.service import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

# redis-server is this program by another name; the package redis-tools has it without a service
_SERVER = "/usr/bin/redis-check-rdb"
_REQUESTS = 20_000
_CLIENTS = 10


class Redis:
    """Runs a server on one cpu and its clients on the other."""

    @staticmethod
    def here() -> bool:
        """Whether it can run."""
        return os.access(_SERVER, os.X_OK) and shutil.which("redis-benchmark") is not None

    def seconds(self, uid: int) -> float:
        """Return how long the clients' requests take, all of it as *uid*."""
        with self._server(uid) as port:
            words = ["redis-benchmark", "-p", str(port), "-q", "-t", "get"]
            words += ["-n", str(_REQUESTS), "-c", str(_CLIENTS)]
            started = time.monotonic()
            subprocess.run(_as(uid, TRACER_CPU, words), check=True, stdout=subprocess.DEVNULL)
            return time.monotonic() - started

    @contextlib.contextmanager
    def _server(self, uid: int) -> Iterator[int]:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        words = ["bash", "-c", f'exec -a redis-server {_SERVER} "$@"', "bash"]
        words += ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--daemonize", "no"]
        process = subprocess.Popen(_as(uid, CALLER_CPU, words), stdout=subprocess.DEVNULL)
        try:
            wait_until(lambda: _answers(port), what="redis-server")
            yield port
        finally:
            process.terminate()
            process.wait(10)


def _as(uid: int, cpu: int, words: list[str]) -> list[str]:
    pinned = ["taskset", "--cpu-list", str(cpu), *words]
    return ["setpriv", "--reuid", str(uid), "--clear-groups", *pinned]


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
