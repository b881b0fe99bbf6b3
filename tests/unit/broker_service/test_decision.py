"""Tests who may connect: both forms of proof, and every reason to refuse."""

import base64
from collections.abc import Callable
from dataclasses import replace

import pytest

from broker_service.callout.connections import Role
from broker_service.callout.decision import (
    Decider,
    Granted,
    ProofError,
    RefusedError,
    decode_signature,
    permissions,
)
from broker_service.callout.exchange_messages import ConnectRequest
from service.registry import RegistryView
from tests.support.callout_requests import NOW, SERVER_BOX, SERVER_ID, USER_NKEY
from tests.support.fakes import (
    MINER,
    MINER_HOTKEY,
    STRANGER,
    STRANGER_HOTKEY,
    VALIDATOR,
    VALIDATOR_HOTKEY,
    ZERO_KEY,
    registry,
)
from zipcast.protocol import signed_texts
from zipcast.protocol.hotkeys import Keypair

NONCE = "Yk3xN2-_a0Zq9Wc"
EMPTY = ConnectRequest(SERVER_ID, USER_NKEY, SERVER_BOX.public, "192.0.2.7", 5, NONCE, "", "", "", "")
HOST = "nats.example.org"


def decider(view: RegistryView | None = None) -> Decider:
    return Decider(view or registry(), "test", 46, ("loopback", HOST))


def by_nonce(pair: Keypair = MINER, *, audience: str = HOST, network: str = "test", netuid: int = 46):
    text = signed_texts.connection_text(network, netuid, audience, pair.ss58_address, NONCE)
    signature = base64.b64encode(pair.sign(text)).decode()
    return replace(EMPTY, token=pair.ss58_address, signature=signature)


def by_password(pair: Keypair = MINER, at: int = NOW, *, audience: str = HOST, network: str = "test"):
    text = signed_texts.connection_at_text(network, 46, audience, pair.ss58_address, at)
    return replace(EMPTY, user=pair.ss58_address, password=f"{at}.{pair.sign(text).hex()}")


def reason(attempt: Callable[[], object]) -> str:
    with pytest.raises(RefusedError) as refused:
        attempt()
    return str(refused.value)


@pytest.mark.parametrize("offer", [by_nonce, by_password])
@pytest.mark.parametrize("audience", ["loopback", HOST])
def test_both_forms_of_proof_are_accepted_under_each_of_our_names(offer, audience: str) -> None:
    password_at = NOW if offer is by_password else None
    granted = decider().decide(offer(MINER, audience=audience), NOW)
    assert granted == Granted(MINER_HOTKEY, Role.MINER, password_at)
    assert granted.permissions == permissions(MINER_HOTKEY, Role.MINER)
    granted = decider().decide(offer(VALIDATOR, audience=audience), NOW)
    assert granted == Granted(VALIDATOR_HOTKEY, Role.VALIDATOR, password_at)
    assert granted.permissions == permissions(VALIDATOR_HOTKEY, Role.VALIDATOR)


def test_a_validator_may_publish_more_than_a_miner_and_hear_the_same() -> None:
    miner, validator = (permissions(MINER_HOTKEY, role) for role in (Role.MINER, Role.VALIDATOR))
    assert set(miner.publish) < set(validator.publish)
    assert miner.subscribe == validator.subscribe


@pytest.mark.parametrize("offer", [by_nonce, by_password])
@pytest.mark.parametrize("place", [{"audience": "nats.example.com"}, {"network": "finney"}])
def test_a_proof_for_another_host_or_network_is_worthless_here(offer, place: dict[str, str]) -> None:
    assert reason(lambda: decider().decide(offer(MINER, **place), NOW)) == "bad signature"


def test_a_proof_for_another_netuid_or_nonce_is_worthless_here() -> None:
    assert reason(lambda: decider().decide(by_nonce(netuid=1), NOW)) == "bad signature"
    replayed = replace(by_nonce(), nonce="AnotherNonce_1")
    assert reason(lambda: decider().decide(replayed, NOW)) == "bad signature"


@pytest.mark.parametrize("field", ["token", "user"])
@pytest.mark.parametrize("named", ["", ZERO_KEY, MINER_HOTKEY + " ", "schedulers", "*"])
def test_a_malformed_hotkey_is_refused(field: str, named: str) -> None:
    assert reason(lambda: decider().decide(replace(EMPTY, **{field: named}), NOW)) == "malformed_hotkey"


def test_the_registry_is_asked_before_the_proof_is_looked_at() -> None:
    unproven = replace(EMPTY, token=STRANGER_HOTKEY, signature="not even base64")
    assert reason(lambda: decider().decide(unproven, NOW)) == "not_registered"
    assert reason(lambda: decider().decide(by_nonce(STRANGER), NOW)) == "not_registered"
    unread = RegistryView("test", 46, 1000)
    assert reason(lambda: decider(unread).decide(by_nonce(), NOW)) == "registry_unavailable"


@pytest.mark.parametrize(
    "signature", ["", "=", "AAAA", "not base64!", "é" * 86, "A" * 85, "A" * 87, "A" * 40 + "\n" + "A" * 46]
)
def test_a_malformed_signature_is_refused(signature: str) -> None:
    offered = replace(by_nonce(), signature=signature)
    assert reason(lambda: decider().decide(offered, NOW)) == "malformed signature"


