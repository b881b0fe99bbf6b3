"""Tests the messages to and from nats-server: which ones the callout opens, and what it replies."""

from collections.abc import Callable
from typing import Any

import pytest
from nacl.signing import SigningKey

from broker_service.callout.connections import Role
from broker_service.callout.decision import permissions
from broker_service.callout.exchange_messages import ConnectRequest, ExchangeError
from service.nkeys import CurveNkey, Kind, encode_seed
from tests.support.callout_requests import (
    ISSUER,
    NOW,
    SERVER_BOX,
    SERVER_ID,
    USER_NKEY,
    claims,
    exchange,
    opened,
    read_token,
    sealed,
    token,
)
from tests.support.fakes import MINER_HOTKEY, VALIDATOR_HOTKEY
from zipcast.protocol import subjects
from zipcast.protocol.hotkeys import Hotkey

BOX = SERVER_BOX.public


def open_box(data: bytes, sender: str = BOX) -> ConnectRequest:
    return exchange().unseal(data, sender).verify()


OPENED = open_box(sealed(token(claims(auth_token=MINER_HOTKEY, sig="c2ln"))))


def changed(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    stated = claims()
    change(stated)
    return stated


def test_a_request_is_opened_into_what_the_client_offered() -> None:
    assert (OPENED.server_id, OPENED.user_nkey, OPENED.server_xkey) == (SERVER_ID, USER_NKEY, BOX)
    assert (OPENED.client_id, OPENED.client_host) == (5, "192.0.2.7")
    assert (OPENED.nonce, OPENED.token, OPENED.signature) == ("Yk3xN2-_a0Zq9Wc", MINER_HOTKEY, "c2ln")
    assert (OPENED.user, OPENED.password) == ("", "")


def test_the_address_and_the_age_are_told_before_the_servers_signature_is_checked() -> None:
    forged = exchange().unseal(sealed(token(claims(), key=SigningKey(b"t" * 32))), BOX)
    assert (forged.client_host, forged.client_id, forged.issued_at) == ("192.0.2.7", 5, NOW)
    with pytest.raises(ExchangeError):
        forged.verify()


def test_user_and_password_are_opened_too() -> None:
    request = open_box(sealed(token(claims(user=MINER_HOTKEY, **{"pass": "1.ab"}))))
    assert (request.user, request.password, request.token) == (MINER_HOTKEY, "1.ab", "")


@pytest.mark.parametrize(
    "stated",
    [
        [],
        "text",
        None,
        {},
        changed(lambda c: c.update(aud="another")),
        changed(lambda c: c.pop("aud")),
        changed(lambda c: c.update(iss=ISSUER)),
        changed(lambda c: c.update(iss="")),
        changed(lambda c: c.pop("iss")),
        changed(lambda c: c.update(iat="soon")),
        changed(lambda c: c.pop("nats")),
        changed(lambda c: c.update(nats=[])),
        changed(lambda c: c["nats"].pop("user_nkey")),
        changed(lambda c: c["nats"].pop("connect_opts")),
        changed(lambda c: c["nats"].update(connect_opts=None)),
        changed(lambda c: c["nats"].update(server_id="N")),
        changed(lambda c: c["nats"]["server_id"].pop("id")),
        changed(lambda c: c["nats"].pop("client_info")),
        changed(lambda c: c["nats"]["client_info"].pop("id")),
        changed(lambda c: c["nats"]["client_info"].update(id="five")),
    ],
)
def test_claims_that_no_nats_server_makes_get_no_answer(stated: object) -> None:
    with pytest.raises(ExchangeError):
        open_box(sealed(token(stated)))


@pytest.mark.parametrize("header", [{"alg": "none"}, {"alg": "HS256"}, {}, [], "alg", None, 7])
def test_another_algorithm_gets_no_answer(header: object) -> None:
    with pytest.raises(ExchangeError):
        open_box(sealed(token(claims(), header=header)))


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b".",
        b"..",
        b"a.b.c",
        b"not a token",
        token(claims())[:-4],
        token(claims()) + b"A",
        token(claims(), key=SigningKey(b"t" * 32)),
        token(claims()).replace(b".", b"", 1),
    ],
)
def test_a_token_that_does_not_verify_gets_no_answer(message: bytes) -> None:
    with pytest.raises(ExchangeError):
        open_box(sealed(message))


def test_what_is_not_sealed_by_the_sender_it_names_gets_no_answer() -> None:
    other = CurveNkey(encode_seed(Kind.CURVE, b"o" * 32)).public
    for data, sender in ((token(claims()), BOX), (sealed(token(claims())), other), (b"", ""), (b"", BOX)):
        with pytest.raises(ExchangeError):
            open_box(data, sender)


def test_no_error_holds_what_was_offered() -> None:
    stated = claims(auth_token=MINER_HOTKEY, **{"pass": "pa55word"}) | {"aud": "pa55word"}
    with pytest.raises(ExchangeError) as refused:
        open_box(sealed(token(stated)))
    assert "pa55word" not in str(refused.value)
    assert MINER_HOTKEY not in str(refused.value)


@pytest.mark.parametrize(("hotkey", "validator"), [(MINER_HOTKEY, False), (VALIDATOR_HOTKEY, True)])
def test_a_grant_is_a_user_of_the_app_account_with_the_rights_of_its_role(
    hotkey: Hotkey, validator: bool
) -> None:
    rights = permissions(hotkey, Role.VALIDATOR if validator else Role.MINER)
    answer = opened(exchange().grant(OPENED, hotkey, rights, NOW))
    assert (answer["aud"], answer["sub"], answer["iat"]) == (SERVER_ID, USER_NKEY, NOW)
    assert answer["nats"]["type"] == "authorization_response"
    assert "error" not in answer["nats"]
    user = read_token(answer["nats"]["jwt"])
    assert (user["aud"], user["sub"], user["name"]) == ("APP", USER_NKEY, hotkey)
    assert "exp" not in user  # without an expiry: nats-py stays closed for ever after its user has expired
    verbs = ["auth.legacy", "epoch.current", "epoch.get", "epoch.sealed", "miner.status", "miner.uploads"]
    verbs.append("s3.miner-upload")
    if validator:
        verbs += ["epoch.pool", "s3.miner-list", "s3.validator-read", "s3.validator-upload"]
        verbs += ["validator.consensus", "validator.results"]
    verbs = sorted(verbs)
    assert user["nats"]["pub"] == {"allow": [f"zipcast.v1.{hotkey}.{verb}" for verb in verbs]}
    assert user["nats"]["sub"] == {
        "allow": [subjects.EPOCH, subjects.DRAFT, subjects.SEALED, f"_INBOX.{hotkey}.>"]
    }
    assert (user["nats"]["type"], user["nats"]["version"]) == ("user", 2)


def test_a_refusal_tells_the_server_why_and_carries_no_user() -> None:
    answer = opened(exchange().refuse(OPENED, "bad signature", NOW))
    assert (answer["aud"], answer["sub"]) == (SERVER_ID, USER_NKEY)
    assert answer["nats"] == {"type": "authorization_response", "version": 2, "error": "bad signature"}


def test_answers_are_sealed_with_a_fresh_nonce_for_the_asking_server_alone() -> None:
    answers = [exchange().refuse(OPENED, "bad signature", NOW) for _ in range(2)]
    assert answers[0][4:28] != answers[1][4:28]
    assert b"bad signature" not in answers[0]
