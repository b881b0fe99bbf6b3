"""Every NATS subject, stream, bucket, queue group and inbox prefix: spelled here and nowhere else.

`nats.conf` repeats them for the service users; a test holds the two together. Hotkeys enter a
subject only parsed (base58 holds no dot, star or arrow).
"""

import re
from dataclasses import dataclass

from zipcast.protocol.hotkeys import Hotkey, MalformedHotkeyError, parse_hotkey
from zipcast.protocol.verbs import ADMIN_VERBS, Verb

EPOCH_STREAM = "EPOCHS"
EPOCH_INGEST = "zipcast.ingest.epoch"
EPOCH_REBUILD = "zipcast.ingest.rebuild"
"""Old epochs come back into a stream that lost them by this one; nothing is passed on from it."""
EPOCH = "zipcast.v1.epoch"
REGISTRY_BUCKET = "registry"
REGISTRY_KEY = "snapshot"
SPENT_BUCKET = "spent_passwords"
RESPONDER_QUEUE = "responder"
CALLOUT_QUEUE = "callout"
AUTH_CALLOUT = "$SYS.REQ.USER.AUTH"
LIST_CONNECTIONS = "$SYS.REQ.SERVER.PING.CONNZ"
"""Asks every server of a cluster at once."""
DISCONNECTIONS = "$SYS.ACCOUNT.APP.DISCONNECT"
BRIDGE_INBOX = "_INBOX.bridge"

_REPLY = re.compile(r"[!-~]{1,255}")
_REQUEST_PREFIX = "zipcast.v1"
ADMIN_PREFIX = "zipcast.admin.v1"
BRIDGE_REQUEST_PREFIX = "zipcast.bridge.v1."
BRIDGE_HEALTH = f"{BRIDGE_REQUEST_PREFIX}health"


@dataclass(frozen=True, slots=True)
class RequestSubject:
    """A request subject taken apart; `hotkey` is whose subject it is, which only its owner may use."""

    hotkey: Hotkey
    verb: Verb


def request(hotkey: Hotkey, verb: Verb) -> str:
    return f"{_prefix(verb)}.{hotkey}.{verb}"


def requests(verb: Verb) -> str:
    """The responder's subscription to one verb of every hotkey."""
    return f"{_prefix(verb)}.*.{verb}"


def _prefix(verb: Verb) -> str:
    return ADMIN_PREFIX if verb in ADMIN_VERBS else _REQUEST_PREFIX


def bridge_request(verb: Verb) -> str:
    return f"{BRIDGE_REQUEST_PREFIX}{verb}"


def parse_bridge_request(subject: str) -> Verb:
    """Return the verb of one of the bridge's subjects. Raises ValueError for any other subject."""
    if not subject.startswith(BRIDGE_REQUEST_PREFIX):
        raise ValueError("not a bridge subject")
    return Verb(subject.removeprefix(BRIDGE_REQUEST_PREFIX))


def kick(server_id: str) -> str:
    """Ends one connection of that server."""
    return f"$SYS.REQ.SERVER.{server_id}.KICK"


def spent_password(hotkey: Hotkey, at_unix: int) -> str:
    """The entry of the KV bucket that holds passwords already used."""
    return f"$KV.{SPENT_BUCKET}.{hotkey}.{at_unix}"


def inbox_prefix(hotkey: Hotkey) -> str:
    """Replies to a hotkey; a dot, not an underscore, since wildcards match whole tokens only."""
    return f"_INBOX.{hotkey}"


def service_inbox_prefix(user: str) -> str:
    """Replies to a service user, named as in `nats.conf`."""
    return f"_INBOX.{user}"


def reply_is_own(reply: str, prefix: str) -> bool:
    """Return whether a reply subject lies under that inbox prefix and can be published to: printable ASCII,
    at most 255 characters.

    nats-server does not check a request's reply subject against the sender's rights, so this check stands
    between a client and everything the responder could publish."""
    if not _REPLY.fullmatch(reply):
        return False
    rest = reply.removeprefix(prefix + ".")
    return rest != reply and bool(rest) and not any(token in {"", "*", ">"} for token in rest.split("."))


def parse_request(subject: str) -> RequestSubject:
    """Take a request subject apart. Raises ValueError if it is none with a well-formed hotkey."""
    named, _, verb = _below_prefix(subject).partition(".")
    try:
        parsed = RequestSubject(parse_hotkey(named), Verb(verb))
    except MalformedHotkeyError as error:
        raise ValueError(f"hotkey in the subject {error}") from None
    if request(parsed.hotkey, parsed.verb) != subject:
        raise ValueError("not a request subject: an admin's verbs and the others' have subjects of their own")
    return parsed


def named_owner(subject: str) -> str:
    """Return the hotkey in a request subject, unchecked; empty if the subject is none."""
    try:
        return _below_prefix(subject).partition(".")[0]
    except ValueError:
        return ""


def _below_prefix(subject: str) -> str:
    for prefix in (_REQUEST_PREFIX, ADMIN_PREFIX):
        rest = subject.removeprefix(prefix + ".")
        if rest != subject and "." in rest:
            return rest
    raise ValueError("not a request subject")
