"""Defines `zipcast simulate`, which shows the effect of selection rules on a pool before they are used.

It needs no running service and no secret. The sample data and the chart need the extra `devstack` of
`zipcast-server`.
"""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from operator_cli.config import env_values
from operator_cli.database import local_stack_packages
from zipcast.cli.console import err, fail, out
from zipcast.protocol.calendar import EpochCalendar
from zipcast.selection.data_age import count_too_old
from zipcast.selection.eligibility import hideable
from zipcast.selection.honeypots import HoneypotSettings
from zipcast.selection.model import Candidate, SelectionSettings
from zipcast.selection.simulation import COVERAGE_DAYS, SimulatedEpoch, Summary, simulate, summarise

# The simulation begins on this day. The day does not matter, because a run depends only on its seed.
START_AT = datetime(2026, 1, 1, tzinfo=UTC)
EPOCH_SECONDS = 4 * 3600


def simulate_epochs(
    epochs: Annotated[int, typer.Option(min=1, max=100_000, help="Number of epochs.")] = 500,
    zipcodes: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help="File of zipcodes, CSV or JSON. Default: the sample data."
        ),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", help="Change a selection rule by its setting; repeatable."
        ),
    ] = None,
    env_file: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help="Read rules from this file. Other settings in it are ignored."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the random draws.")] = 1,
    plot: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Write a chart: .png, .html, .svg or .pdf.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False,
) -> None:
    """Simulate the selection of many epochs. Exit status 1 if one was infeasible or outside its tolerance.

    The command needs no service and no secret, and does not read the environment. It uses the default rules
    of .env.example, changed by --env-file and --set, such as --set TARGET_LISTINGS=8000. With --json,
    standard output is {"epochs": [...]}, and the report goes to standard error."""
    settings, honeypots = read_rules(env_file, changes or [])
    pool = read_pool(zipcodes)
    simulated = list(
        simulate(
            pool,
            settings,
            EpochCalendar(EPOCH_SECONDS),
            start_at=START_AT,
            epochs=epochs,
            seed=seed,
            honeypots=honeypots,
        )
    )
    eligible = [one for one in pool if settings.may_be_drawn(one)]
    summary = summarise(simulated, settings, len(eligible))
    large = len(eligible) - len(hideable(eligible, settings)) if honeypots.probability else 0
    old = count_too_old(eligible, settings, datetime.now(UTC))
    report = _report(summary, settings, len(eligible), large, old)
    if plot is not None:
        _draw(plot, simulated, settings, len(eligible), report)
    if as_json:
        sys.stdout.write(json.dumps(_document(simulated), indent=1) + "\n")
    _show(report, err if as_json else out)
    if summary.within_tolerance < summary.epochs:
        raise typer.Exit(1)


def read_rules(env_file: Path | None, changes: list[str]) -> tuple[SelectionSettings, HoneypotSettings]:
    """Return the default rules, changed by the file and then by the NAME=VALUE pairs of `changes`. If a name
    is unknown or a value breaks a rule, print which one, and exit."""
    from pydantic import ValidationError

    from schedulers.rule_settings import RuleSettings
    from service.settings import first_rule

    known = {name.upper(): name for name in RuleSettings.model_fields}
    stated = env_values(env_file) if env_file else {}
    values = {known[name]: value for name, value in stated.items() if name in known and value}
    for name, _, value in (change.partition("=") for change in changes):
        if name not in known:
            fail(f"--set {name}: must be one of {', '.join(known)}")
        values[known[name]] = value
    try:
        rules = RuleSettings.model_validate(values)
    except ValidationError as error:
        fail(first_rule(error))
    return rules.selection_rules(EPOCH_SECONDS), rules.honeypot_rules()


def read_pool(zipcodes: Path | None) -> list[Candidate]:
    """Return the zipcodes that an import of the file, or of the sample, would accept."""
    with local_stack_packages():
        from devstack.first_data import SAMPLE_ZIPCODES
        from storage.database.candidates import as_candidate
        from storage.zipcode_files.file import ZipcodeFile
        from storage.zipcode_files.row_rules import ImportFileError, Rejection, RowRules, check_rows
    path = zipcodes or SAMPLE_ZIPCODES
    try:
        with ZipcodeFile(path) as file:
            rows = list(check_rows(file.rows(), RowRules(datetime.now(UTC))))
    except ImportFileError as error:
        fail(f"{path}: {error}")
    accepted = [as_candidate(row) for row in rows if not isinstance(row, Rejection)]
    if len(accepted) < len(rows):
        err.print(f"{len(rows) - len(accepted)} rows were rejected; `zipcast import --dry-run` lists them")
    if not accepted:
        fail("every row was rejected; `zipcast import --dry-run` lists the reasons")
    return accepted


def _document(epochs: list[SimulatedEpoch]) -> dict[str, object]:
    return {
        "epochs": [
            {
                "epochId": epoch.epoch_id,
                "totalExpectedListings": epoch.total_listings,
                "trueTotalListings": epoch.true_total,
                "honeypots": [one.zipcode for one in epoch.honeypots],
                "zipcodeCount": len(epoch.zipcodes),
                "zipcodes": epoch.zipcodes,
                "states": epoch.by_state,
                "tiers": epoch.by_tier,
                "relaxedCooldown": epoch.relaxed,
            }
            for epoch in epochs
        ]
    }


def _report(
    summary: Summary, settings: SelectionSettings, eligible: int, large: int, old: int
) -> list[tuple[str, str]]:
    """Return the lines of the report. `eligible` zipcodes can be drawn; of these, `large` have more listings
    than a honeypot may have, and `old` have data that is too old today."""
    band = f"{settings.lowest_total} to {settings.highest_total}"
    totals = "none"
    if summary.least_total is not None:
        totals = f"mean {summary.mean_total:.0f}, {summary.least_total} to {summary.greatest_total}"
    if summary.with_honeypots:
        totals += "; above the target, because the total without false counts must be within tolerance too"
    return [
        (f"within tolerance ({band})", f"{summary.within_tolerance} of {summary.epochs}"),
        ("infeasible", str(summary.infeasible)),
        ("cooldown relaxed", str(summary.relaxed)),
        ("with honeypots", str(summary.with_honeypots)),
        ("listings per epoch", totals),
        ("states", _percentages(summary.shares_by_state)),
        ("tiers", _percentages(summary.shares_by_tier)),
        ("eligible zipcodes", str(eligible)),
        (f"- with data older than {settings.max_data_age.days} days today (not excluded here)", str(old)),
        ("- too large to hide honeypots; drawn only if nothing else fits", str(large)),
        (f"- assigned at least once in {COVERAGE_DAYS} days", f"{summary.early_coverage:.1%}"),
        ("- assigned at least once in the whole run", f"{summary.coverage:.1%}"),
        ("times a zipcode was assigned", f"mean {summary.mean_repeats:.1f}, at most {summary.most_repeated}"),
    ]


def _show(report: list[tuple[str, str]], console: Console) -> None:
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in report:
        table.add_row(name, value)
    console.print(table)


def _percentages(shares: dict[str, float]) -> str:
    return "  ".join(f"{name} {share:.1%}" for name, share in shares.items())


def _draw(
    path: Path,
    epochs: list[SimulatedEpoch],
    settings: SelectionSettings,
    eligible: int,
    report: list[tuple[str, str]],
) -> None:
    with local_stack_packages():
        from devstack.simulation_plot import draw
    try:
        draw(path, epochs, settings, eligible, report)
    except (OSError, ValueError) as error:
        fail(f"--plot: {error}")
