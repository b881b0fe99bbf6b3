"""Tests that the tree of errors at the top of `zipcast.errors` is true, and that libraries' errors are
translated."""

import re
import ssl

import httpx
import nats.errors
import pytest
from pydantic import ValidationError

from zipcast import errors
from zipcast.client.connection import CertificateRefusedError, HotkeyRefusedError, Server
from zipcast.client.error_translation import translated
from zipcast.protocol.errors import ERRORS, ErrorCode, ServiceError
from zipcast.protocol.messages.status import StatusRequest

CLASSES = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, Exception)]
LIBRARIES = ("nats", "httpx", "pydantic", "botocore")


def drawn() -> list[tuple[str, str]]:
    """Return each drawn class, with the class below which it is drawn."""
    found, above = [], []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"    (?P<bars>[ │├└─]*)(?P<name>[A-Z]\w+Error)\b", line)
        if match is not None:
            above[len(match["bars"]) // 4 :] = [match["name"]]
            found.append((above[-1], above[-2] if len(above) > 1 else "Exception"))
    return found


def test_the_drawn_tree_is_the_real_one():
    assert {name for name, _ in drawn()} == {one.__name__ for one in CLASSES}
    for name, parent in drawn():
        assert getattr(errors, name).__bases__[0].__name__ == parent


def test_every_error_has_a_code_and_a_remedy():
    for one in CLASSES:
        if not issubclass(one, ServiceError):
            assert re.fullmatch(r"[a-z_]+", one.code), one
            assert one.remedy.endswith("."), one
    codes = [one.code for one in CLASSES if not issubclass(one, ServiceError)]
    assert len(set(codes) | set(ErrorCode)) == len(codes) + len(ErrorCode)
    for code in ErrorCode:
        error = ServiceError(code, "sentence", retry_after_seconds=3)
        assert (error.code, error.remedy) == (code, ERRORS[code].remedy)
        assert error.retry_after == (3 if ERRORS[code].retryable else None)


def invalid() -> ValidationError:
    with pytest.raises(ValidationError) as caught:
        StatusRequest.model_validate({})
    return caught.value


def certificate(*, other_name: bool) -> CertificateRefusedError:
    error = CertificateRefusedError("refused")
    error.is_for_other_name = other_name
    return error


@pytest.mark.parametrize(
    ("error", "kind", "retryable"),
    [
        (nats.errors.NoRespondersError(), errors.UnavailableError, True),
        (nats.errors.TimeoutError(), errors.UnavailableError, True),
        (TimeoutError(), errors.UnavailableError, True),
        (ConnectionResetError(), errors.UnavailableError, True),
        (ssl.SSLError(), errors.UnavailableError, True),
        (certificate(other_name=False), errors.CertificateError, False),
        (certificate(other_name=True), errors.WrongHostNameError, False),
        (
            HotkeyRefusedError(Server.parse("nats://127.0.0.1:4222"), "5H", "test", 46),
            errors.RefusedError,
            False,
        ),
        (invalid(), ServiceError, False),
        (ServiceError(ErrorCode.NOT_REGISTERED, "not"), errors.NotRegisteredError, False),
        (ServiceError(ErrorCode.WRONG_RECEIVER, "other"), errors.WrongSignerError, False),
        (ServiceError(ErrorCode.RATE_LIMITED, "many"), ServiceError, True),
    ],
)
def test_libraries_errors_become_errors_of_the_sdk(
    error: Exception, kind: type[errors.ZipcastError], retryable: bool
):
    with pytest.raises(errors.ZipcastError) as caught, translated():
        raise error
    assert type(caught.value) is kind
    assert (caught.value.retry_after is not None) == retryable
    modules = {base.__module__.partition(".")[0] for base in type(caught.value).__mro__}
    assert not modules & set(LIBRARIES)


def test_the_request_id_survives_the_translation():
    refused = ServiceError(ErrorCode.NOT_REGISTERED, "not registered")
    refused.request_id = "abc"
    with pytest.raises(errors.NotRegisteredError) as caught, translated():
        raise refused
    assert caught.value.request_id == "abc"


def test_defects_are_not_hidden():
    for defect in (KeyError("x"), AssertionError(), httpx.InvalidURL("x")):
        with pytest.raises(type(defect)), translated():
            raise defect
