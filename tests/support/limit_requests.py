"""Charges limits, and returns the refusals."""

from itertools import count

import pytest

from zipcast.protocol.errors import ErrorCode, ServiceError

# The keys of different requests.
KEYS = (f"btauth:{number}" for number in count())


async def refusal(attempt) -> ServiceError:
    with pytest.raises(ServiceError) as refused:
        await attempt
    assert refused.value.code is ErrorCode.RATE_LIMITED
    assert refused.value.retry_after_seconds is not None
    return refused.value
