"""The kernels that are supported, beside the one that the tests run on: Debian's, from 5.10 on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel of Debian's archive."""

    series: str
    suite: str
    arch: str
    lacks: frozenset[str] = frozenset()
    """What `uidtraced doctor` must say, each by its name, and nothing else."""
    untold: frozenset[str] = frozenset()
    """What tests cannot be told by it."""

    def __str__(self) -> str:
        return f"{self.series}-{self.arch}"

    @property
    def package(self) -> str:
        """The package that depends on the suite's newest kernel for clouds."""
        return f"linux-image-cloud-{self.arch}"


KERNELS = (
    Kernel(
        *("5.10", "bullseye", "amd64"),
        frozenset({"io_uring", "batched swaps", "sched_prepare_exec", "plain loads"}),
        frozenset({"verified_insns"}),
    ),
    Kernel("6.1", "bookworm", "amd64", frozenset({"batched swaps", "sched_prepare_exec"})),
    Kernel("6.12", "trixie", "amd64"),
    Kernel("6.12", "trixie", "arm64"),
)
