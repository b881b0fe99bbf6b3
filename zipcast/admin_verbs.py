"""Maps each admin command that a scheduler carries out to its verb."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import get_args

from zipcast.admin_messages import AdminCommand
from zipcast.protocol.verbs import VERBS, Verb

VERB_OF: Mapping[type[AdminCommand], Verb] = MappingProxyType(
    {spec.request: verb for verb, spec in VERBS.items() if spec.request in get_args(AdminCommand)}  # type: ignore[misc]
)
COMMANDS: Mapping[Verb, type[AdminCommand]] = MappingProxyType({verb: kind for kind, verb in VERB_OF.items()})
