"""What an epoch's selection is committed to one epoch ahead.

Owns the document whose SHA-256 travels as `nextInputsHash`: import version, history, settings and
secret id. Once committed, later changes of any of them act on the epoch after. The document is
stored as the exact bytes that were hashed and read back from them.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta

from zipcast.selection import MarketTier, SelectionSettings

ALGORITHM_VERSION = "zipcast-selection/1"


@dataclass(frozen=True, slots=True)
class SelectionInputs:
    """`history_epoch_ids`: the epochs whose assignments count as recent for the cooldown."""

    epoch_id: str
    import_id: int
    secret_id: str
    history_epoch_ids: tuple[str, ...]
    settings: SelectionSettings
    algorithm_version: str = field(default=ALGORITHM_VERSION)

    def to_bytes(self) -> bytes:
        document = {
            "algorithmVersion": self.algorithm_version,
            "epochId": self.epoch_id,
            "importId": self.import_id,
            "secretId": self.secret_id,
            "historyEpochIds": self.history_epoch_ids,
            "settings": _settings_document(self.settings),
        }
        return json.dumps(document, separators=(",", ":")).encode()

    @classmethod
    def from_bytes(cls, stored: bytes) -> "SelectionInputs":
        """Reads what `to_bytes` wrote, also by an older version of this program."""
        document = json.loads(stored)
        return cls(
            epoch_id=document["epochId"],
            import_id=document["importId"],
            secret_id=document["secretId"],
            history_epoch_ids=tuple(document["historyEpochIds"]),
            settings=_settings_from(document["settings"]),
            algorithm_version=document["algorithmVersion"],
        )


def _settings_document(settings: SelectionSettings) -> dict[str, object]:
    document = asdict(settings)
    document["cooldown"] = int(settings.cooldown.total_seconds())
    document["max_data_age"] = int(settings.max_data_age.total_seconds())
    return document


def _settings_from(document: dict[str, object]) -> SelectionSettings:
    values = dict(document)
    for name in ("cooldown", "max_data_age"):
        values[name] = timedelta(seconds=_integer(values[name]))
    values["state_priorities"] = tuple((state, n) for state, n in _pairs(values["state_priorities"]))
    values["tier_weights"] = tuple((MarketTier(tier), w) for tier, w in _pairs(values["tier_weights"]))
    return SelectionSettings(**values)  # type: ignore[arg-type]


def _integer(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError("a duration in stored inputs is whole seconds")
    return value


def _pairs(value: object) -> Sequence[tuple[str, object]]:
    if not isinstance(value, list):
        raise TypeError("stored inputs hold lists of pairs")
    return [(str(name), weight) for name, weight in value]
