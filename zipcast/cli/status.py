"""Defines `zipcast status`, which shows the service that commands use, and `zipcast curl`, which prints a
signed request."""

import asyncio
import shlex
import time
from typing import Annotated

import nats.errors
import typer

from zipcast.cli.bridge_requests import address_of
from zipcast.cli.client_commands import running_epoch
from zipcast.cli.command import command, command_error, reported
from zipcast.cli.console import echo, echo_json, err, out
from zipcast.cli.errors import CommandError, Status
from zipcast.cli.session import (
    DEFAULT_READY,
    HotkeyOption,
    HttpOption,
    PasswordFileOption,
    ProfileOption,
    ReadyOption,
    Service,
    Session,
    SignerOption,
    WalletOption,
    WalletsOption,
    load_keypair,
)
from zipcast.client.wallets import HOTKEY_VARIABLE, NAME_VARIABLES, PATH_VARIABLE
from zipcast.protocol import btauth
from zipcast.protocol.envelope import EnvelopeError
from zipcast.protocol.errors import ServiceError
from zipcast.protocol.messages.epochs import EpochMessage
from zipcast.protocol.verbs import VERBS

EPOCH_TIMEOUT_SECONDS = 15.0
SIGNATURE_SECONDS = btauth.MAX_AGE_NS // 10**9


@command
async def status(
    session: Session,
    env: Annotated[
        bool, typer.Option("--env", help="Print the settings as `export` lines for a shell instead.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    http: HttpOption = None,
) -> None:
    """Show the service and the hotkey that commands use, and the running epoch.

    With --env, nothing is requested: `eval "$(zipcast status --env)"` gives other programs these settings."""
    address = http or session.http
    if env:
        settings = _settings(session, address)
        if as_json:
            echo_json(settings)
            return
        for name, value in settings.items():
            echo(f"export {name}={shlex.quote(value)}")
        return
    key = session.keypair().ss58_address
    facts: dict[str, object] = {
        "service": session.label or "options",
        "network": session.trust.network,
        "netuid": session.trust.netuid,
        "servers": list(session.servers),
        "http": address,
        "signers": sorted(session.trust.signers),
        "wallet": session.wallet,
        "hotkeyName": session.hotkey,
        "hotkey": key,
    }
    found = await _running(session)
    failure = found if isinstance(found, CommandError) else None
    if not isinstance(found, CommandError):
        facts["epochId"] = found.epoch_id
        facts["epochEnd"] = f"{found.epoch_end:%Y-%m-%dT%H:%M:%SZ}"
        facts["zipcodes"] = found.metadata.zipcode_count
        facts["listings"] = found.metadata.total_expected_listings
    if as_json:
        echo_json(facts if failure is None else {**failure.document, **facts})
        if failure is not None:
            raise typer.Exit(failure.exit_code)
        return
    for fact, known in facts.items():
        shown = known if isinstance(known, list) else ["unknown" if known is None else known]
        out.print(f"{fact:<11} {', '.join(map(str, shown))}", soft_wrap=True)
    if failure is not None:
        raise failure


async def _running(session: Session) -> EpochMessage | CommandError:
    try:
        async with asyncio.timeout(EPOCH_TIMEOUT_SECONDS), session.client() as client:
            return (await running_epoch(client)).message
    except (ServiceError, EnvelopeError, nats.errors.Error, ValueError, OSError) as error:
        return command_error(error)


def _settings(session: Session, http: str | None) -> dict[str, str]:
    return {
        "ZIPCAST_SERVERS": ",".join(session.servers),
        "ZIPCAST_SIGNER": ",".join(sorted(session.trust.signers)),
        "ZIPCAST_NETWORK": session.trust.network,
        "ZIPCAST_NETUID": str(session.trust.netuid),
        **({} if http is None else {"ZIPCAST_HTTP": http}),
        PATH_VARIABLE: str(session.wallets.expanduser().absolute()),
        NAME_VARIABLES[0]: session.wallet,
        HOTKEY_VARIABLE: session.hotkey,
    }


def curl(
    target: Annotated[
        str,
        typer.Argument(
            metavar="PATH|VERB",
            show_default=False,
            help="Path with its query, or the name of a request without parameters, such as `current`.",
        ),
    ],
    data: Annotated[str | None, typer.Option("--data", "-d", help="JSON body of a POST request.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print method, URL, headers and body as JSON.")
    ] = False,
    http: HttpOption = None,
    ready: ReadyOption = DEFAULT_READY,
    profile: ProfileOption = None,
    signers: SignerOption = None,
    wallet_path: WalletsOption = None,
    wallet: WalletOption = None,
    hotkey: HotkeyOption = "default",
    password_file: PasswordFileOption = None,
) -> None:
    """Print a signed curl command for a request to the bridge. The signature is valid for 10 seconds.

    To send it at once: zipcast curl current | sh"""
    method, path = _request(target, has_body=data is not None)
    with reported():
        address = address_of(http, ready, profile)
        service = Service.find(ready, profile)
        receiver = service.needed(signers, service.signers, "--signers").split(",")[0]
        keypair = load_keypair(*service.wallet(wallet_path, wallet), hotkey, password_file)
    body = (data or "").encode()
    headers = btauth.sign(
        keypair, method=method, path=path, body=body, receiver=receiver, nonce_ns=time.time_ns()
    )
    if method == "POST":
        headers["Content-Type"] = "application/json"
    if as_json:
        echo_json({"method": method, "url": address + path, "headers": headers, "body": data})
        return
    parts = ["curl", "-sS", "-X", method]
    for name, value in headers.items():
        parts += ["-H", f"{name}: {value}"]
    if method == "POST":
        parts += ["--data-raw", data or ""]
    echo(shlex.join([*parts, address + path]))
    if out.is_terminal:
        err.print(f"valid for {SIGNATURE_SECONDS} seconds; to send it at once: zipcast curl {target} | sh")


def _request(target: str, *, has_body: bool) -> tuple[str, str]:
    """Return method and path. A target without a slash is the last part of a verb's name or path."""
    if target.startswith("/"):
        path = target.partition("?")[0]
        methods = {spec.http.method for spec in VERBS.values() if spec.http and spec.http.path == path}
        known = next(iter(methods)) if len(methods) == 1 else None
        return known or ("POST" if has_body else "GET"), target
    named = {
        name: (spec.http.method, spec.http.path)
        for verb, spec in VERBS.items()
        if spec.http is not None and "{" not in spec.http.path
        for name in (str(verb), spec.http.path.rpartition("/")[2])
    }
    if target not in named:
        raise CommandError(
            f"{target} is neither a path nor a request without parameters",
            Status.USAGE,
            code="usage",
            remedy=f"Give a path such as /api/v1/epochs, or one of: {', '.join(sorted(named))}.",
        )
    return named[target]
