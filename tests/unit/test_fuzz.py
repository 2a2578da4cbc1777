"""Nothing that others choose hurts: policies, events, what the daemon is started with and told.

A short form of script/fuzz; UIDTRACED_FUZZ_INPUTS makes it longer.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fuzz.__main__ import SHARES
from fuzz.events import parse_entry

TESTS = Path(__file__).parents[1]
HEAD = b"version: 1\nusers:\n"
LARGE = 4 * 2**20 - 100
TEN_THOUSAND = range(10_000)


def lines(form: str) -> bytes:
    return HEAD + "".join(form.format(i) + "\n" for i in TEN_THOUSAND).encode()


def bomb(levels: int) -> bytes:
    """Return merge keys that double in each line: 703 bytes of them keep a composer for 20 s."""
    text = "a0: &a0 {x: 1}\n"
    for i in range(1, levels):
        text += f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}\n"
    return text.encode()


NASTY = {
    "merge_key_bomb": bomb(20),
    "alias_bomb": b"a: &a [x]\n"
    + b"".join(b"%c: &%c [*%c,*%c]\n" % (i, i, i - 1, i - 1) for i in b"bcdefghijk"),
    "open_brackets": b"[" * 50_000,
    "open_brackets_of_a_user": HEAD + b"  0: " + b"[" * 50_000,
    "nested_dashes": b"- " * 50_000,
    "nested_braces": b"{" * 50_000,
    "nested_flow_mappings": b"{a: " * 50_000,
    "nested_flow_pairs": b"[a: " * 50_000,
    "nested_question_marks": b"? " * 50_000,
    "nested_block_mappings": b"".join(b" " * i + b"a:\n" for i in range(2000)),
    "closing_brackets": HEAD + b"  0: [open" + b"]" * 50_000,
    "anchors": b"".join(b"- &a%d x\n" % i for i in range(50_000)),
    "aliases": b"- *a\n" * 50_000,
    "long_anchor": b"&" + b"a" * LARGE,
    "long_tag": b"!<" + b"a" * LARGE,
    "long_alias": b"*" + b"a" * LARGE,
    "tag_directives": b"".join(b"%%TAG !%x! b\n" % i for i in range(250_000)),
    "documents": b"---\n" * 500_000,
    "document_ends": b"...\n" * 500_000,
    "block_scalar": b"|\n" + b" a\n" * (LARGE // 3),
    "folded_scalar": b">\n" + b" a\n\n" * (LARGE // 4),
    "quoted_scalar": b"'" + b"a" * LARGE,
    "escapes": b'"' + b"\\n" * (LARGE // 2),
    "plain_scalar": b"a " * (LARGE // 2),
    "long_word": HEAD + b"  0: [" + b"a" * LARGE + b"]\n",
    "long_key": HEAD + b"  " + b"a" * LARGE + b": [open]\n",
    "spaces": HEAD + b" " * LARGE,
    "tabs": b"\t" * LARGE,
    "empty_lines": b"\n" * LARGE,
    "carriage_returns": b"\r" * LARGE,
    "line_separators": b"\xe2\x80\xa8" * (LARGE // 3),
    "nuls": b"\0" * LARGE,
    "no_utf8": b"\xff" * LARGE,
    "comment": b"#" * LARGE,
    "commas": b"[" + b"," * LARGE,
    "words": HEAD + b"  0: [" + b"open," * 200_000 + b"]\n",
    "wrong_words": HEAD + b"  0: [" + b"opn," * 200_000 + b"]\n",
    "empty_lists": HEAD + b"  0: [" + b"[]," * 200_000 + b"]\n",
    "unknown_keys": HEAD + b"  0: {" + b"".join(b"k%d: x, " % i for i in range(100_000)) + b"}\n",
    "same_keys": HEAD + b"  0: [open]\n" * 100_000,
    "keys_twice": lines("  {0}: [open]") + lines("  {0}: [open]")[len(HEAD) :],
    "late_keys_twice": HEAD + b"".join(b"  %d: [open]\n" % min(i, 50_000) for i in range(60_000)),
    "each_key_twice": HEAD + b"".join(b"  %d: [open]\n" % (i // 2) for i in range(60_000)),
    "users": lines("  user{0}: [openat, chdir]"),
    "uids": lines("  {0}: {{syscalls: [openat, '!i386:openat', 321], match: login}}"),
    "sets": lines("  {0}: ['@system-service', '!@sync', 'i386:@known']"),
    "ranges": HEAD + b"".join(b"  %d-%d: [open]\n" % (i * 99, i * 99 + 98) for i in TEN_THOUSAND),
    "nested_ranges": HEAD + b"".join(b"  %d-%d: [open]\n" % (i, 10**6 - i) for i in TEN_THOUSAND),
    "overlapping_ranges": HEAD
    + b"".join(b"  %d-%d: [%d]\n" % (i * 10, i * 10 + 5000, i % 1000) for i in TEN_THOUSAND),
    "a_range_and_all_in_it": lines("  {0}: {{syscalls: [open], limit: 1{0}/s}}")
    + b"  0-20000: ['@all']\n",
    "wrong_calls": lines("  {0}: [opnat{0}, clse]"),
    "wrong_sets": lines("  {0}: ['@proces{0}']"),
    "wrong_long_calls": lines("  {0}: [" + "ab" * 120 + "{0}]"),
    "wrong_names": lines("  'a/b{0}': [open]"),
    "wrong_keys": lines("  {0}: {{syscalls: [open], matc: real, at{0}: exit}}"),
    "wrong_values": lines("  {0}: {{syscalls: open, match: rel}}"),
    "wrong_numbers": lines("  {0}: [0777, 1:30, no, 0x1f]"),
    "wrong_top_keys": b"version: 1\n" + b"".join(b"user%d: x\n" % i for i in TEN_THOUSAND),
}
ACCEPTED = {"users", "uids", "sets", "spaces", "words", "ranges", "nested_ranges"}


def child(*arguments: str, **options) -> subprocess.CompletedProcess[str]:
    """Run it in a process of its own, which may crash or hang where uidtraced's may not."""
    return subprocess.run(
        [sys.executable, "-P", "-m", *arguments],
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        timeout=300,
        **options,
    )


def test_nasty_policies_are_decided_on_at_once(tmp_path) -> None:
    for name, raw in NASTY.items():
        (tmp_path / name).write_bytes(raw)
    done = child("fuzz.policies", *NASTY, cwd=tmp_path)
    assert done.returncode == 0, f"{done.stdout[-200:]}{done.stderr[-3000:]}"
    became = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert became.keys() == NASTY.keys()
    assert {name for name, said in became.items() if said == "accepted"} == ACCEPTED


@pytest.mark.parametrize("what", SHARES)
def test_hostile_inputs_do_no_harm(what) -> None:
    inputs = os.environ.get("UIDTRACED_FUZZ_INPUTS", "5000")
    done = child("fuzz", "--only", what, "--inputs", inputs)
    assert done.returncode == 0, f"{done.stdout[-3000:]}{done.stderr[-3000:]}"
    assert f"{what}: {inputs} inputs" in done.stdout


def test_the_checks_find_what_they_are_for() -> None:
    """An entry that is cut, or whose newline is not in the binary form, is no entry."""
    for raw in (b"MESSAGE=x", b"MESSAGE=a\nb\n", b"A\n\5\0\0\0\0\0\0\0abc\n", b"a=x\n"):
        with pytest.raises(AssertionError):
            parse_entry(raw)
