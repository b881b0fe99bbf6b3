"""Tests which connections must be closed: by the registry, and by the number per hotkey."""

from datetime import timedelta

import pytest

from broker_service.callout.connections import (
    Connection,
    Connections,
    Kick,
    KickReason,
    Place,
    Role,
    connection_user,
    parse_connection_user,
)
from service.deployment_keys import create_keys
from service.registry import RegistryView
from tests.support.fakes import (
    MINER_HOTKEY,
    RAO,
    START_AT,
    STRANGER_HOTKEY,
    VALIDATOR_HOTKEY,
    neuron,
    registry,
    snapshot,
)
from zipcast.protocol.hotkeys import Hotkey

SERVER, OTHER = "NSERVER", "NOTHER"


def connection(
    number: int,
    hotkey: Hotkey = MINER_HOTKEY,
    role: Role = Role.MINER,
    *,
    server: str = SERVER,
    age: float = 60,
) -> Connection:
    return Connection(Place(server, number), hotkey, role, START_AT - timedelta(seconds=age))


def listed(*connections: Connection, per_hotkey: int = 3) -> Connections:
    table = Connections(per_hotkey)
    table.begin_listing()
    table.listed(connections, START_AT)
    return table


def kicked(kicks: list[Kick]) -> dict[int, KickReason]:
    return {kick.connection.place.client_id: kick.reason for kick in kicks}


@pytest.mark.parametrize("role", Role)
def test_a_connections_name_tells_hotkey_and_role(role: Role) -> None:
    assert parse_connection_user(connection_user(MINER_HOTKEY, role)) == (MINER_HOTKEY, role)


@pytest.mark.parametrize(
    "name", ["", "miner", MINER_HOTKEY, f"root.{MINER_HOTKEY}", "miner.", f"miner.{MINER_HOTKEY}.x"]
)
def test_another_name_is_none_of_them(name: str) -> None:
    assert parse_connection_user(name) is None


def test_a_service_user_is_none_of_them() -> None:
    nkeys = [value for name, value in create_keys()["nats"].items() if name.startswith("NATS_USER_")]
    assert nkeys
    assert [parse_connection_user(nkey) for nkey in nkeys] == [None] * len(nkeys)


def test_who_is_registered_for_his_role_stays() -> None:
    table = listed(connection(1), connection(2, VALIDATOR_HOTKEY, Role.VALIDATOR))
    assert table.kicks(registry()) == []
    assert len(table) == 2


def test_who_left_the_subnet_is_kicked_with_every_connection() -> None:
    view = registry()
    view.adopt(snapshot([neuron(VALIDATOR_HOTKEY)], block=101))
    gone = KickReason.NOT_REGISTERED
    table = listed(connection(1), connection(2), connection(3, server=OTHER))
    assert kicked(table.kicks(view)) == {1: gone, 2: gone, 3: gone}
    assert len(table) == 0


def test_who_gained_or_lost_the_validators_role_is_kicked_to_come_back_with_his_new_rights() -> None:
    view = registry()
    promoted = neuron(MINER_HOTKEY, permit=True, rao=1000 * RAO)
    demoted = neuron(VALIDATOR_HOTKEY, permit=True, rao=1000 * RAO - 1, uid=1)
    view.adopt(snapshot([promoted, demoted], block=101))
    table = listed(connection(1), connection(2, VALIDATOR_HOTKEY, Role.VALIDATOR))
    assert kicked(table.kicks(view)) == {1: KickReason.ROLE_CHANGED, 2: KickReason.ROLE_CHANGED}


def test_nobody_is_kicked_by_a_registry_that_is_absent_or_empty() -> None:
    absent, empty = RegistryView("test", 46, 1000), registry()
    empty.adopt(snapshot([], block=101))
    for view in (absent, empty):
        assert listed(connection(1), connection(2, VALIDATOR_HOTKEY, Role.VALIDATOR)).kicks(view) == []


def test_one_connection_too_many_and_the_oldest_makes_room_at_once() -> None:
    table = listed(connection(1, age=10), connection(2, age=30), connection(3, age=20))
    assert kicked(table.granted(connection(4, age=0))) == {2: KickReason.TOO_MANY}
    assert kicked(table.granted(connection(5, age=0))) == {3: KickReason.TOO_MANY}
    assert len(table) == 3


def test_a_connection_that_ended_makes_room() -> None:
    table = listed(connection(1), connection(2), connection(3))
    table.ended(Place(SERVER, 2))
    table.ended(Place(OTHER, 1))  # another server's connection with that number
    assert table.granted(connection(4)) == []


def test_what_other_replicas_let_in_counts_from_the_next_listing_on_the_same_for_all() -> None:
    across = [connection(number, server=(SERVER, OTHER)[number % 2], age=number) for number in range(1, 7)]
    reasons = kicked(listed(*across).kicks(registry()))
    assert reasons == {4: KickReason.TOO_MANY, 5: KickReason.TOO_MANY, 6: KickReason.TOO_MANY}
    assert kicked(listed(*reversed(across)).kicks(registry())) == reasons


def test_hotkeys_do_not_push_each_other_out() -> None:
    table = listed(*(connection(number) for number in range(3)))
    assert table.granted(connection(9, VALIDATOR_HOTKEY, Role.VALIDATOR)) == []


def test_a_listing_has_the_last_word_but_on_what_was_let_in_just_before_it() -> None:
    table = Connections(3)
    table.granted(connection(1, age=60))
    table.granted(connection(2, age=1))
    table.begin_listing()
    table.granted(connection(3, age=-0.5))
    table.listed([connection(4)], START_AT)
    assert {one.place.client_id for one in table._all()} == {2, 3, 4}


def test_what_ended_while_it_was_listed_is_not_brought_back() -> None:
    table = listed(connection(1))
    table.begin_listing()
    table.ended(Place(SERVER, 1))
    table.listed([connection(1), connection(2)], START_AT)
    assert {one.place.client_id for one in table._all()} == {2}
    table.begin_listing()
    table.listed([connection(1)], START_AT)
    assert {one.place.client_id for one in table._all()} == {1}


def test_a_kick_that_was_lost_is_repeated_after_the_next_listing() -> None:
    view = registry()
    view.adopt(snapshot([neuron(VALIDATOR_HOTKEY)], block=101))
    table = listed(connection(1))
    assert kicked(table.kicks(view)) == {1: KickReason.NOT_REGISTERED}
    assert table.kicks(view) == []
    table.begin_listing()
    table.listed([connection(1)], START_AT)
    assert kicked(table.kicks(view)) == {1: KickReason.NOT_REGISTERED}


def test_an_admin_is_not_kicked_for_not_being_registered_and_is_when_it_is_none_any_more() -> None:
    admin = connection(1, STRANGER_HOTKEY, Role.ADMIN)
    table = Connections(10, frozenset({STRANGER_HOTKEY}))
    table.granted(admin)
    assert table.kicks(registry()) == []
    table = Connections(10)
    table.granted(admin)
    assert kicked(table.kicks(registry())) == {1: KickReason.NOT_REGISTERED}


def test_a_miner_that_became_an_admin_connects_again_with_more_rights() -> None:
    table = Connections(10, frozenset({MINER_HOTKEY}))
    table.granted(connection(1, MINER_HOTKEY, Role.MINER))
    assert kicked(table.kicks(registry())) == {1: KickReason.ROLE_CHANGED}
    table.granted(connection(2, MINER_HOTKEY, Role.ADMIN_MINER))
    assert table.kicks(registry()) == []
