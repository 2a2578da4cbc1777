"""What an unquoted word of YAML means in a policy: a string, a decimal number, or a trap."""

from __future__ import annotations

import functools
import re
from typing import Final

_DIGITS: Final = "0123456789"
_DECIMAL: Final = re.compile(r"0|-?[1-9][0-9]*")
_LEADING_ZERO: Final = re.compile(r"[-+]?0[0-9_]+")
_OCTAL: Final = re.compile(r"[-+]?[0-7]+")
_RADIX: Final = re.compile(r"[-+]?0(x_*[0-9a-fA-F][0-9a-fA-F_]*|o_*[0-7][0-7_]*|b_*[01][01_]*)")
_GROUPED: Final = re.compile(r"[-+]?[0-9][0-9_]*")
_SEXAGESIMAL: Final = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")
_FLOAT: Final = re.compile(
    r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)(e[-+]?[0-9]+)?|[-+]?\.inf|\.nan", re.IGNORECASE
)
_TRUTH: Final = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false"})
_MAX_DIGITS: Final = 20


def resolve(word: str) -> str | int | None:
    """Return what the plain *word* means; ValueError says what to write instead of a trap.

    YAML 1.1 and 1.2 disagree on many words, so those are refused rather than guessed.
    """
    if not word:
        return None
    if word == "~" or word.lower() == "null":
        raise ValueError(f'{word} is nothing in YAML; leave it out, or write "{word}" for the name')
    if word.lower() in _TRUTH:
        raise ValueError(f'{word} is a truth value in YAML; to mean the name, write "{word}"')
    if not (word[0] in _DIGITS or word[0] in "+-."):
        return word
    if _DECIMAL.fullmatch(word):
        if len(word) > _MAX_DIGITS:
            raise ValueError(f"{word} is too large; no number in a policy has so many digits")
        return int(word)
    return _trapped(word)


def _trapped(word: str) -> str:
    """Return *word* where all readers of YAML take it for a string."""
    plain = word.replace("_", "")
    if _LEADING_ZERO.fullmatch(word):
        meant = {int(plain), int(plain, 8)} if _OCTAL.fullmatch(plain) else {int(plain)}
        said = "octal to some and decimal to others"
        raise ValueError(f"{word} is {said}; write {' or '.join(map(str, sorted(meant)))}")
    if _RADIX.fullmatch(word):
        raise ValueError(f"{word} is not decimal; write {int(plain, 0)}")
    if _GROUPED.fullmatch(word):
        raise ValueError(f"{word} is not plain decimal digits; write {int(plain)}")
    if _SEXAGESIMAL.fullmatch(word):
        raise ValueError(_sexagesimal(word, plain))
    if _FLOAT.fullmatch(word):
        whole = plain.removesuffix("0").removesuffix(".")
        right = whole if _DECIMAL.fullmatch(whole) and "." in plain else "a whole number"
        raise ValueError(f"{word} is no whole number; write {right}, or quote it")
    return word


def _sexagesimal(word: str, plain: str) -> str:
    if "." in plain:
        return f'{word} is a number to base 60 in YAML 1.1; to mean the text, write "{word}"'
    value = functools.reduce(
        lambda whole, part: whole * 60 + int(part), plain.lstrip("+-").split(":"), 0
    )
    value = -value if plain.startswith("-") else value
    return f'{word} is {value} in YAML 1.1, to base 60, else text; write {value} or "{word}"'
