"""Defines `zipcast s3 …`, which checks an object store and revokes access to it.

The commands read the responder's variables from the environment. To revoke access, the keys need the right to
put bucket policies.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.text import Text

from operator_cli.config import EnvFiles, read_env_files
from zipcast.cli.console import fail, out
from zipcast.clock import SystemClock
from zipcast.protocol.hotkeys import Hotkey, Keypair, MalformedHotkeyError, parse_hotkey

if TYPE_CHECKING:
    from service.object_store_settings import ObjectStoreSettings

s3_app = typer.Typer(
    no_args_is_help=True,
    help="Check the object store and revoke access to it, with the responder's settings.",
)

_COLOURS = {"ok": "green", "warning": "yellow", "failed": "red"}


@s3_app.command("check")
def check(env_file: EnvFiles = None) -> None:
    """Test everything that Zipcast needs from the object store, and explain how to fix what fails.

    Exit status 1 if anything fails."""
    settings = _settings(env_file)
    if asyncio.run(_check(settings)):
        raise typer.Exit(1)


async def _check(settings: "ObjectStoreSettings") -> int:
    import httpx

    from storage.objects.checks import Status, check_object_store

    buckets = settings.s3_bucket, settings.s3_validator_bucket
    failed = 0
    try:
        async for finding in check_object_store(settings.object_store, *buckets, _nobody(), SystemClock()):
            mark = Text(f"{finding.status:8}", _COLOURS[finding.status])
            out.print(mark, f"{finding.subject}: {finding.told}", soft_wrap=True)
            if finding.fix:
                out.print(f"         → {finding.fix}", soft_wrap=True)
            failed += finding.status is Status.FAILED
    except httpx.HTTPError as error:
        fail(f"the object store does not reply ({type(error).__name__}): check S3_ENDPOINT_URL")
    return failed


@s3_app.command("revoke")
def revoke(hotkeys: list[str], env_file: EnvFiles = None) -> None:
    """Stop these hotkeys from writing and from using their sessions at once, whatever was issued to them."""
    named = _parsed(hotkeys)
    _change_revoked(_settings(env_file), lambda revoked: revoked | named)


@s3_app.command("restore")
def restore(hotkeys: list[str], env_file: EnvFiles = None) -> None:
    """Undo the revocation of these hotkeys."""
    named = _parsed(hotkeys)
    unknown: set[Hotkey] = set()

    def without(revoked: frozenset[Hotkey]) -> frozenset[Hotkey]:
        unknown.update(named - revoked)
        return revoked - named

    _change_revoked(_settings(env_file), without)
    if unknown:
        fail(f"these hotkeys are not revoked: {', '.join(sorted(unknown))}")


@s3_app.command("revoked")
def revoked(env_file: EnvFiles = None) -> None:
    """List the revoked hotkeys, one per line."""
    with _provider_faults():
        from storage.objects.bucket_policies import BucketPolicies

        settings = _settings(env_file)
        policies = BucketPolicies(settings.object_store, settings.s3_bucket, settings.s3_validator_bucket)
        for hotkey in sorted(policies.revoked()):
            out.print(hotkey)


@s3_app.command("revoke-sessions")
def revoke_sessions() -> None:
    """Print an inline policy for `aws iam put-role-policy` that ends every session issued until now."""
    from storage.objects.revocation import older_sessions_policy

    typer.echo(older_sessions_policy(datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")))


def _change_revoked(
    settings: "ObjectStoreSettings", whom: Callable[[frozenset[Hotkey]], frozenset[Hotkey]]
) -> None:
    with _provider_faults():
        from storage.objects.bucket_policies import BucketPolicies

        policies = BucketPolicies(settings.object_store, settings.s3_bucket, settings.s3_validator_bucket)
        denied = policies.change(whom)
    out.print(f"{len(denied)} hotkeys are now revoked in both buckets")
    out.print("Restart the responders: they cache sessions for up to two hours.")


def _settings(env_file: list[Path] | None) -> "ObjectStoreSettings":
    from service.object_store_settings import ObjectStoreSettings
    from service.settings import load

    read_env_files(env_file)
    return load(ObjectStoreSettings)


def _parsed(hotkeys: list[str]) -> frozenset[Hotkey]:
    try:
        return frozenset(parse_hotkey(hotkey) for hotkey in hotkeys)
    except MalformedHotkeyError as error:
        raise typer.BadParameter(f"hotkey {error}", param_hint="HOTKEYS") from None


def _nobody() -> Hotkey:
    """Return a hotkey whose key nobody has."""
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
