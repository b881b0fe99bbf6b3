"""Tables of requests: credentials issued, requests refused, admin commands."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Identity, Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from storage.database.tables.base import SHA256_RULE, Base, readable_sizes, readable_times


class CredentialIssuance(Base):
    """Access that was granted: to whom, for what prefix, until when, and by which signed request.

    The primary key is what lets a request mint once: `request_key` is its nonce, or the legacy text that was
    signed. Partitioned by the UTC day of signing, which a repetition cannot change. There is no default
    partition: functions of migration 0001 make the days to come and drop those that retention lets go.
    """

    __tablename__ = "credential_issuances"
    signed_on: Mapped[date] = mapped_column(primary_key=True)
    hotkey: Mapped[str] = mapped_column(primary_key=True)
    request_key: Mapped[str] = mapped_column(primary_key=True)
    body_sha256: Mapped[str]
    issued_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    role: Mapped[str]
    kind: Mapped[str]
    bucket: Mapped[str]
    prefix: Mapped[str]
    epoch_id: Mapped[str | None]
    request_id: Mapped[str]
    source: Mapped[str]
    outcome: Mapped[str | None]
    """Why the access could not be handed out; None unless that happened. A copy of the request may have been
    answered by another replica at the same moment."""
    __table_args__ = (
        readable_times("issued_at", "expires_at"),
        readable_sizes(
            *(
                "hotkey",
                "request_key",
                "kind",
                "bucket",
                "prefix",
                "epoch_id",
                "request_id",
                "source",
                "outcome",
            )
        ),
        CheckConstraint("role in ('miner', 'validator')", name="role"),
        # Nothing is granted for longer, whatever the responder's login writes.
        CheckConstraint(
            "expires_at > issued_at and expires_at <= issued_at + interval '24 hours'", name="lifetime"
        ),
        CheckConstraint(
            "(issued_at at time zone 'UTC')::date between signed_on - 1 and signed_on + 1", name="signed_on"
        ),
        CheckConstraint(f"body_sha256 ~ '{SHA256_RULE}'", name="body_sha256"),
        Index(None, "hotkey", "issued_at"),
        Index(None, "issued_at"),
        {"postgresql_partition_by": "RANGE (signed_on)"},
    )


class RequestRefusal(Base):
    """Requests that were refused, sampled under flood: `suppressed` counts those like it that were left
    out since the last one written. `hotkey` is what the request claimed, proven or not."""

    __tablename__ = "request_refusals"
    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    refused_at: Mapped[datetime]
    process: Mapped[str]
    verb: Mapped[str]
    error: Mapped[str]
    hotkey: Mapped[str | None]
    source: Mapped[str]
    request_id: Mapped[str]
    suppressed: Mapped[int] = mapped_column(server_default=text("0"))
    __table_args__ = (
        readable_times("refused_at"),
        CheckConstraint("suppressed >= 0", name="suppressed"),
        Index(None, "refused_at"),
        Index(None, "hotkey", "refused_at"),
    )


class LegacyOptOut(Base):
    """Hotkeys that accept no legacy commitment in their name any more."""

    __tablename__ = "legacy_opt_outs"
    hotkey: Mapped[str] = mapped_column(primary_key=True)
    opted_out_at: Mapped[datetime]
    request_id: Mapped[str]
    __table_args__ = (readable_times("opted_out_at"),)


EPOCH_OF_OUTCOME = "(outcome ->> 'epochId')"


class AdminCommand(Base):
    """A command of an admin for the scheduler, which takes them in the order of asking.

    `source` as with credentials."""

    __tablename__ = "admin_commands"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    # The database sets it, so that no writer can put a command first or last.
    requested_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    hotkey: Mapped[str]
    command: Mapped[str]
    arguments: Mapped[dict[str, Any]]
    request_id: Mapped[str]
    source: Mapped[str]
    state: Mapped[str] = mapped_column(server_default=text("'queued'"))
    finished_at: Mapped[datetime | None]
    outcome: Mapped[dict[str, Any] | None]
    __table_args__ = (
        readable_times("requested_at", "finished_at"),
        readable_sizes("hotkey", "command", "request_id", "source", arguments=4_000, outcome=200_000),
        CheckConstraint("state in ('queued', 'done', 'failed')", name="state"),
        CheckConstraint("(state = 'queued') = (finished_at is null)", name="finished"),
        Index(None, "requested_at"),
        Index(
            "ix_admin_commands_overridden",
            text(EPOCH_OF_OUTCOME),
            postgresql_where=text("command = 'target.override'"),
        ),
        Index("ix_admin_commands_queued", "requested_at", postgresql_where=text("state = 'queued'")),
    )
