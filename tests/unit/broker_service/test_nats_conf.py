"""Tests `nats.conf` against `zipcast.protocol.subjects`: who may publish and subscribe to which subjects."""

import re
from pathlib import Path
from typing import Any

import pytest

from broker_service.callout.connections import Role
from broker_service.callout.decision import permissions
from service.deployment_keys import SERVICE_USERS, create_keys
from service.system_account import ACCOUNT
from tests.support.fakes import MINER_HOTKEY, STRANGER_HOTKEY
from zipcast.protocol import subjects
from zipcast.protocol.verbs import ADMIN_VERBS, Verb

BROADCAST = {subjects.EPOCH, subjects.DRAFT, subjects.SEALED}
TEXT = (Path(__file__).parents[3] / "nats.conf").read_text()
_TOKEN = re.compile(r'#[^\n]*|"([^"]*)"|([{}\[\]])|[,:\s]+|([^\s{}\[\],:"]+)')


def parsed() -> dict[str, Any]:
    """Return the file as nested dicts and lists. The parser knows only the syntax that the file uses."""
    tokens = [m for m in _TOKEN.finditer(TEXT) if m.group(1) is not None or m.group(2) or m.group(3)]
    position = 0

    def value() -> Any:
        nonlocal position
        token = tokens[position]
        position += 1
        if token.group(2) == "{":
            return table("}")
        if token.group(2) == "[":
            items = []
            while tokens[position].group(2) != "]":
                items.append(value())
            position += 1
            return items
        return token.group(1) if token.group(1) is not None else token.group(3)

    def table(end: str) -> dict[str, Any]:
        nonlocal position
        found: dict[str, Any] = {}
        while position < len(tokens) and tokens[position].group(2) != end:
            name = tokens[position].group(3)
            position += 1
            found[name] = value()
        position += 1
        return found

    return table("end of file")


CONF = parsed()
USERS = {
    user["nkey"].removeprefix("$NATS_USER_"): user
    for account in ("STREAMS", "FOLLOW", "SPENT", "APP")
    for user in CONF["accounts"][account]["users"]
}


def named(account: str) -> set[str]:
    return {user["nkey"].removeprefix("$NATS_USER_") for user in CONF["accounts"][account]["users"]}


def allowed(user: str, direction: str) -> list[str]:
    (only,) = USERS[user]["permissions"][direction].items()
    assert only[0] == "allow"
    return list(only[1])


def covers(pattern: str, subject: str) -> bool:
    """Return whether every subject that matches `subject` also matches `pattern`."""
    wanted, given = pattern.split("."), subject.split(".")
    for place, token in enumerate(wanted):
        if token == ">":
            return len(given) > place
        if place >= len(given) or given[place] == ">":
            return False
        if token != given[place] and token != "*":
            return False
    return len(wanted) == len(given)


def meets(pattern: str, subject: str) -> bool:
    """Return whether some subject matches both patterns."""
    one, other = pattern.split("."), subject.split(".")
    for a, b in zip(one, other, strict=False):
        if ">" in (a, b):
            return True
        if a != b and "*" not in (a, b):
            return False
    return len(one) == len(other)


def may(user: str, direction: str, subject: str) -> bool:
    return any(covers(pattern, subject) for pattern in allowed(user, direction))


def test_wildcards_match_as_nats_server_matches_them() -> None:
    assert covers("a.*.c", "a.b.c")
    assert covers("a.>", "a.b.c")
    assert covers("a.>", "a.*.c")
    assert not covers("a.>", "a")
    assert not covers("a.*", "a.b.c")
    assert not covers("a.*", "a.>")
    assert not covers("a.b", "a.*")
    assert meets("a.*.c", "a.b.>")
    assert meets("_INBOX.>", "_INBOX.x.y")
    assert not meets("a.>", "a")
    assert not meets("a.*", "a.b.c")


def test_the_responder_may_subscribe_every_verb_of_both_doors() -> None:
    for verb in Verb:
        assert may("RESPONDER", "subscribe", subjects.requests(verb)), verb
        assert may("RESPONDER", "subscribe", subjects.bridge_request(verb)), verb


def test_the_responder_publishes_to_inboxes_and_nothing_else() -> None:
    assert allowed("RESPONDER", "publish") == ["_INBOX.>"]


def test_the_responder_hears_no_replies_but_its_own() -> None:
    own = subjects.service_inbox_prefix("responder") + ".>"
    heard = [p for p in allowed("RESPONDER", "subscribe") if meets(p, "_INBOX.>")]
    assert heard == [own]


