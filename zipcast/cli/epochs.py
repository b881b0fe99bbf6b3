"""Defines `zipcast epoch …`, which shows and verifies epochs."""

import hashlib
import json
from pathlib import Path
from typing import Annotated

import typer
from pydantic import AliasPath, BaseModel, Field
from rich.table import Table

from zipcast.cli.bridge_requests import address_of, get, get_page
from zipcast.cli.command import reported, well_formed, with_options_of
from zipcast.cli.console import echo, echo_json, out, show_table
from zipcast.cli.epoch_sources import Sourced, sourced
from zipcast.cli.errors import Status
from zipcast.cli.session import DEFAULT_READY, HttpOption, ProfileOption, ReadyOption
from zipcast.client.private_files import write_private
from zipcast.protocol.envelope import UnverifiedEnvelope
from zipcast.protocol.messages.history import EndedEpochReply, ExportedEpoch, ExportedEpochs
from zipcast.verification.epochs import CHECKS, Evidence, Finding, verify_epochs

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def list_epochs(
    limit: Annotated[int, typer.Option(min=1, max=100, help="Number of epochs.")] = 20,
    http: HttpOption = None,
    ready: ReadyOption = DEFAULT_READY,
    profile: ProfileOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the bridge's reply.")] = False,
) -> None:
    """List the newest epochs that have ended."""
    with reported():
        page = get_page(address_of(http, ready, profile), limit)
    if as_json:
        echo_json(page.to_bytes())
        return
    table = Table("epoch", "status", "late", "beacon", "seed commitment", box=None, pad_edge=False)
    for epoch in page.epochs:
        late = "" if epoch.late_seconds is None else f"{epoch.late_seconds:.3f} s"
        table.add_row(epoch.epoch_id, epoch.status, late, epoch.beacon or "", epoch.seed_commitment)
    show_table(table)


def show(
    epoch_id: Annotated[
        str, typer.Argument(callback=well_formed, help="An epoch that has ended.", show_default=False)
    ],
    http: HttpOption = None,
    ready: ReadyOption = DEFAULT_READY,
    profile: ProfileOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="The command always prints JSON.")] = True,
) -> None:
    """Show one ended epoch as JSON: the signed text, its SHA-256, its proof and its seed."""
    with reported():
        answer = get(address_of(http, ready, profile), f"/api/v1/epochs/{epoch_id}")
        EndedEpochReply.model_validate_json(answer)
    document = json.loads(answer)
    if document["proof"] is not None:
        document["messageSha256"] = hashlib.sha256(document["proof"]["payload"].encode()).hexdigest()
    echo_json(document)


async def verify(
    given: Sourced,
    epoch_id: Annotated[
        str | None,
        typer.Argument(callback=well_formed, help="Id of the epoch to verify. Leave it out with --all."),
    ] = None,
    all_epochs: Annotated[bool, typer.Option("--all", help="All available epochs.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Verify epochs. Exit status 5 if a check fails, or if an epoch was drawn without a beacon.

    Without a wallet, the command checks signature, order, counts, beacon, seed, nonce, chain and promise;
    with a validator's wallet, also inputs, history, pool, selection and honeypots."""
    epochs = await _gathered(given, epoch_id, all_epochs)
    findings = [
        finding
        for finding in verify_epochs(map(_evidence, epochs), given.trust)
        if epoch_id in {None, finding.epoch_id}
    ]
    if as_json:
        echo_json({"epochs": [_as_json(finding) for finding in findings]})
    else:
        for finding in findings:
            _tell(finding, all_epochs=all_epochs)
    if any(finding.faults or finding.unproven for finding in findings):
        raise typer.Exit(Status.NOT_VERIFIED)


async def export(
    given: Sourced,
    file: Annotated[
        Path, typer.Argument(dir_okay=False, help="The file to write; `epoch verify --from` reads it.")
    ],
    epoch_id: Annotated[
        str | None,
        typer.Argument(callback=well_formed, help="Id of the epoch to export. Leave it out with --all."),
    ] = None,
    all_epochs: Annotated[bool, typer.Option("--all", help="All available epochs.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write epochs to a JSON file, from which they can be verified at any time.

    With a validator's wallet the file also holds pools, which show the honeypots: keep it secret."""
    epochs = await _gathered(given, epoch_id, all_epochs)
    write_private(file, ExportedEpochs(epochs=tuple(epochs)).to_bytes())
    pools = sum(epoch.pool is not None for epoch in epochs)
    if as_json:
        echo_json({"file": str(file), "epochs": len(epochs), "pools": pools})
        return
    out.print(f"wrote {len(epochs)} epochs to {file}, {pools} of them with their pool", soft_wrap=True)


def next_epoch(
    http: HttpOption = None,
    ready: ReadyOption = DEFAULT_READY,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show when the next epoch starts."""
    with reported():
        answer = get(address_of(http, ready, profile), "/api/v1/zipcode-assignments/stats")
        document = _Statistics.model_validate_json(answer)
    if as_json:
        echo_json({"nextStart": document.next_start})
        return
    echo(document.next_start or "no epoch is running")


class _Statistics(BaseModel):
    """The part of the bridge's statistics that `epoch next` shows."""

    next_start: str | None = Field(validation_alias=AliasPath("epochStatus", "nextEpoch", "startTime"))


verify_epochs_command = with_options_of(sourced, verify)
export_epochs_command = with_options_of(sourced, export)


async def _gathered(given: Sourced, epoch_id: str | None, all_epochs: bool) -> list[ExportedEpoch]:
    if (epoch_id is None) is not all_epochs:
        raise typer.BadParameter("name an epoch, or pass --all")
    epochs = await given.epochs(epoch_id)
    if not any(epoch_id in {None, one.epoch_id} for one in epochs):
        raise ValueError("no ended epoch was found; list them with `zipcast epoch list`")
    return epochs


def _tell(finding: Finding, *, all_epochs: bool) -> None:
    if not finding.checked:
        more = "" if all_epochs else "; use --all to check this against the next epoch"
        out.print(f"{finding.epoch_id}  missed, according to the source{more}", soft_wrap=True)
        return
    unchecked = [check for check in CHECKS if check not in finding.checked]
    more = f"; not checked: {', '.join(unchecked)}" if unchecked else ""
    verdict = "; ".join(finding.faults) or _verdict(finding)
    style = "red" if finding.faults or finding.unproven else "yellow" if finding.weak else None
    out.print(f"{finding.epoch_id}  {verdict}{more}", style=style, soft_wrap=True)


def _as_json(finding: Finding) -> dict[str, object]:
    return {
        "epochId": finding.epoch_id,
        "holds": bool(finding.checked) and not finding.faults and not finding.unproven,
        "checked": list(finding.checked),
        "faults": list(finding.faults),
        "weak": list(finding.weak),
        "unproven": finding.unproven,
    }


def _verdict(finding: Finding) -> str:
    """Return in words how much a finding without faults proves."""
    checked = ", ".join(finding.checked)
    if finding.unproven:
        return f"not proven ({'; '.join(finding.weak)}); no fault in: {checked}"
    return f"weak ({'; '.join(finding.weak)}): {checked}" if finding.weak else f"holds: {checked}"


def _evidence(epoch: ExportedEpoch) -> Evidence:
    proof = epoch.proof
    envelope = None
    if proof is not None:
        envelope = UnverifiedEnvelope(proof.payload.encode(), proof.signer, proof.signature, epoch.epoch_id)
    return Evidence(epoch.epoch_id, envelope, epoch.seed, epoch.pool, published=epoch.status != "MISSED")
