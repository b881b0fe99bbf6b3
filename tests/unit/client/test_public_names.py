"""Tests that the public names of the SDK exist, and are imported only when they are used."""

import subprocess
import sys

import zipcast


def test_each_public_name_is_the_one_of_its_module():
    for name in zipcast.__all__:
        assert getattr(zipcast, name).__name__ == name


def test_a_name_that_is_none_is_refused_by_name():
    try:
        zipcast.NoSuchName  # noqa: B018
    except AttributeError as error:
        assert "NoSuchName" in str(error)
    else:
        raise AssertionError("no such name must be found")


def test_importing_the_package_imports_no_library():
    program = "import sys; import zipcast; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert not {"nats", "httpx", "pydantic", "typer", "aiohttp"} & set(done.stdout.split())


def test_the_sdk_imports_nothing_of_the_service():
    program = (
        "import sys, zipcast, zipcast.testing, zipcast.legacy, zipcast.errors; "
        "[getattr(zipcast, name) for name in zipcast.__all__]; print(*sorted(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not {"fastapi", "sqlalchemy", "boto3", "botocore", "faststream", "bittensor", "typer"} & loaded