@pytest.mark.parametrize(
    "subject",
    [
        subjects.DRAFT,
        subjects.EPOCH_INGEST,
        subjects.sealed_ingest("2026-11-22T04-00-00"),
        f"$JS.API.STREAM.CREATE.{subjects.SEALED_STREAM}",
        f"$KV.{subjects.REGISTRY_BUCKET}.{subjects.REGISTRY_KEY}",
        f"$JS.API.STREAM.CREATE.{subjects.EPOCH_STREAM}",
        f"$JS.API.STREAM.UPDATE.{subjects.EPOCH_STREAM}",
        f"$JS.API.STREAM.MSG.GET.{subjects.EPOCH_STREAM}",
    ],
)
def test_only_the_scheduler_writes_epochs_and_the_registry(subject: str) -> None:
    assert {user for user in USERS if may(user, "publish", subject)} == {"SCHEDULERS"}


@pytest.mark.parametrize(
    "subject",
    [
        subjects.EPOCH,
        "$JS.API.STREAM.PURGE.>",
        "$JS.API.STREAM.DELETE.>",
        "$JS.API.STREAM.MSG.DELETE.>",
        "$JS.API.STREAM.RESTORE.>",
        "$JS.API.CONSUMER.>",
        "$SYS.>",
    ],
)
def test_nobody_publishes_to_the_public_subject_or_empties_a_stream(subject: str) -> None:
    for user in USERS:
        assert not [p for p in allowed(user, "publish") if meets(p, subject)], user


def test_every_service_user_that_reads_the_registry_may_do_so_directly() -> None:
    read = f"$JS.API.DIRECT.GET.KV_{subjects.REGISTRY_BUCKET}.$KV.{subjects.REGISTRY_BUCKET}.snapshot"
    readers = {user for user in USERS if may(user, "publish", read)}
    assert readers == {"SCHEDULERS", "RESPONDER_FOLLOW", "CALLOUT_FOLLOW", "BRIDGE_FOLLOW"}


def test_no_answer_of_jetstream_can_reach_a_stream_of_epochs_or_a_client() -> None:
    """A reply goes to any reply subject within the account of the asking user."""
    accounts = CONF["accounts"]
    streams = {name for name, one in accounts.items() if one.get("jetstream") == "enabled"}
    assert streams == {"STREAMS", "SPENT"}
    asking = {user for user in USERS if [p for p in allowed(user, "publish") if meets(p, "$JS.API.>")]}
    writing = {user for user in USERS if [p for p in allowed(user, "publish") if meets(p, "$KV.>")]}
    homes = {account: sorted(named(account) & (asking | writing)) for account in accounts}
    assert homes == {
        "AUTH": [],
        "SYS": [],
        "STREAMS": ["SCHEDULERS"],
        "FOLLOW": ["BRIDGE_FOLLOW", "RESPONDER_FOLLOW"],
        "SPENT": ["CALLOUT_FOLLOW"],
        "APP": [],
        "OPERATOR": [],  # its requests come back to its own account
    }


def test_those_who_follow_epochs_may_hear_them() -> None:
    hears = {user for user in USERS if may(user, "subscribe", subjects.EPOCH)}
    assert hears == {"RESPONDER_FOLLOW", "BRIDGE_FOLLOW"}


def test_every_service_user_has_an_inbox_of_his_own_and_hears_no_other() -> None:
    for user in USERS:
        own = subjects.service_inbox_prefix(user.lower().replace("_", "-")) + ".>"
        assert [p for p in allowed(user, "subscribe") if meets(p, "_INBOX.>")] == [own]
    assert subjects.service_inbox_prefix("bridge") == subjects.BRIDGE_INBOX


def test_the_bridge_may_ask_every_verb_and_publish_on_no_hotkeys_subject() -> None:
    for verb in Verb:
        assert may("BRIDGE", "publish", subjects.bridge_request(verb))
        assert not [p for p in allowed("BRIDGE", "publish") if meets(p, subjects.requests(verb))]


def test_every_service_user_connects_without_the_callout() -> None:
    callout = CONF["authorization"]["auth_callout"]
    accounts = CONF["accounts"].values()
    users = {user["nkey"] for account in accounts for user in account["users"]}
    assert set(callout["auth_users"]) == users
    assert users == {f"$NATS_USER_{user}" for user in SERVICE_USERS}
    assert [u["nkey"] for u in CONF["accounts"]["AUTH"]["users"]] == ["$NATS_USER_CALLOUT"]
    assert callout["account"] == "AUTH"


