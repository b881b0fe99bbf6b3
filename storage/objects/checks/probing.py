"""Makes one attempt on an object store and reports it."""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import httpx
from botocore.exceptions import BotoCoreError, ClientError

from storage.objects.policies import MIN_UPLOAD_BYTES
from storage.objects.store import ObjectStoreConfig, SessionCredentials, open_client

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client

PROBE_EPOCH = "1970-01-01T00-00-00"
PROBE = "zipcast-check.json"
CONTENT = b'{"what": "a probe of `zipcast s3 check`, which may be deleted"}'.ljust(MIN_UPLOAD_BYTES)
UNKNOWN_TO_PROVIDER = frozenset({"NotImplemented", "MethodNotAllowed", "UnsupportedOperation", "501", "405"})


_XML_ERROR = re.compile(r"<(Code|Message)>([^<]*)</")
MAX_ERROR_CHARACTERS, MAX_WORDS = 10_000, 300

# Codes by which stores refuse: for the keys' rights, the session's, or the form's conditions.
REFUSALS = frozenset({"AccessDenied", "Forbidden", "403", "EntityTooSmall", "InvalidPolicyDocument"})


class Status(StrEnum):
    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """One attempt, its result, and how to mend it."""

    subject: str
    status: Status
    told: str
    fix: str = ""


def must_be_refused(subject: str, code: str | None) -> Finding:
    """`code`: the refusal's; None if the attempt succeeded."""
    if code in REFUSALS:
        return Finding(subject, Status.OK, f"refused ({code})")
    if code is not None:
        # A store that is slow or away has refused nothing.
        return Finding(subject, Status.FAILED, f"could not be tried ({code})", "try again when it answers")
    fix = "this provider does not enforce what Zipcast relies on: do not use it"
    return Finding(subject, Status.FAILED, "it was allowed", fix)


async def attempt(call: Callable[[], Any]) -> tuple[str | None, dict[str, Any]]:
    """The error's code, or None, and the answer. Blocking calls run in a thread."""
    try:
        return None, await asyncio.to_thread(call)
    except (ClientError, BotoCoreError) as error:
        return code_of(error), {}


def code_of(error: BaseException | None) -> str:
    """A provider's own code, else what kind of error it is; never a text of the driver's."""
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code", "an unnamed error"))
    return type(error).__name__


def client(config: ObjectStoreConfig, session: SessionCredentials | None = None) -> "S3Client":
    """Return a client with the signing user's keys, or a session's, that does not retry."""
    found: S3Client = open_client(config, "s3", session, attempts=1)
    return found


def words_of(error: BaseException | None) -> str:
    """Return the provider's own code and sentence, in one line, for the operator."""
    code = code_of(error)
    if not isinstance(error, ClientError):
        return code
    sentence = str(error.response.get("Error", {}).get("Message", ""))
    return _one_line(code, sentence)


def words_in(answer: httpx.Response) -> tuple[str, str]:
    """Return the code of an error answer, and code and sentence in one line."""
    found = dict(_XML_ERROR.findall(answer.text[:MAX_ERROR_CHARACTERS]))
    code = found.get("Code", str(answer.status_code))
    return code, _one_line(code, found.get("Message", ""))


def _one_line(code: str, sentence: str) -> str:
    plain = "".join(character if character.isprintable() else " " for character in sentence)
    return f"{code}: {' '.join(plain.split())}"[:MAX_WORDS].removesuffix(": ")
