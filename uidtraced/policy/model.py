"""The policy as its author meant it: frozen pydantic models, one for each part of the file."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, model_validator
from pydantic_core import PydanticCustomError

from uidtraced.policy.names import Selector, UnknownWordError, parse_selector
from uidtraced.rules import UID_MAX, Scope, Uid

_USER_NAME: Final = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.@-]*\$?")
"""What shadow-utils and the usual directories allow; not all digits, which is a uid."""

Who: TypeAlias = Uid | str
"""The key of an entry: a uid, or a user's name."""


def _told(parse: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Let the ValueErrors of *parse* keep their own words in pydantic's report."""

    def validate(value: Any) -> Any:
        try:
            return parse(value)
        except UnknownWordError as error:
            raise PydanticCustomError(
                "unknown_word",
                "{text}",
                {"text": str(error), "word": error.word, "known": error.known},
            ) from error
        except ValueError as error:
            raise PydanticCustomError("refused", "{text}", {"text": str(error)}) from error

    return validate


def _parse_who(value: Any) -> Who:
    if isinstance(value, str) and value.isascii() and value.isdecimal():
        if value != str(int(value[:20])):
            raise ValueError(f'"{value}": write the uid without leading zeros')
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        if not 0 <= value <= UID_MAX:
            raise ValueError(f"{value} is no uid; uids are 0 to {UID_MAX}")
        return Uid(value)
    if not isinstance(value, str):
        raise ValueError(f"{value!r} names no user; write a user's name or uid")  # noqa: TRY004
    for form, what in _LATER.items():
        if re.fullmatch(form, value):
            raise ValueError(f'"{value}": {what} not supported yet; name the users one by one')
    if not _USER_NAME.fullmatch(value):
        raise ValueError(f'"{value}" is no user name; write a user\'s name or uid')
    return value


_LATER: Final = {r"\*": '"*" is', r"@.*": "groups are", r"\d+-\d+": "ranges are"}


def _parse_selector(value: Any) -> Selector:
    if isinstance(value, bool) or not isinstance(value, str | int):
        what = "nothing" if value is None else f"a {_KINDS.get(type(value), 'value')}"
        raise ValueError(f"{what} stands where a system call is named")  # noqa: TRY004
    return parse_selector(value)


_KINDS: Final[Mapping[type, str]] = {list: "list", dict: "mapping", bool: "truth value"}


def _as_tuple(value: Any) -> Any:
    if value is None:
        raise PydanticCustomError("refused", "no calls are named; to log none write []")
    if not isinstance(value, list):
        raise PydanticCustomError("refused", "a list of system calls is wanted, such as [openat]")
    return tuple(value)


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Entry(_Model):
    """What to log for one key under ``users``."""

    syscalls: Annotated[
        tuple[Annotated[Selector, PlainValidator(_told(_parse_selector))], ...],
        BeforeValidator(_as_tuple),
    ]
    match: Scope = Field(default=Scope.REAL, strict=False)
    at: Literal["enter"] = "enter"

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        if isinstance(value, dict):
            return value
        return {"syscalls": value}


class Policy(_Model):
    """A whole policy file."""

    version: Literal[1]
    users: Mapping[Annotated[Who, PlainValidator(_told(_parse_who))], Entry] = Field(
        default_factory=dict
    )
