"""Tests `btauth/1` against the SDK's own implementation, and everything that a signature covers."""

from collections.abc import Callable

import pytest
from bittensor import http_auth
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.fakes import (
    MINER,
    MINER_HOTKEY,
    SIGNER_HOTKEY,
    STRANGER_HOTKEY,
    VALIDATOR_HOTKEY,
    ZERO_KEY,
    ed25519_keypair,
)
from zipcast.protocol import btauth
from zipcast.protocol.errors import ErrorCode, ServiceError

NOW_NS = 1_795_320_000_123_456_789
PATH = "/api/v1/zipcode-assignments/current?page=1"
BODY = b'{"epochId":"2026-11-22T04-00-00"}'
RECEIVERS = frozenset({SIGNER_HOTKEY})


def signed(**changes: str) -> dict[str, str]:
    headers = btauth.sign(MINER, method="POST", path=PATH, body=BODY, receiver=SIGNER_HOTKEY, nonce_ns=NOW_NS)
    return headers | changes


def verified(
    headers: dict[str, str], *, method: str = "POST", path: str = PATH, body: bytes = BODY
) -> btauth.VerifiedRequest:
    return btauth.verify(btauth.parse(headers), method=method, path=path, body=body, receivers=RECEIVERS)


def refusal(attempt: Callable[[], object]) -> ServiceError:
    with pytest.raises(ServiceError) as refused:
        attempt()
    return refused.value


def test_bittensor_accepts_what_we_sign() -> None:
    caller = http_auth.verify(
        signed(),
        BODY,
        method="POST",
        path=PATH,
        self_hotkey_ss58=SIGNER_HOTKEY,
        now_ns=NOW_NS,
        nonce_store=http_auth.InMemoryNonceStore(),
    )
    assert (caller.hotkey_ss58, caller.nonce_ns) == (MINER_HOTKEY, NOW_NS)


def test_we_accept_what_bittensor_signs() -> None:
    headers = http_auth.sign(
        MINER, method="post", path=PATH, body=BODY, receiver_ss58=SIGNER_HOTKEY, nonce_ns=NOW_NS
    )
    assert verified(headers) == btauth.VerifiedRequest(MINER_HOTKEY, NOW_NS)
    assert verified({name.lower(): value for name, value in headers.items()}).hotkey == MINER_HOTKEY


@settings(max_examples=50)
@given(st.text("/?=&%az0é\n", max_size=30), st.binary(max_size=64), st.integers(1, 10**20 - 1))
def test_the_signed_text_is_bittensors_byte_for_byte(path: str, body: bytes, nonce_ns: int) -> None:
    ours = btauth.signed_text(
        method="get", path=path, body=body, nonce_ns=nonce_ns, hotkey=MINER_HOTKEY, receiver=SIGNER_HOTKEY
    )
    theirs = http_auth.build_payload(
        scheme="sr25519",
        method="get",
        path=path,
        body=body,
        nonce_ns=nonce_ns,
        sender_ss58=MINER_HOTKEY,
        receiver_ss58=SIGNER_HOTKEY,
    )
    assert ours == theirs


def test_constants_are_those_of_bittensor() -> None:
    for name in ("PROTOCOL", "VERSION", *(n for n in http_auth.__all__ if n.startswith("HEADER_"))):
        assert getattr(btauth, name) == getattr(http_auth, name)
    assert btauth.MAX_AGE_NS == http_auth.DEFAULT_MAX_AGE * 1e9
    assert btauth.MAX_AHEAD_NS == http_auth.DEFAULT_ALLOWED_SKEW * 1e9


def test_method_path_and_body_are_bound() -> None:
    assert verified(signed()).hotkey == MINER_HOTKEY
    for attempt in (
        lambda: verified(signed(), method="GET"),
        lambda: verified(signed(), path=PATH + "&page=2"),
        lambda: verified(signed(), path=PATH.partition("?")[0]),
        lambda: verified(signed(), body=BODY + b" "),
        lambda: verified(signed(), body=b""),
    ):
        assert refusal(attempt).code is ErrorCode.BAD_SIGNATURE


@settings(max_examples=50)
@given(st.integers(0, len(BODY) * 8 - 1), st.integers(0, 63))
def test_any_bit_of_body_or_nonce_that_flips_is_refused(body_bit: int, nonce_bit: int) -> None:
    body = (int.from_bytes(BODY, "big") ^ 1 << body_bit).to_bytes(len(BODY), "big")
    assert refusal(lambda: verified(signed(), body=body)).code is ErrorCode.BAD_SIGNATURE
    nonce = {btauth.HEADER_NONCE: str(NOW_NS ^ 1 << nonce_bit)}
    assert refusal(lambda: verified(signed(**nonce))).code is ErrorCode.BAD_SIGNATURE


