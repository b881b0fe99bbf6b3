"""Defines the operator's commands for zipcode data: `import`, `zipcodes …`, `imports …`.

This module owns options and output; `storage` does the work.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

from operator_cli.database import DatabaseOption, chosen_database, run_on_database
from zipcast.cli.console import echo, echo_json, err, fail
from zipcast.cli.errors import Status
from zipcast.cli.session import DEFAULT_READY, ReadyOption

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from storage.database.zipcode_activity import ActivityChange
    from storage.database.zipcode_versions import StoredZipcode, Version
    from storage.zipcode_files.importing import FileCheck, ImportOptions, ImportReport
    from storage.zipcode_files.row_rules import Rejection


REJECTED_STATUS = Status.REFUSED

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ReasonOption = Annotated[str, typer.Option(help="Stored with the new version.")]
ZipcodesArgument = Annotated[
    list[str], typer.Argument(metavar="ZIPCODE...", show_default=False, help="Five digits each.")
]


def import_file(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="File of zipcodes, CSV or JSON.")],
    database_url: DatabaseOption = None,
    ready: ReadyOption = DEFAULT_READY,
    file_format: Annotated[
        Literal["csv", "json"] | None,
        typer.Option("--format", help="Default: json for *.json, otherwise csv."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only check the file by the rules, without a database.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what an import would change, and change nothing.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Import nothing if any row is rejected.")] = False,
    mapping: Annotated[
        list[str] | None,
        typer.Option(
            "--map", metavar="COLUMN=HEADER", help="Read COLUMN from the file's column HEADER; repeatable."
        ),
    ] = None,
    max_age_days: Annotated[
        int, typer.Option(min=1, help="Count rows with data older than this many days.")
    ] = 30,
    restore_leading_zeros: Annotated[
        bool, typer.Option("--restore-leading-zeros", help="Read 7001 as 07001 and 501 as 00501.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Import zipcodes as a new version, in one transaction, and list rejected rows.

    Exit status 3 if rows were rejected, 1 if the file could not be imported."""
    from storage.zipcode_files.file import FileFormat
    from storage.zipcode_files.importing import (
        ImportOptions,
        ImportReport,
        NothingAcceptedError,
        import_zipcodes,
    )
    from storage.zipcode_files.row_rules import ImportFileError

    options = ImportOptions(
        file_format=FileFormat(file_format) if file_format else None,
        mapping=_mapping(mapping or []),
        restore_leading_zeros=restore_leading_zeros,
        dry_run=dry_run,
        strict=strict,
        max_data_age=timedelta(days=max_age_days),
    )
    if check:
        _check(file, options, as_json)
        return
    url = chosen_database(database_url, ready)

    async def work(engine: "AsyncEngine") -> ImportReport:
        now = datetime.now(UTC)
        return await import_zipcodes(engine, file, now=now, options=options, progress=advance)

    try:
        with _progress_bar(file) as advance:
            report = run_on_database(url, work)
    except NothingAcceptedError as error:
        _show_report(ImportReport(None, 0, 0, 0, error.rejected), as_json)
        _end_rejected("nothing was changed: every row was rejected", as_json)
    except ImportFileError as error:
        fail(f"{file}: {error}", code="file")
    _show_report(report, as_json)
    if report.too_old and not as_json:
        err.print(
            f"{report.too_old} rows are older than {max_age_days} days; epochs prefer newer data",
            soft_wrap=True,
        )
    if strict and report.rejected:
        _end_rejected("nothing was changed: --strict, and some rows were rejected", as_json)
    if dry_run:
        err.print("nothing was changed: --dry-run")
    if report.rejected:
        raise typer.Exit(REJECTED_STATUS)


def _check(file: Path, options: "ImportOptions", as_json: bool) -> None:
    from storage.zipcode_files.importing import check_file
    from storage.zipcode_files.row_rules import ImportFileError

    try:
        with _progress_bar(file) as advance:
            checked = check_file(file, now=datetime.now(UTC), options=options, progress=advance)
    except ImportFileError as error:
        fail(f"{file}: {error}", code="file")
    if as_json:
        echo_json(checked.as_json())
    else:
        _show_rejected(checked.rejected)
        old = f", {checked.too_old} of them older than {options.max_data_age.days} days"
        echo(
            f"{checked.accepted} rows accepted{old if checked.too_old else ''}, "
            f"{len(checked.rejected)} rejected"
        )
        _show_derived(checked)
    if checked.rejected or not checked.accepted:
        raise typer.Exit(REJECTED_STATUS)


