"""Tests that only a registered hotkey connects to NATS, and only with a proof for this server."""

import base64
import time

import pytest
from bittensor_core import CRYPTO_ED25519

from tests.support.misspelled import MISSPELLED, ZERO_KEY, ZERO_SIGNATURE, misspelled
from tests.support.people import keypair
from tests.support.raw_nats import raw_nats
from zipcast.client.local_stack import Ready
from zipcast.protocol import signed_texts
from zipcast.protocol.hotkeys import Keypair

# "Authorization Violation". On a busy machine, nats-server stops waiting for the callout after 1.9 s and says
# "Authentication Timeout".
REFUSED = b"-ERR 'Auth"


async def offer(ready: Ready, **offered: object) -> bytes:
    async with raw_nats(ready) as raw:
        return await raw.connect_as(**offered)


async def nonce_signed(ready: Ready, named: str, signer: Keypair, **changed: object) -> bytes:
    """Return a CONNECT that names the hotkey of `named` and is signed by `signer`. `changed` replaces parts
    of the signed text."""
    async with raw_nats(ready) as raw:
        given = {
            "network": ready.network,
            "netuid": ready.netuid,
            "audience": "loopback",
            "hotkey": named,
            "nonce": str(raw.info["nonce"]),
        } | changed
        text = signed_texts.connection_text(**given)  # type: ignore[arg-type]
        signature = base64.b64encode(signer.sign(text)).decode()
        return await raw.connect_as(auth_token=named, sig=signature)


def password(ready: Ready, signer: Keypair, *, ago: int = 0, audience: str = "loopback") -> dict[str, str]:
    return password_at(ready, signer, int(time.time()) - ago, audience)


def password_at(ready: Ready, signer: Keypair, at: int, audience: str = "loopback") -> dict[str, str]:
    text = signed_texts.connection_at_text(ready.network, ready.netuid, audience, signer.ss58_address, at)
    return {"user": signer.ss58_address, "pass": f"{at}.{signer.sign(text).hex()}"}


async def test_the_right_proof_is_let_in(ready: Ready):
    """This shows that the refusals in the other tests are due to what is wrong in each, and not to a common
    mistake."""
    miner = keypair(ready, "miner-2")
    assert b"PONG" in await nonce_signed(ready, miner.ss58_address, miner)
    assert b"PONG" in await offer(ready, **password(ready, miner))


CHANGED = {
    "another network": {"network": "finney"},
    "another netuid": {"netuid": 47},
    "another host": {"audience": "nats.example.org"},
    "no host": {"audience": ""},
    "an earlier nonce": {"nonce": "AAAAAAAAAAAAAAA"},
    "another hotkey": {"hotkey": "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY"},
}


@pytest.mark.parametrize("changed", CHANGED.values(), ids=CHANGED)
async def test_a_text_that_is_for_something_else_is_refused(ready: Ready, changed: dict[str, object]):
    miner = keypair(ready, "miner-2")
    assert REFUSED in await nonce_signed(ready, miner.ss58_address, miner, **changed)


async def test_a_wrong_key_is_refused(ready: Ready):
    victim = keypair(ready, "miner-2").ss58_address
    assert REFUSED in await nonce_signed(ready, victim, keypair(ready, "miner-3"))
    assert REFUSED in await nonce_signed(ready, victim, Keypair.create_from_uri("//Eve"))


async def test_a_hotkey_that_is_not_registered_is_refused(ready: Ready):
    eve = Keypair.create_from_uri("//Eve")
    assert REFUSED in await nonce_signed(ready, eve.ss58_address, eve)
    assert REFUSED in await offer(ready, **password(ready, eve))


async def test_a_stolen_token_is_worth_nothing(ready: Ready):
    """The token is a public address, and the signature with it is valid for one connection."""
    miner = keypair(ready, "miner-2")
    async with raw_nats(ready) as watched, raw_nats(ready) as thief:
        stolen = watched.proof(ready, miner)
        assert b"PONG" in await watched.connect_as(**stolen)
        assert REFUSED in await thief.connect_as(**stolen)
    assert REFUSED in await offer(ready, auth_token=miner.ss58_address)
    assert REFUSED in await offer(ready, auth_token=miner.ss58_address, sig="")
    assert REFUSED in await offer(ready, user=miner.ss58_address)


