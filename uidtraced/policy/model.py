"""The policy as its author meant it: frozen pydantic models, one for each part of the file."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    PlainValidator,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from uidtraced.policy.names import Selector, UnknownWordError, parse_selector
from uidtraced.policy.who import Who, parse_who
from uidtraced.rules import DEFAULT_FLAGS, Flag, Scope

LIMIT_MAX: Final = 1_000_000
"""Events per second; a kernel makes not many more on one cpu."""

_LIMIT: Final = re.compile(r"([1-9][0-9]{0,6})/s", re.ASCII)


@dataclass(slots=True)
class Reading:
    """What the parts of one file share while it is read."""

    patience: int
    """How many more refused values are told of: a file that is hopeless is not read to its end."""
    entries: dict[str, Entry] = field(default_factory=dict)
    """By their text: most users have what others have, and then the same object."""


def _told(parse: Callable[[Any], Any]) -> Callable[[Any, ValidationInfo], Any]:
    """Let the ValueErrors of *parse* keep their own words in pydantic's report."""

    def validate(value: Any, info: ValidationInfo) -> Any:
        reading: Reading | None = info.context
        if reading is not None and reading.patience < 0:
            return None  # of a policy that is refused already
        try:
            return parse(value)
        except ValueError as error:
            if reading is not None:
                reading.patience -= 1
            if isinstance(error, UnknownWordError):
                context = {"text": str(error), "word": error.word}
                raise PydanticCustomError("unknown_word", "{text}", context) from error
            raise _refused(str(error)) from error

    return validate


def _refused(text: str) -> PydanticCustomError:
    return PydanticCustomError("refused", "{text}", {"text": text})


def _parse_selector(value: Any) -> Selector:
    if isinstance(value, bool) or not isinstance(value, str | int):
        what = "nothing" if value is None else f"a {_KINDS.get(type(value), 'value')}"
        raise ValueError(f"{what} stands where a system call is named")  # noqa: TRY004
    return parse_selector(value)


_KINDS: Final[Mapping[type, str]] = {list: "list", dict: "mapping", bool: "truth value"}


def _as_tuple(value: Any) -> Any:
    if value is None:
        raise _refused("no calls are named; to log none write []")
    if not isinstance(value, list):
        raise _refused("a list of system calls is wanted, such as [openat]")
    return tuple(value)


def _parse_limit(value: Any) -> int:
    found = _LIMIT.fullmatch(value) if isinstance(value, str) else None
    if found is None or int(found[1]) > LIMIT_MAX:
        shown = f'"{value}"' if isinstance(value, str) else "nothing" if value is None else value
        raise ValueError(
            f"{shown} is no limit; write events per second, such as 100/s, up to {LIMIT_MAX}/s"
        )
    return int(found[1])


_MANY_KEYS: Final = 20


def _not_nothing(value: Any) -> Any:
    if value is None:
        raise _refused("only: wants errors, or leave it out")
    return value


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _few_keys(cls, value: Any, info: ValidationInfo) -> Any:
        unknown = value.keys() - cls.model_fields.keys() if isinstance(value, dict) else ()
        if len(unknown) > _MANY_KEYS:
            known = ", ".join(cls.model_fields)
            raise _refused(f"{len(unknown)} unknown keys; known are {known}")
        if isinstance(info.context, Reading):
            info.context.patience -= len(unknown)
        return value


Calls = Annotated[
    tuple[
        Annotated[
            Selector,
            PlainValidator(_told(_parse_selector)),
            WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "integer", "minimum": 0}]}),
        ],
        ...,
    ],
    BeforeValidator(_as_tuple),
]


class Entry(_Model):
    """What to log for one key under ``users``."""

    syscalls: Calls = Field(
        description="System calls to log: NAME, NUMBER, ABI:NAME or @SET; !WORD takes away."
    )
    match: Scope = Field(
        default=Scope.REAL,
        strict=False,
        description="Which uid of the caller counts: real, effective, or audit's login uid.",
    )
    mode: Literal["log", "count"] = Field(
        default="log", description="log: an event for each call; count: counters alone."
    )
    at: Literal["enter", "exit"] = Field(
        default="enter",
        description="enter: an event as the call begins; exit: as it ends, with its result.",
    )
    only: Annotated[
        Literal["errors"] | None,
        BeforeValidator(_not_nothing),
        WithJsonSchema({"const": "errors"}),
    ] = Field(default=None, description="With at: exit, errors logs only calls that failed.")
    limit: Annotated[
        int | None,
        PlainValidator(_told(_parse_limit)),
        WithJsonSchema({"type": "string", "pattern": "^([1-9][0-9]{0,5}|1000000)/s$"}),
    ] = Field(
        default=None,
        description="Most events per second and uid, such as 100/s; the rest is counted.",
    )

    @model_validator(mode="wrap")
    @classmethod
    def _shared(
        cls, value: Any, validate: ModelWrapValidatorHandler[Self], info: ValidationInfo
    ) -> Any:
        if not isinstance(info.context, Reading):
            return validate(value)
        text, entries = repr(value), info.context.entries
        if text not in entries:
            entries[text] = validate(value)
        return entries[text]

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(info.context, Reading) and info.context.patience < 0:
            return {"syscalls": []}  # of a policy that is refused already
        if isinstance(value, dict):
            return value
        return {"syscalls": value}

    @field_validator("at", "only", "limit")
    @classmethod
    def _fits(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse what has no meaning beside the fields before it."""
        if value is None or value == "enter":
            return value
        if info.data.get("mode") == "count":
            raise _refused(f"{info.field_name} has no meaning with mode: count; leave one out")
        if info.field_name == "only" and info.data.get("at") == "enter":
            raise _refused("only: errors needs the result; add at: exit")
        return value

    @property
    def flags(self) -> Flag:
        """The action bits of the entry's rules."""
        if self.mode == "count":
            return Flag.COUNT
        if self.at == "enter":
            return DEFAULT_FLAGS
        return Flag.LOG | Flag.EXIT | (Flag(0) if self.only else Flag.SUCCESS)


class Policy(_Model):
    """A whole policy file."""

    version: Literal[1] = Field(description="The version of this format.")
    users: Mapping[Annotated[Who, PlainValidator(_told(parse_who))], Entry] = Field(
        default_factory=dict,
        description="Who is traced: a name, a uid, a range, a @group, or * for all others.",
    )

    @field_validator("users", mode="before")
    @classmethod
    def _nobody(cls, value: Any) -> Any:
        return {} if value is None else value  # "users:" and nothing after it