def _end_rejected(message: str, as_json: bool) -> NoReturn:
    """End the command after its report. With --json, write the message to standard error, because standard
    output already has the report."""
    if as_json:
        err.print(message, soft_wrap=True)
        raise typer.Exit(REJECTED_STATUS)
    fail(message, REJECTED_STATUS, code="rejected")


def _mapping(given: list[str]) -> dict[str, str]:
    """Return {column: header}. Raises typer.BadParameter naming a malformed pair."""
    from storage.zipcode_files.row_rules import COLUMNS

    mapping: dict[str, str] = {}
    for pair in given:
        column, equals, header = pair.partition("=")
        if not equals or column not in COLUMNS:
            raise typer.BadParameter(
                f"--map {pair}: write COLUMN=HEADER, with COLUMN one of {', '.join(COLUMNS)}"
            )
        mapping[column] = header
    return mapping


@contextmanager
def _progress_bar(file: Path) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on a terminal. Yields a function that takes the number of bytes read so far."""
    columns = (TextColumn("importing"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task("", total=file.stat().st_size or None)
        yield lambda bytes_read: bar.update(task, completed=bytes_read)


def _show_report(report: "ImportReport", as_json: bool) -> None:
    if as_json:
        echo_json(report.as_json())
        return
    _show_rejected(report.rejected)
    title = "no version" if report.import_id is None else f"version {report.import_id}"
    echo(
        f"{title}: {report.added} added, {report.changed} changed, "
        f"{report.unchanged} unchanged, {len(report.rejected)} rejected"
    )
    _show_derived(report)


def _show_rejected(rejected: "Iterable[Rejection]") -> None:
    for rejection in rejected:
        echo(f"{rejection.place}: {rejection.field} {rejection.rule}", to_stderr=True)


def _show_derived(report: "ImportReport | FileCheck") -> None:
    if report.restored:
        echo(f"leading zeros restored: {report.restored}")
    if report.tiers_derived:
        echo(
            f"market tier derived from the home value: {report.tiers_derived}, "
            f"set to STANDARD because there is none: {report.tiers_defaulted}"
        )


def list_zipcodes(
    state: Annotated[str | None, typer.Option(help="Two letters, such as PA.")] = None,
    inactive: Annotated[bool, typer.Option("--inactive", help="List deactivated zipcodes instead.")] = False,
    as_json: JsonOption = False,
    database_url: DatabaseOption = None,
    ready: ReadyOption = DEFAULT_READY,
) -> None:
    """List the active zipcodes with their newest data."""
    from storage.database import zipcode_versions

    async def work(engine: "AsyncEngine") -> "list[StoredZipcode]":
        async with engine.connect() as connection:
            return await zipcode_versions.list_zipcodes(
                connection, state=state and state.upper(), active=not inactive
            )

    found = run_on_database(chosen_database(database_url, ready), work)
    if as_json:
        echo_json([stored.as_json() for stored in found])
        return
    echo("\n".join(map(_line, found)) or "none")


def show_zipcode(
    zipcode: Annotated[str, typer.Argument(show_default=False)],
    as_json: JsonOption = False,
    database_url: DatabaseOption = None,
    ready: ReadyOption = DEFAULT_READY,
) -> None:
    """Show one zipcode with its newest data, and every version that changed it."""
    from storage.database import zipcode_versions

    async def work(engine: "AsyncEngine") -> "list[tuple[StoredZipcode, Version]]":
        async with engine.connect() as connection:
            return await zipcode_versions.list_revisions(connection, zipcode)

    revisions = run_on_database(chosen_database(database_url, ready), work) if _is_zipcode(zipcode) else []
    if not revisions:
        fail(f"never imported: {zipcode!a}", code="not_found", remedy="See `zipcast zipcodes list`.")
    newest, _ = revisions[0]
    if as_json:
        history = [{**stored.as_json(), "version": version.as_json()} for stored, version in revisions]
        echo_json({**newest.as_json(), "revisions": history})
        return
    for name, value in newest.as_json().items():
        echo(f"{name:<21} {'' if value is None else value}")
    for stored, version in revisions:
        echo(f"\n{_version_line(version)}\n  {_line(stored)}")


def deactivate(
    zipcodes: ZipcodesArgument,
    reason: ReasonOption = "",
    as_json: JsonOption = False,
    database_url: DatabaseOption = None,
    ready: ReadyOption = DEFAULT_READY,
) -> None:
    """Remove zipcodes from the pool, from the next epoch whose inputs are not committed yet."""
    _set_active(chosen_database(database_url, ready), zipcodes, False, reason, as_json)


def activate(
    zipcodes: ZipcodesArgument,
    reason: ReasonOption = "",
    as_json: JsonOption = False,
    database_url: DatabaseOption = None,
    ready: ReadyOption = DEFAULT_READY,
) -> None:
    """Return deactivated zipcodes to the pool, from the next epoch whose inputs are not committed yet."""
    _set_active(chosen_database(database_url, ready), zipcodes, True, reason, as_json)


def _set_active(url: str, zipcodes: list[str], active: bool, reason: str, as_json: bool) -> None:
    from storage.database.zipcode_activity import UnknownZipcodesError, UnusableReasonError, set_active

    async def work(engine: "AsyncEngine") -> "ActivityChange":
        return await set_active(engine, zipcodes, active=active, now=datetime.now(UTC), reason=reason)

    try:
        change = run_on_database(url, work)
    except (UnknownZipcodesError, UnusableReasonError) as error:
        fail(f"nothing was changed: {error}")
    if as_json:
        echo_json(
            {
                "version": change.import_id,
                "changed": list(change.changed),
                "unchanged": list(change.unchanged),
            }
        )
        return
    title = "no new version" if change.import_id is None else f"version {change.import_id}"
    done = "activated" if active else "deactivated"
    echo(f"{title}: {len(change.changed)} {done}, {len(change.unchanged)} unchanged")


def list_imports(
    as_json: JsonOption = False, database_url: DatabaseOption = None, ready: ReadyOption = DEFAULT_READY
) -> None:
    """List all versions, oldest first."""
    from storage.database import zipcode_versions

    async def work(engine: "AsyncEngine") -> "list[Version]":
        async with engine.connect() as connection:
            return await zipcode_versions.list_versions(connection)

    versions = run_on_database(chosen_database(database_url, ready), work)
    if as_json:
        echo_json([version.as_json() for version in versions])
        return
    echo("\n".join(map(_version_line, versions)) or "none")


def show_import(
    import_id: Annotated[int, typer.Argument(metavar="ID", min=1, max=2**63 - 1, show_default=False)],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON with every row; it can be imported again.")
    ] = False,
    database_url: DatabaseOption = None,
    ready: ReadyOption = DEFAULT_READY,
) -> None:
    """Show one version: how many zipcodes it had in each state and tier."""
    from storage.database import zipcode_versions

    async def work(engine: "AsyncEngine") -> "tuple[Version | None, list[StoredZipcode]]":
        async with engine.connect() as connection:
            version = await zipcode_versions.find_version(connection, import_id)
            return version, await zipcode_versions.rebuild_version(connection, import_id)

    try:
        version, rows = run_on_database(chosen_database(database_url, ready), work)
    except zipcode_versions.VersionTrimmedError as error:
        fail(str(error), code="trimmed")
    if version is None:
        fail(f"there is no version {import_id}", code="not_found", remedy="See `zipcast imports list`.")
    active = [stored for stored in rows if stored.active]
    by_state = Counter(sorted(stored.state for stored in active))
    by_tier = Counter(sorted(stored.market_tier for stored in active))
    if as_json:
        counts = {"active": len(active), "inactive": len(rows) - len(active)}
        groups = {"byState": by_state, "byTier": by_tier, "zipcodes": [stored.as_json() for stored in rows]}
        echo_json({**version.as_json(), **counts, **groups})
        return
    echo(f"{_version_line(version)}\n{len(active)} active, {len(rows) - len(active)} inactive")
    for counter in (by_state, by_tier):
        echo("  ".join(f"{name} {count}" for name, count in counter.items()))


def _line(stored: "StoredZipcode") -> str:
    return (
        f"{stored.zipcode}  {stored.state}  {stored.recently_sold_listings:>7}  {stored.market_tier:<8}  "
        f"{stored.last_scraped_at:%Y-%m-%d}  {'' if stored.active else 'inactive, '}{stored.city}"
    )


def _version_line(version: "Version") -> str:
    # A file's name may contain control characters, and a terminal would execute them.
    source = "".join(character if character.isprintable() else "?" for character in version.source_name)
    return (
        f"version {version.id}  {version.imported_at:%Y-%m-%dT%H:%M:%SZ}  {version.added} added, "
        f"{version.changed} changed, {version.unchanged} unchanged, {version.rejected} rejected  {source}"
    )


def _is_zipcode(text: str) -> bool:
    return len(text) == 5 and text.isascii() and text.isdigit()
