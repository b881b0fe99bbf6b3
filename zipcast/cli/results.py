"""Defines `zipcast epoch results`, which shows validators' reports on an epoch and their consensus."""

from typing import Annotated

import typer
from rich.table import Table

from zipcast.cli.command import command
from zipcast.cli.console import echo_json, out, show_table
from zipcast.cli.session import Session
from zipcast.protocol.messages.results import Consensus, EpochResults, ToldReport

RAO_PER_ALPHA = 1_000_000_000


@command
async def results(
    session: Session,
    epoch_id: Annotated[str, typer.Argument(help="An epoch that has ended.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the service's reply.")] = False,
) -> None:
    """Show validators' reports on an epoch, their consensus, and signals about miners.

    Only validators can see them, one epoch after the epoch's end."""
    async with session.client() as client:
        told = await client.results(epoch_id)
    if as_json:
        echo_json(told.to_bytes())
        return
    if told.consensus is not None:
        _show(told.consensus)
    show_table(_reports(told))
    for signal in told.signals:
        out.print(f"{signal.kind}  {signal.hotkey}  {signal.details}", soft_wrap=True)
    if not told.revealed:
        out.print(
            "Other validators' reports, the consensus and signals are shown one epoch after the epoch's end.",
            soft_wrap=True,
        )


def _show(consensus: Consensus) -> None:
    cover = consensus.coverage
    agreement = "–" if consensus.agreement is None else f"{consensus.agreement:.2f}"
    out.print(
        f"agreement {agreement}; {cover.validators_reported} of {cover.validators} validators with "
        f"{cover.stake_share:.0%} of the stake; audited {cover.miners_audited} of {cover.miners} miners, "
        f"{cover.zipcodes_audited} of {cover.zipcodes} zipcodes",
        soft_wrap=True,
    )
    for rank, miner in enumerate(consensus.top_miners, 1):
        out.print(f"{rank}. {miner.hotkey}  support {miner.support:.2f}", soft_wrap=True)


def _reports(told: EpochResults) -> Table:
    table = Table("validator", "stake", "received", "top miners", "agreement", "", box=None, pad_edge=False)
    for report in told.reports:
        agreement = "" if report.agreement is None else f"{report.agreement:.2f}"
        table.add_row(
            report.hotkey,
            f"{report.alpha_stake_rao // RAO_PER_ALPHA}",
            f"{report.received_at:%H:%M:%S}",
            " ".join(f"{miner.hotkey[:8]}…" for miner in report.top_miners),
            agreement,
            _remarks(report),
        )
    return table


def _remarks(report: ToldReport) -> str:
    remarks = {
        "outlier": report.outlier,
        "late": report.late,
        "superseded": not report.in_force,
        f"replaces {report.superseded_reports} earlier": report.superseded_reports > 0,
    }
    return ", ".join(text for text, holds in remarks.items() if holds)