async def test_a_bare_nonce_is_no_proof(ready: Ready):
    """Any nats-server could make a client sign this."""
    miner = keypair(ready, "miner-2")
    async with raw_nats(ready) as raw:
        bare = base64.b64encode(miner.sign(str(raw.info["nonce"]).encode())).decode()
        assert REFUSED in await raw.connect_as(auth_token=miner.ss58_address, sig=bare)


async def test_a_password_is_used_once_and_within_a_minute(ready: Ready):
    miner = keypair(ready, "miner-3")
    at = int(time.time()) - 20
    given = password_at(ready, miner, at)
    assert b"PONG" in await offer(ready, **given)
    assert REFUSED in await offer(ready, **given)
    resigned = password_at(ready, miner, at)
    assert resigned != given
    assert REFUSED in await offer(ready, **resigned)
    for ago in (70, -70, 10**9):
        assert REFUSED in await offer(ready, **password(ready, miner, ago=ago))
    assert REFUSED in await offer(ready, **password(ready, miner, ago=30, audience="nats.example.org"))


@pytest.mark.parametrize("how", MISSPELLED)
async def test_a_hotkey_is_spelled_in_one_way(ready: Ready, how: str):
    miner = keypair(ready, "miner-2")
    named = misspelled(miner.ss58_address)[how]
    async with raw_nats(ready) as raw:
        proof = raw.proof(ready, miner)
        assert REFUSED in await raw.connect_as(**proof | {"auth_token": named})
    assert REFUSED in await offer(ready, **password(ready, miner) | {"user": named})


async def test_the_zero_key_is_nobodys(ready: Ready):
    signature = base64.b64encode(ZERO_SIGNATURE).decode()
    assert REFUSED in await offer(ready, auth_token=ZERO_KEY, sig=signature)
    at = int(time.time())
    assert REFUSED in await offer(ready, user=ZERO_KEY, **{"pass": f"{at}.{ZERO_SIGNATURE.hex()}"})


async def test_an_ed25519_key_of_the_same_seed_is_refused(ready: Ready):
    """The address is registered, but the signature is of another scheme than sr25519."""
    ed25519 = Keypair.create_from_uri("//Alice", CRYPTO_ED25519)
    for named in (keypair(ready, "miner-2").ss58_address, ed25519.ss58_address):
        assert REFUSED in await nonce_signed(ready, named, ed25519)


PASSWORDS = {
    "upper-case hex": lambda at, sig: f"{at}.{sig.upper()}",
    "0x": lambda at, sig: f"{at}.0x{sig}",
    "spaces in hex": lambda at, sig: f"{at}.{sig[:64]} {sig[64:]}",
    "a line end": lambda at, sig: f"{at}.{sig}\n",
    "Unicode digits": lambda at, sig: "".join(chr(0x660 + int(d)) for d in at) + f".{sig}",
    "a plus": lambda at, sig: f"+{at}.{sig}",
    "a zero in front": lambda at, sig: f"0{at}.{sig}",
    "an underscore": lambda at, sig: f"{at[:1]}_{at[1:]}.{sig}",
    "a fraction": lambda at, sig: f"{at}.0.{sig}",
    "a colon": lambda at, sig: f"{at}:{sig}",
}


@pytest.mark.parametrize("how", PASSWORDS)
async def test_time_and_signature_are_spelled_in_one_way(ready: Ready, how: str):
    miner = keypair(ready, "miner-2")
    given = password(ready, miner, ago=list(PASSWORDS).index(how) + 31)
    at, _, signature = given["pass"].partition(".")
    assert REFUSED in await offer(ready, **given | {"pass": PASSWORDS[how](at, signature)})


async def test_a_service_user_is_not_to_be_had_without_its_key(ready: Ready):
    async with raw_nats(ready) as raw:
        stolen = {"nkey": "UABLYRJOSGM5OUFZFDOYQZRVGZL2WYWVFNJUW7PGVRTFVWZTPNXLGIPX", "sig": "AAAA"}
        assert REFUSED in await raw.connect_as(**stolen)
    for user in ("responder", "bridge", "schedulers", "admin", "sys"):
        assert REFUSED in await offer(ready, user=user, **{"pass": ""})
    assert REFUSED in await offer(ready)
    assert REFUSED in await offer(ready, jwt="eyJ0eXAiOiJKV1QiLCJhbGciOiJub25lIn0.e30.", sig="")
