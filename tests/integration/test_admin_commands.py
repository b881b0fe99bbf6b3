"""Tests how schedulers execute admin commands, on real servers: each once, and within the limits."""

import asyncio
import hashlib
import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from sqlalchemy import func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from structlog.testing import capture_logs

from devstack.logins import login_url
from devstack.servers import Servers
from schedulers.admin.actions import AdminActions
from schedulers.admin.queue import TOO_OLD, AdminQueue
from schedulers.epochs.preparation import Preparer
from service.lifecycle import end
from storage.database import admin_commands, epoch_inputs, epochs
from storage.database.admin_commands import Command
from storage.database.engine import open_engine
from storage.database.epochs import StoredEpoch
from storage.database.tables import AdminCommand
from tests.support.fakes import MINER_HOTKEY
from tests.support.operator_view import until
from tests.support.processes import wait_until
from tests.support.scheduling import (
    CALENDAR,
    TRUST,
    preparer,
    running_epoch,
    upcoming,
)
from zipcast.clock import SystemClock
from zipcast.protocol import envelope
from zipcast.protocol.errors import ErrorCode
from zipcast.protocol.messages.admin import EpochOutcome
from zipcast.protocol.messages.base import WireModel
from zipcast.protocol.messages.epochs import EpochMessage
from zipcast.protocol.verbs import Verb


async def ask(database: AsyncEngine, verb: Verb, **arguments: object) -> UUID:
    command_id = uuid4()
    async with database.begin() as connection:
        await admin_commands.queue(
            connection,
            command_id=command_id,
            hotkey=MINER_HOTKEY,
            command=verb,
            arguments=arguments,
            request_id="request-1",
            source="nats",
        )
    return command_id


async def found(database: AsyncEngine, command_id: UUID) -> Command:
    async with database.connect() as connection:
        command = await admin_commands.find(connection, command_id)
    assert command is not None
    return command


def queue_of(database: AsyncEngine, by: Preparer | None = None) -> AdminQueue:
    """Return a queue without a connection to nats-server, which commands about epochs do not need."""
    actions = AdminActions(by or preparer(database), None)  # type: ignore[arg-type]
    return AdminQueue(database, actions, SystemClock())


async def done(database: AsyncEngine, verb: Verb, **arguments: object) -> Command:
    """Return the command after a scheduler has executed it."""
    command_id = await ask(database, verb, **arguments)
    assert await queue_of(database).work_off_one()
    return await found(database, command_id)


async def message_of(database: AsyncEngine, epoch_id: str) -> EpochMessage:
    return envelope.verify((await stored_epoch(database, epoch_id)).envelope, TRUST).message


async def stored_epoch(database: AsyncEngine, epoch_id: str) -> StoredEpoch:
    async with database.connect() as connection:
        stored = await epochs.prepared_epoch(connection, epoch_id)
    assert stored is not None
    return stored


async def test_generating_makes_the_running_epoch_if_it_is_missing_then_the_next_one_and_no_other(database):
    running = await running_epoch()
    following, later = CALENDAR.after(running), CALENDAR.after(CALENDAR.after(running))
    early = await done(database, Verb.EPOCH_GENERATE, epochId=following.epoch_id)
    assert early.state == "failed"
    assert running.epoch_id in early.outcome["reason"]
    expected = [(running, True), (following, True), (following, False)]
    for interval, changed in expected:
        command = await done(database, Verb.EPOCH_GENERATE)
        assert command.outcome == {"kind": "epoch", "epochId": interval.epoch_id, "changed": changed}
        await preparer(database).prepare(interval)  # the round is stored
        assert (await message_of(database, interval.epoch_id)).epoch_start == interval.start_at
    named = await done(database, Verb.EPOCH_GENERATE, epochId=running.epoch_id)
    assert named.outcome == {"kind": "epoch", "epochId": running.epoch_id, "changed": False}
    refused = await done(database, Verb.EPOCH_GENERATE, epochId=later.epoch_id)
    assert (refused.state, following.epoch_id in refused.outcome["reason"]) == ("failed", True)


