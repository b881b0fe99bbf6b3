"""Tests the order in which a request is checked: if several errors are possible, the first one is
returned."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from access.pipeline import MAX_HEADER_BYTES, Pipeline
from access.rate_limits import Limits, Rules
from access.requests import Admission, Arrival, Caller, Proof, VerifiedRefusalError
from service.registry import RegistryView
from service.settings import LimitSettings
from tests.support.fakes import (
    MINER,
    MINER_HOTKEY,
    SIGNER_HOTKEY,
    START_AT,
    STRANGER,
    VALIDATOR,
    VALIDATOR_HOTKEY,
    FakeClock,
    hotkey_of,
    registry,
)
from zipcast.protocol import btauth, signed_texts
from zipcast.protocol.errors import ErrorCode, ServiceError
from zipcast.protocol.hotkeys import Keypair
from zipcast.protocol.messages.base import HEADER_CLIENT_ADDRESS, HEADER_HTTP_METHOD, HEADER_HTTP_TARGET
from zipcast.protocol.subjects import request
from zipcast.protocol.verbs import ADMIN_VERBS, VERBS, Verb

NOW = int(START_AT.timestamp())
NOW_NS = NOW * 1_000_000_000
BODY = b'{"epochId":"2026-11-22T04-00-00"}'
TARGET = "/api/v1/s3-access/validator-upload"
FORGED = "0" * 128


def pipeline(view: RegistryView | None = None) -> Pipeline:
    clock = FakeClock()
    limits = Limits(Rules.of(LimitSettings()), clock)
    return Pipeline(view or registry(), frozenset({SIGNER_HOTKEY}), limits, clock)


def admit(arrival: Arrival, checks: Pipeline | None = None) -> Admission:
    return asyncio.run((checks or pipeline()).admit(arrival, charge=False))


def direct(
    pair: Keypair = MINER, verb: Verb = Verb.EPOCH_CURRENT, *, nonce_ns: int = NOW_NS, **changes: str
) -> Arrival:
    subject = request(hotkey_of(pair), verb)
    headers = btauth.sign(
        pair, method="NATS", path=subject, body=BODY, receiver=SIGNER_HOTKEY, nonce_ns=nonce_ns
    )
    return Arrival(verb, BODY, headers | changes, "request-1")


def admit_direct(arrival: Arrival, pair: Keypair = MINER, view: RegistryView | None = None) -> Caller:
    return admit(replace(arrival, owner=hotkey_of(pair)), pipeline(view)).caller


def legacy(pair: Keypair = VALIDATOR, timestamp: int = NOW, **changes: object) -> Arrival:
    signature = pair.sign(signed_texts.VALIDATOR_UPLOAD_COMMITMENT.format(timestamp=timestamp).encode()).hex()
    fields = {"hotkey": pair.ss58_address, "timestamp": timestamp, "signature": signature, **changes}
    headers = {HEADER_CLIENT_ADDRESS: "192.0.2.7", HEADER_HTTP_METHOD: "POST", HEADER_HTTP_TARGET: TARGET}
    return Arrival(Verb.S3_VALIDATOR_UPLOAD, json.dumps(fields).encode(), headers, "request-2")


def bridged(pair: Keypair = VALIDATOR, *, nonce_ns: int = NOW_NS, **changes: str) -> Arrival:
    signed = btauth.sign(
        pair, method="POST", path=TARGET, body=BODY, receiver=SIGNER_HOTKEY, nonce_ns=nonce_ns
    )
    return Arrival(Verb.S3_VALIDATOR_UPLOAD, BODY, legacy().headers | signed | changes, "request-3")


def code(attempt: Callable[[], object]) -> ErrorCode:
    with pytest.raises(ServiceError) as refused:
        attempt()
    return refused.value.code


def test_a_request_on_ones_own_subject_proves_the_caller_and_his_role() -> None:
    assert admit_direct(direct()) == Caller(MINER_HOTKEY, "miner", "request-1", "nats")
    caller = admit_direct(direct(VALIDATOR), VALIDATOR)
    assert caller == Caller(VALIDATOR_HOTKEY, "validator", "request-1", "nats")


def test_a_legacy_and_a_signed_request_over_http_prove_the_caller() -> None:
    expected = Caller(VALIDATOR_HOTKEY, "validator", "request-2", "192.0.2.7")
    assert admit(legacy()).caller == expected
    assert admit(bridged()).caller == replace(expected, request_id="request-3")


def test_a_malformed_request_is_told_so_before_it_is_stale() -> None:
    stale = NOW_NS - 11 * 10**9
    arrival = direct(nonce_ns=stale, **{btauth.HEADER_SIGNATURE: "no hex"})
    assert code(lambda: admit_direct(arrival)) is ErrorCode.MALFORMED_AUTH
    assert code(lambda: admit(legacy(timestamp=1, signature="x"))) is (ErrorCode.MALFORMED_AUTH)


def test_a_stale_request_is_refused_before_the_registry_is_asked() -> None:
    unread = RegistryView("test", 46, 1000)
    stale = NOW_NS - 11 * 10**9
    for view in (unread, registry()):
        assert code(lambda view=view: admit_direct(direct(STRANGER, nonce_ns=stale), STRANGER, view)) is (
            ErrorCode.STALE_REQUEST
        )
        door = pipeline(view)
        assert code(lambda door=door: admit(checks=door, arrival=legacy(STRANGER, NOW - 301))) is (
            ErrorCode.STALE_REQUEST
        )
        assert code(lambda door=door: admit(checks=door, arrival=bridged(STRANGER, nonce_ns=stale))) is (
            ErrorCode.STALE_REQUEST
        )


def test_an_unregistered_hotkey_is_refused_before_its_signature_is_verified() -> None:
    forged = {btauth.HEADER_SIGNATURE: FORGED}
    assert code(lambda: admit_direct(direct(STRANGER, **forged), STRANGER)) is ErrorCode.NOT_REGISTERED
    assert code(lambda: admit(bridged(STRANGER, **forged))) is ErrorCode.NOT_REGISTERED
    assert code(lambda: admit(legacy(STRANGER, signature=FORGED))) is (ErrorCode.NOT_REGISTERED)


def test_an_unread_registry_is_said_to_be_so() -> None:
    unread = RegistryView("test", 46, 1000)
    assert code(lambda: admit_direct(direct(), view=unread)) is ErrorCode.REGISTRY_UNAVAILABLE
    assert code(lambda: admit(checks=pipeline(unread), arrival=legacy())) is ErrorCode.REGISTRY_UNAVAILABLE


def test_a_forgery_learns_nothing_of_the_hotkeys_role() -> None:
    forged = {btauth.HEADER_SIGNATURE: FORGED}
    arrival = direct(MINER, Verb.S3_VALIDATOR_READ, **forged)
    assert code(lambda: admit_direct(arrival)) is ErrorCode.BAD_SIGNATURE
    assert code(lambda: admit(legacy(MINER, signature=FORGED))) is (ErrorCode.BAD_SIGNATURE)
    assert code(lambda: admit(bridged(MINER, **forged))) is ErrorCode.BAD_SIGNATURE


@pytest.mark.parametrize("verb", [Verb.S3_VALIDATOR_UPLOAD, Verb.S3_VALIDATOR_READ])
def test_what_is_for_validators_is_refused_to_a_miner(verb: Verb) -> None:
    assert code(lambda: admit_direct(direct(MINER, verb))) is ErrorCode.VALIDATOR_REQUIRED
    assert admit_direct(direct(VALIDATOR, verb), VALIDATOR).role == "validator"


@pytest.mark.parametrize("verb", [Verb.EPOCH_CURRENT, Verb.S3_MINER_UPLOAD])
def test_what_is_for_miners_is_open_to_validators(verb: Verb) -> None:
    assert admit_direct(direct(MINER, verb)).role == "miner"
    assert admit_direct(direct(VALIDATOR, verb), VALIDATOR).role == "validator"


def test_a_miner_is_refused_validators_access_over_http_too() -> None:
    assert code(lambda: admit(legacy(MINER))) is ErrorCode.VALIDATOR_REQUIRED
    assert code(lambda: admit(bridged(MINER))) is ErrorCode.VALIDATOR_REQUIRED


def test_a_request_signed_by_another_than_the_subjects_owner_is_refused() -> None:
    assert code(lambda: admit_direct(direct(MINER), VALIDATOR)) is ErrorCode.BAD_SIGNATURE


def test_a_request_is_good_for_its_own_subject_and_body_alone() -> None:
    arrival = direct()
    for attempt in (
        lambda: admit_direct(replace(arrival, verb=Verb.S3_MINER_UPLOAD)),
        lambda: admit_direct(replace(arrival, body=BODY + b" ")),
    ):
        assert code(attempt) is ErrorCode.BAD_SIGNATURE


def test_a_request_over_http_is_good_for_its_own_method_target_and_body_alone() -> None:
    for arrival in (
        bridged(**{HEADER_HTTP_METHOD: "GET"}),
        bridged(**{HEADER_HTTP_TARGET: TARGET + "?x=1"}),
        replace(bridged(), body=BODY + b" "),
        replace(bridged(), headers={n: v for n, v in bridged().headers.items() if "Http" not in n}),
    ):
        assert code(lambda arrival=arrival: admit(arrival)) is ErrorCode.BAD_SIGNATURE


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/api/v1/zipcode-assignments/current"),
        ("POST", "/api/v1/validation-results"),
        ("POST", "/nowhere"),
        ("POST", f"{TARGET}/more"),
        ("PUT", TARGET),
    ],
)
def test_a_request_signed_for_one_endpoint_is_no_other_verb(method: str, target: str) -> None:
    """A compromised bridge can name any verb, but the signature covers the endpoint."""
    signed = btauth.sign(
        VALIDATOR, method=method, path=target, body=BODY, receiver=SIGNER_HOTKEY, nonce_ns=NOW_NS
    )
    named = {HEADER_HTTP_METHOD: method, HEADER_HTTP_TARGET: target}
    arrival = Arrival(Verb.S3_VALIDATOR_UPLOAD, BODY, signed | named, "request-3")
    assert code(lambda: admit(arrival)) is ErrorCode.BAD_SIGNATURE


def test_a_request_for_nats_is_worthless_over_http_and_the_other_way_round() -> None:
    assert code(lambda: admit(direct(VALIDATOR, Verb.S3_VALIDATOR_UPLOAD))) is (ErrorCode.BAD_SIGNATURE)
    assert code(lambda: admit_direct(bridged(), VALIDATOR)) is ErrorCode.BAD_SIGNATURE


def test_a_bad_btauth_header_is_not_made_good_by_a_legacy_identity() -> None:
    arrival = legacy()
    headers = arrival.headers | {btauth.HEADER_HOTKEY: VALIDATOR_HOTKEY}
    assert code(lambda: admit(replace(arrival, headers=headers))) is (ErrorCode.MALFORMED_AUTH)


def test_a_legacy_identity_of_a_get_stands_in_its_query() -> None:
    signature = MINER.sign(signed_texts.CURRENT_COMMITMENT.format(timestamp=NOW).encode()).hex()
    query = {"hotkey": MINER_HOTKEY, "timestamp": str(NOW), "signature": signature}
    arrival = Arrival(Verb.EPOCH_CURRENT, b"", {}, "request-4", query=query)
    assert admit(arrival).caller.hotkey == MINER_HOTKEY
    upload = Arrival(Verb.S3_VALIDATOR_UPLOAD, b"", {}, "request-5", query=query)
    assert code(lambda: admit(upload)) is ErrorCode.BAD_SIGNATURE


@pytest.mark.parametrize("missing", ["hotkey", "timestamp", "signature"])
def test_a_missing_identity_field_is_named(missing: str) -> None:
    fields = json.loads(legacy().body)
    del fields[missing]
    with pytest.raises(ServiceError, match=rf"^{missing}\b") as refused:
        admit(replace(legacy(), body=json.dumps(fields).encode()))
    unsigned = missing == "signature"
    assert refused.value.code is (ErrorCode.MALFORMED_AUTH if unsigned else ErrorCode.MALFORMED_REQUEST)


@pytest.mark.parametrize("timestamp", [True, 1.5, float(NOW), None, [NOW], -NOW, f"{NOW}.0", ""])
def test_a_timestamp_is_an_integer_or_a_string_of_digits(timestamp: object) -> None:
    body = json.dumps(json.loads(legacy().body) | {"timestamp": timestamp}).encode()
    assert code(lambda: admit(replace(legacy(), body=body))) is (ErrorCode.MALFORMED_REQUEST)


def test_digit_strings_and_integers_both_serve_as_a_timestamp() -> None:
    fields = json.loads(legacy().body) | {"timestamp": str(NOW)}
    arrival = replace(legacy(), body=json.dumps(fields).encode())
    assert admit(arrival).caller.hotkey == VALIDATOR_HOTKEY


@pytest.mark.parametrize(("ahead", "fresh"), [(-300, True), (-301, False), (300, True), (301, False)])
def test_the_api_window_is_five_minutes_either_way(ahead: int, fresh: bool) -> None:
    if fresh:
        assert admit(legacy(timestamp=NOW + ahead)).caller.hotkey == VALIDATOR_HOTKEY
    else:
        assert code(lambda: admit(legacy(timestamp=NOW + ahead))) is (ErrorCode.STALE_REQUEST)


def test_by_a_registry_too_old_nothing_is_minted_and_the_rest_goes_on() -> None:
    view = RegistryView("test", 46, 1000, max_age=timedelta(0))
    snapshot = registry().snapshot
    assert snapshot is not None
    view.adopt(snapshot)
    assert admit_direct(direct(verb=Verb.S3_MINER_UPLOAD), view=view).hotkey == MINER_HOTKEY
    old = RegistryView("test", 46, 1000, max_age=timedelta(hours=24))
    old.adopt(snapshot.model_copy(update={"taken_at": START_AT - timedelta(hours=24, seconds=1)}))
    assert code(lambda: admit_direct(direct(verb=Verb.S3_MINER_UPLOAD), view=old)) is (
        ErrorCode.REGISTRY_UNAVAILABLE
    )
    assert code(lambda: admit(checks=pipeline(old), arrival=legacy())) is ErrorCode.REGISTRY_UNAVAILABLE
    assert admit_direct(direct(), view=old).hotkey == MINER_HOTKEY


def test_an_old_registry_is_told_only_to_those_who_proved_who_they_are() -> None:
    view = RegistryView("test", 46, 1000, max_age=timedelta(hours=-1))
    snapshot = registry().snapshot
    assert snapshot is not None
    view.adopt(snapshot)
    forged = legacy(signature=FORGED)
    assert code(lambda: admit(checks=pipeline(view), arrival=forged)) is ErrorCode.BAD_SIGNATURE
    miner = legacy(MINER)
    assert code(lambda: admit(checks=pipeline(view), arrival=miner)) is ErrorCode.VALIDATOR_REQUIRED


def test_a_hotkey_that_left_meanwhile_is_refused() -> None:
    view = registry()
    assert admit_direct(direct(), view=view).hotkey == MINER_HOTKEY
    assert view.snapshot is not None
    view.adopt(view.snapshot.model_copy(update={"block_number": 101, "neurons": ()}))
    assert code(lambda: admit_direct(direct(), view=view)) is ErrorCode.NOT_REGISTERED


def legacy_proof(**changes: object) -> Proof:
    return admit(legacy(**changes)).proof


def test_the_same_text_signed_again_is_the_same_request_in_either_form() -> None:
    wrapped = VALIDATOR.sign(
        b"<Bytes>" + signed_texts.VALIDATOR_UPLOAD_COMMITMENT.format(timestamp=NOW).encode() + b"</Bytes>"
    ).hex()
    assert legacy_proof() == legacy_proof() == legacy_proof(signature=wrapped)
    assert (
        legacy_proof().request_key
        == f"legacy:{signed_texts.VALIDATOR_UPLOAD_COMMITMENT.format(timestamp=NOW)}"
    )
    assert legacy_proof().signed_at == datetime.fromtimestamp(NOW, UTC)


def test_another_body_under_the_same_text_is_told_apart() -> None:
    assert legacy_proof(epochId="a").request_key == legacy_proof(epochId="b").request_key
    assert legacy_proof(epochId="a").body_sha256 != legacy_proof(epochId="b").body_sha256


def test_a_signed_request_is_known_by_its_nonce() -> None:
    proof = admit(bridged()).proof
    assert proof.request_key == f"btauth:{NOW_NS}"
    assert proof == admit(bridged()).proof
    assert proof != admit(bridged(nonce_ns=NOW_NS + 1)).proof


def test_who_opted_out_is_not_proven_by_a_legacy_text_and_is_by_btauth() -> None:
    door = replace(pipeline(), opted_out=frozenset({VALIDATOR_HOTKEY}))
    assert code(lambda: admit(checks=door, arrival=legacy())) is ErrorCode.LEGACY_REFUSED
    assert admit(checks=door, arrival=bridged()).caller.hotkey == VALIDATOR_HOTKEY


def test_a_forger_does_not_learn_who_opted_out() -> None:
    door = replace(pipeline(), opted_out=frozenset({VALIDATOR_HOTKEY}))
    assert code(lambda: admit(checks=door, arrival=legacy(signature=FORGED))) is ErrorCode.BAD_SIGNATURE


def test_what_has_no_legacy_text_needs_btauth() -> None:
    arrival = replace(legacy(), verb=Verb.AUTH_LEGACY)
    assert code(lambda: admit(arrival)) is ErrorCode.MALFORMED_AUTH


@pytest.mark.parametrize(
    ("stated", "source"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8::7", "2001:db8::7"),
        ("192.0.2.7\x00", "unknown"),
        ("x" * 300, "unknown"),
        ("", "unknown"),
    ],
)
def test_the_source_of_a_bridged_request_is_an_address_or_unknown(stated: str, source: str) -> None:
    admission = admit(replace(legacy(), headers=legacy().headers | {HEADER_CLIENT_ADDRESS: stated}))
    assert admission.caller.source == source


def test_two_requests_of_one_second_have_an_order() -> None:
    proofs = [admit(bridged(nonce_ns=NOW_NS + late)).proof for late in (0, 1_000_000)]
    assert proofs[0].signed_at < proofs[1].signed_at


def admin_pipeline() -> Pipeline:
    return replace(pipeline(), admins=frozenset({hotkey_of(STRANGER)}))


ADMIN_TARGET = "/api/v1/admin/epoch.generate"


def admin_bridged(pair: Keypair, **changes: str) -> Arrival:
    signed = btauth.sign(
        pair, method="POST", path=ADMIN_TARGET, body=b"{}", receiver=SIGNER_HOTKEY, nonce_ns=NOW_NS
    )
    headers = {HEADER_CLIENT_ADDRESS: "192.0.2.7", HEADER_HTTP_METHOD: "POST"}
    headers[HEADER_HTTP_TARGET] = ADMIN_TARGET
    return Arrival(Verb.EPOCH_GENERATE, b"{}", headers | signed | changes, "request-4")


@pytest.mark.parametrize("verb", sorted(ADMIN_VERBS))
def test_an_admin_need_not_be_registered_and_all_others_are_refused(verb: Verb) -> None:
    def ask(pair: Keypair, door: Pipeline) -> Caller:
        return admit(replace(direct(pair, verb), owner=hotkey_of(pair)), door).caller

    assert ask(STRANGER, admin_pipeline()) == Caller(hotkey_of(STRANGER), "admin", "request-1", "nats")
    for pair in (MINER, VALIDATOR):
        assert code(lambda pair=pair: ask(pair, admin_pipeline())) is ErrorCode.ADMIN_REQUIRED
    assert code(lambda: ask(STRANGER, pipeline())) is ErrorCode.ADMIN_REQUIRED


def test_an_admin_over_http_needs_btauth() -> None:
    assert admit(checks=admin_pipeline(), arrival=admin_bridged(STRANGER)).caller.role == "admin"
    assert (
        code(lambda: admit(checks=admin_pipeline(), arrival=admin_bridged(VALIDATOR)))
        is ErrorCode.ADMIN_REQUIRED
    )
    commitment = replace(legacy(STRANGER), verb=Verb.EPOCH_GENERATE)
    assert code(lambda: admit(checks=admin_pipeline(), arrival=commitment)) is ErrorCode.MALFORMED_AUTH


def test_who_is_an_admin_shows_by_his_signature_alone() -> None:
    forged = {btauth.HEADER_SIGNATURE: FORGED}
    for pair in (STRANGER, VALIDATOR, MINER):
        arrival = admin_bridged(pair, **forged)
        assert (
            code(lambda arrival=arrival: admit(checks=admin_pipeline(), arrival=arrival))
            is ErrorCode.BAD_SIGNATURE
        )


def test_an_admin_is_no_participant_for_that() -> None:
    arrival = replace(direct(STRANGER), owner=hotkey_of(STRANGER))
    assert code(lambda: admit(arrival, admin_pipeline())) is ErrorCode.NOT_REGISTERED


def limited(**limits: int) -> Pipeline:
    """Return checks with these limits instead of the default ones."""
    rules = Rules.of(LimitSettings().model_copy(update=limits))
    return replace(pipeline(), limits=Limits(rules, FakeClock()))


def test_a_refusal_after_the_signature_names_the_verified_sender() -> None:
    with pytest.raises(VerifiedRefusalError) as refused:
        admit_direct(direct(MINER, Verb.S3_VALIDATOR_READ))
    assert refused.value.hotkey == MINER_HOTKEY


async def test_a_request_on_its_own_subject_is_charged_to_the_subjects_hotkey() -> None:
    checks = limited(limit_address_per_minute=1)
    for pair in (MINER, VALIDATOR):
        for number in range(2):
            arrival = replace(direct(pair, nonce_ns=NOW_NS + number), owner=hotkey_of(pair))
            if number == 0:
                await checks.admit(arrival, charge=False)
                continue
            with pytest.raises(ServiceError) as refused:
                await checks.admit(arrival, charge=False)
            assert refused.value.code is ErrorCode.RATE_LIMITED
    await checks.admit(bridged(nonce_ns=NOW_NS), charge=False)  # no subject, so no charge here


@pytest.mark.parametrize("charge", [True, False])
async def test_the_quota_is_that_of_the_verified_sender_and_its_verb(charge: bool) -> None:
    checks = limited(daily_limit_per_miner=1)

    async def mint(pair: Keypair, verb: Verb, nonce_ns: int) -> bool:
        """Return whether the request is new. Without `charge`, its handler charges it later."""
        arrival = replace(direct(pair, verb, nonce_ns=nonce_ns), owner=hotkey_of(pair))
        admission = await checks.admit(arrival, charge=charge)
        return await admission.quota.charge()

    assert await mint(MINER, Verb.S3_MINER_UPLOAD, NOW_NS) is not charge
    # The same request again is a repetition, another one exceeds the limit.
    assert not await mint(MINER, Verb.S3_MINER_UPLOAD, NOW_NS)
    with pytest.raises(ServiceError) as refused:
        await mint(MINER, Verb.S3_MINER_UPLOAD, NOW_NS + 1)
    assert refused.value.code is ErrorCode.RATE_LIMITED
    assert await mint(MINER, Verb.EPOCH_CURRENT, NOW_NS + 2) is not charge
    assert await mint(VALIDATOR, Verb.S3_MINER_UPLOAD, NOW_NS) is not charge


def folder_access(coldkey: str) -> Arrival:
    text = signed_texts.FOLDER_ACCESS_COMMITMENT.format(coldkey=coldkey, hotkey=MINER_HOTKEY, timestamp=NOW)
    signature = MINER.sign(text.encode()).hex()
    fields = {"hotkey": MINER_HOTKEY, "coldkey": coldkey, "timestamp": NOW, "signature": signature}
    return Arrival(Verb.S3_FOLDER_ACCESS, json.dumps(fields).encode(), legacy().headers, "request-6")


def test_folder_access_is_only_for_the_coldkey_under_which_the_hotkey_is_registered() -> None:
    own = registry().require_registered(MINER_HOTKEY).coldkey
    assert admit(folder_access(own)).caller.hotkey == MINER_HOTKEY
    assert code(lambda: admit(folder_access(VALIDATOR_HOTKEY))) is ErrorCode.COLDKEY_MISMATCH


@pytest.mark.parametrize("more", [0, 1])
def test_headers_may_have_the_largest_size_and_not_a_byte_more(more: int) -> None:
    arrival = direct()
    free = MAX_HEADER_BYTES - sum(len(name) + len(value) for name, value in arrival.headers.items())
    filled = replace(arrival, headers={**arrival.headers, "X-More": "x" * (free - len("X-More") + more)})
    if more:
        assert code(lambda: admit_direct(filled)) is ErrorCode.PAYLOAD_TOO_LARGE
    else:
        assert admit_direct(filled).hotkey == MINER_HOTKEY


@pytest.mark.parametrize("more", [0, 1])
def test_a_body_may_have_the_largest_size_and_not_a_byte_more(more: int) -> None:
    # The signature is of another body, so the size is judged before it.
    body = b"x" * (VERBS[Verb.EPOCH_CURRENT].max_body_bytes + more)
    expected = ErrorCode.PAYLOAD_TOO_LARGE if more else ErrorCode.BAD_SIGNATURE
    assert code(lambda: admit_direct(replace(direct(), body=body))) is expected
