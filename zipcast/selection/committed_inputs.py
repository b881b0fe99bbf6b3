"""Reads and writes the inputs of an epoch's selection, and chooses the zipcodes from them.

The inputs are the import version, history, settings, beacon rounds and secret id. The SHA-256 of this
document is published one epoch ahead as `nextInputsHash`. Changes made after that affect only later epochs.
The document is stored as the exact bytes that were hashed.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta

from zipcast.protocol.beacon import BeaconRounds
from zipcast.selection.honeypots import Choice, HoneypotSettings, choose
from zipcast.selection.model import Candidate, MarketTier, SelectionSettings

_HEX = re.compile(r"[0-9a-f]{64}")
ALGORITHM_VERSION = "zipcast-selection/1"


@dataclass(frozen=True, slots=True)
class SelectionInputs:
    """The inputs of one selection. `history_epoch_ids` names the epochs whose zipcodes are in cooldown.
    `zipcodes_sha256` is the hash of the published part of the import's active zipcodes. Raises ValueError
    unless it is 64 hex digits, and for an algorithm version that this program does not know."""

    epoch_id: str
    import_id: int
    secret_id: str
    history_epoch_ids: tuple[str, ...]
    settings: SelectionSettings
    honeypots: HoneypotSettings
    beacon: BeaconRounds
    zipcodes_sha256: str
    algorithm_version: str = field(default=ALGORITHM_VERSION)

    def __post_init__(self) -> None:
        if self.algorithm_version != ALGORITHM_VERSION:
            raise ValueError(f"this program does not know algorithm version {self.algorithm_version!r}")
        if not _HEX.fullmatch(self.zipcodes_sha256):
            raise ValueError("zipcodes_sha256 must be 64 lower-case hex digits")

    def choose(
        self,
        candidates: Iterable[Candidate],
        real_listings: Mapping[str, int],
        draw_seed: bytes,
        start_at: datetime,
    ) -> Choice:
        """Choose the epoch's zipcodes from those of the import, which have their published counts.
        `real_listings` has the real counts of the honeypots. Raises PoolTooSmallError and ValueError."""
        return choose(
            candidates,
            real_listings,
            self.settings,
            draw_seed,
            start_at,
            probability=self.honeypots.probability,
        )

    def to_bytes(self) -> bytes:
        """Return the document that is hashed and stored."""
        document = {
            "algorithmVersion": self.algorithm_version,
            "epochId": self.epoch_id,
            "importId": self.import_id,
            "secretId": self.secret_id,
            "historyEpochIds": self.history_epoch_ids,
            "settings": _settings_document(self.settings),
            "honeypots": asdict(self.honeypots),
            "beacon": _beacon_document(self.beacon),
            "zipcodesSha256": self.zipcodes_sha256,
        }
        return json.dumps(document, separators=(",", ":")).encode()

    @classmethod
    def from_bytes(cls, stored: bytes) -> "SelectionInputs":
        """Read a document that `to_bytes` made. Raises KeyError, TypeError and ValueError."""
        document = json.loads(stored)
        return cls(
            epoch_id=document["epochId"],
            import_id=document["importId"],
            secret_id=document["secretId"],
            history_epoch_ids=_texts(document["historyEpochIds"]),
            settings=_settings_from(document["settings"]),
            honeypots=HoneypotSettings(**document["honeypots"]),
            beacon=_beacon_from(document["beacon"]),
            zipcodes_sha256=document["zipcodesSha256"],
            algorithm_version=document["algorithmVersion"],
        )


def settings_of(stored: bytes) -> SelectionSettings:
    """Read only the settings. Raises KeyError, TypeError and ValueError."""
    return _settings_from(json.loads(stored)["settings"])


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise TypeError("historyEpochIds in stored inputs must be a list of texts")
    return tuple(value)


def _beacon_document(rounds: BeaconRounds) -> dict[str, object]:
    return {
        "chain": rounds.chain,
        "round": rounds.draw_round,
        "fallbackRound": rounds.fallback_round,
        "leadMilliseconds": rounds.lead // timedelta(milliseconds=1),
        "rounding": rounds.rounding,
    }


def _beacon_from(document: dict[str, object]) -> BeaconRounds:
    fallback = document["fallbackRound"]
    return BeaconRounds(
        str(document["chain"]),
        _integer(document["round"]),
        None if fallback is None else _integer(fallback),
        timedelta(milliseconds=_integer(document["leadMilliseconds"])),
        str(document["rounding"]),
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
        raise TypeError("a duration or round in stored inputs must be a whole number")
    return value


def _pairs(value: object) -> Sequence[tuple[str, object]]:
    if not isinstance(value, list):
        raise TypeError("a mapping in stored inputs must be a list of pairs")
    return [(str(name), weight) for name, weight in value]
