"""What the text of a policy may not have in it, and how each fault is told."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from uidtraced.errors import PolicyError
from uidtraced.policy.document import MAX_NODES, MAX_PROBLEMS, MAX_WORD_CHARS
from uidtraced.policy.load import load_source
from uidtraced.policy.source import Source

HEAD = "version: 1\nusers:\n"


def problems(text: str) -> list[str]:
    with pytest.raises(PolicyError) as caught:
        load_source(Source("p", text, ""))
    return [f"{one.line}:{one.column}: {one.message}" for one in caught.value.problems]


WORDS = {
    "0777": "0777 is octal to some and decimal to others; write 511 or 777",
    "089": "089 is octal to some and decimal to others; write 89",
    "007": "007 is octal to some and decimal to others; write 7",
    "0o17": "0o17 is not decimal; write 15",
    "0x1F": "0x1F is not decimal; write 31",
    "0b_11": "0b_11 is not decimal; write 3",
    "1_000": "1_000 is not plain decimal digits; write 1000",
    "+5": "+5 is not plain decimal digits; write 5",
    "1:30": '1:30 is 90 in YAML 1.1, to base 60, else text; write 90 or "1:30"',
    "-1:30": '-1:30 is -90 in YAML 1.1, to base 60, else text; write -90 or "-1:30"',
    "1:30.5": '1:30.5 is a number to base 60 in YAML 1.1; to mean the text, write "1:30.5"',
    "1.0": "1.0 is no whole number; write 1, or quote it",
    "1e3": "1e3 is no whole number; write a whole number, or quote it",
    ".inf": ".inf is no whole number; write a whole number, or quote it",
    "no": 'no is a truth value in YAML; to mean the name, write "no"',
    "Y": 'Y is a truth value in YAML; to mean the name, write "Y"',
    "~": '~ is nothing in YAML; leave it out, or write "~" for the name',
    "Null": 'Null is nothing in YAML; leave it out, or write "Null" for the name',
    "9" * 21: f"{'9' * 21} is too large; no number in a policy has so many digits",
    "-1": "-1 is no system-call number; they are 0 to 1023",
}


@pytest.mark.parametrize("word", WORDS)
def test_words_that_readers_of_yaml_differ_on_are_refused(word) -> None:
    assert problems(f"{HEAD}  0: [{word}]\n") == [f"3:7: {WORDS[word]}"]


@pytest.mark.parametrize("word", [word for word in WORDS if word != "-1"])
def test_such_words_are_refused_as_keys_too(word) -> None:
    assert problems(f"{HEAD}  {word}: [open]\n") == [f"3:3: {WORDS[word]}"]


TEXTS = {
    # what editors do not show
    "\0": "1:1: a NUL character; save the file as UTF-8 text",
    "version: 1\r# x\n": "1:11: a carriage return without a line feed; "
    "save the file with Unix line ends",
    "version: 1 # a\u2028b\n": "1:15: U+2028 (line separator) is not seen in an editor; remove it",
    "version: 1\n# \x85\n": "2:3: U+0085 (control character) is not seen in an editor; remove it",
    "\n\ufeffversion: 1\n": "2:1: U+FEFF (zero width no-break space) is not seen in an editor; "
    "remove it",
    f"{HEAD}  al\u00a0ice: [open]\n": "3:3: U+00A0 (no-break space) is in this word, but not seen; "
    "remove it",
    f'{HEAD}  0: ["a\\nb"]\n': "3:7: U+000A (control character) is in this word, but not seen; "
    "remove it",
    # what YAML has and a policy has not
    "%YAML 1.1\n---\nversion: 1\n": "1:1: a line with % in front is a YAML directive, "
    "which a policy has not; remove it",
    "%TAG ! tag:x,2000:\n---\nversion: 1\n": "1:1: a line with % in front is a YAML directive, "
    "which a policy has not; remove it",
    "version: 1\n---\nversion: 1\n": "2:1: a second document; a policy is one, "
    "so join them without ---",
    f"{HEAD}  <<: {{a: [open]}}\n": "3:3: << is a YAML merge key, which a policy has not; "
    "write each entry out",
    f"{HEAD}  ? [a]\n  : [open]\n": "3:5: a list or mapping is no key; "
    "write a plain word or number",
    f"{HEAD}  ? {{a: b}}\n  : [open]\n": "3:5: a list or mapping is no key; "
    "write a plain word or number",
    f"{HEAD}  &a alice: [open]\n": '3:3: "&a" is a YAML anchor, which a policy has not',
    f"{HEAD}  !!str alice: [open]\n": "3:3: !!str is a YAML tag, which a policy has not",
    f"{HEAD}  alice: [!!python/name:os.system x]\n": "3:11: !!python/name:os.system is a YAML tag, "
    "which a policy has not",
    f"{HEAD}  0: |\n    open\n": "3:6: | begins a text of many lines, which a policy has not; "
    "write a word",
    f"{HEAD}  0: [{'a' * 257}]\n": f"3:7: a word of 257 characters; a policy has none above "
    f"{MAX_WORD_CHARS}",
    f"{HEAD}  : [open]\n": '3:3: a key is missing before the ":"',
    f"{HEAD}  ? \n  : [open]\n": '3:4: a key is missing before the ":"',
    f"{HEAD}  0: {{syscalls: [], syscalls: []}}\n": '3:21: "syscalls" stands in this line already; '
    "join the two",
    # slips
    "version: 1\nusers:\n\t0: [open]\n": "3:1: a tab cannot indent; use spaces",
    f"{HEAD}  0:\n  \t- open\n": "4:3: a tab cannot indent; use spaces",
    f"{HEAD}  0: [open\n  1: [close]\n": '4:4: a "," or "]" is missing in the list of line 3',
    f"{HEAD}  0: {{syscalls: [open]\n": '4:1: a "," or "}" is missing in the mapping of line 3',
    f"{HEAD}  0: ['open]\n": "3:7: the quotes that open here are never closed",
    f"{HEAD}  0: [open]]\n": '3:12: this "]" belongs to no list or mapping; remove it',
    f"{HEAD}  0: [open,,close]\n": "3:12: a value is missing before this, "
    "or a bracket is not closed",
    f"{HEAD}  0: [[[[[[[[open": "3:13: nested deeper than 8 levels",
    "version: [": "1:11: a value is missing before this, or a bracket is not closed",
    f"{HEAD}  0: [open]\n 1: [open]\n": "4:2: this stands under nothing before it; "
    "indent it exactly as what it belongs with, or quote it whole",
    f"{HEAD}  0: [open]\n  bob\n  1: [close]\n": '4:3: a ":" is missing after this',
    f"{HEAD}  0: a: b\n": '3:7: a ":" has no place here; begin a new line, '
    "or quote the word that has it",
    f"{HEAD}  0: - open\n": '3:6: a list of "- " begins on a line of its own',
    f'{HEAD}  0: ["\\q"]\n': "3:8: this \\ has no meaning in double quotes; use single quotes",
    f"{HEAD}  0: [`open`]\n": "3:7: a word that begins with ` must be quoted",
    f"{HEAD}  0: [%open]\n": "3:7: a word that begins with % must be quoted",
    f"{HEAD}  0: [& open]\n": "3:7: a word with & must be quoted",
    f"{HEAD}  0: [!x!y]\n": '3:7: a word with ! must be quoted, such as "!close"',
    "---\n": "1:1: the file is empty; the least policy is: version: 1",
}


@pytest.mark.parametrize("text", TEXTS, ids=ascii)
def test_a_fault_of_the_text_is_told_in_words_of_the_policy(text) -> None:
    assert problems(text) == [TEXTS[text]]


@pytest.mark.parametrize(
    "text", ["---\nversion: 1\n", "version: 1\r\nusers:\r\n", "version:\t1\n", "version: 1\n...\n"]
)
def test_what_yaml_allows_and_nobody_misreads_is_accepted(text) -> None:
    assert load_source(Source("p", text, "")).policy.version == 1


def test_reading_goes_on_after_a_key_that_is_none() -> None:
    text = f"{HEAD}  ? [a, 0x1]\n  : [0777]\n  alice: [opnat]\n  *x : [close]\n"
    assert [one.split(" ")[0] for one in problems(text)] == [
        *("3:5:", "3:9:", "4:6:", "5:11:", "6:3:")
    ]


def test_too_many_problems_are_told_up_to_a_bound() -> None:
    of_text = problems(HEAD + "".join(f"  {uid}: [0777]\n" for uid in range(MAX_PROBLEMS + 9)))
    of_words = problems(HEAD + "".join(f"  {uid}: [x]\n" for uid in range(MAX_PROBLEMS + 9)))
    of_keys = problems(
        HEAD + "".join(f"  {uid}: {{syscalls: [], x: 1}}\n" for uid in range(MAX_PROBLEMS + 9))
    )
    for found in (of_text, of_words, of_keys):
        assert len(found) == MAX_PROBLEMS + 1
        assert found[-1].endswith(f"more than {MAX_PROBLEMS} problems; the others are not told")


def test_there_is_a_bound_to_words_and_to_unknown_keys() -> None:
    (said,) = problems(HEAD + "  0: [" + "open, " * (MAX_NODES + 1) + "]\n")
    assert said.endswith(f"more than {MAX_NODES} words and lists; name ranges or groups")
    text = HEAD + "  0:\n    syscalls: []\n" + "".join(f"    key{one}: 1\n" for one in range(1000))
    (said,) = problems(text)
    assert said.startswith("4:5: 1000 unknown keys; known are syscalls, match")


def test_check_tells_the_same_as_text_and_as_json(tmp_path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(f'{HEAD}  "é": [opnat]\n  0: ["€", no]\n', "utf-8")
    command = [sys.executable, "-P", "-m", "uidtraced.cli", "check", path]
    locale = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    text = subprocess.run(command, capture_output=True, text=True, env=locale)
    found = subprocess.run([*command, "--format", "json"], capture_output=True, text=True)
    assert (text.returncode, found.returncode) == (1, 1)
    assert (text.stderr, found.stderr) == ("", "")
    report = json.loads(found.stdout)
    assert (report["valid"], report["path"]) == (False, str(path))
    lines = [
        f"{path}:{one['line']}:{one['column']}: {one['severity']}: {one['text']}"
        for one in report["problems"]
    ]
    assert [line.encode("ascii", "backslashreplace").decode() for line in lines] == (
        text.stdout.splitlines()
    )
    assert len(lines) == 3