async def test_a_drawn_epoch_is_sealed_and_is_not_regenerated(database):
    first, second = upcoming(2)
    before = await preparer(database).prepare(first)
    for interval, code in ((first, ErrorCode.EPOCH_SEALED), (second, None)):
        command = await done(database, Verb.EPOCH_REGENERATE, epochId=interval.epoch_id)
        assert command.state == "failed"
        assert command.outcome["error"] == code
        assert interval.epoch_id in command.outcome["reason"]
    assert (await stored_epoch(database, first.epoch_id)).envelope == before.envelope


async def test_an_override_acts_on_the_first_epoch_not_yet_committed_and_on_no_other(database):
    before, first, second, third = upcoming(4)
    await preparer(database).prepare(before)
    late = await done(database, Verb.TARGET_OVERRIDE, epochId=first.epoch_id, targetListings=4000)
    assert late.state == "failed"
    assert second.epoch_id in late.outcome["reason"]
    for target in (3000, 4000):  # the last command counts
        command = await done(database, Verb.TARGET_OVERRIDE, epochId=second.epoch_id, targetListings=target)
        assert command.outcome == {"kind": "override", "epochId": second.epoch_id, "targetListings": target}
    usual = preparer(database).settings.target_listings
    targets = []
    for interval in (first, second, third):
        await preparer(database).prepare(interval)
        targets.append((await message_of(database, interval.epoch_id)).target_listings)
    assert targets == [usual, 4000, usual]
    # The previous epoch's message committed to this epoch's inputs.
    async with database.connect() as connection:
        inputs = await epoch_inputs.committed_inputs(connection, second.epoch_id)
    promise = (await message_of(database, first.epoch_id)).next_inputs_hash
    assert inputs is not None
    assert hashlib.sha256(inputs).hexdigest() == promise
    assert json.loads(inputs)["settings"]["target_listings"] == 4000


@pytest.mark.parametrize(
    ("epoch_id", "target"), [("2020-01-01T00-00-00", 4000), ("2100-01-01T00-00-01", 4000), (None, 1)]
)
async def test_an_override_that_could_not_be_kept_is_refused(database, epoch_id, target):
    epoch_id = epoch_id or upcoming(9)[-1].epoch_id
    command = await done(database, Verb.TARGET_OVERRIDE, epochId=epoch_id, targetListings=target)
    assert command.state == "failed"
    async with database.connect() as connection:
        found = await admin_commands.overridden_target(connection, epoch_id, Verb.TARGET_OVERRIDE)
    assert found is None


@pytest.mark.parametrize("target", [1, 999_999_999])
async def test_an_override_that_the_zipcodes_no_longer_come_to_stops_no_epoch(database, target):
    """Zipcodes may be deactivated after the command was executed."""
    first, second = upcoming(2)
    async with database.begin() as connection:
        await connection.execute(
            insert(AdminCommand).values(
                id=uuid4(),
                requested_at=datetime.now(UTC),
                hotkey="admin",
                command=Verb.TARGET_OVERRIDE,
                arguments={},
                request_id="1",
                source="nats",
                state="done",
                finished_at=datetime.now(UTC),
                outcome={"kind": "override", "epochId": second.epoch_id, "targetListings": target},
            )
        )
    usual = preparer(database).settings.target_listings
    with capture_logs() as logs:
        for interval in (first, second):
            await preparer(database).prepare(interval)
            assert (await message_of(database, interval.epoch_id)).target_listings == usual
    assert "target_override_unreachable" in [line["event"] for line in logs]


async def test_nothing_of_a_pending_epoch_shows_in_an_outcome_or_a_log(database, capsys):
    (interval,) = upcoming(1)
    running = await running_epoch()
    await preparer(database).prepare(running)
    generated = await done(database, Verb.EPOCH_GENERATE, epochId=interval.epoch_id)
    await preparer(database).prepare(interval)
    commands = [
        generated,
        await done(database, Verb.EPOCH_REGENERATE, epochId=interval.epoch_id),
        await done(database, Verb.TARGET_OVERRIDE, epochId=interval.epoch_id, targetListings=4000),
    ]
    message = await message_of(database, interval.epoch_id)
    async with database.connect() as connection:
        seed = await epochs.seed_of(connection, interval.epoch_id)
    shown = capsys.readouterr().out + json.dumps([command.outcome for command in commands])
    assert interval.epoch_id in shown
    words = set(re.findall(r"[0-9a-f]+", shown))
    assert not words & {message.nonce, seed, *(item.zipcode for item in message.zipcodes)}


