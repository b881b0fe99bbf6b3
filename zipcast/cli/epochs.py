"""`zipcast epoch`: earlier epochs, and whether they were what they were promised to be."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import httpx
import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from zipcast.cli.database import fail
from zipcast.cli.session import (
    DEFAULT_READY,
    NetuidOption,
    NetworkOption,
    ReadyOption,
    SignerOption,
    trust_of,
)
from zipcast.envelope import UnverifiedEnvelope
from zipcast.history_messages import EndedEpoch, EndedEpochReply, EndedEpochsReply
from zipcast.ready import NotReadyError, Ready
from zipcast.verification import CHECKS, Evidence, Finding, verify_epochs

epochs_app = typer.Typer(no_args_is_help=True, help="Epochs that have ended.")
out = Console()
TIMEOUT_SECONDS = 10.0
HttpOption = Annotated[str | None, typer.Option("--http", help="The bridge's address.")]
FromOption = Annotated[str, typer.Option("--from", help="http, or a file that `--json` wrote.")]


@epochs_app.command("list")
def list_epochs(
    limit: Annotated[int, typer.Option(min=1, max=100)] = 20,
    http: HttpOption = None,
    ready: ReadyOption = DEFAULT_READY,
    as_json: Annotated[bool, typer.Option("--json", help="As the bridge tells it.")] = False,
) -> None:
    """The newest epochs that have ended."""
    page = _page(_address(http, ready), {"limit": str(limit)})
    if as_json:
        typer.echo(page.to_bytes().decode())
        return
    table = Table("epoch", "status", "late", "seed commitment", box=None, pad_edge=False)
    for epoch in page.epochs:
        late = "" if epoch.late_seconds is None else f"{epoch.late_seconds:.3f} s"
        table.add_row(epoch.epoch_id, epoch.status, late, epoch.seed_commitment)
    out.print(table)


@epochs_app.command("show")
def show(epoch_id: str, http: HttpOption = None, ready: ReadyOption = DEFAULT_READY) -> None:
    """One epoch that has ended, as JSON: the signed text, its proof, the seed."""
    typer.echo(_get(_address(http, ready), f"/api/v1/epochs/{epoch_id}").decode())


@epochs_app.command("verify")
def verify(
    epoch_id: Annotated[str | None, typer.Argument(help="An epoch id; or give --all.")] = None,
    all_epochs: Annotated[bool, typer.Option("--all", help="Every epoch that can be had.")] = False,
    source: FromOption = "http",
    http: HttpOption = None,
    ready: ReadyOption = DEFAULT_READY,
    signers: SignerOption = None,
    network: NetworkOption = None,
    netuid: NetuidOption = None,
) -> None:
    """Check signature, seed, nonce and chain of commitments; exit status 1 if anything does not hold."""
    if (epoch_id is None) is not all_epochs:
        raise typer.BadParameter("give an epoch id, or --all")
    epochs = _from_bridge(_address(http, ready), epoch_id) if source == "http" else _from_file(Path(source))
    chosen = [one for one in epochs if epoch_id is None or one.epoch_id == epoch_id]
    if not chosen:
        fail("no such epoch has ended")
    findings = verify_epochs(map(_evidence, chosen), trust_of(ready, signers, network, netuid))
    _tell(findings)
    if any(finding.faults for finding in findings):
        raise typer.Exit(1)


def _tell(findings: list[Finding]) -> None:
    for finding in findings:
        if not finding.checked:
            out.print(f"{finding.epoch_id}  missed: nothing was published", highlight=False)
            continue
        unchecked = [check for check in CHECKS if check not in finding.checked]
        more = f"; not checked: {', '.join(unchecked)}" if unchecked else ""
        verdict = "; ".join(finding.faults) or f"holds: {', '.join(finding.checked)}"
        style = "red" if finding.faults else None
        out.print(f"{finding.epoch_id}  {verdict}{more}", style=style, highlight=False, soft_wrap=True)
    out.print("Pool and selection are not checked: they need the pool, which validators get.", style="dim")


def _from_bridge(address: str, epoch_id: str | None) -> list[EndedEpoch]:
    if epoch_id is not None:
        return [EndedEpochReply.model_validate_json(_get(address, f"/api/v1/epochs/{epoch_id}"))]
    return list(_every_page(address))


def _every_page(address: str) -> Iterator[EndedEpoch]:
    parameters = {"limit": "100"}
    while True:
        page = _page(address, parameters)
        yield from page.epochs
        if page.next_before is None:
            return
        parameters["before"] = page.next_before


def _from_file(path: Path) -> list[EndedEpoch]:
    try:
        return list(EndedEpochsReply.model_validate_json(path.read_bytes()).epochs)
    except OSError as error:
        fail(f"--from {path}: {error.strerror}")
    except ValidationError:
        fail(f"--from {path}: not what `zipcast epoch list --json` writes")


def _evidence(epoch: EndedEpoch) -> Evidence:
    proof = epoch.proof
    envelope = None
    if proof is not None:
        envelope = UnverifiedEnvelope(proof.payload.encode(), proof.signer, proof.signature, epoch.epoch_id)
    return Evidence(epoch.epoch_id, envelope, epoch.seed)


def _page(address: str, parameters: dict[str, str]) -> EndedEpochsReply:
    return EndedEpochsReply.model_validate_json(_get(address, "/api/v1/epochs", parameters))


def _get(address: str, path: str, parameters: dict[str, str] | None = None) -> bytes:
    try:
        answer = httpx.get(address + path, params=parameters, timeout=TIMEOUT_SECONDS)
    except httpx.HTTPError as error:
        fail(f"{address} does not answer: {type(error).__name__}")
    if answer.status_code != httpx.codes.OK:
        fail(_message(answer))
    return answer.content


def _message(answer: httpx.Response) -> str:
    try:
        return str(json.loads(answer.content)["message"])
    except (ValueError, KeyError, TypeError):
        return f"the bridge answered {answer.status_code}"


def _address(http: str | None, ready: Path) -> str:
    try:
        return http or Ready.read(ready).http
    except NotReadyError as error:
        fail(f"{error}, or give --http")
