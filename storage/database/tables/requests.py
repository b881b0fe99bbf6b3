"""Defines the tables of requests: issued credentials, refused requests, opt-outs and admin commands."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Identity, Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from storage.database.tables.base import SHA256_RULE, Base, readable_sizes, readable_times


class CredentialIssuance(Base):
    """Granted access: the hotkey, the prefix, the expiry, and the signed request.

    The primary key ensures that each request is granted once; `request_key` is its nonce, or the signed
    legacy text. The table is partitioned by the UTC day of signing, which a repetition cannot change. There
    is no default partition. Functions of migration 0001 create the partitions of coming days and drop old
    ones.
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
    """Why no access could be given, or None. Another replica may have answered a copy of the request at the
    same moment."""
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
        # Limits how long a credential is valid, even if the responder's login is misused.
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
    """Refused requests, of which only a sample is stored during a flood. `suppressed` counts similar refusals
    that were left out since the last stored one. `hotkey` is the verified sender, or null."""

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
        readable_sizes("process", "verb", "error", "hotkey", "source", "request_id"),
        CheckConstraint("suppressed >= 0", name="suppressed"),
        Index(None, "refused_at"),
        Index(None, "hotkey", "refused_at"),
    )


class LegacyOptOut(Base):
    """Hotkeys that refuse legacy signatures."""

    __tablename__ = "legacy_opt_outs"
    hotkey: Mapped[str] = mapped_column(primary_key=True)
    opted_out_at: Mapped[datetime]
    request_id: Mapped[str]
    __table_args__ = (readable_times("opted_out_at"), readable_sizes("hotkey", "request_id"))


EPOCH_OF_OUTCOME = "(outcome ->> 'epochId')"


class AdminCommand(Base):
    """A command of an admin for the scheduler, which carries out commands in the order of their requests.

    `source` is `nats` or the HTTP client's address."""

    __tablename__ = "admin_commands"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    # The database sets the time, so that no writer can change the order of commands.
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
