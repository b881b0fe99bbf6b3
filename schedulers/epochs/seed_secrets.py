"""The secrets that epochs' seeds and salts come from, by id, so that they can be rotated."""

from collections.abc import Mapping
from dataclasses import dataclass


class UnknownSecretError(Exception):
    """An epoch was committed to a secret that this process was not given."""


@dataclass(frozen=True, slots=True)
class Secrets:
    """The secrets behind the seeds, by id. New epochs are committed to `current`; the others are kept
    for epochs that were committed to before a rotation."""

    current: str
    keys: Mapping[str, bytes]

    def key(self, secret_id: str) -> bytes:
        """Return the secret with that id. Raises UnknownSecretError."""
        try:
            return self.keys[secret_id]
        except KeyError:
            raise UnknownSecretError(f"secret {secret_id!r} is not configured") from None
