"""Tests what the logins of bridge and responder can learn about an epoch before its start from PostgreSQL
itself: rows, plans, sizes, statistics and locks.

Two databases are compared. In one, a small epoch is prepared that seldom has honeypots; in the other, a large
one with some. Each login must see the same in both.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import psycopg
import pytest
import pytest_asyncio

from devstack.logins import login_url
from devstack.servers import Servers
from storage.database.pending_epochs import pending_epochs
from tests.support.scheduling import database_with_sample, open_all, preparer, upcoming
from zipcast.selection.honeypots import HoneypotSettings

READERS = ("responder", "http_bridge")
# These tables have data of an epoch before it is opened or revealed.
HIDDEN = (
    *("pending_epochs", "epoch_inputs", "epoch_honeypots", "scheduler_locks"),
    *("epoch_drafts", "beacon_rounds"),
)
# The number of false counts of an import is not secret, because it follows from the settings.
OF_AN_IMPORT = {
    *("zipcode_honeypots", "pk_zipcode_honeypots", "retired_honeypots", "pk_retired_honeypots"),
    # Each row of an import looks up its import.
    *("zipcode_imports", "pk_zipcode_imports"),
}
SMALL = {"target_listings": 1_500}
LARGE = {"target_listings": 30_000}


@dataclass
class Prepared:
    """A database with one prepared epoch, and its zipcodes. `shown` has what each login saw in each view
    right after the preparation."""

    servers: Servers
    url: str
    epoch_id: str
    zipcodes: list[str]
    shown: dict[tuple[str, str], list[tuple[Any, ...]]] = field(default_factory=dict)

    def login(self, process: str) -> str:
        return login_url(self.servers.state, self.url, process)

    async def ask(self, process: str, query: str, *values: object) -> list[tuple[Any, ...]]:
        async with await psycopg.AsyncConnection.connect(self.login(process)) as connection:
            cursor = await connection.execute(query.encode(), values)
            return await cursor.fetchall() if cursor.description else []


async def prepared(servers: Servers, settings: dict[str, int], honeypots: float) -> Prepared:
    url = await servers.fresh_database()
    engine = await database_with_sample(url)
    (interval,) = upcoming(1)
    of = replace(preparer(engine, **settings), honeypots=HoneypotSettings(probability=honeypots))
    await of.prepare(interval)
    async with engine.connect() as connection:
        (pending,) = await pending_epochs(connection)
    await engine.dispose()  # PostgreSQL adds up the counts of a session when it ends
    zipcodes = [one.zipcode for one in pending.prepared.message.zipcodes]
    made = Prepared(servers, url, interval.epoch_id, zipcodes)
    for process in READERS:
        made.shown |= {(process, view): await made.ask(process, query) for view, query in SHOWN.items()}
    return made


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def pair(servers: Servers):
    small, large = await prepared(servers, SMALL, 0.2), await prepared(servers, LARGE, 0.9)
    assert len(large.zipcodes) > 3 * len(small.zipcodes)
    yield small, large
    for one in (small, large):
        await servers.drop_database(one.url)


async def readable(of: Prepared, process: str) -> list[str]:
    query = (
        "select relname::text from pg_class join pg_namespace n on n.oid = relnamespace "
        "where nspname = 'zipcast' and relkind in ('r', 'v', 'p') "
        "and has_any_column_privilege(pg_class.oid, 'select') order by 1"
    )
    return [name for (name,) in await of.ask(process, query)]


@pytest.mark.parametrize("process", READERS)
@pytest.mark.parametrize("table", HIDDEN)
@pytest.mark.parametrize(
    "query",
    [
        "explain analyze select from {}",
        "explain select from {}",
        "select count(*) from {}",
        "select from {} for update",
        "select from {} for key share",
        "lock table {} in access share mode",
        "lock table {} in access exclusive mode",
        "copy {} to stdout",
        "analyze {}",
        "select tableoid from {}",
        "create statistics on epoch_id, content from {}",
    ],
)
async def test_what_is_hidden_can_be_asked_nothing(pair, process, table, query):
    if query.startswith("analyze"):
        # PostgreSQL leaves this table out with a warning, so nothing of it is counted.
        await pair[1].ask(process, query.format(table))
        analyzed = "select last_analyze is null from pg_stat_user_tables where relname = %s"
        assert await pair[1].ask(process, analyzed, table) == [(True,)]
        return
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await pair[1].ask(process, query.format(table))


@pytest.mark.parametrize("process", READERS)
async def test_no_plan_over_what_is_readable_counts_a_zipcode_of_the_pending_epoch(pair, process):
    """`EXPLAIN ANALYZE` counts the rows that a filter or a policy removes, so there must be no such rows."""
    _, large = pair
    tables = await readable(large, process)
    assert {"epochs", "epoch_assignments", "epoch_messages"} <= set(tables)
    assert not set(HIDDEN) & set(tables)
    for table in ("epochs", "epoch_assignments", "epoch_messages"):
        ((plan,),) = await large.ask(process, f"explain (analyze, format json) select from {table}")
        assert [rows for rows in _numbers(plan, ("Actual Rows", "Rows Removed by Filter")) if rows] == [], (
            table
        )
    probe = "explain (analyze, format json) select from epoch_assignments where zipcode = %s"
    for zipcode in large.zipcodes[:10]:
        ((plan,),) = await large.ask(process, probe, zipcode)
        assert [rows for rows in _numbers(plan, ("Actual Rows", "Rows Removed by Filter")) if rows] == []


def _numbers(plan: Any, names: tuple[str, ...]) -> Iterator[float]:
    if isinstance(plan, list):
        for one in plan:
            yield from _numbers(one, names)
    elif isinstance(plan, dict):
        for name, value in plan.items():
            if name in names:
                yield value
            else:
                yield from _numbers(value, names)


# This lists every relation of the schema with its TOAST table and indexes, under names that are the same in
# both databases.
_RELATIONS = """
    with ours as (
        select c.oid, c.relname::text as name, c.reltoastrelid from pg_class c
        join pg_namespace n on n.oid = c.relnamespace where n.nspname = 'zipcast'
    ), named as (
        select oid, name from ours
        union all select t.oid, 'toast of ' || o.name from ours o join pg_class t on t.oid = o.reltoastrelid
        union all select i.indexrelid, 'toast index of ' || o.name
            from ours o join pg_index i on i.indrelid = o.reltoastrelid
    )