def test_the_system_account_is_callouts_and_schedulers_to_list_and_to_kick_and_to_hear_of_ends() -> None:
    assert CONF["system_account"] == "SYS"
    system = {user["nkey"]: user["permissions"] for user in CONF["accounts"]["SYS"]["users"]}
    heard = {
        "CALLOUT_SYS": {subjects.DISCONNECTIONS, subjects.service_inbox_prefix("callout-sys") + ".>"},
        "SCHEDULERS_SYS": {subjects.service_inbox_prefix("schedulers-sys") + ".>"},
    }
    assert system.keys() == {f"$NATS_USER_{user}" for user in heard}
    for user, subscribed in heard.items():
        rights = system[f"$NATS_USER_{user}"]
        assert set(rights["publish"]["allow"]) == {subjects.LIST_CONNECTIONS, subjects.kick("*")}
        assert set(rights["subscribe"]["allow"]) == subscribed
    assert SERVICE_USERS["CALLOUT_SYS"] == "callout"
    assert SERVICE_USERS["SCHEDULERS_SYS"] == "schedulers"
    assert f".{ACCOUNT}." in subjects.DISCONNECTIONS


def test_the_bucket_of_spent_passwords_is_the_callouts_alone() -> None:
    for subject in (
        subjects.spent_password(MINER_HOTKEY, 1_795_320_000),
        f"$JS.API.STREAM.CREATE.KV_{subjects.SPENT_BUCKET}",
    ):
        assert {user for user in USERS if may(user, "publish", subject)} == {"CALLOUT_FOLLOW"}
    for user in USERS:  # no user may read, change or empty it
        for verb in ("UPDATE", "PURGE", "DELETE", "MSG.DELETE", "MSG.GET", "INFO"):
            assert not may(user, "publish", f"$JS.API.STREAM.{verb}.KV_{subjects.SPENT_BUCKET}"), user


def test_clients_are_placed_in_the_account_of_the_services() -> None:
    assert {"RESPONDER", "BRIDGE"} == named(ACCOUNT)


def test_every_key_the_file_names_is_one_that_is_made() -> None:
    wanted = set(re.findall(r"\$(NATS_(?:USER|CALLOUT)_\w+)", TEXT))
    assert wanted == set(create_keys()["nats"])


def test_the_server_gives_up_before_nats_py_mistakes_its_ping_for_the_answer() -> None:
    assert float(CONF["authorization"]["timeout"]) < 2


def test_an_admins_rights_beyond_its_role_are_its_own_admin_subjects() -> None:
    granted = permissions(MINER_HOTKEY, Role.ADMIN)
    assert set(granted.publish) == {subjects.request(MINER_HOTKEY, verb) for verb in ADMIN_VERBS}
    assert all(covers(f"zipcast.admin.v1.{MINER_HOTKEY}.>", pattern) for pattern in granted.publish)
    assert set(granted.subscribe) == {*BROADCAST, f"_INBOX.{MINER_HOTKEY}.>"}
    for validator in (False, True):
        role = permissions(MINER_HOTKEY, Role.VALIDATOR if validator else Role.MINER)
        assert not [p for p in role.publish if meets(p, "zipcast.admin.>")]


def test_no_service_user_publishes_on_an_admins_subject() -> None:
    for user in USERS:
        assert not [p for p in allowed(user, "publish") if meets(p, "zipcast.admin.>")], user


@pytest.mark.parametrize("validator", [False, True])
def test_a_hotkeys_rights_touch_nothing_of_jetstream_of_services_or_of_others(validator: bool) -> None:
    granted = permissions(MINER_HOTKEY, Role.VALIDATOR if validator else Role.MINER)
    foreign = (
        "$JS.>",
        "$KV.>",
        "$SYS.>",
        "zipcast.ingest.>",
        "zipcast.bridge.>",
        "zipcast.admin.>",
        subjects.EPOCH,
        f"zipcast.v1.{STRANGER_HOTKEY}.>",
        "_INBOX.>",
    )
    for pattern in granted.publish:
        assert not [f for f in foreign if meets(pattern, f)], pattern
        assert covers(f"zipcast.v1.{MINER_HOTKEY}.>", pattern)
    assert set(granted.subscribe) == {*BROADCAST, f"_INBOX.{MINER_HOTKEY}.>"}


def test_a_log_file_of_its_own_is_bounded() -> None:
    assert (CONF["logfile_size_limit"], CONF["logfile_max_num"]) == ("64MB", "4")
