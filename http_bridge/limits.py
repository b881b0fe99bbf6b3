"""`GET /rate-limits`: the limits in force, as `runtime.limits` counts them."""

from runtime.limits import Rule, Rules
from zipcast.messages import WireModel


class LimitInForce(WireModel):
    """At most `amount` in any `seconds`, counted per hotkey, per client address, or for the whole service."""

    name: str
    amount: int
    seconds: int
    per: str


class RateLimitsReply(WireModel):
    limits: tuple[LimitInForce, ...]
    note: str = "Only requests whose signature was verified count against a hotkey."


def rate_limits(rules: Rules) -> RateLimitsReply:
    return RateLimitsReply(limits=tuple(_limit(rule) for rule in rules.all))


def _limit(rule: Rule) -> LimitInForce:
    return LimitInForce(name=rule.name, amount=rule.amount, seconds=rule.seconds, per=rule.per)
