"""retention

What the scheduler may not delete by itself is dropped by functions with the owner's rights, which keep from it what is
recent: detail of epochs that are not archived or ended within 7 days, an audit trail of 30 days, revisions that an
epoch in detail is made from. Each call drops one batch and returns how many rows went.
"""

import sqlalchemy as sa
from alembic import op

revision = '0005'
down_revision = '0004'
branch_labels = None
depends_on = None

SCHEDULERS = 'zipcast_schedulers'
HEADER = 'language plpgsql security definer set search_path = pg_catalog, public, pg_temp as $$'

REPORTS = f"""
create function drop_epoch_reports(before_id text, batch integer) returns integer
{HEADER}
declare
    bound constant text := least(
        before_id,
        to_char((now() - interval '7 days') at time zone 'UTC', 'YYYY-MM-DD"T"HH24-MI-SS'),
        (select min(epoch_id) from public.epochs where status in ('pending', 'active', 'completed'))
    );
    gone integer;
    more integer;
begin
    delete from public.miner_submissions where ctid = any (array(
        select ctid from public.miner_submissions where epoch_id < bound
        order by epoch_id limit batch for update skip locked));
    get diagnostics gone = row_count;
    delete from public.upload_manifests where ctid = any (array(
        select ctid from public.upload_manifests where epoch_id < bound
        order by epoch_id limit batch - gone for update skip locked));
    get diagnostics more = row_count;
    return gone + more;
end $$
"""

AUDIT = f"""
create function drop_audit_trail(before timestamptz, batch integer) returns integer
{HEADER}
declare
    bound constant timestamptz := least(before, now() - interval '30 days');
    bound_id constant text := to_char(bound at time zone 'UTC', 'YYYY-MM-DD"T"HH24-MI-SS');
    left_over integer := batch;
    gone integer;
begin
    delete from public.credential_issuances where ctid = any (array(
        select ctid from public.credential_issuances where issued_at < bound
        order by issued_at limit left_over for update skip locked));
    get diagnostics gone = row_count;
    left_over := left_over - gone;
    -- A target may be overridden long before its epoch is committed to.
    delete from public.admin_commands where ctid = any (array(
        select ctid from public.admin_commands
        where requested_at < bound and state <> 'queued' and coalesce(outcome ->> 'epochId', '') < bound_id
        order by requested_at limit left_over for update skip locked));
    get diagnostics gone = row_count;
    left_over := left_over - gone;
    delete from public.validation_audit where ctid = any (array(
        select ctid from public.validation_audit where epoch_id < bound_id
        order by epoch_id limit left_over for update skip locked));
    get diagnostics gone = row_count;
    left_over := left_over - gone;
    delete from public.validator_results where ctid = any (array(
        select ctid from public.validator_results r where epoch_id < bound_id
        and not exists (select from public.validation_audit a where a.result_id = r.id)
        order by epoch_id limit left_over for update skip locked));
    get diagnostics gone = row_count;
    return batch - left_over + gone;
end $$
"""

REVISIONS = f"""
create function drop_zipcode_revisions(oldest_needed bigint, batch integer) returns integer
{HEADER}
declare
    bound constant bigint := least(
        oldest_needed,
        (select min(import_id) from public.epochs where status in ('pending', 'active', 'completed')),
        (select max(id) from public.zipcode_imports)
    );
    gone integer;
begin
    delete from public.zipcode_revisions where ctid = any (array(
        select old.ctid from public.zipcode_revisions old
        where old.import_id < bound and exists (
            select from public.zipcode_revisions newer
            where newer.zipcode = old.zipcode and newer.import_id > old.import_id and newer.import_id <= bound
        )
        limit batch for update of old skip locked));
    get diagnostics gone = row_count;
    if gone > 0 then
        update public.zipcode_imports set trimmed_at = now() where id < bound and trimmed_at is null;
    end if;
    return gone;
end $$
"""

FUNCTIONS = (
    ('drop_epoch_reports(text, integer)', REPORTS),
    ('drop_audit_trail(timestamptz, integer)', AUDIT),
    ('drop_zipcode_revisions(bigint, integer)', REVISIONS),
)


def upgrade() -> None:
    op.add_column('zipcode_imports', sa.Column('trimmed_at', sa.DateTime(timezone=True), nullable=True))
    op.create_index(op.f('ix_admin_commands_requested_at'), 'admin_commands', ['requested_at'], unique=False)
    op.create_index(
        'ix_admin_commands_overridden', 'admin_commands', [sa.text("(outcome ->> 'epochId')")], unique=False,
        postgresql_where=sa.text("command = 'target.override'"),
    )
    op.create_index(
        'ix_epochs_in_detail', 'epochs', ['epoch_id'], unique=False,
        postgresql_where=sa.text("status in ('pending', 'active', 'completed')"),
    )
    for signature, body in FUNCTIONS:
        op.execute(body)
        op.execute(f'revoke all on function {signature} from public')
        op.execute(f'grant execute on function {signature} to {SCHEDULERS}')


def downgrade() -> None:
    for signature, _ in FUNCTIONS:
        op.execute(f'drop function {signature}')
    op.drop_index('ix_epochs_in_detail', table_name='epochs', postgresql_where=sa.text("status in ('pending', 'active', 'completed')"))
    op.drop_index('ix_admin_commands_overridden', table_name='admin_commands', postgresql_where=sa.text("command = 'target.override'"))
    op.drop_index(op.f('ix_admin_commands_requested_at'), table_name='admin_commands')
    op.drop_column('zipcode_imports', 'trimmed_at')
