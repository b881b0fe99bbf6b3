"""Admin requests on a running stack: both doors, who is refused, what is recorded, kicking."""

import asyncio
import json
import time

import httpx
import pytest
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NatsTimeoutError
from sqlalchemy import select
from typer.testing import CliRunner, Result

from devstack.stack import Stack
from storage.database.engine import open_engine
from storage.database.tables import AdminCommand, RequestRefusal
from tests.support.operator_view import log_lines, until
from tests.support.people import (
    admin,
    admin_keypair,
    client,
    keypair,
    legacy,
    raw_connection,
    signed_headers,
)
from tests.support.processes import wait_until
from zipcast.cli.app import app
from zipcast.client.local_stack import Ready
from zipcast.protocol import btauth, subjects
from zipcast.protocol.errors import ErrorCode, ServiceError
from zipcast.protocol.hotkeys import Keypair, parse_hotkey
from zipcast.protocol.messages.admin import (
    AdminCommandReply,
    ConnectionsKickRequest,
    ConnectionsListRequest,
    ConnectionsOutcome,
    EpochGenerateRequest,
    EpochOutcome,
    EpochRegenerateRequest,
    FailedOutcome,
    KickOutcome,
)
from zipcast.protocol.verbs import ADMIN_VERBS, Verb

MALFORMED = [
    (Verb.EPOCH_REGENERATE, {}),
    (Verb.EPOCH_REGENERATE, {"epochId": "../.."}),
    (Verb.TARGET_OVERRIDE, {"epochId": "2100-01-01T00-00-00", "targetListings": "5000"}),
    (Verb.CONNECTIONS_KICK, {"hotkey": "*"}),
    (Verb.COMMANDS_GET, {"commandId": "1"}),
]


def signed(ready: Ready, signer: Keypair, verb: Verb, body: bytes) -> dict[str, str]:
    return btauth.sign(
        signer,
        method="POST",
        path=f"/api/v1/admin/{verb}",
        body=body,
        receiver=ready.signer,
        nonce_ns=time.time_ns(),
    )


async def post(
    ready: Ready, http: httpx.AsyncClient, signer: Keypair, verb: Verb, body: object, **more: str
) -> httpx.Response:
    content = json.dumps(body).encode()
    headers = signed(ready, signer, verb, content) | more
    return await http.post(f"/api/v1/admin/{verb}", content=content, headers=headers)


async def rows(ready: Ready, column: object, where: object) -> list[object]:
    engine = open_engine(ready.postgres, application_name="test")
    async with engine.connect() as connection:
        found = list((await connection.execute(select(column).where(where))).scalars())  # type: ignore[call-overload]
    await engine.dispose()
    return found


async def test_an_admin_off_the_subnet_asks_over_nats_and_sees_the_outcome(ready: Ready):
    async with admin(ready) as asking:
        reply = await asking.do(EpochGenerateRequest())
        assert reply.state == "done"
        assert isinstance(reply.outcome, EpochOutcome)
        assert await asking.command(reply.command_id) == reply
        listed = (await asking.commands()).commands
    (own,) = [one for one in listed if one.command_id == reply.command_id]
    assert (own.hotkey, own.command) == (admin_keypair(ready).ss58_address, "epoch.generate")


async def test_the_same_over_http(ready: Ready, http: httpx.AsyncClient):
    signer = admin_keypair(ready)
    answer = await post(ready, http, signer, Verb.CONNECTIONS_LIST, {})
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    reply = AdminCommandReply.model_validate_json(answer.content)
    assert isinstance(reply.outcome, ConnectionsOutcome)
    again = await post(ready, http, signer, Verb.COMMANDS_GET, {"commandId": reply.command_id})
    assert AdminCommandReply.model_validate_json(again.content) == reply
    listed = await post(ready, http, signer, Verb.COMMANDS_LIST, {})
    assert reply.command_id in {one["commandId"] for one in listed.json()["commands"]}
    unknown = await post(
        ready, http, signer, Verb.COMMANDS_GET, {"commandId": "00000000-0000-4000-8000-000000000000"}
    )
    assert (unknown.status_code, unknown.json()["error"]) == (404, "command_not_found")


@pytest.mark.parametrize("verb", sorted(ADMIN_VERBS))
@pytest.mark.parametrize("name", ["miner-1", "validator-1", None])
async def test_nobody_else_is_an_admin_over_http(ready: Ready, http: httpx.AsyncClient, verb: Verb, name):
    signer = keypair(ready, name) if name else Keypair.create_from_uri("//Mallory")
    answer = await post(ready, http, signer, verb, {})
    assert (answer.status_code, answer.json()["error"]) == (403, "admin_required")


