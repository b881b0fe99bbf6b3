"""functions, and the rights of each process

One group role for each process (it cannot log in: the operator makes a login that is a member), each with what it
needs and no more. No role but the scheduler's may query anything of an epoch that has not been opened, or its
honeypots and the validators' reports before they are revealed: that lies in tables of the scheduler or the responder
alone, and others get it from functions that look at the clock first. Row-level security would not do: `EXPLAIN ANALYZE`
counts the rows that it removes. It is used only to bind inserted rows to the role that writes them.

No role has UPDATE or DELETE on a whole table that another process writes, since that is what LOCK TABLE asks for; UPDATE
on single columns does not permit it.

Roles belong to the whole server, not to one database. So they are made only where they are absent, and a
downgrade takes their rights in this database but leaves the roles.
"""

from alembic import op

revision = '0002'
down_revision = '0001'
branch_labels = None
depends_on = None

SCHEDULERS, RESPONDER, BRIDGE = ROLES = ('zipcast_schedulers', 'zipcast_responder', 'zipcast_bridge')
EVERYONE = ', '.join(ROLES)

# Every column of `epochs` but the seed.
EPOCH_COLUMNS = (
    'epoch_id, start_at, end_at, status, target_listings, tolerance_percent, total_expected_listings, '
    'algorithm_version, nonce, seed_commitment, secret_id, candidate_pool_hash, relaxed_cooldown, '
    'relaxed_age_days, import_id, '
    'message_sha256, prepared_at, published_at, stream_sequence, completed_at, signals_computed_at'
)
REFUSAL_COLUMNS = 'refused_at, process, verb, error, hotkey, source, request_id, suppressed'
SHARED = (
    'published_zipcodes, zipcode_imports, epoch_assignments, epoch_messages, registry_snapshots, '
    'miner_submissions, upload_manifests, upload_seals, miner_signals, revealed_seeds'
)
GRANTS = {
    SCHEDULERS: {
        # The real counts are the scheduler's alone: beside the published ones they would tell honeypots.
        'select': f'{SHARED}, zipcodes, zipcode_revisions, zipcode_honeypots, retired_honeypots, '
        'epochs, pending_epochs, epoch_inputs, epoch_honeypots, scheduler_locks, '
        'credential_issuances, request_refusals, admin_commands',
        'insert, update': 'epochs, admin_commands, scheduler_locks',
        'insert, update, delete': 'pending_epochs, epoch_honeypots',
        'insert, delete': 'epoch_assignments, registry_snapshots',
        'insert': 'epoch_messages, epoch_inputs, miner_signals, published_zipcodes, zipcode_honeypots, '
        'retired_honeypots',
        'delete': 'request_refusals',
    },
    RESPONDER: {
        'select': f'{SHARED}, credential_issuances, request_refusals, admin_commands, '
        'legacy_opt_outs, validator_results, validation_audit, report_locks',
        f'select ({EPOCH_COLUMNS})': 'epochs',
        'insert': 'credential_issuances, upload_manifests, upload_seals, '
        'miner_signals, miner_submissions, validator_results',
        # Numbers that PostgreSQL gives are nobody's to choose: a range taken beforehand would stop the others' rows.
        f'insert ({REFUSAL_COLUMNS})': 'request_refusals',
        'insert (result_id, epoch_id, miner_hotkey, zipcode, validation_type, result, score, listings_checked, '
        'issues)': 'validation_audit',
        # When a command was asked for is the database's to say, and what became of it the scheduler's.
        'insert (id, hotkey, command, arguments, request_id, source)': 'admin_commands',
        'insert, delete': 'legacy_opt_outs',
        'update (changes_checked_at)': 'upload_seals',
        'update (outcome)': 'credential_issuances',
        'update (status, reported_at, received_at, is_late, listings_scraped, zipcodes_completed, '
        's3_upload_complete, s3_upload_at, request_id, body_sha256, first_completed_at, first_completed_listings, '
        'most_claimed)': 'miner_submissions',
        'update (superseded_at)': 'validator_results',
        'update (slot)': 'report_locks',
    },
    BRIDGE: {
        'select': f'{SHARED}, legacy_opt_outs',
        f'select ({EPOCH_COLUMNS})': 'epochs',
        'select (zipcode, state, market_tier, active)': 'zipcodes',
        f'insert ({REFUSAL_COLUMNS})': 'request_refusals',
    },
}
REPORT_LOCKS = 64

DEFINER = 'security definer set search_path = pg_catalog, pg_temp'

