"""Tests what each process's PostgreSQL login may and may not do, on a real PostgreSQL."""

import json
from datetime import UTC, datetime

import psycopg
import pytest
import pytest_asyncio
from sqlalchemy.exc import ProgrammingError

from devstack.logins import ROLES, login_url
from devstack.servers import Servers
from storage.database.engine import open_engine
from storage.database.refusals import Refusal, record_refusals
from tests.support.scheduling import database_with_sample, open_all, preparer, upcoming

pytestmark = pytest.mark.long

READERS = ["responder", "http_bridge"]
OPENED = ["epochs", "epoch_assignments", "epoch_messages"]


@pytest_asyncio.fixture(loop_scope="session")
async def pending(database_url: str) -> str:
    """Return the id of the only epoch of the database, which does not start within the next hour."""
    engine = await database_with_sample(database_url)
    _, interval = upcoming(2)
    await preparer(engine).prepare(interval)
    await engine.dispose()
    return interval.epoch_id


@pytest.fixture
def url_of(servers: Servers, database_url: str):
    return lambda process: login_url(servers.state, database_url, process)


async def ask(url: str, query: str) -> list[tuple[object, ...]]:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        cursor = await connection.execute(query)
        return await cursor.fetchall() if cursor.description else []


async def start_it(database_url: str) -> None:
    """Open the epoch, and move its start an hour into the past."""
    engine = open_engine(database_url, application_name="test")
    await open_all(engine)
    await engine.dispose()
    await ask(
        database_url, "update epochs set start_at = now() - interval '1 h', end_at = now() + interval '3 h'"
    )


@pytest.mark.parametrize("process", READERS)
async def test_an_epoch_shows_from_its_start_on(pending, url_of, database_url, process):
    queries = [f"select count(*) from {table} where epoch_id = '{pending}'" for table in OPENED]
    inputs = f"select count(started_inputs('{pending}'))"
    for query in (*queries, inputs):
        assert await ask(url_of(process), query) == [(0,)], query
    assert await ask(url_of("schedulers"), "select count(*) from pending_epochs") == [(1,)]
    await start_it(database_url)
    for query in (*queries, inputs):
        assert await ask(url_of(process), query) != [(0,)], query


@pytest.mark.parametrize("process", READERS)
async def test_the_seed_of_a_running_epoch_is_out_of_reach_and_shows_when_it_has_ended(
    pending, url_of, database_url, process
):
    await start_it(database_url)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await ask(url_of(process), "select seed from epochs")
    assert await ask(url_of(process), "select * from revealed_seeds") == []
    # PostgreSQL may evaluate the condition of a query before that of the view. It must not be given the seed
    # of the running epoch, because its error would reveal the seed.
    for condition in ("to_date(seed, 'YYYY-MM') is null", "1 / (length(seed) - 64) = 1", "seed::int = 0"):
        for scan in ("on", "off"):
            query = (
                f"select set_config('enable_seqscan', '{scan}', false) from revealed_seeds where {condition}"
            )
            assert await ask(url_of(process), query) == [], condition
    ((inputs,),) = await ask(url_of(process), f"select started_inputs('{pending}')")
    assert json.loads(bytes(inputs))["settings"]["target_listings"] > 0
    await ask(database_url, "update epochs set end_at = now() - interval '1 s'")
    ((epoch_id, seed),) = await ask(url_of(process), "select * from revealed_seeds")
    assert epoch_id == pending
    assert await ask(database_url, "select seed from epochs") == [(seed,)]


@pytest.mark.parametrize("process", READERS)
async def test_that_the_next_epoch_is_prepared_may_be_known(pending, url_of, process):
    assert await ask(url_of(process), "select next_epoch_is_prepared()") == [(True,)]


