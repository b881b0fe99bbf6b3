"""Measures whether years of epochs slow down any request: `python -m bench.history [--plans]`.

It fills two databases in one PostgreSQL: one with 60 epochs, and one with 1,000,000 assignments. Each
operation of `bench.operations` is run on both with the login of its process, in a transaction that is rolled
back. It prints the best of twenty times in milliseconds, their ratio, and the tables that the plan in the
larger database reads completely. Batches of archiving have more work in the larger database, up to their
limit. `--plans` prints every plan.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncEngine

from bench.figures import Figure, print_figures
from bench.operations import OPERATIONS, Moment, Operation
from bench.plans import Plan, explained
from bench.years import ASSIGNED, fill
from devstack.logins import login_url
from devstack.servers import Servers
from devstack.state import State
from storage.database.engine import open_engine

SMALL, LARGE = 60, 1_000_000 // ASSIGNED
ROUNDS = 20


async def best_milliseconds(engine: AsyncEngine, operation: Operation, moment: Moment) -> float:
    best = float("inf")
    async with engine.connect() as connection:
        for _ in range(ROUNDS):
            async with connection.begin() as transaction:
                began = time.perf_counter()
                await operation.ask(connection, moment)
                best = min(best, time.perf_counter() - began)
                await transaction.rollback()
    return best * 1000


async def measure(servers: Servers, urls: Sequence[str], *, show_plans: bool) -> None:
    print(f"| query | process | {SMALL} epochs, ms | {LARGE:,} epochs, ms | ratio | whole table read |")
    print("|---|---|---|---|---|---|")
    figures = []
    for operation in OPERATIONS:
        small, large = (
            open_engine(login_url(servers.state, url, operation.process), application_name="bench")
            for url in urls
        )
        spent = await best_milliseconds(small, operation, Moment.of(SMALL))
        more = await best_milliseconds(large, operation, Moment.of(LARGE))
        plans = await explained(large, operation, Moment.of(LARGE))
        whole = ", ".join(sorted({table for plan in plans for table in plan.whole_tables})) or "–"
        asked = f"{operation.name} | {operation.process}"
        print(f"| {asked} | {spent:.2f} | {more:.2f} | {more / spent:.1f} | {whole} |")
        figures.append(
            Figure(
                f"{operation.process}: {operation.name}, {LARGE:,} epochs compared with {SMALL}",
                more / spent,
                "times",
            )
        )
        if show_plans:
            show(plans)
        await small.dispose()
        await large.dispose()
    print_figures(figures)


def show(plans: Sequence[Plan]) -> None:
    for plan in plans:
        print(f"\n{plan.statement}\n{plan.text}\n")


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with Servers.running(State(Path(folder) / "state")) as servers:
            urls = [await servers.fresh_database() for _ in range(2)]
            began = time.perf_counter()
            for url, epochs in zip(urls, (SMALL, LARGE), strict=True):
                await fill(url, epochs)
            print(f"filled in {time.perf_counter() - began:.0f} s\n")
            await measure(servers, urls, show_plans="--plans" in sys.argv)


if __name__ == "__main__":
    asyncio.run(main())