@dataclass
class Counted:
    """Actions that only count their executions. The first ones wait until they are released."""

    executed: list[UUID] = field(default_factory=list)
    released: asyncio.Event = field(default_factory=asyncio.Event)

    async def execute(self, _: AsyncConnection, command: Command) -> WireModel:
        self.executed.append(command.id)
        await self.released.wait()
        return EpochOutcome(epoch_id="2026-11-22T04-00-00", changed=True)


@pytest_asyncio.fixture(loop_scope="session")
async def replicas(servers: Servers, database_url: str):
    """Return two schedulers' queues on one database, with a common count of executions."""
    url = login_url(servers.state, database_url, "schedulers")
    engines = [open_engine(url, application_name=f"replica-{number}") for number in (1, 2)]
    counted = Counted()
    yield [AdminQueue(engine, counted, SystemClock()) for engine in engines], counted  # type: ignore[arg-type]
    for engine in engines:
        await engine.dispose()


async def states(database: AsyncEngine) -> list[str]:
    async with database.connect() as connection:
        return list((await connection.execute(select(AdminCommand.state))).scalars())


async def test_two_replicas_execute_each_command_once(database, replicas):
    queues, counted = replicas
    asked = [await ask(database, Verb.EPOCH_GENERATE) for _ in range(20)]
    tasks = [asyncio.create_task(queue.run()) for queue in queues]
    # Both schedulers execute one command, and nobody the other.
    await wait_until(lambda: len(counted.executed) == 2)
    counted.released.set()
    await until(lambda: none_is_queued(database))
    await end(tasks)
    assert sorted(counted.executed) == sorted(asked)
    assert await states(database) == ["done"] * 20


async def none_is_queued(database: AsyncEngine) -> bool:
    return "queued" not in await states(database)


async def test_a_command_whose_replica_died_over_it_is_left_to_the_next(database, replicas):
    (first, second), counted = replicas
    command_id = await ask(database, Verb.EPOCH_GENERATE)
    dying = asyncio.create_task(first.work_off_one())
    await wait_until(lambda: counted.executed)
    assert not await second.work_off_one()  # it is being executed
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)
    counted.released.set()
    assert await second.work_off_one()
    assert (await found(database, command_id)).state == "done"


async def test_a_command_that_waited_for_too_long_is_not_executed(database, replicas):
    (queue, _), counted = replicas
    command_id = await ask(database, Verb.EPOCH_GENERATE)
    async with database.begin() as connection:
        past = func.clock_timestamp() - TOO_OLD - timedelta(seconds=1)
        await connection.execute(update(AdminCommand).values(requested_at=past))
    assert await queue.work_off_one()
    command = await found(database, command_id)
    assert (command.state, counted.executed) == ("failed", [])
    assert "ten minutes" in command.outcome["reason"]


@pytest.mark.parametrize("value", ["1e3900", "[" * 1900 + "]" * 1900])
async def test_a_command_that_cannot_be_decoded_is_failed_and_the_next_goes_on(database, value):
    """Somebody with the responder's login could write such a row."""
    command_id = await ask(database, Verb.TARGET_OVERRIDE)
    async with database.begin() as connection:
        statement = "update admin_commands set arguments = cast(:arguments as jsonb)"
        await connection.execute(text(statement), {"arguments": f'{{"epochId": {value}}}'})
    assert await queue_of(database).work_off_one()
    assert (await found(database, command_id)).state == "failed"
    assert (await done(database, Verb.EPOCH_GENERATE)).state == "done"


async def test_a_command_that_breaks_is_failed_with_nothing_of_why_and_the_next_goes_on(database):
    broken = await done(database, Verb.TARGET_OVERRIDE, epochId="2026-11-22T04-00-00")
    assert broken.state == "failed"
    assert broken.outcome["reason"] == "ValidationError: see the scheduler's log"
    unknown = await done(database, Verb.S3_MINER_UPLOAD)
    assert unknown.state == "failed"
    assert (await done(database, Verb.EPOCH_GENERATE)).state == "done"
