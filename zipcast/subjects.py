"""Every NATS subject, stream, bucket, queue group and inbox prefix: spelled here and nowhere else.

`nats.conf` repeats them for the service users; a test holds the two together. Hotkeys enter a
subject only parsed (base58 holds no dot, star or arrow).
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from zipcast.hotkeys import Hotkey, MalformedHotkeyError, parse_hotkey

EPOCH_STREAM = "EPOCHS"
EPOCH_INGEST = "zipcast.ingest.epoch"
EPOCH = "zipcast.v1.epoch"
REGISTRY_BUCKET = "registry"
REGISTRY_KEY = "snapshot"
RESPONDER_QUEUE = "responder"
CALLOUT_QUEUE = "callout"
AUTH_CALLOUT = "$SYS.REQ.USER.AUTH"
BRIDGE_INBOX = "_INBOX.bridge"

_REPLY = re.compile(r"[!-~]{1,255}")
_REQUEST_PREFIX = "zipcast.v1"
BRIDGE_REQUEST_PREFIX = "zipcast.bridge.v1."
BRIDGE_HEALTH = f"{BRIDGE_REQUEST_PREFIX}health"


class Verb(StrEnum):
    """What can be requested; the last two tokens of a request subject."""

    EPOCH_CURRENT = "epoch.current"
    S3_MINER_UPLOAD = "s3.miner-upload"
    S3_VALIDATOR_UPLOAD = "s3.validator-upload"
    S3_VALIDATOR_READ = "s3.validator-read"
    S3_FOLDER_ACCESS = "s3.folder-access"  # a legacy request: over the bridge only
    AUTH_LEGACY = "auth.legacy"


MINER_VERBS = frozenset({Verb.EPOCH_CURRENT, Verb.S3_MINER_UPLOAD, Verb.AUTH_LEGACY})
# What these answer opens buckets; they are spelled `s3.`.
MINTING_VERBS = frozenset(verb for verb in Verb if verb.startswith("s3."))
VALIDATOR_VERBS = MINER_VERBS | {Verb.S3_VALIDATOR_UPLOAD, Verb.S3_VALIDATOR_READ}


@dataclass(frozen=True, slots=True)
class RequestSubject:
    """A request subject taken apart; `hotkey` is whose subject it is, which only its owner may use."""

    hotkey: Hotkey
    verb: Verb


def request(hotkey: Hotkey, verb: Verb) -> str:
    return f"{_REQUEST_PREFIX}.{hotkey}.{verb}"


def requests(verb: Verb) -> str:
    """The responder's subscription to one verb of every hotkey."""
    return f"{_REQUEST_PREFIX}.*.{verb}"


def bridge_request(verb: Verb) -> str:
    return f"{BRIDGE_REQUEST_PREFIX}{verb}"


def parse_bridge_request(subject: str) -> Verb:
    """Raises ValueError when it is not one of the bridge's subjects."""
    if not subject.startswith(BRIDGE_REQUEST_PREFIX):
        raise ValueError("not a bridge subject")
    return Verb(subject.removeprefix(BRIDGE_REQUEST_PREFIX))


def inbox_prefix(hotkey: Hotkey) -> str:
    """Replies to a hotkey; a dot, not an underscore, since wildcards match whole tokens only."""
    return f"_INBOX.{hotkey}"


def service_inbox_prefix(user: str) -> str:
    """Replies to a service user, named as in `nats.conf`."""
    return f"_INBOX.{user}"


def reply_is_own(reply: str, prefix: str) -> bool:
    """Whether a reply subject lies under that inbox prefix and can be published to: printable ASCII, at
    most 255 characters.

    nats-server does not check a request's reply subject against the sender's rights, so this
    check stands between a client and everything the responder could publish.
    """
    if not _REPLY.fullmatch(reply):
        return False
    rest = reply.removeprefix(prefix + ".")
    return rest != reply and bool(rest) and not any(token in {"", "*", ">"} for token in rest.split("."))


def parse_request(subject: str) -> RequestSubject:
    """Raises ValueError when it is not a request subject with a well-formed hotkey."""
    tokens = subject.removeprefix(_REQUEST_PREFIX + ".").split(".", 1)
    if len(tokens) != 2 or not subject.startswith(_REQUEST_PREFIX + "."):
        raise ValueError("not a request subject")
    try:
        return RequestSubject(parse_hotkey(tokens[0]), Verb(tokens[1]))
    except MalformedHotkeyError as error:
        raise ValueError(f"hotkey in the subject {error}") from None