def test_hotkey_and_receiver_are_bound() -> None:
    other = signed(**{btauth.HEADER_HOTKEY: STRANGER_HOTKEY})
    assert refusal(lambda: verified(other)).code is ErrorCode.BAD_SIGNATURE
    to_another = signed(**{btauth.HEADER_RECEIVER: VALIDATOR_HOTKEY})
    assert refusal(lambda: verified(to_another)).code is ErrorCode.WRONG_RECEIVER
    # After a rotation there are two receivers. A request for one is not valid for the other.
    both = frozenset({SIGNER_HOTKEY, VALIDATOR_HOTKEY})
    request = btauth.parse(to_another)
    swapped = refusal(lambda: btauth.verify(request, method="POST", path=PATH, body=BODY, receivers=both))
    assert swapped.code is ErrorCode.BAD_SIGNATURE


def test_a_request_without_receiver_is_refused() -> None:
    unbound = http_auth.sign(MINER, method="POST", path=PATH, body=BODY, nonce_ns=NOW_NS)
    error = refusal(lambda: btauth.parse(unbound))
    assert (error.code, error.message) == (
        ErrorCode.MALFORMED_AUTH,
        "Header X-Bittensor-Receiver is missing.",
    )
    named_dash = unbound | {btauth.HEADER_RECEIVER: "-"}
    assert refusal(lambda: verified(named_dash)).code is ErrorCode.WRONG_RECEIVER


@pytest.mark.parametrize(
    ("age_ns", "fresh"),
    [
        (10 * 10**9, True),
        (10 * 10**9 + 1, False),
        (0, True),
        (-2 * 10**9, True),
        (-2 * 10**9 - 1, False),
    ],
)
def test_the_window_ends_10_seconds_back_and_2_ahead(age_ns: int, fresh: bool) -> None:
    request = btauth.parse(signed())
    if fresh:
        assert btauth.check_fresh(request, NOW_NS + age_ns) is None
    else:
        error = refusal(lambda: btauth.check_fresh(request, NOW_NS + age_ns))
        assert error.code is ErrorCode.STALE_REQUEST


@pytest.mark.parametrize("name", sorted(signed()))
def test_each_missing_header_is_named(name: str) -> None:
    headers = signed()
    del headers[name]
    error = refusal(lambda: btauth.parse(headers))
    assert (error.code, error.message) == (ErrorCode.MALFORMED_AUTH, f"Header {name} is missing.")


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        (btauth.HEADER_VERSION, "2", ErrorCode.MALFORMED_AUTH),
        (btauth.HEADER_VERSION, "１", ErrorCode.MALFORMED_AUTH),
        (btauth.HEADER_CRYPTO, "ed25519", ErrorCode.MALFORMED_AUTH),
        (btauth.HEADER_CRYPTO, "", ErrorCode.MALFORMED_AUTH),
        (btauth.HEADER_NONCE, "", ErrorCode.MALFORMED_AUTH),
        (btauth.HEADER_NONCE, "0", ErrorCode.MALFORMED_AUTH),
        (btauth.HEADER_NONCE, f"0{NOW_NS}", ErrorCode.MALFORMED_AUTH),
        (btauth.HEADER_NONCE, f"+{NOW_NS}", ErrorCode.MALFORMED_AUTH),
        (btauth.HEADER_NONCE, f"-{NOW_NS}", ErrorCode.MALFORMED_AUTH),
        (btauth.HEADER_NONCE, f" {NOW_NS}", ErrorCode.MALFORMED_AUTH),
        (btauth.HEADER_NONCE, f"{NOW_NS}\n", ErrorCode.MALFORMED_AUTH),
        (btauth.HEADER_NONCE, "1_795_320_000", ErrorCode.MALFORMED_AUTH),
        (btauth.HEADER_NONCE, "1795320000１", ErrorCode.MALFORMED_AUTH),
        (btauth.HEADER_NONCE, "1" * 21, ErrorCode.MALFORMED_AUTH),
        (btauth.HEADER_SIGNATURE, "0x", ErrorCode.MALFORMED_AUTH),
        (btauth.HEADER_SIGNATURE, "AB" * 64, ErrorCode.MALFORMED_AUTH),
        (btauth.HEADER_HOTKEY, ZERO_KEY, ErrorCode.MALFORMED_HOTKEY),
        (btauth.HEADER_HOTKEY, MINER_HOTKEY + " ", ErrorCode.MALFORMED_HOTKEY),
    ],
)
def test_each_malformed_header_is_named_and_its_value_is_not(name: str, value: str, code: ErrorCode) -> None:
    error = refusal(lambda: btauth.parse(signed(**{name: value})))
    assert error.code is code
    assert error.message.startswith(f"Header {name} ")
    assert len(value) < 4 or value not in error.message


def test_an_ed25519_request_is_refused_with_its_scheme_named_or_hidden() -> None:
    pair = ed25519_keypair("Alice")
    headers = http_auth.sign(
        pair, method="POST", path=PATH, body=BODY, receiver_ss58=SIGNER_HOTKEY, nonce_ns=NOW_NS
    )
    assert refusal(lambda: btauth.parse(headers)).code is ErrorCode.MALFORMED_AUTH
    del headers[btauth.HEADER_CRYPTO]
    assert refusal(lambda: verified(headers)).code is ErrorCode.BAD_SIGNATURE
