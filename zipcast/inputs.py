"""What an epoch's selection is committed to one epoch ahead, and what follows from it.

Owns the document whose SHA-256 travels as `nextInputsHash`: import version, history, settings, salt and
secret id; and which rules its algorithm version stands for. Once committed, later changes of any of them act
on the epoch after. The document is stored as the exact bytes that were hashed and read back from them.
"""

import json
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta

from zipcast import fairness
from zipcast.honeypots import Choice, HoneypotSettings, choose
from zipcast.selection import NEWEST, Candidate, MarketTier, SelectionSettings, Version

_HEX = re.compile(r"[0-9a-f]{64}")
ALGORITHM_VERSIONS = {f"zipcast-selection/{version}": version for version in Version}
ALGORITHM_VERSION = f"zipcast-selection/{NEWEST}"


@dataclass(frozen=True, slots=True)
class SelectionInputs:
    """`history_epoch_ids`: the epochs whose assignments count as recent for the cooldown.
    `honeypot_epoch_ids`: those whose decoys still rest. `honeypots` is None in version 1, and only there;
    `salt` and `zipcodes_sha256`, the hash of the version's active zipcodes, are 64 hex digits from version 3
    on, and only there: ValueError otherwise, and for a version that this program does not know."""

    epoch_id: str
    import_id: int
    secret_id: str
    history_epoch_ids: tuple[str, ...]
    settings: SelectionSettings
    honeypots: HoneypotSettings | None = None
    honeypot_epoch_ids: tuple[str, ...] = ()
    salt: str | None = None
    zipcodes_sha256: str | None = None
    algorithm_version: str = field(default=ALGORITHM_VERSION)

    def __post_init__(self) -> None:
        if self.algorithm_version not in ALGORITHM_VERSIONS:
            raise ValueError(f"algorithm version {self.algorithm_version!r} is not known here")
        if (self.honeypots is None) is not (self._version < Version.WITH_DECOYS):
            raise ValueError(f"honeypots belong to zipcast-selection/{Version.WITH_DECOYS} and later ones")
        for field_name in ("salt", "zipcodes_sha256"):
            value = getattr(self, field_name)
            if (value is None) is not (self._version < Version.BY_SHARES):
                raise ValueError(
                    f"{field_name} belongs to zipcast-selection/{Version.BY_SHARES} and later ones"
                )
            if value is not None and not _HEX.fullmatch(value):
                raise ValueError(f"{field_name} must be 64 lower-case hex digits")

    @property
    def _version(self) -> Version:
        return ALGORITHM_VERSIONS[self.algorithm_version]

    def choose(
        self, candidates: Iterable[Candidate], resting: Collection[str], seed: bytes, start_at: datetime
    ) -> Choice:
        """The epoch's zipcodes by the rules of its version; `resting`: the decoys of `honeypot_epoch_ids`.
        Raises PoolTooSmallError, ValueError."""
        key = seed if self.salt is None else fairness.draw_key(seed, bytes.fromhex(self.salt))
        return choose(
            candidates, self.settings, self.honeypots, resting, key, start_at, version=self._version
        )

    def pool_hash(self, choice: Choice) -> str:
        """The published hash of all that took part in a choice, by the rules of this version."""
        if self.honeypots is None:
            return fairness.candidate_pool_hash(choice.selection.pool)
        return fairness.whole_pool_hash((*choice.selection.pool, *choice.decoys))

    def of_version(self, version: Version) -> "SelectionInputs":
        """The same as a program would have committed to whose newest version was `version`."""
        changes: dict[str, object] = {"algorithm_version": f"zipcast-selection/{version}"}
        if version < Version.BY_SHARES:
            changes |= {"salt": None, "zipcodes_sha256": None}
        if version < Version.WITH_DECOYS:
            changes |= {"honeypots": None, "honeypot_epoch_ids": ()}
        return replace(self, **changes)  # type: ignore[arg-type]

    def to_bytes(self) -> bytes:
        document: dict[str, object] = {
            "algorithmVersion": self.algorithm_version,
            "epochId": self.epoch_id,
            "importId": self.import_id,
            "secretId": self.secret_id,
            "historyEpochIds": self.history_epoch_ids,
            "settings": _settings_document(self.settings),
        }
        if self.salt is not None:
            document |= {"salt": self.salt, "zipcodesSha256": self.zipcodes_sha256}
        if self.honeypots is not None:
            document["honeypots"] = {
                "probability": self.honeypots.probability,
                "threshold": self.honeypots.threshold,
                "rest": int(self.honeypots.rest.total_seconds()),
                "epochIds": self.honeypot_epoch_ids,
            }
        return json.dumps(document, separators=(",", ":")).encode()

    @classmethod
    def from_bytes(cls, stored: bytes) -> "SelectionInputs":
        """Reads what `to_bytes` wrote, also by an older version of this program.

        Raises KeyError, TypeError, ValueError."""
        document = json.loads(stored)
        honeypots, honeypot_epoch_ids = _honeypots_from(document.get("honeypots"))
        return cls(
            epoch_id=document["epochId"],
            import_id=document["importId"],
            secret_id=document["secretId"],
            history_epoch_ids=_texts(document["historyEpochIds"]),
            settings=_settings_from(document["settings"]),
            honeypots=honeypots,
            honeypot_epoch_ids=honeypot_epoch_ids,
            salt=document.get("salt"),
            zipcodes_sha256=document.get("zipcodesSha256"),
            algorithm_version=document["algorithmVersion"],
        )


def _honeypots_from(document: dict[str, object] | None) -> tuple[HoneypotSettings | None, tuple[str, ...]]:
    if document is None:
        return None, ()
    values = dict(document)
    epoch_ids = _texts(values.pop("epochIds"))
    values["rest"] = timedelta(seconds=_integer(values["rest"]))
    return HoneypotSettings(**values), epoch_ids  # type: ignore[arg-type]


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise TypeError("stored inputs hold lists of epoch ids")
    return tuple(value)


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
