"""Tests requests that are changed, misspelled, too old, too new, or for another receiver: each is refused
with its own code."""

import json
import time

import httpx
import pytest
from bittensor_core import CRYPTO_ED25519

from tests.support.folder_access import PATH, asked
from tests.support.misspelled import MISSPELLED, ZERO_KEY, ZERO_SIGNATURE, misspelled
from tests.support.people import ask, keypair, legacy, raw_connection, signed_headers
from zipcast.client.local_stack import Ready
from zipcast.protocol import btauth, signed_texts, subjects
from zipcast.protocol.hotkeys import Keypair, parse_hotkey
from zipcast.protocol.messages.base import parse_error
from zipcast.protocol.verbs import Verb

CURRENT = "/api/v1/zipcode-assignments/current"
UPLOAD = "/api/v1/s3-access/validator-upload"
ALICE = "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY"


async def refusal(http: httpx.AsyncClient, body: object) -> tuple[int, str]:
    answer = await http.post(PATH, json=body)
    return answer.status_code, answer.json().get("error", "granted")


@pytest.mark.parametrize("how", MISSPELLED)
async def test_a_hotkey_is_spelled_in_one_way(ready: Ready, http: httpx.AsyncClient, how: str):
    given = asked(ready, "miner-2")
    named = misspelled(str(given["hotkey"]))[how]
    content = json.dumps(given | {"hotkey": named}).encode()
    answer = await http.post(PATH, content=content)
    assert answer.json()["error"] in {"malformed_hotkey", "malformed_request"}
    if "\ud800" not in named:
        query = legacy(keypair(ready, "miner-2"), signed_texts.CURRENT_COMMITMENT) | {"hotkey": named}
        answer = await http.get(CURRENT, params=query)
        assert answer.json()["error"] in {"malformed_hotkey", "malformed_request"}


async def test_the_zero_key_is_nobodys(http: httpx.AsyncClient):
    body = {"hotkey": ZERO_KEY, "coldkey": ZERO_KEY, "timestamp": int(time.time())}
    assert await refusal(http, body | {"signature": ZERO_SIGNATURE.hex()}) == (400, "malformed_hotkey")


async def test_an_ed25519_signature_is_refused(ready: Ready, http: httpx.AsyncClient):
    """The request is signed with the address of the ed25519 key, and with that of a registered hotkey."""
    key = Keypair.create_from_uri("//miner", CRYPTO_ED25519)
    given = asked(ready, "miner-2")
    text = f"s3:data:access:{given['coldkey']}:{given['hotkey']}:{given['timestamp']}"
    body = given | {"signature": key.sign(text.encode()).hex()}
    assert await refusal(http, body) == (401, "bad_signature")
    assert (await refusal(http, body | {"hotkey": key.ss58_address}))[0] == 403
    headers = btauth.sign(
        key, method="POST", path=PATH, body=b"{}", receiver=ready.signer, nonce_ns=time.time_ns()
    )
    headers["X-Bittensor-Crypto"] = "ed25519"
    answer = await http.post(PATH, content=b"{}", headers=headers)
    assert answer.json()["error"] == "malformed_auth"


SIGNATURES = {
    "upper case": lambda sig: sig.upper(),
    "0X": lambda sig: "0X" + sig,
    "a space": lambda sig: sig[:64] + " " + sig[64:],
    "a space behind": lambda sig: sig + " ",
    "a line end": lambda sig: sig + "\n",
    "a NUL": lambda sig: sig + "\0",
    "Unicode digits": lambda sig: "".join(chr(0xFF10 + int(c)) if c.isdigit() else c for c in sig),
    "one digit less": lambda sig: sig[:-1],
    "one byte more": lambda sig: sig + "00",
    "zeros": lambda sig: "00" * 64,
    "base64": lambda sig: bytes.fromhex(sig).hex(":"),
    "nothing": lambda sig: "",
    "a list": lambda sig: [sig],
    "null": lambda sig: None,
    "a flipped bit": lambda sig: sig[:-1] + ("0" if sig[-1] != "0" else "1"),
}
TIMES = {
    "Unicode digits": lambda at: "".join(chr(0x660 + int(digit)) for digit in str(at)),
    "a plus": lambda at: f"+{at}",
    "a space": lambda at: f" {at}",
    "a zero in front": lambda at: f"0{at}",
    "an underscore": lambda at: f"{str(at)[0]}_{str(at)[1:]}",
    "a fraction": lambda at: f"{at}.0",
    "a float": lambda at: float(at) + 0.5,
    "an exponent": lambda at: f"{at}e0",
    "negative": lambda at: -at,
    "milliseconds": lambda at: at * 1000,
    "true": lambda at: True,
    "null": lambda at: None,
    "as long as can be": lambda at: 10**400,
}