@pytest.mark.parametrize("name", ["miner-1", "validator-1"])
async def test_nobody_else_is_an_admin_over_nats(ready: Ready, name: str):
    async with admin(ready, keypair(ready, name)) as asking:
        with pytest.raises(ServiceError) as refused:
            await asking.do(ConnectionsKickRequest(hotkey=keypair(ready, "miner-2").ss58_address))
    assert refused.value.code is ErrorCode.ADMIN_REQUIRED


async def test_a_validator_cannot_publish_what_an_admin_signed(ready: Ready):
    """On the admin's own subject, with the admin's own signature: nats-server lets it not pass."""
    signer = admin_keypair(ready)
    connection = await raw_connection(ready, keypair(ready, "validator-1"))
    subject, body = subjects.request(parse_hotkey(signer.ss58_address), Verb.EPOCH_GENERATE), b"{}"
    with pytest.raises((NatsTimeoutError, NoRespondersError)):
        await connection.request(
            subject, body, timeout=1, headers=signed_headers(ready, signer, subject, body)
        )
    await connection.close()


async def test_the_admin_is_no_participant(ready: Ready):
    signer = admin_keypair(ready)
    connection = await raw_connection(ready, signer)
    subject = subjects.request(parse_hotkey(signer.ss58_address), Verb.EPOCH_CURRENT)
    with pytest.raises((NatsTimeoutError, NoRespondersError)):
        await connection.request(
            subject, b"{}", timeout=1, headers=signed_headers(ready, signer, subject, b"{}")
        )
    await connection.close()


async def test_over_http_a_legacy_commitment_opens_nothing(ready: Ready, http: httpx.AsyncClient):
    body = legacy(admin_keypair(ready), "zipcode:assignment:current:{timestamp}")
    answer = await http.post("/api/v1/admin/epoch.generate", json=body)
    assert (answer.status_code, answer.json()["error"]) == (401, "malformed_auth")


