"""Stores the secrets for seeds by id, so that they can be rotated."""

from collections.abc import Mapping
from dataclasses import dataclass


class UnknownSecretError(Exception):
    """An epoch was committed to a secret that is not in this process's settings."""


@dataclass(frozen=True, slots=True)
class Secrets:
    """The secrets for seeds, by id. New epochs are committed to the secret `current`; the others are kept for
    epochs that were committed before a rotation."""

    current: str
    keys: Mapping[str, bytes]

    def key(self, secret_id: str) -> bytes:
        """Return the secret with that id. Raises UnknownSecretError."""
        try:
            return self.keys[secret_id]
        except KeyError:
            raise UnknownSecretError(
                f"secret {secret_id!r} is missing: add it to ZIPCODE_PREVIOUS_SECRETS"
            ) from None
