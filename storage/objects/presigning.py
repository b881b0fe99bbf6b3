"""Presigns URLs and forms of S3. Pure: the results depend only on key, document and time.

botocore is several times as slow and always uses the system's time. This module takes 0.1 ms and accepts any
time. The rules are AWS's Signature Version 4:
https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html for URLs,
https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-HTTPPOSTConstructPolicy.html for forms.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from types import MappingProxyType
from urllib.parse import quote, urlsplit

from pydantic import SecretStr

from storage.objects.credential_policies import Condition

_ALGORITHM = "AWS4-HMAC-SHA256"
# A timestamp begins with its day, in this many characters.
_DAY = len("20261122")
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs with a long-term key. Documents signed with a session's key would become invalid when the session
    ends."""

    access_key_id: str
    secret_access_key: SecretStr
    region: str

    def url(
        self,
        address: str,
        query: Mapping[str, str],
        at: datetime,
        lifetime_seconds: int,
        *,
        method: str = "GET",
        headers: Mapping[str, str] = _NO_HEADERS,
    ) -> str:
        """Return a presigned URL with these parameters, valid from `at` for 1 to 604,800 seconds. The request
        must have exactly these `headers`, whose names are in lower case."""
        stamp = _stamp(at)
        scope = self._scope(stamp)
        parts = urlsplit(address)
        lines = sorted({"host": parts.netloc, **headers}.items())
        names = ";".join(name for name, _ in lines)
        signed = {
            **query,
            "X-Amz-Algorithm": _ALGORITHM,
            "X-Amz-Credential": f"{self.access_key_id}/{scope}",
            "X-Amz-Date": stamp,
            "X-Amz-Expires": str(lifetime_seconds),
            "X-Amz-SignedHeaders": names,
        }
        encoded = "&".join(sorted(f"{_quoted(name)}={_quoted(value)}" for name, value in signed.items()))
        signed_headers = "".join(f"{name}:{value}\n" for name, value in lines)
        request = f"{method}\n{parts.path}\n{encoded}\n{signed_headers}\n{names}\nUNSIGNED-PAYLOAD"
        digest = hashlib.sha256(request.encode()).hexdigest()
        signature = self._sign(f"{_ALGORITHM}\n{stamp}\n{scope}\n{digest}", stamp)
        return f"{address}?{encoded}&X-Amz-Signature={signature}"

    def form(
        self,
        bucket: str,
        key: str,
        fields: Mapping[str, str],
        conditions: Sequence[Condition],
        at: datetime,
        lifetime_seconds: int,
    ) -> dict[str, str]:
        """Return the fields of a POST form for `key`, which ends in `${filename}`, valid from `at` on."""
        stamp = _stamp(at)
        own = {
            "x-amz-algorithm": _ALGORITHM,
            "x-amz-credential": f"{self.access_key_id}/{self._scope(stamp)}",
            "x-amz-date": stamp,
        }
        below: Condition = ["starts-with", "$key", key.removesuffix("${filename}")]
        expires_at = at + timedelta(seconds=lifetime_seconds)
        policy = {
            "expiration": expires_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "conditions": [*conditions, {"bucket": bucket}, below, *({name: own[name]} for name in own)],
        }
        encoded = base64.b64encode(json.dumps(policy).encode()).decode()
        return {**fields, "key": key, **own, "policy": encoded, "x-amz-signature": self._sign(encoded, stamp)}

    def _scope(self, stamp: str) -> str:
        return f"{stamp[:_DAY]}/{self.region}/s3/aws4_request"

    def _sign(self, text: str, stamp: str) -> str:
        key = _day_key(self.secret_access_key.get_secret_value(), stamp[:_DAY], self.region)
        return hmac.digest(key, text.encode(), "sha256").hex()


@lru_cache(4)
def _day_key(secret: str, day: str, region: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (day, region, "s3", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def address_of(bucket_address: str, key: str) -> str:
    """Return the URL of an object in the bucket with this URL."""
    return f"{bucket_address.rstrip('/')}/{quote(key, safe='/~')}"


def _stamp(at: datetime) -> str:
    return f"{at:%Y%m%dT%H%M%SZ}"


# Results are cached, because most names and values are the same in each URL.
@lru_cache(1024)
def _quoted(text: str) -> str:
    return quote(text, safe="-_.~")
