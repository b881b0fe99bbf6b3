"""Explains queries: EXPLAIN (ANALYZE, BUFFERS) of every statement of an operation."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from bench.operations import Moment, Operation


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan of a statement. `whole_tables` are the tables that it reads completely, without an index."""

    statement: str
    text: str
    whole_tables: frozenset[str]


async def explained(engine: AsyncEngine, operation: Operation, moment: Moment) -> list[Plan]:
    """Return the plan of each statement; the transaction is rolled back."""
    sent: list[tuple[str, Any]] = []

    def note(_: object, __: object, statement: str, parameters: Any, *___: object) -> None:
        if not statement.startswith("set "):
            sent.append((statement, parameters))

    event.listen(engine.sync_engine, "before_cursor_execute", note)
    async with engine.connect() as connection:
        await operation.ask(connection, moment)
        event.remove(engine.sync_engine, "before_cursor_execute", note)
        await connection.rollback()
        plans = [await _explain(connection, *one) for one in sent]
        await connection.rollback()
    return plans


async def _explain(connection: AsyncConnection, statement: str, parameters: Any) -> Plan:
    async def ask(form: str) -> list[Any]:
        explain = f"explain (analyze, buffers, format {form}) {statement}"
        return list((await connection.exec_driver_sql(explain, parameters)).scalars())

    async with connection.begin_nested() as undone:  # explaining a statement executes it
        (document,) = await ask("json")
        await undone.rollback()
    return Plan(statement, "\n".join(await ask("text")), frozenset(_scanned(document[0]["Plan"])))


def _scanned(node: dict[str, Any]) -> Iterator[str]:
    if node["Node Type"] == "Seq Scan":
        yield node["Relation Name"]
    for child in node.get("Plans", ()):
        yield from _scanned(child)
