"""What `status` says, as Prometheus metrics. Imported with `--metrics` alone: it has its price."""

from __future__ import annotations

import resource
from dataclasses import asdict
from typing import TYPE_CHECKING, Final, cast

from prometheus_client import ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector, CollectorRegistry

from uidtraced.status import Entries

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import Metric

    from uidtraced.status import Status

_COUNTERS: Final = {
    "matched": "Calls that a rule matched.",
    "written": "Events that the output took.",
    "ring_full": "Events lost because the ring buffer was full.",
    "limited": "Matches past their limit.",
    "sink_dropped": "Events that the output did not take and that wait no longer.",
    "counted": "Matches of rules that count and make no event.",
}
_ENTRIES: Final = {
    "users": "Uids that the policy in force names one by one.",
    "ranges": 'Ranges of uids in the policy in force, "*" as one.',
    "rules": "System calls in all entries of the policy in force.",
    "rule_sets": "Distinct rule sets, which is inner maps.",
}


def render(status: Status, accept: str) -> tuple[str, bytes]:
    """Return content type and text of *status*, in the format that *accept* prefers.

    Takes some 30 us for each uid that ever matched, so it is no work for the loop.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(status))
    ProcessCollector(registry=registry)
    try:
        encode, kind = choose_encoder(accept)
    except TypeError:  # it asks for a version of other than numbers, with which it compares them
        encode, kind = choose_encoder("")
    return kind, encode(cast("Collector", registry))


class _Collector(Collector):
    """One status, once."""

    def __init__(self, status: Status) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        """Return all families."""
        status = self._status
        yield _info("uidtraced_build", "What runs.", version=status.version)
        yield _gauge("uidtraced_healthy", "Whether status has no problem.", not status.problems)
        yield from self._policy()
        yield from self._kernel()
        yield from self._users()
        yield _gauge(
            "uidtraced_output_lag_seconds",
            "Age of the oldest event that the output, such as the journal, has not taken yet.",
            status.output.lag_seconds,
        )
        yield _counter(
            "uidtraced_gaps", "Times without a daemon before this one.", status.since_start.gaps
        )
        yield _gauge(
            "uidtraced_gap_seconds",
            "How long there was no daemon before this one; 0 where none was before.",
            status.since_start.gap_seconds,
        )
        yield _counter(
            "uidtraced_tampered",
            "Entries and programs found changed by others in the kernel.",
            status.since_start.tampered,
        )
        yield _counter(
            "uidtraced_wakeups",
            "How often a thread of the daemon went to sleep and woke again.",
            resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw,
        )

    def _policy(self) -> Iterator[Metric]:
        policy = self._status.policy
        prefix = "uidtraced_policy"
        yield _info(prefix, "The file in force.", path=policy.path, sha256=policy.sha256 or "")
        yield _gauge(f"{prefix}_revision", "Counts the policies in force.", policy.revision)
        good = policy.last_error is None
        about = "Whether the file, as it is now, is in force."
        yield _gauge(f"{prefix}_last_reload_successful", about, good)
        if policy.applied_at is not None:
            yield _gauge(
                f"{prefix}_last_reload_success_timestamp_seconds",
                "When a policy came into force last.",
                policy.applied_at,
            )
        about = "Names for which the name service did not answer in time."
        yield _gauge(f"{prefix}_stale_names", about, len(policy.stale))
        for name, number in asdict(Entries.of(self._status.plan)).items():
            yield _gauge(f"{prefix}_{name}", _ENTRIES[name], number)

    def _kernel(self) -> Iterator[Metric]:
        kernel = self._status.kernel
        about = "Whether the program sees system calls; 0 while nobody is traced."
        yield _gauge("uidtraced_attached", about, kernel.attached)
        yield _gauge("uidtraced_ring_size_bytes", "Of the ring buffer.", kernel.ring_bytes)
        about = "What waits in the ring buffer."
        yield _gauge("uidtraced_ring_pending_bytes", about, kernel.pending_bytes)

    def _users(self) -> Iterator[Metric]:
        """Return what became of every match, by uid: the identity of `accounts.Account`."""
        accounts = self._status.accounts
        for name, about in _COUNTERS.items():
            family = CounterMetricFamily(f"uidtraced_{name}", about, labels=["uid"])
            for one in accounts:
                family.add_metric([str(one.uid)], getattr(one, name))
            yield family
        about = "Events that wait in the ring or in a buffer."
        waiting = GaugeMetricFamily("uidtraced_pending", about, labels=["uid"])
        # a name is no label of a counter: with another name it would be another series
        names = GaugeMetricFamily("uidtraced_user_info", "Who a uid is.", labels=["uid", "user"])
        for one in accounts:
            waiting.add_metric([str(one.uid)], one.pending)
            if one.user is not None:
                names.add_metric([str(one.uid), one.user], 1)
        yield from (waiting, names)


def _gauge(name: str, about: str, value: float) -> Metric:
    return GaugeMetricFamily(name, about, value=float(value))


def _counter(name: str, about: str, value: float) -> Metric:
    return CounterMetricFamily(name, about, value=value)


def _info(name: str, about: str, **labels: str) -> Metric:
    return InfoMetricFamily(name, about, value=labels)