# A request is signed at most five minutes before or after it comes, by our clock. What has no partition is refused, so
# a week of them is made ahead. Attached, since to create a partition in place waits for everybody who reads the table.
PARTITIONS = f"""
create function zipcast.add_issuance_days() returns void
language plpgsql {DEFINER} set lock_timeout = '2s' as $$
declare
    today constant date := (now() at time zone 'UTC')::date;
    day date;
    partition text;
begin
    -- One caller at a time; replicas may all call.
    perform from zipcast.scheduler_locks where name = 'partitions' for update;
    for day in select today + n from generate_series(-1, 7) n loop
        partition := 'credential_issuances_' || to_char(day, 'YYYYMMDD');
        if to_regclass('zipcast.' || partition) is null then
            execute format('create table zipcast.%I (like zipcast.credential_issuances including all)', partition);
            execute format('alter table zipcast.credential_issuances attach partition zipcast.%I '
                           'for values from (%L) to (%L)', partition, day, day + 1);
        end if;
    end loop;
end $$
"""

DROPPED_PARTITIONS = f"""
create function zipcast.drop_issuance_days(before timestamptz) returns integer
language plpgsql {DEFINER} set lock_timeout = '2s' as $$
declare
    bound constant date := (least(before, now() - interval '30 days') at time zone 'UTC')::date;
    partition text;
    gone integer := 0;
begin
    for partition in
        select child.relname from pg_inherits i join pg_class child on child.oid = i.inhrelid
        where i.inhparent = 'zipcast.credential_issuances'::regclass
          and to_date(right(child.relname, 8), 'YYYYMMDD') < bound
    loop
        execute format('drop table zipcast.%I', partition);
        gone := gone + 1;
    end loop;
    return gone;
end $$
"""

# One epoch after its end, and after those before it, whose lengths may be others (24 h at the most).
REVEALED = f"""
create function zipcast.epoch_is_revealed(id text) returns boolean language sql stable {DEFINER} as $$
    select exists (select from zipcast.epochs as one where one.epoch_id = id and not exists (
        select from zipcast.epochs as other where other.start_at <= one.start_at
        and other.end_at > now() - interval '24 h' and other.end_at + (other.end_at - other.start_at) > now()))
$$
"""

# What the bridge's health needs to know of the future: that it has been prepared, nothing of it.
NEXT_PREPARED = f"""
create function zipcast.next_epoch_is_prepared() returns boolean language sql stable {DEFINER} as $$
    select exists (select from zipcast.pending_epochs where start_at > now())
        or exists (select from zipcast.epochs where start_at > now())
$$
"""

# The salt, with the seed, repeats the draw: whoever had it before the honeypots are opened could find them.
INPUTS = f"""
create function zipcast.started_inputs(id text) returns bytea language plpgsql stable {DEFINER} as $$
begin
    if zipcast.epoch_is_revealed(id) then
        return (select inputs from zipcast.epoch_inputs where epoch_id = id);
    end if;
    if exists (select from zipcast.epochs where epoch_id = $1 and start_at <= now()) then
        return (select convert_to((convert_from(inputs, 'UTF8')::jsonb - 'salt')::text, 'UTF8')
                from zipcast.epoch_inputs where epoch_id = id);
    end if;
    return null;
end $$
"""

# A function, since the planner may try a reader's own condition on a view's column before the view's.
SEEDS = f"""
create function zipcast.ended_seed(id text) returns text language plpgsql stable {DEFINER} as $$
begin
    return (select seed from zipcast.epochs where epoch_id = id and end_at <= now());
end $$
"""

HONEYPOTS = f"""
create function zipcast.revealed_honeypots(id text) returns jsonb language plpgsql stable {DEFINER} as $$
begin
    if zipcast.epoch_is_revealed(id) then
        return (select content::jsonb from zipcast.epoch_honeypots where epoch_id = id);
    end if;
    return null;
end $$
"""

RESULTS = f"""
create function zipcast.revealed_results(id text) returns setof zipcast.validator_results
language plpgsql stable {DEFINER} as $$
begin
    if zipcast.epoch_is_revealed(id) then
        return query select * from zipcast.validator_results where epoch_id = $1;
    end if;
end $$
"""

AUDIT_OF_RESULTS = f"""
create function zipcast.revealed_audit(id text) returns setof zipcast.validation_audit
language plpgsql stable {DEFINER} as $$
begin
    if zipcast.epoch_is_revealed(id) then
        -- Of the reports that count alone: a validator may have sent many before.
        return query select * from zipcast.validation_audit where result_id in (
            select distinct on (hotkey, is_late) one.id from zipcast.validator_results as one where one.epoch_id = $1
            order by hotkey, is_late, received_at desc, one.id);
    end if;
end $$
"""

