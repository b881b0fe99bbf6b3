"""rights of each process

One group role a process (they cannot log in: the operator makes a login that is a member), each with what it
needs and no more. Row-level security keeps an epoch from the bridge and the responder until it has started,
and the seed is in no column they may read: `revealed_seeds` shows it once the epoch has ended.

Roles belong to the whole server, not to one database. So they are made only where they are absent, and a
downgrade takes their rights in this database but leaves the roles.
"""

from alembic import op

revision = '0003'
down_revision = '0002'
branch_labels = None
depends_on = None

SCHEDULERS, RESPONDER, BRIDGE = ROLES = ('zipcast_schedulers', 'zipcast_responder', 'zipcast_bridge')

# Every column of `epochs` but the seed.
EPOCH_COLUMNS = (
    'epoch_id, start_at, end_at, status, target_listings, tolerance_percent, total_expected_listings, '
    'algorithm_version, nonce, seed_commitment, secret_id, candidate_pool_hash, relaxed_cooldown, import_id, '
    'message_sha256, prepared_at, published_at, stream_sequence, completed_at, uploads_sealed_at'
)
GUARDED = ('epochs', 'epoch_assignments', 'epoch_messages', 'epoch_inputs')

READS = {
    SCHEDULERS: 'zipcodes, zipcode_imports, zipcode_revisions, epochs, epoch_assignments, epoch_messages, '
    'epoch_inputs, registry_snapshots, credential_issuances, request_refusals, admin_commands, '
    'miner_submissions, upload_manifests, validator_results, validation_audit, revealed_seeds',
    RESPONDER: 'zipcodes, zipcode_imports, zipcode_revisions, epoch_assignments, epoch_messages, epoch_inputs, '
    'registry_snapshots, credential_issuances, request_claims, request_refusals, admin_commands, '
    'legacy_opt_outs, miner_submissions, upload_manifests, validator_results, validation_audit, revealed_seeds',
    BRIDGE: 'zipcodes, zipcode_imports, zipcode_revisions, epoch_assignments, epoch_messages, epoch_inputs, '
    'registry_snapshots, legacy_opt_outs, miner_submissions, upload_manifests, validator_results, '
    'validation_audit, revealed_seeds',
}
WRITES = {
    SCHEDULERS: {
        'insert, update': 'epochs, admin_commands',
        'insert, delete': 'epoch_assignments, registry_snapshots',
        'insert': 'epoch_messages, epoch_inputs',
        'delete': 'request_refusals',
    },
    RESPONDER: {
        'insert': 'credential_issuances, request_refusals, admin_commands, upload_manifests, validation_audit',
        'insert, update': 'request_claims, miner_submissions, validator_results',
        'insert, delete': 'legacy_opt_outs',
    },
    BRIDGE: {'insert': 'request_refusals'},
}


def upgrade() -> None:
    for role in ROLES:
        # Another database's migration may be making the same role at this moment.
        op.execute(
            f"do $$ begin create role {role} nologin; "
            "exception when duplicate_object or unique_violation then null; end $$"
        )
        op.execute(f'grant usage on schema public to {role}')
    op.execute(
        'create view revealed_seeds as select epoch_id, seed from epochs where end_at <= now() and seed is not null'
    )
    # What the bridge's health needs to know of the future: that it has been prepared, nothing of it.
    op.execute(
        'create function next_epoch_is_prepared() returns boolean '
        'language sql stable security definer set search_path = pg_catalog, public, pg_temp as $$ '
        'select exists (select from public.epochs where start_at > now()) $$'
    )
    op.execute('revoke all on function next_epoch_is_prepared() from public')
    for role, tables in READS.items():
        op.execute(f'grant select on {tables} to {role}')
    for role, writes in WRITES.items():
        for rights, tables in writes.items():
            op.execute(f'grant {rights} on {tables} to {role}')
    op.execute(f'grant select ({EPOCH_COLUMNS}) on epochs to {RESPONDER}, {BRIDGE}')
    op.execute(f'grant update (uploads_sealed_at) on epochs to {RESPONDER}')
    op.execute(f'grant execute on function maintain_request_claims() to {SCHEDULERS}')
    op.execute(f'grant execute on function next_epoch_is_prepared() to {SCHEDULERS}, {RESPONDER}, {BRIDGE}')
    _hide_what_has_not_started()


def _hide_what_has_not_started() -> None:
    for table in GUARDED:
        op.execute(f'alter table {table} enable row level security')
        op.execute(f'create policy scheduling on {table} to {SCHEDULERS} using (true) with check (true)')
    op.execute(f'create policy started on epochs to {RESPONDER}, {BRIDGE} using (start_at <= now())')
    for table in GUARDED[1:]:
        op.execute(
            f'create policy started on {table} to {RESPONDER}, {BRIDGE} using (exists '
            f'(select from epochs where epochs.epoch_id = {table}.epoch_id and epochs.start_at <= now()))'
        )


def downgrade() -> None:
    for table in GUARDED[1:]:
        op.execute(f'drop policy started on {table}')
    op.execute('drop policy started on epochs')
    for table in GUARDED:
        op.execute(f'drop policy scheduling on {table}')
        op.execute(f'alter table {table} disable row level security')
    op.execute('drop function next_epoch_is_prepared()')
    op.execute('drop view revealed_seeds')
    for role in ROLES:
        for kind in ('tables', 'sequences', 'functions'):
            op.execute(f'revoke all on all {kind} in schema public from {role}')
        op.execute(f'revoke usage on schema public from {role}')
