"""Defines every NATS subject, stream, bucket, queue group and inbox prefix. No other module spells them.

`nats.conf` repeats them for the service users; a test compares the two. Only parsed hotkeys become part of a
subject, so they cannot contain a dot or a wildcard.
"""

import re
from dataclasses import dataclass

from zipcast.protocol.hotkeys import Hotkey, MalformedHotkeyError, parse_hotkey
from zipcast.protocol.verbs import ADMIN_VERBS, Verb

EPOCH_STREAM = "EPOCHS"
EPOCH_INGEST = "zipcast.ingest.epoch"
EPOCH_REBUILD = "zipcast.ingest.rebuild"
"""The subject for restoring epochs to a stream that lost them. nats-server does not republish messages from
it."""
EPOCH = "zipcast.v1.epoch"
DRAFT = "zipcast.v1.draft"
"""Signed drafts of epochs that no message promised, sent before the epoch's round is published."""
SEALED_STREAM = "SEALED"
SEALED_INGEST = "zipcast.ingest.sealed"
SEALED = "zipcast.v1.sealed"
"""Sealed epochs, sent when they are drawn. A sealed epoch cannot be opened before its start."""
REGISTRY_BUCKET = "registry"
REGISTRY_KEY = "snapshot"
SPENT_BUCKET = "spent_passwords"
RESPONDER_QUEUE = "responder"
CALLOUT_QUEUE = "callout"
AUTH_CALLOUT = "$SYS.REQ.USER.AUTH"
LIST_CONNECTIONS = "$SYS.REQ.SERVER.PING.CONNZ"
"""The subject for requesting the connections of all servers of a cluster."""
DISCONNECTIONS = "$SYS.ACCOUNT.APP.DISCONNECT"
BRIDGE_INBOX = "_INBOX.bridge"
SERVICE_INFO = "$SRV"
"""The prefix of subjects on which services describe themselves (NATS ADR-32)."""

_REPLY = re.compile(r"[!-~]{1,255}")
_REQUEST_PREFIX = "zipcast.v1"
ADMIN_PREFIX = "zipcast.admin.v1"
BRIDGE_REQUEST_PREFIX = "zipcast.bridge.v1."
BRIDGE_HEALTH = f"{BRIDGE_REQUEST_PREFIX}health"


@dataclass(frozen=True, slots=True)
class RequestSubject:
    """The parts of a request subject. Only the owner of `hotkey` may use the subject."""

    hotkey: Hotkey
    verb: Verb


def request(hotkey: Hotkey, verb: Verb) -> str:
    """Return the subject on which a hotkey sends requests of this verb."""
    return f"{_prefix(verb)}.{hotkey}.{verb}"


def requests(verb: Verb) -> str:
    """Return the subject to which the responder subscribes for one verb of every hotkey."""
    return f"{_prefix(verb)}.*.{verb}"


def _prefix(verb: Verb) -> str:
    return ADMIN_PREFIX if verb in ADMIN_VERBS else _REQUEST_PREFIX


def bridge_request(verb: Verb) -> str:
    """Return the subject on which the bridge forwards requests of this verb."""
    return f"{BRIDGE_REQUEST_PREFIX}{verb}"


def parse_bridge_request(subject: str) -> Verb:
    """Return the verb of one of the bridge's subjects. Raises ValueError for any other subject."""
    if not subject.startswith(BRIDGE_REQUEST_PREFIX):
        raise ValueError("not a bridge subject")
    return Verb(subject.removeprefix(BRIDGE_REQUEST_PREFIX))


def sealed_ingest(epoch_id: str) -> str:
    """Return the subject on which the scheduler stores a sealed epoch, one per epoch."""
    return f"{SEALED_INGEST}.{epoch_id}"


def kick(server_id: str) -> str:
    """Return the subject for requests that close a connection of this server."""
    return f"$SYS.REQ.SERVER.{server_id}.KICK"


def service_questions(kind: str, name: str, instance: str) -> tuple[str, str, str]:
    """Return the subjects of one kind of question (PING, INFO or STATS) to all services, to those of this
    name, and to one instance."""
    every = f"{SERVICE_INFO}.{kind}"
    return every, f"{every}.{name}", f"{every}.{name}.{instance}"


def spent_password(hotkey: Hotkey, at_unix: int) -> str:
    """Return the key of a used password in the KV bucket."""
    return f"$KV.{SPENT_BUCKET}.{hotkey}.{at_unix}"


def inbox_prefix(hotkey: Hotkey) -> str:
    """Return the prefix of the inboxes of a hotkey. The hotkey is a token of its own, because wildcards match
    only whole tokens."""
    return f"_INBOX.{hotkey}"


def service_inbox_prefix(user: str) -> str:
    """Return the inbox prefix of a service. `user` is the service's name in the inboxes of `nats.conf`, such
    as `responder`."""
    return f"_INBOX.{user}"


def reply_is_own(reply: str, prefix: str) -> bool:
    """Return whether a reply subject begins with the inbox prefix and can be published to: printable ASCII,
    at most 255 characters.

    nats-server does not check a request's reply subject against the sender's rights. Without this check, a
    client could make the responder publish to any subject."""
    if not _REPLY.fullmatch(reply):
        return False
    rest = reply.removeprefix(prefix + ".")
    return rest != reply and bool(rest) and not any(token in {"", "*", ">"} for token in rest.split("."))


def parse_request(subject: str) -> RequestSubject:
    """Parse a request subject. Raises ValueError if it is not one, or its hotkey is malformed."""
    named, _, verb = _below_prefix(subject).partition(".")
    try:
        parsed = RequestSubject(parse_hotkey(named), Verb(verb))
    except MalformedHotkeyError as error:
        raise ValueError(f"hotkey in the subject {error}") from None
    if request(parsed.hotkey, parsed.verb) != subject:
        raise ValueError("not a request subject: verbs of admins have another prefix than other verbs")
    return parsed


def named_owner(subject: str) -> str:
    """Return the text in place of the hotkey in a request subject, or an empty text if it is not one."""
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
