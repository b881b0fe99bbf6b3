"""Defines `zipcast profile …`, which stores the services that a user works with and the signers to trust.

A service describes itself, but its description cannot prove that it is the right service. Therefore the user
confirms its signers once. A later change of the signers is accepted only if a message that a trusted signer
signed has announced the change.
"""

import re
from dataclasses import asdict
from typing import Annotated
from urllib.parse import urlsplit

import typer
from pydantic import ValidationError
from rich.table import Table

from zipcast.cli.bridge_requests import get, get_page
from zipcast.cli.command import reported
from zipcast.cli.console import echo_json, err, fail, out, show_table
from zipcast.cli.errors import Status
from zipcast.cli.session import HttpOption, NatsOption, NetuidOption, NetworkOption, SignerOption
from zipcast.client.http import is_loopback
from zipcast.client.profiles import Profile, Profiles
from zipcast.protocol.envelope import EnvelopeError, Trust, UnverifiedEnvelope, verify
from zipcast.protocol.hotkeys import parse_hotkey
from zipcast.protocol.messages.history import EndedEpoch
from zipcast.protocol.messages.service import WELL_KNOWN_PATH, ServiceDescription

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", show_default=False, help="Name of a profile.")]

MAX_DESCRIPTION_BYTES = 64 * 1024
PAGE_EPOCHS = 100
MAX_PAGES = 10
"""The largest number of pages of ended epochs that are searched for the announcement of a signer."""


