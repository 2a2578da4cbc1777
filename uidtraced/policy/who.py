"""The keys under ``users``: whom an entry is for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from uidtraced.rules import UID_MAX, Uid, UidRange

_NAME: Final = r"(?![\d\s-]+$)[^\s:/,!*@\-][^:/,!*\x00-\x1f]*"
"""A name can hold nearly anything (``CORP\\alice``, ``domain users``); not what separates fields in
passwd(5), not what means something else in a policy, and not digits alone, which is a uid."""

_USER: Final = re.compile(_NAME)
_GROUP: Final = re.compile("@" + _NAME)
_RANGE: Final = re.compile(r"(\d+)-(\d+)", re.ASCII)
_NUMBER: Final = re.compile(r"\d+", re.ASCII)


@dataclass(frozen=True, slots=True)
class User:
    """The user called *name*, whatever uid that is now."""

    name: str


@dataclass(frozen=True, slots=True)
class Group:
    """Who is in the Unix group called *name*, by its list or as his primary group."""

    name: str


@dataclass(frozen=True, slots=True)
class Others:
    """Every uid that no other entry names."""


Who: TypeAlias = Uid | User | Group | UidRange | Others


def parse_who(key: Any) -> Who:
    """Return whom *key* stands for; ValueError says what is wrong and what would be right."""
    if isinstance(key, int) and not isinstance(key, bool):
        return _uid(key)
    if not isinstance(key, str):
        raise ValueError(f"{key!r} names nobody; {_FORMS}")  # noqa: TRY004
    if key == "*":
        return Others()
    if _NUMBER.fullmatch(key):
        return _uid(_number(key))
    if found := _RANGE.fullmatch(key):
        first, last = _uid(_number(found[1])), _uid(_number(found[2]))
        if first > last:
            raise ValueError(f'"{key}" ends before it begins; write "{last}-{first}"')
        return UidRange(first, last)
    if _GROUP.fullmatch(key):
        return Group(key[1:])
    if not _USER.fullmatch(key):
        raise ValueError(f'"{key}" names nobody; {_FORMS}')
    return User(key)


_FORMS: Final = 'write a name, a uid, "FIRST-LAST", "@GROUP" or "*"'


def _number(digits: str) -> int:
    number = int(digits[:20])
    if str(number) != digits[:20]:
        raise ValueError(f'"{digits}": write the uid without leading zeros, {number}')
    return number


def _uid(number: int) -> Uid:
    if not 0 <= number <= UID_MAX:
        raise ValueError(f"{number} is no uid; uids are 0 to {UID_MAX}")
    return Uid(number)
