"""Tries one operation on an object store and reports the result."""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import httpx
from botocore.exceptions import BotoCoreError, ClientError

from storage.objects.credential_policies import MIN_UPLOAD_BYTES
from storage.objects.store import ObjectStoreConfig, SessionCredentials, open_client

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client

PROBE_EPOCH = "1970-01-01T00-00-00"
PROBE = "zipcast-check.json"
CONTENT = b'{"what": "a probe of `zipcast s3 check`, which may be deleted"}'.ljust(MIN_UPLOAD_BYTES)
UNKNOWN_TO_PROVIDER = frozenset({"NotImplemented", "MethodNotAllowed", "UnsupportedOperation", "501", "405"})


_XML_ERROR = re.compile(r"<(Code|Message)>([^<]*)</")
MAX_ERROR_CHARACTERS, MAX_WORDS = 10_000, 300

# The error codes that mean a refusal: the key or session lacks a right, or a form's conditions are not met.
REFUSALS = frozenset({"AccessDenied", "Forbidden", "403", "EntityTooSmall", "InvalidPolicyDocument"})


class Status(StrEnum):
    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """One test, its result, and how to fix a failure."""

    subject: str
    status: Status
    message: str
    fix: str = ""


def must_be_refused(subject: str, code: str | None) -> Finding:
    """Return the finding of an operation that must be refused. `code` is the error code, or None if the
    operation succeeded."""
    if code in REFUSALS:
        return Finding(subject, Status.OK, f"refused ({code})")
    if code is not None:
        # Other errors, such as a timeout, do not show that the store refuses the operation.
        return Finding(
            subject, Status.FAILED, f"could not be tested ({code})", "try again when the store responds"
        )
    fix = "this provider does not enforce restrictions that Zipcast needs: do not use it"
    return Finding(subject, Status.FAILED, "it was allowed", fix)


async def attempt(call: Callable[[], Any]) -> tuple[str | None, dict[str, Any]]:
    """Call in a thread, and return the error's code, or None, and the reply."""
    try:
        return None, await asyncio.to_thread(call)
    except (ClientError, BotoCoreError) as error:
        return code_of(error), {}


def code_of(error: BaseException | None) -> str:
    """Return the provider's error code, otherwise the type of the error, but never a message of the
    driver."""
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code", "an unnamed error"))
    return type(error).__name__


def client(config: ObjectStoreConfig, session: SessionCredentials | None = None) -> "S3Client":
    """Return a client that does not retry, with the keys of the signing user or of a session."""
    found: S3Client = open_client(config, "s3", session, attempts=1)
    return found


def words_of(error: BaseException | None) -> str:
    """Return the provider's error code and message in one line, for the operator."""
    code = code_of(error)
    if not isinstance(error, ClientError):
        return code
    sentence = str(error.response.get("Error", {}).get("Message", ""))
    return _one_line(code, sentence)


def words_in(answer: httpx.Response) -> tuple[str, str]:
    """Return the code of an error reply, and code and message in one line."""
    found = dict(_XML_ERROR.findall(answer.text[:MAX_ERROR_CHARACTERS]))
    code = found.get("Code", str(answer.status_code))
    return code, _one_line(code, found.get("Message", ""))


def _one_line(code: str, sentence: str) -> str:
    plain = "".join(character if character.isprintable() else " " for character in sentence)
    return f"{code}: {' '.join(plain.split())}"[:MAX_WORDS].removesuffix(": ")
