"""Tests DATABASE_URL in the form that managed providers print for libpq, with a driver that is not libpq."""

import ssl

import pytest
from asyncpg.connect_utils import _parse_connect_dsn_and_args

from storage.database.engine import DatabaseUrlError, driver_arguments

PASSWORD = "hunter2"
AT = f"postgresql://app:{PASSWORD}@db.example.org:25060/zipcast"


def parsed(url: str) -> tuple[list[tuple[str, int]], object]:
    """Return the addresses and parameters that asyncpg gets."""
    nothing = dict.fromkeys(
        (
            *("host", "port", "user", "password", "passfile", "database", "ssl", "service", "servicefile"),
            *("direct_tls", "server_settings", "target_session_attrs", "krbsrvname", "gsslib"),
        )
    )
    arguments = nothing | driver_arguments(url)
    return _parse_connect_dsn_and_args(**arguments)


@pytest.mark.parametrize(
    "url",
    [
        AT,
        AT.replace("postgresql", "postgres"),
        f"{AT}?sslmode=require",
        f"{AT}?sslmode=require&application_name=x&connect_timeout=10&keepalives=1&gssencmode=disable",
        f"{AT}?channel_binding=prefer",
    ],
)
def test_what_providers_print_is_understood(url: str) -> None:
    addresses, parameters = parsed(url)
    assert addresses == [("db.example.org", 25060)]
    assert (parameters.user, parameters.password, parameters.database) == ("app", PASSWORD, "zipcast")


def test_two_hosts_are_both_tried_and_the_writable_one_is_taken() -> None:
    url = f"postgresql://app:{PASSWORD}@a.example.org:5432,b.example.org:5433/zipcast?target_session_attrs=read-write"
    addresses, parameters = parsed(url)
    assert addresses == [("a.example.org", 5432), ("b.example.org", 5433)]
    assert parameters.target_session_attrs.value == "read-write"


def test_the_certificates_of_the_system_are_used_where_that_is_said() -> None:
    context = driver_arguments(f"{AT}?sslmode=verify-full&sslrootcert=system")["ssl"]
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("mysql://db/zipcast", "postgresql://"),
        (f"postgresql://app:{PASSWORD}@db:port/zipcast", "port"),
        (f"{AT}?sslmode=require&channel_binding=require", "channel_binding=require"),
        (f"{AT}?channel_binding=require", "channel_binding=require"),
        (f"{AT}?sslmode=verify-full&sslrootcert=/no/such/file.crt", "/no/such/file.crt"),
        (f"{AT}?sslmod=require", "sslmod"),
    ],
)
def test_what_is_not_understood_is_named_and_no_password_told(url: str, named: str) -> None:
    with pytest.raises(DatabaseUrlError) as refused:
        driver_arguments(url)
    assert named in str(refused.value)
    assert PASSWORD not in str(refused.value)


@pytest.mark.parametrize("root", ["sslrootcert=system", "sslmode=verify-full"])
def test_channel_binding_may_be_demanded_of_a_server_that_is_verified(root: str) -> None:
    assert "channel_binding" not in driver_arguments(f"{AT}?{root}&channel_binding=require")["dsn"]
