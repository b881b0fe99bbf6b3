"""Tests the requests of admins: types are exact, so that no malformed command is queued."""

from datetime import UTC, datetime
from typing import get_args

import pytest
from pydantic import ValidationError

from access.rate_limits import Limits, Quota
from access.requests import Admission, Caller, Proof
from broker_service.responder.admin import command_id_of
from service.settings import LimitSettings
from tests.support.fakes import EPOCH_ID, MINER_HOTKEY, VALIDATOR_HOTKEY, ZERO_KEY
from zipcast.clock import SystemClock
from zipcast.protocol.hotkeys import Hotkey
from zipcast.protocol.messages.admin import (
    AdminCommand,
    CommandsGetRequest,
    ConnectionsKickRequest,
    ConnectionsListRequest,
    EpochGenerateRequest,
    EpochRegenerateRequest,
    TargetOverrideRequest,
)
from zipcast.protocol.messages.base import WireModel
from zipcast.protocol.verbs import ADMIN_VERBS, COMMANDS, VERB_OF, Verb

REFUSED = [
    (EpochRegenerateRequest, {}),
    (EpochRegenerateRequest, {"epochId": "2026-11-22"}),
    (EpochRegenerateRequest, {"epochId": None}),
    (EpochGenerateRequest, {"epochId": "2026-13-22T04-00-00"}),
    (EpochGenerateRequest, {"epochId": 7}),
    (TargetOverrideRequest, {"epochId": EPOCH_ID}),
    (TargetOverrideRequest, {"epochId": EPOCH_ID, "targetListings": 0}),
    (TargetOverrideRequest, {"epochId": EPOCH_ID, "targetListings": 1_000_001}),
    (TargetOverrideRequest, {"epochId": EPOCH_ID, "targetListings": "4000"}),
    (TargetOverrideRequest, {"epochId": EPOCH_ID, "targetListings": 4000.0}),
    (TargetOverrideRequest, {"epochId": EPOCH_ID, "targetListings": True}),
    (ConnectionsListRequest, {"hotkey": "not a hotkey"}),
    (ConnectionsListRequest, {"offset": -1}),
    (ConnectionsKickRequest, {}),
    (ConnectionsKickRequest, {"hotkey": ZERO_KEY}),
    (ConnectionsKickRequest, {"hotkey": "*"}),
    (CommandsGetRequest, {"commandId": "' or 1 = 1"}),
    (CommandsGetRequest, {"commandId": "6F1C2B9E-3D4A-4C5B-8E7F-0A1B2C3D4E5F"}),
]


@pytest.mark.parametrize(("model", "body"), REFUSED)
def test_what_is_not_exactly_a_request_is_refused(model: type[WireModel], body: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        model.model_validate(body)


def admission(hotkey: Hotkey = MINER_HOTKEY, key: str = "btauth:1", body: str = "0" * 64) -> Admission:
    proof = Proof(key, datetime(2026, 11, 22, tzinfo=UTC), body)
    quota = Quota(Limits.of(LimitSettings(), SystemClock()), Verb.EPOCH_GENERATE, hotkey, key)
    return Admission(Caller(hotkey, "admin", "request-1", "nats"), proof, quota)


def test_the_same_signed_request_is_the_same_command_and_every_other_is_another() -> None:
    assert command_id_of(admission()) == command_id_of(admission())
    others = [admission(VALIDATOR_HOTKEY), admission(key="btauth:2"), admission(body="1" * 64)]
    assert len({command_id_of(one) for one in (admission(), *others)}) == 4
    assert CommandsGetRequest(command_id=str(command_id_of(admission()))).command_id


def test_every_admin_verb_is_a_command_or_asks_about_them() -> None:
    assert set(COMMANDS) | {Verb.COMMANDS_LIST, Verb.COMMANDS_GET} == ADMIN_VERBS
    assert set(COMMANDS.values()) == set(get_args(AdminCommand)) == VERB_OF.keys()