@pytest.mark.parametrize("nonce", ["", "short", "A" * 65, "s3:validator:upload:1795320000"])
def test_a_nonce_that_no_nats_server_makes_is_refused(nonce: str) -> None:
    assert reason(lambda: decider().decide(replace(by_nonce(), nonce=nonce), NOW)) == "malformed nonce"


def test_anothers_signature_is_refused() -> None:
    text = signed_texts.connection_text("test", 46, HOST, MINER_HOTKEY, NONCE)
    forged = base64.b64encode(STRANGER.sign(text)).decode()
    assert reason(lambda: decider().decide(replace(by_nonce(), signature=forged), NOW)) == "bad signature"


def test_a_signature_over_the_bare_nonce_is_refused() -> None:
    bare = base64.b64encode(MINER.sign(NONCE.encode())).decode()
    assert reason(lambda: decider().decide(replace(by_nonce(), signature=bare), NOW)) == "bad signature"


@pytest.mark.parametrize("first", range(0, 256, 5))
def test_a_signature_comes_as_base64_or_base64url_padded_or_not(first: int) -> None:
    raw = bytes((first + n * 7) % 256 for n in range(64))
    for text in (base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode()):
        assert decode_signature(text) == decode_signature(text.rstrip("=")) == raw


@pytest.mark.parametrize(
    "password",
    [
        "",
        "1",
        f"{NOW}.",
        f"{NOW}.{'0' * 127}",
        f"{NOW}.{'A' * 128}",
        f"{NOW}.0x{'0' * 128}",
        f"0{NOW}.{'0' * 128}",
        f"+{NOW}.{'0' * 128}",
        f"{NOW}.{'0' * 128}\n",
        f" {NOW}.{'0' * 128}",
        f"１{NOW}.{'0' * 128}",
    ],
)
def test_a_malformed_password_is_refused(password: str) -> None:
    offered = replace(EMPTY, user=MINER_HOTKEY, password=password)
    assert reason(lambda: decider().decide(offered, NOW)) == "malformed password"


@pytest.mark.parametrize("age", [-60, 0, 60])
def test_a_password_holds_for_60_seconds_either_way(age: int) -> None:
    assert decider().decide(by_password(at=NOW - age), NOW).hotkey == MINER_HOTKEY


@pytest.mark.parametrize("age", [-61, 61])
def test_a_password_beyond_that_is_stale(age: int) -> None:
    assert reason(lambda: decider().decide(by_password(at=NOW - age), NOW)) == "stale password"


def test_only_a_false_proof_counts_as_one_that_cost_cryptography() -> None:
    for costly in (replace(by_nonce(), nonce="AnotherNonce_1"), by_password(network="finney")):
        with pytest.raises(ProofError):
            decider().decide(costly, NOW)
    cheap = (by_nonce(STRANGER), by_password(at=NOW - 61), replace(by_nonce(), signature=""), EMPTY)
    for offered in cheap:
        with pytest.raises(RefusedError) as refused:
            decider().decide(offered, NOW)
        assert not isinstance(refused.value, ProofError)


def test_a_token_is_not_proven_by_a_password_nor_a_user_by_a_signature() -> None:
    mixed = replace(by_password(), token=MINER_HOTKEY)
    assert reason(lambda: decider().decide(mixed, NOW)) == "malformed signature"
    mixed = replace(by_nonce(), token="", user=MINER_HOTKEY)
    assert reason(lambda: decider().decide(mixed, NOW)) == "malformed password"


def test_a_hotkey_that_left_the_subnet_is_refused() -> None:
    view = registry()
    same = decider(view)
    assert same.decide(by_nonce(), NOW).hotkey == MINER_HOTKEY
    assert view.snapshot is not None
    view.adopt(view.snapshot.model_copy(update={"block_number": 101, "neurons": ()}))
    assert reason(lambda: same.decide(by_nonce(), NOW)) == "not_registered"


@pytest.mark.parametrize("offer", [by_nonce, by_password])
def test_an_admin_need_not_be_registered_and_proves_itself_like_all_others(offer) -> None:
    same = replace(decider(), admins=frozenset({STRANGER_HOTKEY}))
    granted = same.decide(offer(STRANGER), NOW)
    assert (granted.hotkey, granted.role) == (STRANGER_HOTKEY, Role.ADMIN)
    assert granted.permissions == permissions(STRANGER_HOTKEY, Role.ADMIN)
    place = {"audience": "nats.example.com"}
    assert reason(lambda: same.decide(offer(STRANGER, **place), NOW)) == "bad signature"
    assert reason(lambda: decider().decide(offer(STRANGER), NOW)) == "not_registered"


def test_an_admin_that_is_registered_keeps_what_its_role_allows() -> None:
    same = replace(decider(), admins=frozenset({VALIDATOR_HOTKEY}))
    granted = same.decide(by_nonce(VALIDATOR), NOW).permissions
    role = permissions(VALIDATOR_HOTKEY, Role.VALIDATOR)
    assert set(granted.publish) == {*role.publish, *permissions(VALIDATOR_HOTKEY, Role.ADMIN).publish}
    assert granted.subscribe == role.subscribe
    assert same.decide(by_nonce(), NOW).permissions == permissions(MINER_HOTKEY, Role.MINER)
