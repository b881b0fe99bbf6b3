"""Keeps a table of the hotkeys' connections, and finds those that must be closed. No I/O.

The table is updated by this process's grants and by nats-server's events of ended connections. Every few
seconds, nats-server's complete list replaces the table. A connection's user name contains the role for which
it was granted (`miner.<hotkey>`).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from service.registry import RegistryView
from zipcast.protocol.hotkeys import Hotkey, MalformedHotkeyError, parse_hotkey
from zipcast.protocol.verbs import ADMIN_VERBS, MINER_VERBS, VALIDATOR_VERBS, Verb

# A granted connection is kept for this long although nats-server does not list it yet. nats-server lists it
# when the client has read the reply, at most 1.9 s later.
SETTLING = timedelta(seconds=3)


class Role(StrEnum):
    """The role for which a connection was granted. An admin may be registered as a miner or validator too."""

    MINER = "miner"
    VALIDATOR = "validator"
    ADMIN = "admin"
    ADMIN_MINER = "admin-miner"
    ADMIN_VALIDATOR = "admin-validator"

    @property
    def verbs(self) -> frozenset[Verb]:
        """Return the verbs that the role may use."""
        verbs: frozenset[Verb] = ADMIN_VERBS if self.startswith("admin") else frozenset()
        if self in {Role.MINER, Role.ADMIN_MINER}:
            return verbs | MINER_VERBS
        return verbs | VALIDATOR_VERBS if self in {Role.VALIDATOR, Role.ADMIN_VALIDATOR} else verbs


def role_of(hotkey: Hotkey, registry: RegistryView, admins: frozenset[Hotkey]) -> Role | None:
    """Return the hotkey's present role; None if it is not registered."""
    neuron = registry.find(hotkey)
    if neuron is None:
        return Role.ADMIN if hotkey in admins else None
    if registry.is_validator(neuron):
        return Role.ADMIN_VALIDATOR if hotkey in admins else Role.VALIDATOR
    return Role.ADMIN_MINER if hotkey in admins else Role.MINER


class KickReason(StrEnum):
    NOT_REGISTERED = "not_registered"
    ROLE_CHANGED = "role_changed"
    TOO_MANY = "too_many_connections"
    FLOODING = "flooding"


@dataclass(frozen=True, slots=True)
class Place:
    """Identifies a connection on a server. A server gets a new id at each start."""

    server_id: str
    client_id: int


@dataclass(frozen=True, slots=True)
class Connection:
    place: Place
    hotkey: Hotkey
    role: Role
    since: datetime


@dataclass(frozen=True, slots=True)
class Kick:
    connection: Connection
    reason: KickReason


def connection_user(hotkey: Hotkey, role: Role) -> str:
    """Return the user name for a connection."""
    return f"{role}.{hotkey}"


def parse_connection_user(name: str) -> tuple[Hotkey, Role] | None:
    """Return the hotkey and role of a connection's user name; None for a service user, whose name is its
    nkey."""
    role, _, hotkey = name.partition(".")
    try:
        return parse_hotkey(hotkey), Role(role)
    except (MalformedHotkeyError, ValueError):
        return None


@dataclass(slots=True)
class Connections:
    """The connections of all hotkeys, at most `per_hotkey` of each. The oldest are closed to make room."""

    per_hotkey: int
    admins: frozenset[Hotkey] = frozenset()
    _live: dict[Hotkey, dict[Place, Connection]] = field(default_factory=dict)
    _owners: dict[Place, Hotkey] = field(default_factory=dict)
    _ended: set[Place] | None = None
    """Connections that ended while a list was being read, which may still contain them."""

    def __len__(self) -> int:
        return len(self._owners)

    def granted(self, connection: Connection) -> list[Kick]:
        """Add a granted connection, and return those of the same hotkey that must be closed for it."""
        self._add(connection)
        return self._excess(connection.hotkey)

    def ended(self, place: Place) -> None:
        if self._ended is not None:
            self._ended.add(place)
        self._remove(place)

    def begin_listing(self) -> None:
        self._ended = set()

    def listed(self, listing: Iterable[Connection], began_at: datetime) -> None:
        """Replace the table by a complete list whose reading began at `began_at`. Keep connections that were
        granted shortly before."""
        ended, self._ended = self._ended or set(), None
        young = [one for one in self._all() if one.since > began_at - SETTLING]
        self._live, self._owners = {}, {}
        for connection in (*young, *(one for one in listing if one.place not in ended)):
            self._add(connection)

    def kicks(self, registry: RegistryView) -> list[Kick]:
        """Remove the connections that are no longer allowed from the table, and return them. If they are not
        closed, a later list brings them back."""
        kicks = self._against_registry(registry)
        for kick in kicks:
            self._remove(kick.connection.place)
        for hotkey in list(self._live):
            kicks += self._excess(hotkey)
        return kicks

    def _against_registry(self, registry: RegistryView) -> list[Kick]:
        """Return the connections that the registry no longer allows. If there is no registry or it is empty,
        return none, because a fault of ours must not disconnect everyone."""
        if registry.snapshot is None or not registry.snapshot.neurons:
            return []
        found = ((one, _objection(one, registry, self.admins)) for one in self._all())
        return [Kick(one, reason) for one, reason in found if reason is not None]

    def _excess(self, hotkey: Hotkey) -> list[Kick]:
        own = sorted(self._live.get(hotkey, {}).values(), key=_age)
        oldest = own[: max(0, len(own) - self.per_hotkey)]
        for connection in oldest:
            self._remove(connection.place)
        return [Kick(connection, KickReason.TOO_MANY) for connection in oldest]

    def _all(self) -> list[Connection]:
        return [one for own in self._live.values() for one in own.values()]

    def _add(self, connection: Connection) -> None:
        self._live.setdefault(connection.hotkey, {})[connection.place] = connection
        self._owners[connection.place] = connection.hotkey

    def _remove(self, place: Place) -> None:
        hotkey = self._owners.pop(place, None)
        if hotkey is None:
            return
        own = self._live[hotkey]
        del own[place]
        if not own:
            del self._live[hotkey]


def _objection(
    connection: Connection, registry: RegistryView, admins: frozenset[Hotkey]
) -> KickReason | None:
    role = role_of(connection.hotkey, registry, admins)
    if role is None:
        return KickReason.NOT_REGISTERED
    return None if role is connection.role else KickReason.ROLE_CHANGED


def _age(connection: Connection) -> tuple[datetime, str, int]:
    """Return a sort key that orders connections by age, in the same way on every replica."""
    return connection.since, connection.place.server_id, connection.place.client_id
