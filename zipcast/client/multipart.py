"""Uploads a large file in parts, with temporary credentials.

If a part fails, only this part is sent again. Signing and sending parts is left to boto3, which is installed
with `pip install 'zipcast[s3]'`; it blocks, so it runs in a thread.
"""

import asyncio
import threading
from importlib.util import find_spec
from pathlib import Path

from zipcast.client.http import is_loopback
from zipcast.client.transfers import RETRY_AFTER_SECONDS, TIMEOUT_SECONDS, Progress
from zipcast.errors import TransferError
from zipcast.protocol.messages.access import S3Credentials

MIN_PARTS_FILE_BYTES = 64 * 1024**2
"""The smallest file that is uploaded in parts, in bytes."""
PART_BYTES = 16 * 1024**2
PARTS_AT_ONCE = 4


class _StoppedError(Exception):
    """The caller no longer waits for the upload."""


def suits(size_bytes: int) -> bool:
    """Return whether a file of this size should be uploaded in parts, and whether boto3 is installed."""
    return size_bytes >= MIN_PARTS_FILE_BYTES and find_spec("boto3") is not None


async def upload_in_parts(
    credentials: S3Credentials,
    key: str,
    path: Path,
    *,
    timeout_seconds: float,
    progress: Progress | None = None,
) -> None:
    """Upload `path` as the object `key`. If the caller is cancelled, the upload stops and its parts are
    deleted. Raises TransferError and OSError."""
    loop, stopped, sent = asyncio.get_running_loop(), threading.Event(), 0
    size = (await asyncio.to_thread(path.stat)).st_size

    def on_bytes(amount: int) -> None:
        nonlocal sent
        if stopped.is_set():
            raise _StoppedError
        sent += amount
        if progress is not None:
            loop.call_soon_threadsafe(progress, sent, size)

    def send() -> None:
        import boto3
        from boto3.s3.transfer import TransferConfig
        from botocore.config import Config

        from zipcast.client.bounded_answers import bound_answers

        client = boto3.client(
            "s3",
            endpoint_url=credentials.endpoint,
            region_name=credentials.region,
            aws_access_key_id=credentials.access_key,
            aws_secret_access_key=credentials.secret_key,
            aws_session_token=credentials.session_token,
            config=Config(
                signature_version="s3v4",
                connect_timeout=TIMEOUT_SECONDS,
                read_timeout=TIMEOUT_SECONDS,
                retries={"total_max_attempts": 5, "mode": "standard"},
                max_pool_connections=PARTS_AT_ONCE,
                proxies={} if is_loopback(credentials.endpoint or "") else None,
                s3={"addressing_style": "path" if credentials.endpoint else "virtual"},
            ),
        )
        bound_answers(client, timeout_seconds, is_stopped=stopped.is_set)
        config = TransferConfig(
            multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES, max_concurrency=PARTS_AT_ONCE
        )
        client.upload_file(str(path), credentials.bucket, key, Callback=on_bytes, Config=config)

    try:
        async with asyncio.timeout(timeout_seconds):
            await asyncio.to_thread(send)
    except TimeoutError as error:
        raise TransferError(f"the transfer took more than {timeout_seconds:.0f} seconds") from error
    except OSError:
        raise
    except Exception as error:
        raise _public(error, key) from error
    finally:
        stopped.set()


def _public(error: Exception, key: str) -> Exception:
    """Return the SDK's error for an error of boto3; any other error is a defect of the program."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    cause = error.__context__ if isinstance(error, Boto3Error) else error
    if isinstance(cause, ClientError):
        stated, status = cause.response.get("Error", {}), cause.response["ResponseMetadata"]["HTTPStatusCode"]
        words = ": ".join(text for text in (stated.get("Code"), stated.get("Message")) if text)
        return TransferError(f"the object store refused {key}: {words}", status)
    if isinstance(error, Boto3Error | BotoCoreError):
        return TransferError(
            f"the object store did not reply: {type(cause).__name__}", retry_after=RETRY_AFTER_SECONDS
        )
    return error
