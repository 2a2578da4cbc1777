"""From a loaded policy and the machine's users to the plan, with what its author may not mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from uidtraced.errors import PolicyError, Problem
from uidtraced.policy.lint import lint
from uidtraced.policy.plan import TooMuchError, make_plan, names_of

if TYPE_CHECKING:
    from uidtraced.policy.identity import Directory
    from uidtraced.policy.load import Loaded
    from uidtraced.rules import Plan


@dataclass(frozen=True, slots=True)
class Intent:
    """What a policy wants now; *stale* are names that the name service did not answer for."""

    plan: Plan
    warnings: tuple[Problem, ...]
    stale: frozenset[str]


def understand(loaded: Loaded, directory: Directory, *, sees_io_uring: bool = False) -> Intent:
    """Return what *loaded* wants of the users that *directory* has now.

    Where the kernel does not let us see what is done through io_uring, there is a warning of that.

    PolicyError where it wants more than there is room for.
    """
    identities = directory.resolve(names_of(loaded.policy))
    try:
        plan = make_plan(loaded.policy, identities)
    except TooMuchError as error:
        raise PolicyError([Problem(1, 1, str(error), loaded.source.path)]) from error
    warnings = lint(loaded, identities, directory, sees_io_uring=sees_io_uring)
    return Intent(plan, warnings, identities.stale)
