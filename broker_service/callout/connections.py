"""Keeps the connections of hotkeys, and finds those that must be ended. No I/O.

Owns the table that is kept from our own grants, nats-server's word that a connection ended, and its full
listing every few seconds, which has the last word. A connection carries the role it was granted for in its
name (`miner.<hotkey>`), which nats-server shows as the connection's user.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from service.registry import RegistryView
from zipcast.protocol.hotkeys import Hotkey, MalformedHotkeyError, parse_hotkey
from zipcast.protocol.verbs import ADMIN_VERBS, MINER_VERBS, VALIDATOR_VERBS, Verb

# A grant is not yet listed until its client has read the answer; nats-server gives up after 1.9 s.
SETTLING = timedelta(seconds=3)


class Role(StrEnum):
    """The rights that a connection was granted. An admin may be registered besides, or not."""

    MINER = "miner"
    VALIDATOR = "validator"
    ADMIN = "admin"
    ADMIN_MINER = "admin-miner"
    ADMIN_VALIDATOR = "admin-validator"

    @property
    def verbs(self) -> frozenset[Verb]:
        """The verbs that it may use."""
        verbs: frozenset[Verb] = ADMIN_VERBS if self.startswith("admin") else frozenset()
        if self in {Role.MINER, Role.ADMIN_MINER}:
            return verbs | MINER_VERBS
        return verbs | VALIDATOR_VERBS if self in {Role.VALIDATOR, Role.ADMIN_VALIDATOR} else verbs


def role_of(hotkey: Hotkey, registry: RegistryView, admins: frozenset[Hotkey]) -> Role | None:
    """The role that the hotkey has now; None for one that is not registered."""
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
    """The place of a connection: unique as long as its server runs, which has a new id at each start."""

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
    """The name a connection is granted under."""
    return f"{role}.{hotkey}"


def parse_connection_user(name: str) -> tuple[Hotkey, Role] | None:
    """None for a service user, whose name is its nkey."""
    role, _, hotkey = name.partition(".")
    try:
        return parse_hotkey(hotkey), Role(role)
    except (MalformedHotkeyError, ValueError):
        return None


@dataclass(slots=True)
class Connections:
    """At most `per_hotkey` of each hotkey; its oldest make room for a new one."""

    per_hotkey: int
    admins: frozenset[Hotkey] = frozenset()
    _live: dict[Hotkey, dict[Place, Connection]] = field(default_factory=dict)
    _owners: dict[Place, Hotkey] = field(default_factory=dict)
    _ended: set[Place] | None = None
    """Connections that ended during a listing, which may still show them."""

    def __len__(self) -> int:
        return len(self._owners)

    def granted(self, connection: Connection) -> list[Kick]:
        """Take up a connection that was let in; yields those of its hotkey that must make room."""
        self._add(connection)
        return self._excess(connection.hotkey)

    def ended(self, place: Place) -> None:
        if self._ended is not None:
            self._ended.add(place)
        self._remove(place)

    def begin_listing(self) -> None:
        self._ended = set()

    def listed(self, listing: Iterable[Connection], began_at: datetime) -> None:
        """Replace the table by a whole listing that was begun at `began_at`; connections granted just before
        it stay."""
        ended, self._ended = self._ended or set(), None
        young = [one for one in self._all() if one.since > began_at - SETTLING]
        self._live, self._owners = {}, {}
        for connection in (*young, *(one for one in listing if one.place not in ended)):
            self._add(connection)

    def kicks(self, registry: RegistryView) -> list[Kick]:
        """Return the connections that have lost their right. They leave the table, and come back with a later
        listing if they stay."""
        kicks = self._against_registry(registry)
        for kick in kicks:
            self._remove(kick.connection.place)
        for hotkey in list(self._live):
            kicks += self._excess(hotkey)
        return kicks

    def _against_registry(self, registry: RegistryView) -> list[Kick]:
        """Return nothing if the registry is absent or empty: our fault must not drop everyone."""
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
    """The same order for every replica."""
    return connection.since, connection.place.server_id, connection.place.client_id
