"""Maps the first three digits of a zipcode to states, as assigned by the US Postal Service.

The ranges cover every zipcode of the package `zipcodes` 3.0, as a test checks. Prefixes that are not listed
are not in use.
"""

_RANGES = """
AA 340; AE 090-099; AK 995-999; AL 350-369; AP 962-966; AR 716-729; AS 967; AZ 850-865; CA 900-961; CO
800-816; CT 060-069; DC 200 202-205 569 888; DE 197-199; FL 320-339 341-349; FM 969; GA 300-319 398-399;
GU 969; HI 967-968; IA 500-528; ID 832-838; IL 600-629; IN 460-479; KS 660-679; KY 400-427; LA 700-714;
MA 010-027 055; MD 205-219; ME 039-049; MH 969; MI 480-499; MN 550-567; MO 630-658 726; MP 969; MS
386-397; MT 590-599; NC 270-289; ND 580-588; NE 680-693; NH 030-038; NJ 070-089; NM 870-884; NV 889-898;
NY 005 063 100-149; OH 430-459; OK 730-749; OR 970-979; PA 150-196; PR 006-007 009; PW 969; RI 028-029;
SC 290-299; SD 570-577; TN 370-385; TX 733 739 750-799 885; UT 840-847; VA 201 205 220-246; VI 008; VT
050-059; WA 980-994; WI 530-549; WV 247-268; WY 820-831 834
"""


def _parsed(ranges: str) -> dict[str, tuple[str, ...]]:
    states: dict[str, list[str]] = {}
    for entry in ranges.replace("\n", " ").split(";"):
        state, *spans = entry.split()
        for span in spans:
            first, _, last = span.partition("-")
            for prefix in range(int(first), int(last or first) + 1):
                states.setdefault(f"{prefix:03}", []).append(state)
    return {prefix: tuple(found) for prefix, found in states.items()}


_STATES = _parsed(_RANGES)


def states_of(zipcode: str) -> tuple[str, ...]:
    """Return the states to which the zipcode's first three digits belong; none if they are not in use."""
    return _STATES.get(zipcode[:3], ())