def add(
    source: Annotated[
        str, typer.Argument(metavar="NAME|URL", show_default=False, help="Name, or URL of the bridge.")
    ],
    name: Annotated[
        str | None, typer.Option(help="With a URL, the name of the profile. Default: the host.")
    ] = None,
    nats: NatsOption = None,
    signers: SignerOption = None,
    network: NetworkOption = None,
    netuid: NetuidOption = None,
    http: HttpOption = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Trust the shown signers without asking.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Add a service, or update it. With a URL, its bridge describes it; otherwise the options do.

    Compare the shown signers with those that the operator published elsewhere, for example on the subnet's
    page, before you confirm them."""
    with reported():
        profiles = Profiles.read()
        if "://" in source:
            profile = _described(source, name)
            _confirm(profile, profiles, yes)
        else:
            profile = _stated(source, nats, signers, network, netuid, http)
        changed = profiles.with_profile(profile)
        changed.write()
    if as_json:
        echo_json(_as_json(profile, changed))
        return
    out.print(f"profile {profile.name} is stored in {changed.path}", soft_wrap=True)
    if changed.current != profile.name:
        out.print(f"to use it: zipcast profile use {profile.name}", soft_wrap=True)


def use(name: NameArgument, as_json: JsonOption = False) -> None:
    """Use a profile from now on, unless an option names another service."""
    with reported():
        profiles = Profiles.read().using(name)
        profiles.write()
    if as_json:
        echo_json(_as_json(profiles.find(name), profiles))
    else:
        out.print(f"commands now use profile {name}", soft_wrap=True)


def remove(name: NameArgument, as_json: JsonOption = False) -> None:
    """Remove a profile."""
    with reported():
        profiles = Profiles.read().without(name)
        profiles.write()
    if as_json:
        echo_json({"removed": name})
    else:
        out.print(f"profile {name} is removed", soft_wrap=True)


def list_profiles(as_json: JsonOption = False) -> None:
    """List the profiles. A star marks the one in use."""
    with reported():
        profiles = Profiles.read()
    if as_json:
        echo_json({"profiles": [_as_json(one, profiles) for one in profiles.profiles]})
        return
    if not profiles.profiles:
        out.print("no profiles; add one with `zipcast profile add URL`")
        return
    table = Table("", "profile", "network", "netuid", "servers", "signers", box=None, pad_edge=False)
    for one in profiles.profiles:
        mark = "*" if one.name == profiles.current else ""
        servers = " ".join(one.servers) or one.http or ""
        table.add_row(mark, one.name, one.network, str(one.netuid), servers, " ".join(one.signers))
    show_table(table)


def _as_json(profile: Profile, profiles: Profiles) -> dict[str, object]:
    return {**asdict(profile), "inUse": profile.name == profiles.current}


def _stated(
    name: str,
    nats: str | None,
    signers: str | None,
    network: str | None,
    netuid: int | None,
    http: str | None,
) -> Profile:
    needed = {
        "--signers": signers,
        "--network": network,
        "--netuid": netuid,
        "--nats or --http": nats or http,
    }
    missing = [option for option, value in needed.items() if value is None]
    if signers is None or network is None or netuid is None or missing:
        raise typer.BadParameter(
            f"{', '.join(missing)} missing. Without the URL of a bridge, options must describe the service."
        )
    return Profile(name, network, netuid, _split(signers), _split(nats or ""), http)


def _split(text: str) -> tuple[str, ...]:
    return tuple(one.strip() for one in text.split(",") if one.strip())


def _described(url: str, name: str | None) -> Profile:
    """Return the profile that the bridge at `url` describes."""
    parts = urlsplit(url)
    if not parts.hostname or parts.scheme not in {"http", "https"}:
        raise typer.BadParameter(f"{url} is not the URL of a bridge, such as https://bridge.example.org")
    if parts.scheme != "https" and not is_loopback(url):
        raise typer.BadParameter(f"{url} is not encrypted, so others could change the reply: use https://")
    address = url.removesuffix(WELL_KNOWN_PATH).rstrip("/")
    try:
        stated = ServiceDescription.model_validate_json(
            get(address, WELL_KNOWN_PATH, max_bytes=MAX_DESCRIPTION_BYTES)
        )
    except ValidationError:
        fail(
            f"{address} does not describe a Zipcast service",
            code="no_description",
            remedy="Check the URL, or describe the service with --signers, --network, --netuid and --nats.",
        )
    name = name or re.sub(r"[^A-Za-z0-9._-]", "-", parts.hostname)
    http = stated.http or address
    return Profile(name, stated.network, stated.netuid, stated.signers, stated.servers, http, address)


def _confirm(profile: Profile, profiles: Profiles, yes: bool) -> None:
    """Let the user confirm the signers of a new service. If the signers of a known service have changed,
    require that a trusted signer announced the change."""
    known = next((one for one in profiles.profiles if one.name == profile.name), None)
    if known is not None:
        if (known.network, known.netuid) != (profile.network, profile.netuid):
            fail(
                f"profile {known.name} is for network {known.network}, netuid {known.netuid}, and the bridge "
                f"says {profile.network}, {profile.netuid}",
                Status.NOT_VERIFIED,
                code="service_changed",
                remedy="Add it under another name with --name, if that is what you want.",
            )
        _require_announced(known, profile)
        for what, before, now in (
            ("servers", " ".join(known.servers), " ".join(profile.servers)),
            ("bridge", known.http, profile.http),
        ):
            if before != now:
                err.print(f"{what} changed from {before or 'none'} to {now or 'none'}", soft_wrap=True)
        return
    err.print(
        f"{profile.source} describes network {profile.network}, netuid {profile.netuid}.", soft_wrap=True
    )
    for signer in profile.signers:
        err.print(f"signer: {signer}", soft_wrap=True)
    err.print(f"servers: {' '.join(profile.servers) or 'none published'}", soft_wrap=True)
    if not yes and not typer.confirm("Trust epochs that these signers sign?", err=True):
        fail("nothing was stored", Status.REFUSED, code="not_confirmed")


def _require_announced(known: Profile, profile: Profile) -> None:
    added = sorted(set(profile.signers) - set(known.signers))
    if added:
        announced = _announced_signer(known, profile.http or "")
        if added != [announced]:
            fail(
                f"the signer of profile {known.name} changed from {', '.join(known.signers)} to "
                f"{', '.join(profile.signers)}, and no message of a trusted signer announced it",
                Status.NOT_VERIFIED,
                code="signer_changed",
                remedy="Do not use the service before the operator confirms the new signer. Then run "
                f"`zipcast profile remove {known.name}` and add it again.",
            )


def _announced_signer(known: Profile, address: str) -> str | None:
    """Return the `nextSigner` of the newest ended epoch that one of the known signers signed."""
    trust = Trust(frozenset(map(parse_hotkey, known.signers)), known.network, known.netuid)
    before: str | None = None
    for _ in range(MAX_PAGES):
        page = get_page(address, PAGE_EPOCHS, before)
        for epoch in page.epochs:
            if (verified := _verified_next_signer(epoch, trust)) is not None:
                return verified[0]
        before = page.following(before)
        if before is None:
            break
    return None


def _verified_next_signer(epoch: EndedEpoch, trust: Trust) -> tuple[str | None] | None:
    """Return the epoch's `nextSigner` in a tuple, or None if no trusted signer signed the epoch."""
    if epoch.proof is None:
        return None
    proof = epoch.proof
    envelope = UnverifiedEnvelope(proof.payload.encode(), proof.signer, proof.signature, epoch.epoch_id)
    try:
        return (verify(envelope, trust).message.next_signer,)
    except EnvelopeError:
        return None