async def test_a_signature_for_another_command_opens_nothing(ready: Ready, http: httpx.AsyncClient):
    headers = signed(ready, admin_keypair(ready), Verb.COMMANDS_LIST, b"{}")
    answer = await http.post("/api/v1/admin/epoch.generate", content=b"{}", headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (401, "bad_signature")


@pytest.mark.parametrize(("verb", "body"), MALFORMED)
async def test_what_is_malformed_is_not_queued(ready: Ready, http: httpx.AsyncClient, verb: Verb, body):
    answer = await post(ready, http, admin_keypair(ready), verb, body)
    assert (answer.status_code, answer.json()["error"]) == (400, "malformed_request")
    assert not await rows(ready, AdminCommand.id, AdminCommand.request_id == answer.headers["x-request-id"])


async def test_the_same_signed_request_sent_again_is_one_command(ready: Ready, http: httpx.AsyncClient):
    body = json.dumps({"hotkey": keypair(ready, "miner-8").ss58_address}).encode()
    headers = signed(ready, admin_keypair(ready), Verb.CONNECTIONS_KICK, body)
    headers["X-Request-Id"] = "kicked-once"
    url = "/api/v1/admin/connections.kick"
    answers = [await http.post(url, content=body, headers=headers) for _ in range(3)]
    assert len({answer.json()["commandId"] for answer in answers}) == 1
    assert len(await rows(ready, AdminCommand.id, AdminCommand.request_id == "kicked-once")) == 1


async def test_a_running_epoch_is_not_regenerated(ready: Ready):
    async with client(ready, "miner-1") as running, admin(ready) as asking:
        epoch_id = (await running.current()).message.epoch_id
        reply = await asking.do(EpochRegenerateRequest(epoch_id=epoch_id))
    assert reply.state == "failed"
    assert isinstance(reply.outcome, FailedOutcome)
    assert epoch_id in reply.outcome.reason


async def test_a_kicked_client_comes_back_and_the_others_notice_nothing(ready: Ready):
    kicked, other = keypair(ready, "miner-3").ss58_address, keypair(ready, "miner-4").ss58_address
    async with (
        client(ready, "miner-3") as miner,
        client(ready, "miner-4") as bystander,
        admin(ready) as asking,
    ):
        page = (await asking.do(ConnectionsListRequest(hotkey=kicked))).outcome
        assert isinstance(page, ConnectionsOutcome)
        assert {(one.hotkey, one.address) for one in page.connections} == {(kicked, "127.0.0.1")}
        everybody = (await asking.do(ConnectionsListRequest())).outcome
        assert isinstance(everybody, ConnectionsOutcome)
        assert {kicked, other, admin_keypair(ready).ss58_address} <= {
            one.hotkey for one in everybody.connections
        }
        reply = await asking.do(ConnectionsKickRequest(hotkey=kicked))
        assert reply.outcome == KickOutcome(hotkey=kicked, kicked=page.total)
        await wait_until(lambda: miner.connections == 2 and miner.is_informed)
        assert (await miner.current()).message.epoch_id
        assert bystander.connections == 1


async def test_every_request_is_a_line_accepted_ones_are_rows_refused_ones_are_refusals(
    stack: Stack, ready: Ready, http: httpx.AsyncClient
):
    signer, stranger = admin_keypair(ready), keypair(ready, "validator-2")
    kept = await post(ready, http, signer, Verb.EPOCH_GENERATE, {}, **{"X-Request-Id": "accepted-1"})
    assert kept.status_code == 200
    await post(ready, http, stranger, Verb.EPOCH_GENERATE, {}, **{"X-Request-Id": "refused-1"})

    def lines(process: str, request_id: str) -> list[dict[str, object]]:
        told = log_lines(stack, process)
        wanted = ("admin_command", request_id)
        return [line for line in told if (line["action"], line.get("correlation_id")) == wanted]

    await wait_until(lambda: lines("responder", "accepted-1") and lines("http_bridge", "refused-1"))
    (accepted,), (refused,) = lines("responder", "accepted-1"), lines("http_bridge", "refused-1")
    named = ("command", "hotkey", "result")
    assert [accepted[name] for name in named] == ["epoch.generate", signer.ss58_address, "accepted"]
    assert [refused[name] for name in named] == ["epoch.generate", stranger.ss58_address, "admin_required"]
    assert await rows(ready, AdminCommand.hotkey, AdminCommand.request_id == "accepted-1") == [
        signer.ss58_address
    ]

    async def is_refusal() -> bool:
        return await rows(ready, RequestRefusal.error, RequestRefusal.request_id == "refused-1") == [
            "admin_required"
        ]

    await until(is_refusal)


async def invoke(stack: Stack, *arguments: str) -> Result:
    """The command in a thread, as from a shell; `--ready` goes last."""
    given = [*arguments, "--ready", str(stack.servers.state.ready)]
    env = {"COLUMNS": "200", "TERM": "dumb"}
    return await asyncio.to_thread(CliRunner().invoke, app, ["admin", *given], env=env)


async def test_the_commands_use_the_local_stacks_admin(stack: Stack, ready: Ready):
    shown = await invoke(stack, "connections")
    assert shown.exit_code == 0, shown.output
    assert admin_keypair(ready).ss58_address in shown.output
    assert "in all" in shown.output
    hotkey = keypair(ready, "miner-8").ss58_address
    assert (await invoke(stack, "kick", hotkey)).output == "kicked: 0\n"
    assert (await invoke(stack, "epoch", "generate")).exit_code == 0
    late = await invoke(stack, "target", "override", "2020-01-01T00-00-00", "5000")
    assert late.exit_code == 1
    malformed = await invoke(stack, "epoch", "regenerate", "yesterday")
    assert malformed.exit_code == 1
    assert malformed.stderr == "epoch_id: Value error, an epoch id must have the form YYYY-MM-DDTHH-MM-SS.\n"
    for _ in range(50):  # it may take longer than the reply waits for it
        newest = json.loads((await invoke(stack, "commands", "--json")).stdout)["commands"][0]
        if newest["state"] != "queued":
            break
        await asyncio.sleep(0.2)
    assert (newest["command"], newest["state"]) == ("target.override", "failed")
    one = await invoke(stack, "commands", newest["commandId"], "--json")
    outcome = json.loads(one.stdout)["outcome"]
    assert outcome["kind"] == "failed"
    assert "2020-01-01T00-00-00" in str(outcome)
    as_miner = await invoke(stack, "kick", hotkey, "--wallet-path", ready.wallets, "--wallet", "miner-1")
    assert (as_miner.exit_code, as_miner.stderr.startswith("admin_required")) == (3, True)