# What the scheduler may not delete by itself is dropped by these, which keep from it what is recent: detail of epochs
# that are not archived or ended within 7 days, an audit trail of 30 days, revisions that an epoch in detail is made
# from. Each call drops one batch and returns how many rows went.
REPORTS = f"""
create function zipcast.drop_epoch_reports(before_id text, batch integer) returns integer
language plpgsql {DEFINER} as $$
declare
    bound constant text := least(
        before_id,
        to_char((now() - interval '7 days') at time zone 'UTC', 'YYYY-MM-DD"T"HH24-MI-SS'),
        (select min(epoch_id) from zipcast.epochs where status in ('pending', 'active', 'completed'))
    );
    gone integer;
    more integer;
begin
    delete from zipcast.miner_submissions where ctid = any (array(
        select ctid from zipcast.miner_submissions where epoch_id < bound
        order by epoch_id limit batch for update skip locked));
    get diagnostics gone = row_count;
    delete from zipcast.upload_manifests where ctid = any (array(
        select ctid from zipcast.upload_manifests where epoch_id < bound
        order by epoch_id limit batch - gone for update skip locked));
    get diagnostics more = row_count;
    return gone + more;
end $$
"""

AUDIT = f"""
create function zipcast.drop_audit_trail(before timestamptz, batch integer) returns integer
language plpgsql {DEFINER} as $$
declare
    bound constant timestamptz := least(before, now() - interval '30 days');
    bound_id constant text := to_char(bound at time zone 'UTC', 'YYYY-MM-DD"T"HH24-MI-SS');
    left_over integer := batch;
    gone integer;
begin
    -- A target may be overridden long before its epoch is committed to.
    delete from zipcast.admin_commands where ctid = any (array(
        select ctid from zipcast.admin_commands
        where requested_at < bound and state <> 'queued' and coalesce(outcome ->> 'epochId', '') < bound_id
        order by requested_at limit left_over for update skip locked));
    get diagnostics gone = row_count;
    left_over := left_over - gone;
    delete from zipcast.validation_audit where ctid = any (array(
        select ctid from zipcast.validation_audit where epoch_id < bound_id
        order by epoch_id limit left_over for update skip locked));
    get diagnostics gone = row_count;
    left_over := left_over - gone;
    delete from zipcast.validator_results where ctid = any (array(
        select ctid from zipcast.validator_results r where epoch_id < bound_id
        and not exists (select from zipcast.validation_audit a where a.result_id = r.id)
        order by epoch_id limit left_over for update skip locked));
    get diagnostics gone = row_count;
    return batch - left_over + gone;
end $$
"""

REVISIONS = f"""
create function zipcast.drop_zipcode_revisions(oldest_needed bigint, batch integer) returns integer
language plpgsql {DEFINER} as $$
declare
    bound constant bigint := least(
        oldest_needed,
        (select min(import_id) from zipcast.epochs where status in ('pending', 'active', 'completed')),
        (select max(id) from zipcast.zipcode_imports)
    );
    gone integer;
begin
    delete from zipcast.zipcode_revisions where ctid = any (array(
        select old.ctid from zipcast.zipcode_revisions old
        where old.import_id < bound and exists (
            select from zipcast.zipcode_revisions newer
            where newer.zipcode = old.zipcode and newer.import_id > old.import_id and newer.import_id <= bound
        )
        limit batch for update of old skip locked));
    get diagnostics gone = row_count;
    if gone > 0 then
        update zipcast.zipcode_imports set trimmed_at = now() where id < bound and trimmed_at is null;
    end if;
    return gone;
end $$
"""

PUBLISHED = f"""
create function zipcast.drop_published_zipcodes(oldest_needed bigint, batch integer) returns integer
language plpgsql {DEFINER} as $$
declare
    bound constant bigint := least(
        oldest_needed,
        (select min(import_id) from zipcast.epochs where status in ('pending', 'active', 'completed')),
        (select max(import_id) from zipcast.published_zipcodes)
    );
    gone integer;
    more integer;
begin
    delete from zipcast.published_zipcodes where ctid = any (array(
        select ctid from zipcast.published_zipcodes where import_id < bound order by import_id limit batch));
    get diagnostics gone = row_count;
    delete from zipcast.zipcode_honeypots where ctid = any (array(
        select ctid from zipcast.zipcode_honeypots where import_id < bound order by import_id limit batch - gone));
    get diagnostics more = row_count;
    return gone + more;
end $$
"""

