"""What an unquoted word of YAML means in a policy: a string, a decimal number, or a trap."""

from __future__ import annotations

import re
from typing import Final

_DECIMAL: Final = re.compile(r"0|-?[1-9][0-9]*")
_LEADING_ZERO: Final = re.compile(r"[-+]?0[0-9_]+")
_RADIX: Final = re.compile(r"[-+]?0[xob][0-9a-fA-F_]+")
_GROUPED: Final = re.compile(r"[-+]?[0-9][0-9_]*")
_SEXAGESIMAL: Final = re.compile(r"[-+]?[0-9]+(:[0-5]?[0-9])+(\.[0-9]*)?")
_FLOAT: Final = re.compile(
    r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)(e[-+]?[0-9]+)?|[-+]?\.inf|\.nan", re.IGNORECASE
)
_TRUTH: Final = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false"})
_MAX_DIGITS: Final = 20


def resolve(word: str) -> str | int | None:
    """Return what the plain *word* means; ValueError says what to write instead of a trap.

    YAML 1.1 and 1.2 disagree on many words, so those are refused rather than guessed.
    """
    if word in ("", "~") or word.lower() == "null":
        return None
    if word.lower() in _TRUTH:
        raise ValueError(f'{word} is a truth value in YAML; to mean the name, write "{word}"')
    if not (word[0].isdigit() or word[0] in "+-."):
        return word
    if len(word) <= _MAX_DIGITS and _DECIMAL.fullmatch(word):
        return int(word)
    if _LEADING_ZERO.fullmatch(word):
        decimal = word.replace("_", "").lstrip("+-0") or "0"
        raise ValueError(f"{word} is octal to some and decimal to others; write {decimal}")
    if _RADIX.fullmatch(word):
        raise ValueError(f"{word} is not decimal; write the number in decimal")
    if _GROUPED.fullmatch(word):
        raise ValueError(f"{word} is no plain number; write decimal digits alone")
    if _SEXAGESIMAL.fullmatch(word):
        raise ValueError(f'{word} is a number to base 60 in YAML 1.1; quote it: "{word}"')
    if _FLOAT.fullmatch(word):
        raise ValueError(f"{word} is no whole number; write a whole number or quote it")
    return word
