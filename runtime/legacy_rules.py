"""What a legacy request must have signed, and how long ago: contract-http, to the letter.

Owns which texts count for which request. The texts themselves are `zipcast.auth`'s; the fields that they name
are checked here before they are put into one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from runtime.asking import epoch_start
from zipcast import auth
from zipcast.auth import API_WINDOW, GET_WINDOW, UnverifiedCommitment, Window
from zipcast.errors import ErrorCode, ServiceError
from zipcast.hotkeys import Hotkey, MalformedHotkeyError, parse_hotkey
from zipcast.subjects import Verb

Fields = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class LegacyRule:
    """The texts of which one must have been signed, given the identity and the request's own fields."""

    window: Window
    texts: Callable[[UnverifiedCommitment, Fields], tuple[str, ...]]


def _status(asked: UnverifiedCommitment, fields: Fields) -> tuple[str, ...]:
    epoch_id = named_epoch(fields)
    return (
        auth.status_commitment(epoch_id, asked.timestamp),
        auth.miner_status_commitment(asked.hotkey, epoch_id, asked.timestamp),
    )


LEGACY_RULES = {
    Verb.EPOCH_CURRENT: LegacyRule(API_WINDOW, lambda asked, _: (auth.current_commitment(asked.timestamp),)),
    Verb.EPOCH_STREAM: LegacyRule(API_WINDOW, lambda asked, _: (auth.stream_commitment(asked.timestamp),)),
    Verb.EPOCH_VALIDATION: LegacyRule(
        API_WINDOW,
        lambda asked, fields: (auth.validation_commitment(named_epoch(fields), asked.timestamp),),
    ),
    Verb.MINER_STATUS: LegacyRule(API_WINDOW, _status),
    Verb.S3_VALIDATOR_UPLOAD: LegacyRule(
        API_WINDOW, lambda asked, _: (auth.validator_upload_commitment(asked.timestamp),)
    ),
    Verb.S3_FOLDER_ACCESS: LegacyRule(
        GET_WINDOW,
        lambda asked, fields: (
            auth.folder_access_commitment(named_coldkey(fields), asked.hotkey, asked.timestamp),
        ),
    ),
    Verb.S3_VALIDATOR_ACCESS: LegacyRule(
        GET_WINDOW, lambda asked, _: (auth.validator_access_commitment(asked.timestamp),)
    ),
    Verb.S3_MINER_ACCESS: LegacyRule(
        GET_WINDOW,
        lambda asked, fields: (auth.miner_access_commitment(named_miner(fields), asked.timestamp),),
    ),
}


def named_coldkey(fields: Fields) -> Hotkey:
    """Raises ServiceError(MALFORMED_REQUEST | MALFORMED_HOTKEY)."""
    return _address(fields, "coldkey", "coldkey")


def named_miner(fields: Fields) -> Hotkey:
    """Raises ServiceError(MALFORMED_REQUEST | MALFORMED_HOTKEY)."""
    return _address(fields, "miner_hotkey", "minerHotkey")


def named_epoch(fields: Fields) -> str:
    """Raises ServiceError(MALFORMED_REQUEST | MALFORMED_EPOCH_ID)."""
    epoch_id = fields.get("epochId", fields.get("epoch_id"))
    if not isinstance(epoch_id, str):
        raise ServiceError(ErrorCode.MALFORMED_REQUEST, "epochId: must be an epoch id.")
    epoch_start("epochId", epoch_id)
    return epoch_id


def _address(fields: Fields, name: str, alias: str) -> Hotkey:
    address = fields.get(name, fields.get(alias))
    if not isinstance(address, str):
        raise ServiceError(ErrorCode.MALFORMED_REQUEST, f"{name}: must be an SS58 address.")
    try:
        return parse_hotkey(address)
    except MalformedHotkeyError as error:
        raise ServiceError(ErrorCode.MALFORMED_HOTKEY, f"{name} {error}.") from None
