"""Defines `zipcast results …`, which submits a validator's report, and shows the reports on an epoch with
their consensus."""

from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.table import Table

from zipcast.cli.client_commands import prepared_uploads, require_distinct_names, uploading
from zipcast.cli.command import command, well_formed
from zipcast.cli.console import echo_json, fail, out, show_table
from zipcast.cli.errors import Status
from zipcast.cli.session import Session
from zipcast.protocol.messages.base import first_fault
from zipcast.protocol.messages.results import (
    Consensus,
    EpochResults,
    ResultsRequest,
    ShownReport,
)

RAO_PER_ALPHA = 1_000_000_000


@command
async def results(
    session: Session,
    epoch_id: Annotated[str, typer.Argument(callback=well_formed, help="An epoch that has ended.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the service's reply.")] = False,
) -> None:
    """Show validators' reports on an epoch, their consensus, and signals about miners.

    Only validators can see them, one epoch after the epoch's end."""
    async with session.client() as client:
        shown = await client.results(epoch_id)
    if as_json:
        echo_json(shown.to_bytes())
        return
    if shown.consensus is not None:
        _show(shown.consensus)
    show_table(_reports(shown))
    for signal in shown.signals:
        facts = ", ".join(f"{name} {value}" for name, value in signal.details.items())
        out.print(f"{signal.kind}  {signal.hotkey}  {facts}", soft_wrap=True)
    if not shown.revealed:
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


def _reports(shown: EpochResults) -> Table:
    table = Table("validator", "stake", "received", "top miners", "agreement", "", box=None, pad_edge=False)
    for report in shown.reports:
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


def _remarks(report: ShownReport) -> str:
    remarks = {
        "outlier": report.outlier,
        "late": report.late,
        "superseded": not report.in_force,
        f"replaces {report.superseded_reports} earlier": report.superseded_reports > 0,
    }
    return ", ".join(text for text, holds in remarks.items() if holds)


@command
async def submit(
    session: Session,
    report: Annotated[
        Path,
        typer.Argument(
            exists=True, dir_okay=False, readable=True, show_default=False, help="JSON file with the report."
        ),
    ],
    files: Annotated[
        list[Path] | None,
        typer.Option(
            "--upload",
            exists=True,
            dir_okay=False,
            readable=True,
            help="Upload this file first and name it in the report; repeatable.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the service's reply.")] = False,
) -> None:
    """Submit a validator's report on an ended epoch. A later report replaces an earlier one.

    The file has the fields of `POST /api/v1/validation-results`: at least epochId, durationSeconds,
    minersEvaluated, topMiners and listingsValidated."""
    uploads = require_distinct_names(files or [])
    stated = _read_report(report)
    async with session.client() as client:
        if uploads:
            async with uploading(client) as uploader:
                prepared = await prepared_uploads(uploader, stated.epoch_id, "validator", uploads)
                done = [await uploader.send(one) for one in prepared]
            reported = tuple(one.reported() for one in done)
            stated = stated.model_copy(update={"files": (*stated.files, *reported)})
        reply = await client.report_results(stated)
    if as_json:
        echo_json(reply.to_bytes())
    else:
        out.print(f"submitted the report on {stated.epoch_id} with {len(stated.files)} files", soft_wrap=True)


def _read_report(path: Path) -> ResultsRequest:
    try:
        return ResultsRequest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        fail(
            f"{path} is not a report: {first_fault(error).message}",
            Status.USAGE,
            code="malformed",
            remedy="Correct the field; `zipcast results submit --help` lists what a report needs.",
        )