REFUSED = {
    "schedulers": [
        "insert into credential_issuances default values",
        "update credential_issuances set outcome = null",
        "delete from credential_issuances",
        "update epoch_messages set signer = 'x'",
        "delete from epoch_messages",
        "delete from epochs",
        "update zipcodes set active = false",
        "delete from validator_results",
    ],
    "responder": [
        "select * from pending_epochs",
        "select * from epoch_inputs",
        "select * from epoch_honeypots",
        "select * from scheduler_locks",
        "select epoch_id from epochs for key share",
        "lock table epochs in row exclusive mode",
        "lock table miner_submissions in share mode",
        "update epochs set status = 'missed'",
        "update epochs set signals_computed_at = now()",
        "delete from validator_results",
        "delete from miner_signals",
        "update miner_signals set kind = 'x'",
        "insert into epochs default values",
        "delete from epoch_assignments",
        "insert into epoch_messages default values",
        "update credential_issuances set hotkey = 'x'",
        "delete from credential_issuances",
        "update credential_issuances set expires_at = now()",
        "delete from validation_audit",
        "insert into registry_snapshots default values",
        "update admin_commands set state = 'done'",
        "insert into admin_commands (state) values ('done')",
        "insert into admin_commands (outcome) values ('{}')",
        "insert into admin_commands (requested_at) values ('4000-01-01 BC')",
        "insert into request_refusals (id) overriding system value values (1)",
        "insert into validation_audit (id) overriding system value values (1)",
        "update zipcodes set active = false",
        "select add_issuance_days()",
        "select drop_issuance_days(now())",
    ],
    "http_bridge": [
        "insert into credential_issuances default values",
        "select * from credential_issuances",
        "select * from admin_commands",
        "insert into miner_submissions default values",
        "insert into validator_results default values",
        "insert into validation_audit default values",
        "insert into miner_signals default values",
        "update upload_seals set changes_checked_at = now()",
        "update epochs set status = 'missed'",
        "select * from validator_results",
        "select * from validation_audit",
        "select * from pending_epochs",
        "select * from epoch_inputs",
        "select * from epoch_honeypots",
        "select * from scheduler_locks",
        "select * from report_locks",
        "select epoch_id from epochs for key share",
        "lock table epochs in row share mode",
        "delete from epoch_assignments",
        "insert into epoch_messages default values",
        "insert into registry_snapshots default values",
        "select * from request_refusals",
        "insert into request_refusals (id) overriding system value values (1)",
        "select add_issuance_days()",
        "select drop_issuance_days(now())",
    ],
}


@pytest.mark.parametrize(("process", "statement"), [(p, s) for p, all_ in REFUSED.items() for s in all_])
async def test_what_a_process_does_not_need_it_may_not(url_of, process, statement):
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await ask(url_of(process), statement)


@pytest.mark.parametrize("time", ["4000-01-01 BC", "10000-01-01", "infinity", "-infinity"])
async def test_no_time_that_python_cannot_hold_is_written_for_others_to_read(url_of, time: str):
    """Whoever read such a row would fail at each attempt."""
    statements = [
        f"insert into legacy_opt_outs values ('5X', '{time}', 'r')",
        "insert into request_refusals (refused_at, process, verb, error, source, request_id) "
        f"values ('{time}', 'responder', 'epoch.current', 'not_registered', 'nats', 'r')",
    ]
    for statement in statements:
        with pytest.raises(psycopg.errors.CheckViolation, match="times"):
            await ask(url_of("responder"), statement)


LISTS = "(select jsonb_agg('[]'::jsonb) from generate_series(1, 200000))"
TOO_LARGE = {
    "admin_commands": "insert into admin_commands (id, hotkey, command, arguments, request_id, source) "
    f"values (gen_random_uuid(), '5X', 'epoch.generate', {LISTS}, 'r', 'nats')",
    "a text": "insert into admin_commands (id, hotkey, command, arguments, request_id, source) "
    "values (gen_random_uuid(), '5X', 'epoch.generate', '{}', repeat('r', 5000), 'nats')",
    "request_refusals": "insert into request_refusals "
    "(refused_at, process, verb, error, hotkey, source, request_id) "
    "values (now(), 'responder', 'miner.status', 'nonce_mismatch', repeat('5', 5000), 'nats', 'r')",
    "legacy_opt_outs": "insert into legacy_opt_outs values (repeat('5', 2000), now(), 'r')",
    "validation_audit": "insert into validation_audit (result_id, epoch_id, miner_hotkey, zipcode, "
    "validation_type, result, score, listings_checked, issues) values (gen_random_uuid(), 'e', '5X', "
    "'15001', 'basic', 'pass', 1, 1, (select array_agg(''::text) from generate_series(1, 200000)))",
    "upload_manifests": "insert into upload_manifests "
    "(epoch_id, hotkey, object_key, version_id, size_bytes, etag, stored_at, sealed_at) "
    "values ('e', '5X', 'k', 'v', 1, repeat('e', 5000), now(), now())",
}


@pytest.mark.parametrize("statement", TOO_LARGE.values(), ids=TOO_LARGE)
async def test_nothing_is_written_that_takes_its_reader_seconds_to_decode(url_of, statement: str):
    """The schedulers read these rows on the event loop on which epochs start."""
    with pytest.raises(psycopg.errors.CheckViolation, match="sizes"):
        await ask(url_of("responder"), statement)


@pytest.mark.parametrize("process", READERS)
@pytest.mark.parametrize("count", [1, 2])
async def test_refusals_are_written_one_by_one_and_together(url_of, database_url, process, count):
    engine = open_engine(url_of(process), application_name="test")
    written_by = process.removeprefix("http_")
    refusal = Refusal(datetime.now(UTC), written_by, "epoch.generate", "admin_required", None, "nats", "r")
    async with engine.begin() as connection:
        await record_refusals(connection, [refusal] * count)
    await engine.dispose()
    assert await ask(database_url, "select count(*) from request_refusals") == [(count,)]


