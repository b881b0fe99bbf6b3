"""Answers `GET /rate-limits` with the rate limits."""

from pydantic import Field

from access.rate_limits import Rule, Rules
from zipcast.protocol.messages.base import WireModel


class LimitInForce(WireModel):
    """A limit of `amount` requests within any `seconds`, counted per hotkey, per client address, or for the
    whole service."""

    name: str = Field(description="Name of the limit.", examples=["address"])
    amount: int = Field(description="Maximum number of requests in a window.", examples=[1000])
    seconds: int = Field(description="Length of the window, seconds.", examples=[60])
    per: str = Field(
        description="What the limit applies to: hotkey, address or service.", examples=["address"]
    )


class RateLimitsReply(WireModel):
    limits: tuple[LimitInForce, ...] = Field(description="The rate limits.")
    note: str = Field(
        default="Only requests whose signature was verified count against a hotkey.", description="A remark."
    )


def rate_limits(rules: Rules) -> RateLimitsReply:
    return RateLimitsReply(limits=tuple(_limit(rule) for rule in rules.all))


def _limit(rule: Rule) -> LimitInForce:
    return LimitInForce(name=rule.name, amount=rule.amount, seconds=rule.seconds, per=rule.per)
