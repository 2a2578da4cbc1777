"""The policy file: from its text to the plan. Knows nothing of the kernel."""

from uidtraced.policy.explain import explain
from uidtraced.policy.identity import Directory, Identities, Names, SystemDirectory, name_of
from uidtraced.policy.intent import Intent, understand
from uidtraced.policy.load import Loaded, load
from uidtraced.policy.names import call_name
from uidtraced.policy.schema import schema_text

__all__ = [
    "Directory",
    "Identities",
    "Intent",
    "Loaded",
    "Names",
    "SystemDirectory",
    "call_name",
    "explain",
    "load",
    "name_of",
    "schema_text",
    "understand",
]
