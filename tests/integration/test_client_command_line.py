"""Tests the commands of miners and validators against a running stack."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from devstack.stack import Stack
from tests.support.operator_view import until
from tests.support.people import keypair
from zipcast.cli.app import app
from zipcast.cli.errors import Status
from zipcast.client.local_stack import Ready
from zipcast.protocol.hotkeys import Keypair

STRANGER = Keypair.create_from_uri("//Stranger").ss58_address


@pytest.fixture
def run(stack: Stack):
    """Run a command beside the stack."""

    async def run(*arguments: str, wallet: str = "miner-6") -> Result:
        given = [*arguments, "--ready", str(stack.servers.state.ready), "--wallet", wallet]
        result = await asyncio.to_thread(CliRunner().invoke, app, given, env={"COLUMNS": "80"})
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return run


async def as_json(run, *arguments: str, status: int = Status.OK, wallet: str = "miner-6") -> Any:
    result = await run(*arguments, "--json", wallet=wallet)
    assert result.exit_code == status, result.output
    return json.loads(result.stdout)


async def test_status_shows_service_hotkey_and_epoch(run, ready: Ready):
    told = await as_json(run, "status")
    assert (told["network"], told["netuid"], told["http"]) == (ready.network, ready.netuid, ready.http)
    assert told["hotkey"] == keypair(ready, "miner-6").ss58_address
    assert told["listings"] > 0
    plain = await run("status")
    assert told["hotkey"] in plain.stdout


async def test_its_settings_are_enough_for_commands_elsewhere(
    run, ready: Ready, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    env = await as_json(run, "status", "--env")
    exported = (await run("status", "--env")).stdout.splitlines()
    assert exported == [f"export {name}={value}" for name, value in env.items()]
    monkeypatch.chdir(tmp_path)
    shown = await asyncio.to_thread(CliRunner().invoke, app, ["status", "--json"], env=env)
    assert shown.exit_code == Status.OK, shown.output
    assert json.loads(shown.stdout)["hotkey"] == keypair(ready, "miner-6").ss58_address


@pytest.mark.parametrize(("wallet", "role"), [("miner-6", "miner"), ("validator-2", "validator")])
async def test_the_doctor_finds_everything_well(run, wallet: str, role: str):
    checks = (await as_json(run, "doctor", wallet=wallet))["checks"]
    assert [one["name"] for one in checks] == [
        *("dns", "tcp", "clock", "key", "connection", "registered", "subscription", "epoch", "role", "upload")
    ]
    assert {one["state"] for one in checks} == {"ok"}
    assert next(one["message"] for one in checks if one["name"] == "role").startswith(role)


@pytest.mark.parametrize(
    ("options", "failed"),
    [
        (("--nats", "nats://127.0.0.1:1"), "tcp"),
        (("--nats", "tls://no-such-host.invalid:4222"), "dns"),
        (("--nats", "http://127.0.0.1"), "address"),
        (("--hotkey", "none"), "key"),
        (("--netuid", "47"), "connection"),
        (("--signers", STRANGER), "epoch"),
    ],
)
async def test_the_doctor_names_the_first_step_that_fails(run, options: tuple[str, ...], failed: str):
    checks = (await as_json(run, "doctor", *options, status=Status.FAILED))["checks"]
    first = next(one for one in checks if one["state"] == "failed")
    assert first["name"] == failed
    assert first["message"]
    names = [one["name"] for one in checks]
    assert (names[-1] == "later steps") is ("upload" not in names)
    plain = await run("doctor", *options)
    assert plain.exit_code == Status.FAILED
    assert "Traceback" not in plain.output


@pytest.mark.parametrize(
    ("options", "status", "code"),
    [
        (("--signers", STRANGER), Status.REFUSED, "wrong_receiver"),
        (("--netuid", "47"), Status.REFUSED, "connection_refused"),
        (("--network", "test"), Status.REFUSED, "connection_refused"),
        (("--nats", "nats://127.0.0.1:1"), Status.UNAVAILABLE, "no_reply"),
        (("--nats", "nats://192.0.2.1"), Status.USAGE, "insecure_server"),
        (("--wallet-path", "/nonexistent"), Status.USAGE, "wallet"),
        (("--profile", "none"), Status.USAGE, "profile"),
        (("--signers", "5F"), Status.USAGE, "usage"),
    ],
)
@pytest.mark.parametrize("command", ["current", "watch"])
async def test_a_wrong_service_or_key_is_one_error(
    run, command: str, options: tuple[str, ...], status: Status, code: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("zipcast.cli.client_commands.SILENCE_SECONDS", 0.2)
    told = await as_json(run, command, *options, status=status)
    assert told["code"] == code
    plain = await run(command, *options)
    assert plain.exit_code == status
    assert len(plain.stderr.splitlines()) == 1


async def test_a_request_for_curl_is_signed(run, ready: Ready, http: httpx.AsyncClient):
    told = await as_json(run, "curl", "current")
    assert told["url"].startswith(ready.http)
    answer = await http.request(told["method"], told["url"], headers=told["headers"])
    assert answer.status_code == httpx.codes.OK, answer.text
    named = await as_json(run, "curl", "/api/v1/auth/legacy", "--data", '{"accepted": true}')
    assert named["method"] == "POST"
    line = (await run("curl", "current")).stdout
    assert line.startswith("curl ")
    assert line.count("\n") == 1
    assert (await as_json(run, "curl", "nothing", status=Status.USAGE))["code"] == "usage"


async def test_a_file_of_a_wrong_size_is_refused_before_it_is_sent(run, tmp_path: Path):
    small = tmp_path / "small.json"
    small.write_text("{}")
    assert (await as_json(run, "upload", str(small), status=Status.USAGE))["code"] == "file_size"


async def test_a_validator_downloads_and_reports_an_ended_epoch(run, ready: Ready, tmp_path: Path):
    listings = tmp_path / "listings.json"
    listings.write_text("x" * 2_000)
    (key,) = (await as_json(run, "upload", str(listings)))["keys"]
    epoch_id = key.partition("/epoch=")[2].partition("/")[0]
    to = tmp_path / "downloads"
    arguments = ("download", epoch_id, "--miner", keypair(ready, "miner-6").ss58_address, "--to", str(to))
    downloaded: list[dict[str, Any]] = []

    async def sealed() -> bool:
        result = await run(*arguments, "--json", wallet="validator-2")
        told = json.loads(result.stdout)
        if result.exit_code != Status.OK:
            assert told["code"] == "epoch_not_ended"
            return False
        downloaded[:] = told["files"]
        return True

    await until(sealed)
    assert [one["key"] for one in downloaded] == [key]
    counted = await as_json(run, "uploads", epoch_id)
    assert [(one["key"], one["size"]) for one in counted["files"]] == [(key, 2_000)]
    assert (await as_json(run, "uploads", epoch_id, wallet="miner-7"))["files"] == []
    path = Path(downloaded[0]["path"])
    assert await asyncio.to_thread(path.read_bytes) == b"x" * 2_000
    assert path.is_relative_to(to / epoch_id / keypair(ready, "miner-6").ss58_address)
    again = await as_json(run, *arguments, wallet="validator-2")
    assert again["files"] == downloaded
    refused = await as_json(run, *arguments, status=Status.REFUSED)
    assert refused["code"] == "validator_required"

    report = tmp_path / "report.json"
    stated = {"epochId": epoch_id, "durationSeconds": 1, "minersEvaluated": 1, "listingsValidated": 1}
    report.write_text(json.dumps(stated))
    malformed = await as_json(
        run, "results", "submit", str(report), status=Status.USAGE, wallet="validator-2"
    )
    assert "topMiners" in malformed["message"]
    report.write_text(json.dumps({**stated, "topMiners": []}))
    submit = ("results", "submit", str(report), "--upload", str(listings))
    receipt = await as_json(run, *submit, wallet="validator-2")
    assert receipt["epochId"] == epoch_id
    assert len(receipt["files"]) == 1


async def test_a_table_of_zipcodes_cuts_nothing_at_80_columns(run):
    message = await as_json(run, "current")
    shown = (await run("current")).stdout
    assert "…" not in shown
    assert all(one["zipcode"] in shown for one in message["zipcodes"])