@pytest.mark.parametrize("how", SIGNATURES)
async def test_a_signature_is_spelled_in_one_way(ready: Ready, http: httpx.AsyncClient, how: str):
    given = asked(ready, "miner-2")
    status, error = await refusal(http, given | {"signature": SIGNATURES[how](given["signature"])})
    assert (status, error) in {
        (401, "malformed_auth"),
        (401, "bad_signature"),
        (400, "malformed_request"),
    }


@pytest.mark.parametrize("how", TIMES)
async def test_a_time_is_spelled_in_one_way(ready: Ready, http: httpx.AsyncClient, how: str):
    given = asked(ready, "miner-2")
    status, error = await refusal(http, given | {"timestamp": TIMES[how](int(str(given["timestamp"])))})
    assert (status, error) in {
        (400, "malformed_request"),
        (401, "stale_request"),
        (401, "bad_signature"),
    }


async def test_the_right_request_is_granted(ready: Ready, http: httpx.AsyncClient):
    """This shows that the refusals above are due to what was changed in each."""
    assert await refusal(http, asked(ready, "miner-2", seconds_ago=7)) == (200, "granted")


# The times are well inside and well outside of the window, because the machine may be slow.
@pytest.mark.parametrize(
    ("path", "seconds_ago", "error"),
    [
        (PATH, 290, None),
        (PATH, 301, "stale_request"),
        (PATH, -50, None),
        (PATH, -75, "stale_request"),
        (UPLOAD, 290, "epoch_not_found"),
        (UPLOAD, 301, "stale_request"),
        (UPLOAD, -290, "epoch_not_found"),
        (UPLOAD, -320, "stale_request"),
        (CURRENT, 290, None),
        (CURRENT, 301, "stale_request"),
        (CURRENT, -290, None),
        (CURRENT, -320, "stale_request"),
    ],
)
async def test_each_window_ends_where_the_contract_says(
    ready: Ready, http: httpx.AsyncClient, path: str, seconds_ago: int, error: str | None
):
    if path == PATH:
        answer = await http.post(PATH, json=asked(ready, "miner-2", seconds_ago=seconds_ago))
    elif path == CURRENT:
        query = legacy(keypair(ready, "miner-2"), signed_texts.CURRENT_COMMITMENT, seconds_ago=seconds_ago)
        answer = await http.get(CURRENT, params=query)
    else:
        body = legacy(
            keypair(ready, "validator-1"), signed_texts.VALIDATOR_UPLOAD_COMMITMENT, seconds_ago=seconds_ago
        )
        answer = await http.post(UPLOAD, json=body | {"epochId": "2020-01-01T00-00-00"})
    assert answer.json().get("error") == error


@pytest.mark.parametrize(
    ("seconds_ago", "error"), [(5, None), (10.1, "stale_request"), (-1, None), (-4, "stale_request")]
)
async def test_btauth_lives_ten_seconds_and_is_two_ahead(ready: Ready, seconds_ago: float, error: str | None):
    signer = keypair(ready, "miner-2")
    connection = await raw_connection(ready, signer)
    answer = await ask(ready, connection, signer, Verb.EPOCH_CURRENT, b"{}", seconds_ago=seconds_ago)
    await connection.close()
    told = json.loads(answer.data).get("error")
    # The request was accepted, even if the next epoch is some milliseconds away.
    assert (None if told == "no_current_epoch" else told) == error


def headers_with(ready: Ready, signer: Keypair, subject: str, name: str, value: str) -> dict[str, str]:
    return signed_headers(ready, signer, subject, b"{}") | {name: value}


BTAUTH = {
    "another server": ("X-Bittensor-Receiver", ALICE, "wrong_receiver"),
    "no server": ("X-Bittensor-Receiver", "", "wrong_receiver"),
    "another version": ("X-Bittensor-Version", "2", "malformed_auth"),
    "another scheme": ("X-Bittensor-Crypto", "ed25519", "malformed_auth"),
    "another hotkey": ("X-Bittensor-Hotkey", ALICE, "bad_signature"),
    "the zero key": ("X-Bittensor-Hotkey", ZERO_KEY, "malformed_hotkey"),
    "a nonce in Unicode digits": ("X-Bittensor-Nonce", "١٧", "malformed_auth"),
    "a nonce with a sign": ("X-Bittensor-Nonce", "+17", "malformed_auth"),
    "a nonce of zero": ("X-Bittensor-Nonce", "0", "malformed_auth"),
    "an endless nonce": ("X-Bittensor-Nonce", "9" * 20, "stale_request"),
    "upper-case hex": ("X-Bittensor-Signature", "0x" + "AB" * 64, "malformed_auth"),
    "no signature": ("X-Bittensor-Signature", "", "malformed_auth"),
    "another's signature": ("X-Bittensor-Signature", "0x" + "ab" * 64, "bad_signature"),
}


