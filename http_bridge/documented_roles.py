"""Divides the description of the API into sections, one per role, and states limits in words."""

from access.rate_limits import Rule, Rules
from zipcast.protocol.verbs import VERBS, Asker, Verb

HOTKEYS, MINERS, VALIDATORS = "Miners and validators", "Miners", "Validators"
EVERYONE, ADMINS = "Everyone", "Admins"
_PERIODS = {60: "minute", 3600: "hour", 86_400: "day"}


def amount(rule: Rule) -> str:
    """Return the limit in words, such as "10 requests per minute"."""
    requests = "1 request" if rule.amount == 1 else f"{rule.amount} requests"
    return f"{requests} per {_PERIODS.get(rule.seconds, f'{rule.seconds} seconds')}"


def section_of(verb: Verb) -> str:
    """Return the name of the section for those who send the verb."""
    who = VERBS[verb].who
    if who is not Asker.HOTKEY:
        return VALIDATORS if who is Asker.VALIDATOR else ADMINS
    return MINERS if verb.startswith(("s3.", "miner.")) else HOTKEYS


def sections(rules: Rules) -> list[dict[str, str]]:
    """Return the sections of the page, in their order."""
    everyone = (
        f"Without a signature. Limit: {amount(rules.address)} and client address for all paths together, of "
        f"which {amount(rules.statistics)} for statistics."
    )
    texts = {
        HOTKEYS: "Signed by any hotkey that is registered on the subnet.",
        MINERS: "Signed by any registered hotkey, for its own folder and reports.",
        VALIDATORS: "Signed by a hotkey with a validator permit and enough stake.",
        EVERYONE: everyone,
        ADMINS: "Signed by a hotkey in the service's list of admins.",
    }
    return [{"name": name, "description": text} for name, text in texts.items()]
