"""The policy file: from its text to the plan. Knows nothing of the kernel."""

from uidtraced.policy.identity import Directory, SystemDirectory, name_of
from uidtraced.policy.load import Loaded, load
from uidtraced.policy.names import call_name
from uidtraced.policy.plan import Planned, make_plan

__all__ = [
    "Directory",
    "Loaded",
    "Planned",
    "SystemDirectory",
    "call_name",
    "load",
    "make_plan",
    "name_of",
]