@pytest.mark.parametrize("how", BTAUTH)
async def test_a_changed_header_is_refused(ready: Ready, how: str):
    name, value, error = BTAUTH[how]
    signer = keypair(ready, "miner-2")
    subject = subjects.request(parse_hotkey(signer.ss58_address), Verb.EPOCH_CURRENT)
    connection = await raw_connection(ready, signer)
    headers = headers_with(ready, signer, subject, name, value)
    answer = await connection.request(subject, b"{}", timeout=5, headers=headers)
    await connection.close()
    assert parse_error(answer.data).code == error


async def test_a_signature_for_another_subnets_service_is_refused_over_http_too(
    ready: Ready, http: httpx.AsyncClient
):
    signer, body = keypair(ready, "validator-1"), b'{"epochId":"2020-01-01T00-00-00"}'
    for receiver, error in ((ALICE, "wrong_receiver"), (ready.signer, "epoch_not_found")):
        headers = btauth.sign(
            signer, method="POST", path=UPLOAD, body=body, receiver=receiver, nonce_ns=time.time_ns()
        )
        assert (await http.post(UPLOAD, content=body, headers=headers)).json()["error"] == error


BODIES = {
    "a key twice": lambda text: text[:-1] + ',"hotkey":"x"}',
    "a key twice, escaped": lambda text: text[:-1] + ',"\\u0068otkey":"x"}',
    "depth": lambda text: text[:-1] + ',"x":' + "[" * 2000 + "]" * 2000 + "}",
    "depth without an end": lambda text: text[:-1] + ',"x":' + '{"a":' * 1_000,
    "a list": lambda text: f"[{text}]",
    "NaN": lambda text: text[:-1] + ',"x":NaN}',
    "more behind it": lambda text: text + text,
    "a byte order mark": lambda text: "\ufeff" + text,
}


@pytest.mark.parametrize("how", BODIES)
async def test_json_that_two_parsers_could_read_differently_is_refused(
    ready: Ready, http: httpx.AsyncClient, how: str
):
    given = json.dumps(asked(ready, "miner-2", seconds_ago=9))
    answer = await http.post(PATH, content=BODIES[how](given).encode())
    assert (answer.status_code, answer.json()["error"]) == (400, "malformed_request")


async def test_a_well_signed_request_may_hold_whatever_else_and_is_never_a_fault(
    ready: Ready, http: httpx.AsyncClient
):
    """Unknown fields are ignored, but they are part of the digest under which the request is remembered."""
    given = asked(ready, "miner-3", seconds_ago=11)
    for depth in (1, 10, 15, 17, 200, 300, 400, 450, 470, 480, 490, 495, 900, 980, 990):
        nested = '{"a":' * depth + "1" + "}" * depth
        content = json.dumps(given)[:-1] + f',"x":{nested}}}'
        answer = await http.post(PATH, content=content.encode())
        assert answer.status_code in ({200, 409} if depth <= 15 else {400}), (depth, answer.text)
    odd = given | {"x": "\ud800", "\ud800": 1, "": None, "__class__": {}, "caller": {"hotkey": ALICE}}
    answer = await http.post(PATH, content=json.dumps(odd).encode())
    assert answer.status_code in {200, 409}


async def test_who_may_ask_is_not_read_from_the_body(ready: Ready):
    """The responder's framework passes named arguments to its handlers. A body must not become one of
    them."""
    attacker, victim = keypair(ready, "miner-6"), keypair(ready, "miner-7")
    caller = {"hotkey": victim.ss58_address, "role": "validator", "request_id": "x", "source": "nats"}
    connection = await raw_connection(ready, attacker)
    for body in (
        {"caller": caller},
        {"caller": caller, "body": {"epochId": None}},
        {"once": 1, "context": {}},
    ):
        content = json.dumps(body).encode()
        answer = await ask(ready, connection, attacker, Verb.S3_MINER_UPLOAD, content)
        told = json.loads(answer.data)
        assert victim.ss58_address not in answer.data.decode()
        between = told.get("error") in {"epoch_not_open", "no_current_epoch"}  # two epochs
        assert between or attacker.ss58_address in told["prefix"], told
    await connection.close()
