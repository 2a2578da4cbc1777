"""The policy file: from its text to the plan. Knows nothing of the kernel."""

from uidtraced.policy.explain import explain
from uidtraced.policy.identity import Directory, Identities, Names, SystemDirectory, name_of
from uidtraced.policy.intent import Intent, understand
from uidtraced.policy.load import Loaded, load, load_source
from uidtraced.policy.names import call_name
from uidtraced.policy.schema import schema_text
from uidtraced.policy.source import Source, read_source

__all__ = [
    "Directory",
    "Identities",
    "Intent",
    "Loaded",
    "Names",
    "Source",
    "SystemDirectory",
    "call_name",
    "explain",
    "load",
    "load_source",
    "name_of",
    "read_source",
    "schema_text",
    "understand",
]
