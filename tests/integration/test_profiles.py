"""Tests `zipcast profile` with a bridge that describes itself, and with one that suddenly names another
signer."""

import asyncio
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.support import signed_epochs
from zipcast.cli.app import app
from zipcast.cli.errors import Status
from zipcast.client.local_stack import Ready
from zipcast.client.profiles import Profiles
from zipcast.protocol.hotkeys import Keypair
from zipcast.protocol.messages.epochs import EpochMessage, Proof
from zipcast.protocol.messages.history import EndedEpoch, EndedEpochsReply
from zipcast.protocol.messages.service import WELL_KNOWN_PATH, ServiceDescription

OLD, NEW = signed_epochs.SIGNER, Keypair.create_from_uri("//Next")


@pytest.fixture(autouse=True)
def no_profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)


def invoke(*arguments: str, answer: str | None = None) -> Result:
    return CliRunner().invoke(app, list(arguments), input=answer)


async def test_a_running_bridge_describes_its_service(ready: Ready, tmp_path: Path):
    added = await asyncio.to_thread(invoke, "profile", "add", ready.http, "--name", "here", "--yes", "--json")
    assert added.exit_code == Status.OK, added.output
    profile = Profiles.read().find("here")
    assert (profile.network, profile.netuid) == (ready.network, ready.netuid)
    assert (profile.signers, profile.servers) == ((ready.signer,), (ready.nats,))
    assert (profile.http, json.loads(added.stdout)["inUse"]) == (ready.http, True)
    wallet = ("--wallet-path", ready.wallets, "--wallet", "miner-5")
    shown = await asyncio.to_thread(invoke, "status", "--json", *wallet)
    assert shown.exit_code == Status.OK, shown.output
    assert json.loads(shown.stdout)["service"] == "profile here"


class Bridge:
    """A bridge that sends any description that a test chooses."""

    def __init__(self) -> None:
        self.signers = (OLD.ss58_address,)
        self.servers: tuple[str, ...] = ()
        self.epochs: tuple[EndedEpoch, ...] = ()
        bridge = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                reply = bridge.described() if self.path == WELL_KNOWN_PATH else bridge.ended()
                self.send_response(200)
                self.end_headers()
                self.wfile.write(reply)

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"

    def described(self) -> bytes:
        trust = signed_epochs.TRUST
        return ServiceDescription(
            network=trust.network, netuid=trust.netuid, signers=self.signers, servers=self.servers, http=None
        ).to_bytes()

    def ended(self) -> bytes:
        return EndedEpochsReply(epochs=self.epochs, next_before=None).to_bytes()


@pytest.fixture
def bridge() -> Iterator[Bridge]:
    bridge = Bridge()
    threading.Thread(target=bridge.server.serve_forever, daemon=True).start()
    yield bridge
    bridge.server.shutdown()
    bridge.server.server_close()


def ended(message: EpochMessage, signer: Keypair) -> EndedEpoch:
    envelope = signed_epochs.signed(message, signer).envelope
    assert envelope is not None
    return EndedEpoch(
        epoch_id=message.epoch_id,
        epoch_start=message.epoch_start,
        epoch_end=message.epoch_end,
        status="COMPLETED",
        late_seconds=0.0,
        seed=None,
        beacon=message.beacon_kind,
        seed_commitment=message.seed_commitment,
        proof=Proof(payload=envelope.payload.decode(), signer=envelope.signer, signature=envelope.signature),
    )


def announcing(number: int, next_signer: Keypair | None, signer: Keypair = OLD) -> EndedEpoch:
    message = signed_epochs.message(number)
    named = None if next_signer is None else next_signer.ss58_address
    return ended(message.model_copy(update={"next_signer": named}), signer)


def test_nothing_is_stored_before_the_signer_is_confirmed(bridge: Bridge):
    refused = invoke("profile", "add", bridge.address, answer="n\n")
    assert refused.exit_code == Status.REFUSED
    assert OLD.ss58_address in refused.stderr
    assert Profiles.read().profiles == ()
    unanswered = invoke("profile", "add", bridge.address, "--json")
    assert unanswered.exit_code == Status.INTERRUPTED
    assert json.loads(unanswered.stdout)["code"] == "interrupted"
    assert invoke("profile", "add", bridge.address, answer="y\n").exit_code == Status.OK
    assert Profiles.read().current == "127.0.0.1"


@pytest.mark.parametrize(
    "epochs",
    [
        (),
        (announcing(1, None),),
        (announcing(1, OLD),),
        (announcing(1, NEW, signer=NEW),),  # only the new signer announces itself
        (announcing(2, None), announcing(1, NEW)),  # the newest message withdraws the announcement
    ],
)
def test_another_signer_is_refused_unless_a_trusted_one_announced_it(
    bridge: Bridge, epochs: tuple[EndedEpoch, ...]
):
    invoke("profile", "add", bridge.address, "--name", "net", "--yes")
    bridge.signers, bridge.epochs = (NEW.ss58_address,), epochs
    refused = invoke("profile", "add", bridge.address, "--name", "net", "--yes", "--json")
    assert refused.exit_code == Status.NOT_VERIFIED
    assert json.loads(refused.stdout)["code"] == "signer_changed"
    assert Profiles.read().find("net").signers == (OLD.ss58_address,)


def test_other_servers_are_shown(bridge: Bridge):
    invoke("profile", "add", bridge.address, "--name", "net", "--yes")
    bridge.servers = ("tls://nats.example.org:4222",)
    changed = invoke("profile", "add", bridge.address, "--name", "net")
    assert changed.exit_code == Status.OK, changed.output
    assert "servers changed from none to tls://nats.example.org:4222" in changed.stderr


def test_an_announced_signer_is_stored(bridge: Bridge):
    invoke("profile", "add", bridge.address, "--name", "net", "--yes")
    bridge.signers = (NEW.ss58_address,)
    bridge.epochs = (announcing(3, None, signer=NEW), announcing(2, NEW), announcing(1, None))
    changed = invoke("profile", "add", bridge.address, "--name", "net")
    assert changed.exit_code == Status.OK, changed.output
    assert Profiles.read().find("net").signers == (NEW.ss58_address,)


@pytest.mark.parametrize("source", ["http://192.0.2.1", "ftp://h", "https://", "x y", "a" * 200])
def test_a_source_that_cannot_be_trusted_or_read_is_one_line(source: str):
    refused = invoke("profile", "add", source, "--yes")
    assert refused.exit_code == Status.USAGE
    assert len(refused.stderr.splitlines()) == 1


def test_profiles_are_described_by_options_used_and_removed():
    described = ("--signers", OLD.ss58_address, "--network", "test", "--netuid", "1")
    for name in ("one", "two"):
        added = invoke("profile", "add", name, *described, "--nats", "tls://nats.example.org:4222")
        assert added.exit_code == Status.OK, added.output
    assert invoke("profile", "use", "two").exit_code == Status.OK
    listed = json.loads(invoke("profile", "list", "--json").stdout)["profiles"]
    assert [(one["name"], one["inUse"]) for one in listed] == [("one", False), ("two", True)]
    assert invoke("profile", "remove", "two").exit_code == Status.OK
    assert invoke("profile", "use", "two").exit_code == Status.USAGE
    assert [one.name for one in Profiles.read().profiles] == ["one"]