"""
SHOWN = {
    "sizes": _RELATIONS
    + "select name, pg_relation_size(oid), pg_total_relation_size(oid), relpages, reltuples "
    "from named join pg_class using (oid) order by 1",
    "tuples": _RELATIONS
    + "select name, n_tup_ins, n_tup_upd, n_tup_del, n_live_tup, n_dead_tup, seq_scan, seq_tup_read, "
    "idx_scan, idx_tup_fetch from named join pg_stat_all_tables on relid = oid order by 1",
    "indexes": _RELATIONS + "select name, idx_scan, idx_tup_read, idx_tup_fetch from named "
    "join pg_stat_all_indexes on indexrelid = oid order by 1",
    "columns": "select tablename, attname, n_distinct, most_common_vals::text from pg_stats "
    "where schemaname = 'zipcast' order by 1, 2",
    "functions": "select funcname, calls from pg_stat_user_functions order by 1",
}


@pytest.mark.parametrize("process", READERS)
@pytest.mark.parametrize("view", SHOWN)
async def test_sizes_and_statistics_are_the_same_for_a_small_and_a_large_epoch(pair, process, view):
    small, large = (
        [row for row in one.shown[process, view] if not OF_AN_IMPORT & set(str(row[0]).split())]
        for one in pair
    )
    # The zipcodes are not secret; the selection from them is.
    assert small == large
    if view in {"sizes", "tuples"}:
        named = {row[0]: row for row in large}
        assert named["toast of pending_epochs"][1] > 0  # this shows that the comparison has data


@pytest.mark.parametrize("process", READERS)
async def test_the_toast_table_cannot_be_read(pair, process):
    _, large = pair
    ((name,),) = await large.ask(
        process, _RELATIONS + "select oid::regclass::text from named where name = 'toast of pending_epochs'"
    )
    for query in (
        f"select count(*) from {name}",
        f"select chunk_id from {name} for update",
        f"lock table {name}",
    ):
        with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.WrongObjectType)):
            await large.ask(process, query)


FUNCTIONS = (
    "started_inputs",
    "revealed_honeypots",
    "revealed_results",
    "revealed_audit",
    "epoch_is_revealed",
)


@pytest.mark.parametrize("process", READERS)
async def test_functions_do_the_same_work_whatever_is_hidden(pair, process):
    """The number of buffers that a call reads determines how long it takes, more exactly than a clock
    shows."""
    touched = []
    for one in pair:
        counts = {}
        for function in FUNCTIONS:
            call = f"explain (analyze, buffers, format json) select * from {function}('{one.epoch_id}')"
            async with await psycopg.AsyncConnection.connect(one.login(process)) as connection:
                for _ in range(2):  # the first call of a session reads the catalogue
                    ((plan,),) = await (await connection.execute(call.encode())).fetchall()
            counts[function] = sum(_numbers(plan, ("Shared Hit Blocks", "Shared Read Blocks")))
        touched.append(counts)
    assert touched[0] == touched[1]


@pytest.mark.parametrize("process", READERS)
async def test_honeypots_and_reports_stay_hidden_while_the_epoch_runs(servers: Servers, process):
    made = await prepared(servers, LARGE, 1)
    engine = await database_with_sample(made.url)
    await open_all(engine)
    await engine.dispose()
    for function in ("revealed_honeypots", "revealed_results", "revealed_audit"):
        found = await made.ask(process, f"select * from {function}('{made.epoch_id}')")
        assert [row for row in found if row != (None,)] == []
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await made.ask(process, "select content from epoch_honeypots")
    async with await psycopg.AsyncConnection.connect(made.url) as owner:
        await owner.execute(
            "update epochs set start_at = now() - interval '3 h', end_at = now() - interval '2 h'"
        )
    ((content,),) = await made.ask(process, f"select revealed_honeypots('{made.epoch_id}')")
    assert json.dumps(content).count("real_listings") >= 1
    await servers.drop_database(made.url)
