"""Defines `zipcast s3 …`, which checks an object store and revokes access to it.

The commands read the responder's variables from the environment. To revoke access, the keys need the right to
put bucket policies.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from operator_cli.config import EnvFiles, read_settings
from zipcast.cli.console import echo_json, fail, out
from zipcast.cli.errors import Status as ExitStatus
from zipcast.clock import SystemClock
from zipcast.protocol.hotkeys import Hotkey, Keypair, MalformedHotkeyError, parse_hotkey

if TYPE_CHECKING:
    from service.object_store_settings import ObjectStoreSettings


JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
HotkeysArgument = Annotated[
    list[str], typer.Argument(metavar="HOTKEY...", show_default=False, help="SS58 addresses.")
]

_COLOURS = {"ok": "green", "warning": "yellow", "failed": "red"}


def check(env_file: EnvFiles = None, as_json: JsonOption = False) -> None:
    """Test everything that Zipcast needs from the object store, and explain how to fix what fails.

    Exit status 1 if anything fails."""
    findings = asyncio.run(_check(_settings(env_file), show=not as_json))
    if as_json:
        echo_json({"checks": findings})
    if any(one["status"] == "failed" for one in findings):
        raise typer.Exit(ExitStatus.FAILED)


async def _check(settings: "ObjectStoreSettings", *, show: bool) -> list[dict[str, str | None]]:
    import httpx

    from storage.objects.checks import check_object_store

    buckets = settings.s3_bucket, settings.s3_validator_bucket
    found: list[dict[str, str | None]] = []
    try:
        async for finding in check_object_store(settings.object_store, *buckets, _nobody(), SystemClock()):
            found.append(
                {
                    "status": str(finding.status),
                    "subject": finding.subject,
                    "message": finding.message,
                    "remedy": finding.fix or None,
                }
            )
            if not show:
                continue
            mark = Text(f"{finding.status:8}", _COLOURS[finding.status])
            out.print(mark, f"{finding.subject}: {finding.message}", soft_wrap=True)
            if finding.fix:
                out.print(f"         → {finding.fix}", soft_wrap=True)
    except httpx.HTTPError as error:
        fail(
            f"the object store does not reply ({type(error).__name__})",
            ExitStatus.UNAVAILABLE,
            code="object_store",
            remedy="Check S3_ENDPOINT_URL.",
        )
    return found


def revoke(hotkeys: HotkeysArgument, env_file: EnvFiles = None, as_json: JsonOption = False) -> None:
    """Immediately stop these hotkeys from writing and from using any session that was issued to them."""
    named = _parsed(hotkeys)
    _change_revoked(_settings(env_file), lambda revoked: revoked | named, as_json)


def restore(hotkeys: HotkeysArgument, env_file: EnvFiles = None, as_json: JsonOption = False) -> None:
    """Undo the revocation of these hotkeys."""
    named = _parsed(hotkeys)
    unknown: set[Hotkey] = set()

    def without(revoked: frozenset[Hotkey]) -> frozenset[Hotkey]:
        unknown.update(named - revoked)
        return revoked - named

    _change_revoked(_settings(env_file), without, as_json)
    if unknown:
        fail(
            f"these hotkeys are not revoked: {', '.join(sorted(unknown))}",
            remedy="`zipcast s3 revoked` lists those that are.",
        )


def revoked(env_file: EnvFiles = None, as_json: JsonOption = False) -> None:
    """List the revoked hotkeys, one per line."""
    with _provider_faults():
        from storage.objects.bucket_policies import BucketPolicies

        settings = _settings(env_file)
        policies = BucketPolicies(settings.object_store, settings.s3_bucket, settings.s3_validator_bucket)
        hotkeys = sorted(policies.revoked())
    if as_json:
        echo_json({"revoked": hotkeys})
        return
    for hotkey in hotkeys:
        out.print(hotkey)


def revoke_sessions(
    as_json: Annotated[bool, typer.Option("--json", help="No effect: the output is always JSON.")] = True,
) -> None:
    """Print an inline policy for `aws iam put-role-policy` that ends every session issued until now."""
    from storage.objects.revocation import older_sessions_policy

    typer.echo(older_sessions_policy(datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")))


def _change_revoked(
    settings: "ObjectStoreSettings",
    whom: Callable[[frozenset[Hotkey]], frozenset[Hotkey]],
    as_json: bool,
) -> None:
    with _provider_faults():
        from storage.objects.bucket_policies import BucketPolicies

        policies = BucketPolicies(settings.object_store, settings.s3_bucket, settings.s3_validator_bucket)
        denied = policies.change(whom)
    if as_json:
        echo_json({"revoked": sorted(denied)})
        return
    out.print(f"{len(denied)} hotkeys are now revoked in both buckets")
    out.print("Restart the responders: they cache sessions for up to two hours.")


def _settings(env_file: list[Path] | None) -> "ObjectStoreSettings":
    from service.object_store_settings import ObjectStoreSettings

    return read_settings(ObjectStoreSettings, env_file)


def _parsed(hotkeys: list[str]) -> frozenset[Hotkey]:
    try:
        return frozenset(parse_hotkey(hotkey) for hotkey in hotkeys)
    except MalformedHotkeyError as error:
        raise typer.BadParameter(f"hotkey {error}", param_hint="HOTKEYS") from None


def _nobody() -> Hotkey:
    """Return a hotkey whose private key does not exist."""
    return parse_hotkey(Keypair.create_from_mnemonic(Keypair.generate_mnemonic()).ss58_address)


@contextmanager
def _provider_faults() -> Iterator[None]:
    """Print an error of the provider as one line and exit."""
    from storage.objects.bucket_policies import BucketPolicyError
    from storage.objects.revocation import RevocationError

    try:
        yield
    except (BucketPolicyError, RevocationError) as error:
        fail(str(error))
