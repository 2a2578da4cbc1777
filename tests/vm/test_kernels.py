"""The package on each supported kernel: tests of tests/kernel run there, and doctor tells of it."""

from __future__ import annotations

import json
import os
import time
import xml.etree.ElementTree as ET
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from guest import Report, run_guest
from kernels import KERNELS, Kernel

PATIENCE = 20
MAIN = """
export UIDTRACED_TEST_PATIENCE={patience} UIDTRACED_MAY_LACK='{may_lack}'
python() {{ /opt/venv/bin/python -P "$@"; }}
python -m uidtraced.cli doctor --format json >/results/doctor
python -m pytest -p no:cacheprovider -m kernels --junitxml=/results/junit \\
	tests/kernel {inside} -v 2>&1 | tee /results/pytest
python tests/vm/inside/figures.py >/results/figures
"""
LOCKED = """
python() { /opt/venv/bin/python -P "$@"; }
python -m uidtraced.cli doctor --format json >/results/doctor
printf 'version: 1\\nusers:\\n  0: [chdir]\\n' >/tmp/policy
python -m uidtraced.cli run --policy /tmp/policy --output json 2>/results/said >/results/events
echo $? >/results/exit
"""
INSIDE = {"amd64": ("machine.py",), "arm64": ("machine.py", "arm32.py")}


@dataclass(frozen=True)
class Guest:
    kernel: Kernel
    report: Report
    seconds: float


def run_tests(kernel: Kernel) -> Guest:
    """Run the kernel's tests in a guest that is locked down for integrity."""
    job = MAIN.format(
        patience=PATIENCE,
        may_lack=",".join(kernel.lacks | kernel.untold),
        inside=" ".join(f"tests/vm/inside/{name}" for name in INSIDE[kernel.arch]),
    )
    start = time.monotonic()
    report = run_guest(kernel, job, "lockdown=integrity")
    return Guest(kernel, report, time.monotonic() - start)


@pytest.fixture(scope="session")
def guests(request):
    """The guests of all chosen kernels, side by side: each takes one cpu."""
    chosen = [one.callspec.params for one in request.session.items if hasattr(one, "callspec")]
    wanted = {params["guest"] for params in chosen if "guest" in params}
    kernels = sorted(wanted, key=KERNELS.index, reverse=True)  # arm64's takes longest
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield {kernel: pool.submit(run_tests, kernel) for kernel in kernels}


@pytest.fixture(scope="session", params=KERNELS, ids=str)
def guest(request, guests) -> Guest:
    """What the guest with this kernel left."""
    return guests[request.param].result()


def findings(report: Report) -> dict[str, dict]:
    return {one["name"]: one for one in json.loads(report.files["doctor"])["findings"]}


def test_the_kernel_s_tests_pass_there(guest, tell) -> None:
    assert "junit" in guest.report.files, guest.report.files["pytest"]
    ran = ET.fromstring(guest.report.files["junit"]).findall(".//testcase")
    outcomes = {one: [child.tag for child in one] for one in ran}
    bad = [one for one, tags in outcomes.items() if {"failure", "error"} & set(tags)]
    skipped = Counter(
        child.get("message") for one in ran for child in one if child.tag == "skipped"
    )
    passed = len(ran) - len(bad) - skipped.total()
    said = "".join(f"; {number} skipped: {why}" for why, number in skipped.items())
    release = json.loads(guest.report.files["figures"])["release"]
    tell(f"{guest.kernel}: {passed} passed in {guest.seconds:.0f} s on {release}{said}")
    tell(f"{guest.kernel}: {guest.report.files['figures'].strip()}")
    assert bad == [], "\n".join(
        f"{one.get('classname')}.{one.get('name')}\n{child.text}" for one in bad for child in one
    )
    assert passed > 30


def test_doctor_says_yes_and_names_what_is_missing_with_what_is_done_instead(guest) -> None:
    found = findings(guest.report)
    assert json.loads(guest.report.files["doctor"])["able"] is True
    assert {name for name, one in found.items() if one["ok"] is not True} == guest.kernel.lacks
    assert found["lockdown"]["detail"] == "integrity"
    for name in guest.kernel.lacks:
        reason, _, fallback = found[name]["detail"].partition(": ")
        assert "5." in reason or "6." in reason, "since when the kernel has it"
        assert fallback


@pytest.mark.parametrize("kernel", [KERNELS[0], KERNELS[2]], ids=str)
def test_where_bpf_may_not_read_it_says_so_and_is_not_started_again(kernel) -> None:
    report = run_guest(kernel, LOCKED, "lockdown=confidentiality")
    found = findings(report)["lockdown"]
    assert (found["ok"], found["detail"].split(":")[0]) == (False, "confidentiality")
    (line,) = [json.loads(one) for one in report.files["said"].splitlines()]
    assert report.files["exit"] == "69\n", line
    assert line["problem"].startswith("lockdown=confidentiality: it forbids BPF to read")
    assert report.files["events"] == ""
