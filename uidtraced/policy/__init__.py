"""The policy file: from its text to the plan. Knows nothing of the kernel."""

from uidtraced.policy.identity import Directory, SystemDirectory, name_of
from uidtraced.policy.load import Loaded, load, load_source
from uidtraced.policy.names import call_name
from uidtraced.policy.plan import Planned, make_plan
from uidtraced.policy.source import Source, read_source

__all__ = [
    "Directory",
    "Loaded",
    "Planned",
    "Source",
    "SystemDirectory",
    "call_name",
    "load",
    "load_source",
    "make_plan",
    "name_of",
    "read_source",
]
