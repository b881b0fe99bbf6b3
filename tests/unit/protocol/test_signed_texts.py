"""Tests the exact texts of connections and legacy commitments, and how long they are valid."""

import pytest

from tests.support.fakes import MINER, MINER_HOTKEY, STRANGER_HOTKEY, ZERO_KEY
from zipcast.protocol import signed_texts
from zipcast.protocol.errors import ErrorCode, ServiceError
from zipcast.protocol.signed_texts import API_WINDOW, GET_WINDOW, UnverifiedCommitment, Window

NOW = 1_795_320_000
SIGNATURE = MINER.sign(signed_texts.CURRENT_COMMITMENT.format(timestamp=NOW).encode())


def test_a_connection_proof_names_subnet_audience_hotkey_and_the_servers_nonce() -> None:
    text = signed_texts.connection_text("finney", 46, "nats.example.org", MINER_HOTKEY, "Yk3xN2-_a0Zq9Wc")
    expected = f"zipcast:connect:v1:finney:46:nats.example.org:{MINER_HOTKEY}:Yk3xN2-_a0Zq9Wc"
    assert text == expected.encode()


def test_a_dated_connection_proof_cannot_be_taken_for_one_over_a_nonce() -> None:
    text = signed_texts.connection_at_text("finney", 46, "loopback", MINER_HOTKEY, NOW)
    assert text == f"zipcast:connect-at:v1:finney:46:loopback:{MINER_HOTKEY}:{NOW}".encode()


@pytest.mark.parametrize("nonce", ["abcdefgh", "A" * 64, "-_-_-_-_"])
def test_nonces_of_8_to_64_characters_of_base64url_are_signed(nonce: str) -> None:
    assert signed_texts.connection_text("test", 1, "loopback", MINER_HOTKEY, nonce).endswith(nonce.encode())


@pytest.mark.parametrize(
    "nonce",
    [
        "",
        "abcdefg",
        "A" * 65,
        "abcdefgh\n",
        "abc defgh",
        "abcdefgh=",
        "abcd+fgh",
        "abcd/fgh",
        "abcd:fgh",
        "s3:validator:upload:1795320000",
        "<Bytes>abc</Bytes>",
        "abcdefgé",
        "１２３４５６７８",
    ],
)
def test_a_nonce_that_no_nats_server_makes_is_never_signed(nonce: str) -> None:
    with pytest.raises(ValueError, match="nonce must be 8 to 64 characters of base64url"):
        signed_texts.connection_text("test", 1, "loopback", MINER_HOTKEY, nonce)


def test_commitments_are_those_of_the_http_contract() -> None:
    assert signed_texts.CURRENT_COMMITMENT.format(timestamp=NOW) == "zipcode:assignment:current:1795320000"
    assert signed_texts.VALIDATOR_UPLOAD_COMMITMENT.format(timestamp=NOW) == "s3:validator:upload:1795320000"


def test_windows_are_those_of_the_http_contract() -> None:
    assert Window(past_seconds=300, future_seconds=60) == GET_WINDOW
    assert Window(past_seconds=300, future_seconds=300) == API_WINDOW


@pytest.mark.parametrize(
    ("window", "ahead", "fresh"),
    [
        (GET_WINDOW, -300, True),
        (GET_WINDOW, -301, False),
        (GET_WINDOW, 60, True),
        (GET_WINDOW, 61, False),
        (API_WINDOW, -300, True),
        (API_WINDOW, -301, False),
        (API_WINDOW, 300, True),
        (API_WINDOW, 301, False),
    ],
)
def test_both_windows_hold_their_edges_and_nothing_beyond(window: Window, ahead: int, fresh: bool) -> None:
    request = UnverifiedCommitment(MINER_HOTKEY, NOW + ahead, SIGNATURE)
    if fresh:
        assert signed_texts.check_commitment_fresh(request, window, NOW) is None
        return
    with pytest.raises(ServiceError, match="future" if ahead > 0 else "past") as refused:
        signed_texts.check_commitment_fresh(request, window, NOW)
    assert refused.value.code is ErrorCode.STALE_REQUEST


def test_the_second_at_the_edge_counts_as_a_whole() -> None:
    at_the_edge = UnverifiedCommitment(MINER_HOTKEY, NOW - 300, SIGNATURE)
    assert signed_texts.check_commitment_fresh(at_the_edge, API_WINDOW, NOW + 0.999) is None
    with pytest.raises(ServiceError, match="more than 300 s in the past"):
        signed_texts.check_commitment_fresh(at_the_edge, API_WINDOW, NOW + 1.0)


@pytest.mark.parametrize("prefix", ["", "0x"])
@pytest.mark.parametrize("wrapping", [b"%b", b"<Bytes>%b</Bytes>"])
def test_a_commitment_is_accepted_raw_or_wrapped_with_or_without_0x(prefix: str, wrapping: bytes) -> None:
    commitment = signed_texts.CURRENT_COMMITMENT.format(timestamp=NOW)
    signature = prefix + MINER.sign(wrapping % commitment.encode()).hex()
    request = signed_texts.parse_commitment(MINER_HOTKEY, str(NOW), signature)
    assert signed_texts.verify_commitment(request, ("another", commitment)) == (MINER_HOTKEY, commitment)


def test_a_commitment_of_another_endpoint_time_or_hotkey_is_refused() -> None:
    request = signed_texts.parse_commitment(MINER_HOTKEY, str(NOW), SIGNATURE.hex())
    stolen = signed_texts.parse_commitment(STRANGER_HOTKEY, str(NOW), SIGNATURE.hex())
    text = signed_texts.CURRENT_COMMITMENT.format(timestamp=NOW)
    assert signed_texts.verify_commitment(request, (text,)) == (MINER_HOTKEY, text)
    for presented, commitment in (
        (request, signed_texts.VALIDATOR_UPLOAD_COMMITMENT.format(timestamp=NOW)),
        (request, signed_texts.CURRENT_COMMITMENT.format(timestamp=NOW + 1)),
        (stolen, signed_texts.CURRENT_COMMITMENT.format(timestamp=NOW)),
    ):
        with pytest.raises(ServiceError) as refused:
            signed_texts.verify_commitment(presented, (commitment,))
        assert refused.value.code is ErrorCode.BAD_SIGNATURE


@pytest.mark.parametrize(
    "timestamp",
    [
        "",
        "0",
        "-1",
        "+1795320000",
        "01795320000",
        "1795320000.0",
        "1.8e9",
        "1_795_320_000",
        " 1795320000",
        "1795320000\n",
        "１７９５３２００００",
        "123456789012",
    ],
)
def test_a_timestamp_is_ascii_digits_and_nothing_else(timestamp: str) -> None:
    with pytest.raises(ServiceError, match="timestamp must be Unix seconds") as refused:
        signed_texts.parse_commitment(MINER_HOTKEY, timestamp, SIGNATURE.hex())
    assert refused.value.code is ErrorCode.MALFORMED_REQUEST


def test_a_malformed_hotkey_or_signature_is_named() -> None:
    with pytest.raises(ServiceError, match=r"^hotkey ") as refused:
        signed_texts.parse_commitment(ZERO_KEY, str(NOW), SIGNATURE.hex())
    assert refused.value.code is ErrorCode.MALFORMED_HOTKEY
    with pytest.raises(ServiceError, match=r"^signature ") as refused:
        signed_texts.parse_commitment(MINER_HOTKEY, str(NOW), SIGNATURE.hex().upper())
    assert refused.value.code is ErrorCode.MALFORMED_AUTH
