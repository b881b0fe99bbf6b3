"""Stores which services a user works with: their addresses and the signers that the user trusts.

The file is `zipcast/profiles.json` in the user's configuration folder, which `XDG_CONFIG_HOME` names and
which is `~/.config` by default. Only its owner can read it. A program that can change the file can choose the
trusted signers.
"""

import json
import os
import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

from zipcast.client.private_files import write_private
from zipcast.protocol.hotkeys import MalformedHotkeyError, parse_hotkey

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


class ProfileError(Exception):
    """A profile is missing or malformed. `remedy` says what to do."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(f"{message}. {remedy}")
        self.message, self.remedy = message, remedy


@dataclass(frozen=True, slots=True)
class Profile:
    """A service. `signers` are SS58 addresses, `servers` URLs of NATS, `http` is the URL of the bridge, and
    `source` the URL that described the service, if there was one. Raises ProfileError."""

    name: str
    network: str
    netuid: int
    signers: tuple[str, ...]
    servers: tuple[str, ...] = ()
    http: str | None = None
    source: str | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ProfileError(
                f"{self.name!r} cannot be the name of a profile",
                "Use at most 63 letters, digits, dots, underscores and hyphens",
            )
        try:
            for signer in self.signers:
                parse_hotkey(signer)
        except MalformedHotkeyError as error:
            raise ProfileError(f"profile {self.name}: signer {error}", "Correct the address") from None
        if not self.signers:
            raise ProfileError(f"profile {self.name} has no signer", "Name the signers that you trust")


@dataclass(frozen=True, slots=True)
class Profiles:
    """All profiles of a user, and the name of the one in use."""

    path: Path
    profiles: tuple[Profile, ...] = ()
    current: str | None = None

    @classmethod
    def read(cls, path: Path | None = None) -> Self:
        """Read the file, or return no profiles if there is none. Raises ProfileError."""
        path = path or profiles_path()
        try:
            stated: dict[str, Any] = json.loads(path.read_text())
            profiles = tuple(_profile(one) for one in stated["profiles"])
            return cls(path, profiles, None if stated["current"] is None else _text(stated["current"]))
        except FileNotFoundError:
            return cls(path)
        except OSError as error:
            raise ProfileError(f"cannot read {path}: {error.strerror}", "Make it readable") from None
        except (ValueError, KeyError, TypeError):
            raise ProfileError(
                f"{path} is not a file of profiles", "Delete it and run `zipcast profile add` again"
            ) from None

    def find(self, name: str) -> Profile:
        """Return the profile `name`. Raises ProfileError."""
        for profile in self.profiles:
            if profile.name == name:
                return profile
        known = ", ".join(one.name for one in self.profiles)
        remedy = f"Choose one of: {known}" if known else "Add it with `zipcast profile add`"
        raise ProfileError(f"there is no profile {name!r}", remedy)

    def with_profile(self, profile: Profile) -> Self:
        """Return these profiles with `profile`, which replaces a profile of the same name. The first profile
        is in use at once."""
        others = tuple(one for one in self.profiles if one.name != profile.name)
        return replace(self, profiles=(*others, profile), current=self.current or profile.name)

    def without(self, name: str) -> Self:
        """Return these profiles without `name`. Raises ProfileError."""
        gone = self.find(name)
        others = tuple(one for one in self.profiles if one != gone)
        return replace(self, profiles=others, current=None if self.current == name else self.current)

    def using(self, name: str) -> Self:
        """Return these profiles with `name` in use. Raises ProfileError."""
        return replace(self, current=self.find(name).name)

    def write(self) -> None:
        """Write the file with mode 0600. Raises OSError."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        document = {"current": self.current, "profiles": [asdict(one) for one in self.profiles]}
        write_private(self.path, f"{json.dumps(document, indent=2)}\n".encode())


def profile_settings(name: str | None = None) -> dict[str, str]:
    """Return the SDK's settings from the profile `name`. By default, this is the profile that ZIPCAST_PROFILE
    names, otherwise the profile in use. If there is none, return an empty dictionary. Raises ProfileError."""
    profiles = Profiles.read()
    chosen = name or os.environ.get("ZIPCAST_PROFILE") or profiles.current
    if chosen is None:
        return {}
    profile = profiles.find(chosen)
    stated = {
        "servers": ",".join(profile.servers),
        "http": profile.http or "",
        "signer": ",".join(profile.signers),
        "network": profile.network,
        "netuid": str(profile.netuid),
    }
    return {key: value for key, value in stated.items() if value}


def profiles_path() -> Path:
    """Return the path of the file of profiles."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser() / "zipcast" / "profiles.json"


def _profile(stated: Any) -> Profile:
    return Profile(
        name=_text(stated["name"]),
        network=_text(stated["network"]),
        netuid=int(stated["netuid"]),
        signers=tuple(map(_text, stated["signers"])),
        servers=tuple(map(_text, stated["servers"])),
        http=None if stated["http"] is None else _text(stated["http"]),
        source=None if stated["source"] is None else _text(stated["source"]),
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value
