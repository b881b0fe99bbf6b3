"""Tests the keys of one deployment: which process gets which, and how they are stored."""

import os
import stat
from pathlib import Path

import pytest

from service.deployment_keys import SERVICE_USERS, create_keys, read_keys, write_keys
from service.nkeys import CurveNkey, Kind, SigningNkey, decode_public
from zipcast.protocol.hotkeys import Keypair, parse_hotkey

KEYS = create_keys()
SECRETS = {
    value
    for process in set(KEYS) - {"nats"}
    for name, value in KEYS[process].items()
    if name.endswith(("_SEED", "SECRET_KEY"))
}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(autouse=True)
def _open_umask():
    """The code must set the strictest file modes, whatever the umask of the user."""
    before = os.umask(0)
    yield
    os.umask(before)


def test_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "below" / "keys"
    write_keys(folder, KEYS)
    assert mode(folder) == 0o700
    files = sorted(folder.iterdir())
    assert [path.name for path in files] == sorted(f"{process}.env" for process in KEYS)
    assert {mode(path) for path in files} == {0o600}


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    write_keys(tmp_path / "keys", KEYS)
    assert read_keys(tmp_path / "keys") == KEYS


def test_a_key_is_never_overwritten_and_no_half_set_is_left(tmp_path: Path) -> None:
    existing = tmp_path / "responder.env"
    existing.write_text("RESPONDER_NATS_SEED=in use\n")
    with pytest.raises(FileExistsError, match=r"responder\.env"):
        write_keys(tmp_path, KEYS)
    assert existing.read_text() == "RESPONDER_NATS_SEED=in use\n"
    assert list(tmp_path.iterdir()) == [existing]


def test_writing_twice_is_refused(tmp_path: Path) -> None:
    write_keys(tmp_path / "keys", KEYS)
    with pytest.raises(FileExistsError):
        write_keys(tmp_path / "keys", create_keys())
    assert read_keys(tmp_path / "keys") == KEYS


def test_nats_server_gets_public_keys_alone() -> None:
    kinds = dict.fromkeys(KEYS["nats"], Kind.USER)
    kinds |= {"NATS_CALLOUT_ISSUER": Kind.ACCOUNT, "NATS_CALLOUT_XKEY": Kind.CURVE}
    for name, value in KEYS["nats"].items():
        assert len(decode_public(kinds[name], value)) == 32
    assert not SECRETS & set(KEYS["nats"].values())


def test_each_secret_is_given_to_one_process_alone() -> None:
    holders = [value for process in KEYS.values() for value in process.values() if value in SECRETS]
    assert len(SECRETS) == len(SERVICE_USERS) + 4
    assert len(holders) == len(SECRETS)


def test_public_keys_are_those_of_the_seeds() -> None:
    for user, process in SERVICE_USERS.items():
        seed = KEYS[process][f"{user}_NATS_SEED"]
        assert SigningNkey(seed, Kind.USER).public == KEYS["nats"][f"NATS_USER_{user}"]
    callout = KEYS["callout"]
    issuer = SigningNkey(callout["CALLOUT_ISSUER_SEED"], Kind.ACCOUNT)
    assert issuer.public == KEYS["nats"]["NATS_CALLOUT_ISSUER"]
    assert CurveNkey(callout["CALLOUT_XKEY_SEED"]).public == KEYS["nats"]["NATS_CALLOUT_XKEY"]


def test_the_signer_that_processes_trust_is_the_schedulers() -> None:
    seed = bytes.fromhex(KEYS["schedulers"]["SCHEDULERS_SIGNER_SEED"])
    signer = parse_hotkey(Keypair.create_from_seed(seed).ss58_address)
    assert {KEYS[process]["ZIPCAST_SIGNERS"] for process in ("responder", "bridge")} == {signer}
    assert len(bytes.fromhex(KEYS["schedulers"]["ZIPCODE_SECRET_KEY"])) == 32


def test_no_two_deployments_share_a_key() -> None:
    other = create_keys()
    values = [value for keys in (KEYS, other) for process in keys.values() for value in set(process.values())]
    shared = {value for value in values if values.count(value) > 1}
    signers = {keys["bridge"]["ZIPCAST_SIGNERS"] for keys in (KEYS, other)}
    assert shared == signers  # each is in two processes of one deployment
    assert len(signers) == 2
