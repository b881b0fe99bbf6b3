"""Tests request subjects and reply subjects: which belong to a client, and which only look so."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fakes import MINER_HOTKEY, STRANGER_HOTKEY, ZERO_KEY
from zipcast.protocol import subjects
from zipcast.protocol.subjects import RequestSubject
from zipcast.protocol.verbs import ADMIN_VERBS, Verb

OWN = f"_INBOX.{MINER_HOTKEY}"


@pytest.mark.parametrize("verb", Verb)
def test_a_request_subject_parses_back(verb: Verb) -> None:
    subject = subjects.request(MINER_HOTKEY, verb)
    prefix = "zipcast.admin.v1" if verb in ADMIN_VERBS else "zipcast.v1"
    assert subject == f"{prefix}.{MINER_HOTKEY}.{verb}"
    assert subjects.named_owner(subject) == MINER_HOTKEY
    assert subjects.parse_request(subject) == RequestSubject(MINER_HOTKEY, verb)
    assert subjects.parse_bridge_request(subjects.bridge_request(verb)) is verb


@pytest.mark.parametrize(
    "subject",
    [
        "",
        "zipcast.v1.",
        "zipcast.v1.epoch",
        "zipcast.ingest.epoch",
        f"zipcast.v1.{MINER_HOTKEY}",
        f"zipcast.v1.{MINER_HOTKEY}.",
        f"zipcast.v1.{MINER_HOTKEY}.epoch",
        f"zipcast.v1.{MINER_HOTKEY}.epoch.other",
        f"zipcast.v1.{MINER_HOTKEY}.epoch.current.more",
        f"zipcast.v1.{MINER_HOTKEY}.EPOCH.CURRENT",
        f"zipcast.v1.{MINER_HOTKEY[:-1]}.epoch.current",
        f"zipcast.v1.{ZERO_KEY}.epoch.current",
        "zipcast.v1.*.epoch.current",
        f"zipcast.v2.{MINER_HOTKEY}.epoch.current",
        f"{MINER_HOTKEY}.epoch.current",
        f"zipcast.bridge.v1.{MINER_HOTKEY}.epoch.current",
        f"zipcast.v1.zipcast.v1.{MINER_HOTKEY}.epoch.current",
        f"zipcast.v1.{MINER_HOTKEY}.epoch.generate",
        f"zipcast.admin.v1.{MINER_HOTKEY}.epoch.current",
        f"zipcast.admin.v1.{MINER_HOTKEY}.s3.miner-upload",
        f"zipcast.admin.v1.{MINER_HOTKEY}.epoch",
        "zipcast.admin.v1.",
    ],
)
def test_what_is_no_request_subject_is_refused(subject: str) -> None:
    with pytest.raises(ValueError, match=r"not a request subject|hotkey in the subject|not a valid Verb"):
        subjects.parse_request(subject)


@pytest.mark.parametrize(
    "subject", ["", "zipcast.bridge.v1.", "zipcast.bridge.v1.health.x", "epoch.current", "zipcast.v1.epoch"]
)
def test_what_is_no_subject_of_the_bridge_is_refused(subject: str) -> None:
    with pytest.raises(ValueError, match=r"not a bridge subject|not a valid Verb"):
        subjects.parse_bridge_request(subject)


@pytest.mark.parametrize("reply", [f"{OWN}.abc", f"{OWN}.abc.1", f"{OWN}.a.b.c"])
def test_a_reply_under_the_callers_own_inbox_is_his(reply: str) -> None:
    assert subjects.reply_is_own(reply, subjects.inbox_prefix(MINER_HOTKEY))


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "_INBOX",
        "_INBOX.",
        "_INBOX.>",
        "_INBOX.*.abc",
        OWN,
        f"{OWN}.",
        f"{OWN}..abc",
        f"{OWN}.abc.",
        f"{OWN}.>",
        f"{OWN}.*",
        f"{OWN}.abc.*.x",
        f"{OWN}.abc.>",
        f"{OWN}.a\x00b",
        f"{OWN}.a\x0b7",
        f"{OWN}.é",
        f"{OWN}." + "a" * 250,
        f"{OWN}x.abc",
        f"{OWN}_abc",
        f"_INBOX_{MINER_HOTKEY}.abc",
        f"_INBOX.{STRANGER_HOTKEY}.abc",
        f"_INBOX.{STRANGER_HOTKEY}.{OWN}.abc",
        f"_INBOX.bridge.{MINER_HOTKEY}",
        f"_INBOX.schedulers.{MINER_HOTKEY}",
        f"_inbox.{MINER_HOTKEY}.abc",
        f" {OWN}.abc",
        f"x.{OWN}.abc",
        "$JS.API.STREAM.PURGE.EPOCHS",
        "$JS.API.STREAM.MSG.GET.EPOCHS",
        "$KV.registry.snapshot",
        "$SYS.REQ.SERVER.PING",
        subjects.EPOCH,
        subjects.EPOCH_INGEST,
        subjects.request(MINER_HOTKEY, Verb.EPOCH_CURRENT),
    ],
)
def test_a_hostile_reply_is_not_his(reply: str) -> None:
    assert not subjects.reply_is_own(reply, subjects.inbox_prefix(MINER_HOTKEY))


@given(st.lists(st.sampled_from(["_INBOX", MINER_HOTKEY, STRANGER_HOTKEY, "a", "*", ">", ""]), max_size=6))
def test_a_reply_is_his_exactly_if_it_is_literal_tokens_below_his_prefix(tokens: list[str]) -> None:
    literal = not set(tokens) & {"", "*", ">"}
    own = tokens[:2] == ["_INBOX", MINER_HOTKEY] and len(tokens) > 2 and literal
    assert subjects.reply_is_own(".".join(tokens), subjects.inbox_prefix(MINER_HOTKEY)) == own