@pytest.mark.parametrize("process", ROLES)
@pytest.mark.parametrize(
    "statement",
    [
        "create table zipcast.mine (id int)",
        "create schema mine",
        "drop table zipcodes",
        "lock table migration_lock in access share mode",
    ],
)
async def test_no_process_may_change_the_schema(url_of, process, statement):
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await ask(url_of(process), statement)


@pytest.mark.parametrize("process", ROLES)
async def test_no_login_is_more_than_a_member_of_its_role(url_of, process):
    query = (
        "select rolsuper, rolcreaterole, rolcreatedb, rolbypassrls from pg_roles where rolname = current_user"
    )
    assert await ask(url_of(process), query) == [(False, False, False, False)]


PARTITION = "credential_issuances_' || to_char({day}, 'YYYYMMDD')"
ISSUED = (
    "insert into credential_issuances (signed_on, hotkey, request_key, body_sha256, issued_at, expires_at, "
    "role, kind, bucket, prefix, request_id, source) values ({day}, 'h', 'n', repeat('0', 64), {day}, "
    "{day} + interval '1 h', 'miner', 's3.miner-upload', 'b', 'p', 'r', 'nats')"
)
TODAY = "(now() at time zone 'UTC')::date"


async def test_credentials_have_a_partition_for_each_day_of_the_coming_week(url_of, database_url):
    query = "select count(*) from pg_inherits where inhparent = 'credential_issuances'::regclass"
    assert await ask(database_url, query) == [(9,)]
    await ask(url_of("schedulers"), "select add_issuance_days()")
    assert await ask(database_url, query) == [(9,)]


async def test_a_day_of_credentials_is_dropped_as_a_whole_and_none_of_the_last_thirty(url_of, database_url):
    for days in (31, 29):
        day = f"{TODAY} - {days}"
        await ask(
            database_url,
            f"do $$ begin execute 'create table {PARTITION.format(day=day)} || ' partition of "
            f"credential_issuances for values from (' || quote_literal({day}) || ') to (' || "
            f"quote_literal({day} + 1) || ')'; end $$",
        )
        await ask(database_url, ISSUED.format(day=day))
    await ask(database_url, ISSUED.format(day=TODAY))
    assert await ask(url_of("schedulers"), "select drop_issuance_days(now())") == [(1,)]
    query = f"select {TODAY} - signed_on from credential_issuances order by 1"
    assert await ask(database_url, query) == [(0,), (29,)]


@pytest.mark.parametrize(("process", "foreign"), [("responder", "bridge"), ("http_bridge", "responder")])
async def test_a_process_writes_refusals_in_its_own_name_alone(url_of, process, foreign):
    engine = open_engine(url_of(process), application_name="test")
    forged = Refusal(datetime.now(UTC), foreign, "miner.status", "nonce_mismatch", "victim", "nats", "r")
    with pytest.raises(ProgrammingError, match="row-level security"):
        async with engine.begin() as connection:
            await record_refusals(connection, [forged])
    await engine.dispose()


async def test_reports_show_to_the_bridge_from_their_reveal_on(pending, url_of, database_url):
    await start_it(database_url)
    await ask(
        database_url,
        "with report as (insert into validator_results (id, epoch_id, hotkey, alpha_stake_rao, reported_at, "
        "received_at, duration_seconds, miners_evaluated, listings_validated, top_3_miners, files, "
        "body_sha256, request_id) select gen_random_uuid(), epoch_id, 'v', 1, now(), now(), 1, 1, 1, '[]', "
        "'[]', repeat('0', 64), 'r' from epochs returning id, epoch_id) "
        "insert into validation_audit (result_id, epoch_id, miner_hotkey, zipcode, validation_type, result, "
        "score, listings_checked) select id, epoch_id, 'm', '19104', 'full', 'pass', 1, 1 from report",
    )
    functions = [
        f"select count(*) from {name}('{pending}')" for name in ("revealed_results", "revealed_audit")
    ]
    for end, shown in (("+ interval '1 h'", 0), ("- interval '1 h'", 0), ("- interval '5 h'", 1)):
        await ask(
            database_url,
            f"update epochs set start_at = now() {end} - interval '4 h', end_at = now() {end}",
        )
        for function in functions:
            assert await ask(url_of("http_bridge"), function) == [(shown,)], end
    for table in ("validator_results", "validation_audit"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await ask(url_of("http_bridge"), f"select * from {table}")