# {signature: (definition, roles that may call it)}
FUNCTIONS = {
    'add_issuance_days()': (PARTITIONS, SCHEDULERS),
    'drop_issuance_days(timestamptz)': (DROPPED_PARTITIONS, SCHEDULERS),
    'epoch_is_revealed(text)': (REVEALED, EVERYONE),
    'next_epoch_is_prepared()': (NEXT_PREPARED, EVERYONE),
    'started_inputs(text)': (INPUTS, EVERYONE),
    'ended_seed(text)': (SEEDS, EVERYONE),
    'revealed_honeypots(text)': (HONEYPOTS, EVERYONE),
    'revealed_results(text)': (RESULTS, f'{RESPONDER}, {BRIDGE}'),
    'revealed_audit(text)': (AUDIT_OF_RESULTS, f'{RESPONDER}, {BRIDGE}'),
    'drop_epoch_reports(text, integer)': (REPORTS, SCHEDULERS),
    'drop_audit_trail(timestamptz, integer)': (AUDIT, SCHEDULERS),
    'drop_zipcode_revisions(bigint, integer)': (REVISIONS, SCHEDULERS),
    'drop_published_zipcodes(bigint, integer)': (PUBLISHED, SCHEDULERS),
}


def upgrade() -> None:
    for role in ROLES:
        # Another database's migration may be making the same role at this moment.
        op.execute(
            f'do $$ begin create role {role} nologin; '
            'exception when duplicate_object or unique_violation then null; end $$'
        )
        op.execute(f'grant usage on schema zipcast to {role}')
    # Temporary tables are the importer's alone, which runs as the owner.
    op.execute(
        'do $$ begin execute format('
        "'revoke create, temporary on database %I from public', current_database()); end $$"
    )
    # Never compressed, so that a size tells nothing of the content.
    op.execute('alter table zipcast.pending_epochs alter content set storage external')
    op.execute('alter table zipcast.epoch_honeypots alter content set storage external')
    op.execute("insert into zipcast.scheduler_locks (name) values ('preparation'), ('partitions')")
    op.execute(f'insert into zipcast.report_locks select generate_series(0, {REPORT_LOCKS - 1})')
    for signature, (definition, callers) in FUNCTIONS.items():
        op.execute(definition)
        op.execute(f'revoke all on function zipcast.{signature} from public')
        op.execute(f'grant execute on function zipcast.{signature} to {callers}')
    op.execute(
        'create view zipcast.revealed_seeds as select epoch_id, zipcast.ended_seed(epoch_id) as seed '
        'from zipcast.epochs where end_at <= now() and zipcast.ended_seed(epoch_id) is not null'
    )
    for role, grants in GRANTS.items():
        for right, tables in grants.items():
            op.execute(f'grant {right} on {_qualified(tables)} to {role}')
    _bind_rows_to_their_writer()
    op.execute('select zipcast.add_issuance_days()')


def _qualified(tables: str) -> str:
    return ', '.join(f'zipcast.{name}' for name in tables.split(', '))


def _bind_rows_to_their_writer() -> None:
    """A signal counts the responder's refusals alone, and the responder notes one kind of signal alone."""
    for table in ('request_refusals', 'miner_signals'):
        op.execute(f'alter table zipcast.{table} enable row level security')
        op.execute(f'create policy reads on zipcast.{table} for select to {EVERYONE} using (true)')
    op.execute(f'create policy retention on zipcast.request_refusals for delete to {SCHEDULERS} using (true)')
    for role, process in ((RESPONDER, 'responder'), (BRIDGE, 'bridge')):
        op.execute(
            f'create policy {process} on zipcast.request_refusals for insert to {role} '
            f"with check (process = '{process}')"
        )
    op.execute(f'create policy signals on zipcast.miner_signals for insert to {SCHEDULERS} with check (true)')
    op.execute(
        f'create policy changes on zipcast.miner_signals for insert to {RESPONDER} '
        "with check (kind = 'changed_after_deadline' and zipcast.epoch_is_revealed(epoch_id))"
    )


def downgrade() -> None:
    for table in ('request_refusals', 'miner_signals'):
        op.execute(
            f'do $$ declare one name; begin for one in select policyname from pg_policies '
            f"where schemaname = 'zipcast' and tablename = '{table}' loop "
            f"execute format('drop policy %I on zipcast.{table}', one); end loop; end $$"
        )
        op.execute(f'alter table zipcast.{table} disable row level security')
    op.execute('drop view zipcast.revealed_seeds')
    for signature in reversed(FUNCTIONS):
        op.execute(f'drop function zipcast.{signature}')
    for role in ROLES:
        for kind in ('tables', 'sequences', 'functions'):
            op.execute(f'revoke all on all {kind} in schema zipcast from {role}')
        op.execute(f'revoke usage on schema zipcast from {role}')
    for table in ('scheduler_locks', 'report_locks'):
        op.execute(f'delete from zipcast.{table}')
