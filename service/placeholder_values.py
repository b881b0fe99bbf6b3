"""Finds values that must not be used in production: placeholders, published keys, and keys of the local
stack.

Pure. The returned reasons never contain the value.
"""

import re

# The prefix of the local stack's secret. Production refuses secrets with it, so that no copy of that secret
# is used.
LOCAL_MARK = "development-"
_PLACEHOLDER = re.compile(r"development|change.?me|example|placeholder|your[-_ ]|default|password", re.I)
# Published secrets: the seeds of //Alice, //Bob, //Charlie, //Dave, //Eve and //Ferdie, and the access key in
# AWS's documentation.
_PUBLISHED = frozenset(
    {
        "e5be9a5092b81bca64be81d212e7f2f9eba183bb7a90954f7b76361f6edb5c0a",
        "398f0c28f98885e046333d4a41c19cee4c37368a9832c6502f6cfd182e2aef89",
        "bc1ede780f784bb6991a585e4f6e61522c14e1cae6ad0895fb57b9a205a8f938",
        "868020ae0687dda7d57565093a69090211449845a7e11453612800b663307246",
        "786ad0e2df456fe43dd1f91ebca22e235bc162e0bb8d53c633e8c85b2af68b7a",
        "42438b7883391c05512a938e36c2df0131e088b3756d6aa7a755fbff19d2f842",
        "akiaiosfodnn7example",
    }
)
# The smallest number of different characters in a secret. 32 random bytes in hex practically never have
# fewer.
MIN_CHARACTERS = 8


def objection(secret: str) -> str | None:
    """Return why a secret must not be used in production, or None if it may."""
    if secret.lower().removeprefix("0x") in _PUBLISHED:
        return "is a published key"
    if _PLACEHOLDER.search(secret):
        return "is a placeholder or was made by the local stack"
    if len(set(secret)) < MIN_CHARACTERS:
        return f"has fewer than {MIN_CHARACTERS} different characters"
    return None
