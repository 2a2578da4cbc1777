"""One daemon after another on the same pins: each is killed, the last is stopped."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import harness
from soak.ledger import Ledger
from uidtraced.control import ask
from uidtraced.errors import UidtracedError

if TYPE_CHECKING:
    import threading

_WAIT_SECONDS: Final = 60.0


class Lives:
    """Runs `uidtraced run --output json` with pins of its own; `ledger` counts what it writes."""

    def __init__(self, policy: str, ring_bytes: int) -> None:
        self.ledger = Ledger()
        self.number = 0
        """How many daemons there were."""
        self.pid = 0
        self._ring_bytes = ring_bytes
        self._stack = contextlib.ExitStack()
        name = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="uidtraced-soak-"))
        self._bpffs = Path(name) / "bpf"
        self._bpffs.mkdir()
        subprocess.run(["mount", "-t", "bpf", "bpf", self._bpffs], check=True)
        self._stack.callback(self._unmount)
        self.pins = self._bpffs / "uidtraced"
        self._policy = Path(name) / "policy.yaml"
        self.edit(policy)
        self._log = self._stack.enter_context((Path(name) / "log").open("w+"))
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None

    def _unmount(self) -> None:
        subprocess.run(["umount", "--lazy", self._bpffs], check=True)

    def edit(self, policy: str) -> None:
        """Replace the policy as an editor does."""
        fresh = self._policy.with_suffix(".new")
        fresh.write_text(policy)
        fresh.rename(self._policy)

    def start(self) -> None:
        """Start a daemon, and return once its policy is in force."""
        command = [sys.executable, "-P", "-m", "uidtraced.cli", "run", "--output", "json"]
        command += ["--policy", str(self._policy), "--pin-dir", str(self.pins)]
        command += ["--ring-size", str(self._ring_bytes)]
        before = self.ledger.kinds["policy"]
        self._process = subprocess.Popen(
            harness.own_run(command), stdout=subprocess.PIPE, stderr=self._log
        )
        assert self._process.stdout is not None
        self.pid = self._process.pid
        self._reader = self.ledger.follow(os.dup(self._process.stdout.fileno()))
        self._process.stdout.close()
        self.number += 1
        self.wait(lambda: self.ledger.kinds["policy"] > before, "the policy is in force")
        self.wait(lambda: self.status() is not None, "the daemon answers")

    def wait(self, condition: Any, what: str) -> None:
        """Wait for *condition*; AssertionError with the daemon's last words where it never is."""
        deadline = time.monotonic() + _WAIT_SECONDS
        while not condition():
            assert self._process is not None
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"not so: {what}\n{self.last_words()}\n{self.status()}")
            time.sleep(0.02)

    def last_words(self) -> str:
        """Return the end of the daemons' log."""
        self._log.flush()
        return Path(self._log.name).read_text()[-3000:]

    def status(self) -> dict[str, Any] | None:
        """Return the daemon's status; None where it does not answer."""
        try:
            found: dict[str, Any] = ask("status", harness.control_socket(self.pid))
        except UidtracedError:
            return None
        return found

    def signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill -9, and read what it wrote."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """Stop it cleanly, which ends all; return its exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, number: int) -> int:
        assert self._process is not None
        assert self._reader is not None
        self._process.send_signal(number)
        code = self._process.wait(_WAIT_SECONDS)
        self._reader.join(_WAIT_SECONDS)
        self._process = None
        return code

    def memory_kib(self) -> int:
        """Return its resident memory."""
        text = Path(f"/proc/{self.pid}/status").read_text()
        return int(text.partition("VmRSS:")[2].split()[0])

    def fds(self) -> int:
        """Return how many files it has open."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.ledger.go_on()
        if self._process is not None:
            self.kill()
        self._stack.close()
