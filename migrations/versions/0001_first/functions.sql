-- Defines functions for what a process may read or do only under a condition. Each runs as the owner of the tables and
-- checks the time itself. Row-level security is not enough, because `EXPLAIN ANALYZE` counts the rows that it removes.

-- A request is signed at most five minutes before or after it arrives, by our clock. A row without a partition is
-- refused, so partitions are made a week ahead. They are attached, because creating one in place waits for all readers
-- of the table.
create function zipcast.add_issuance_days() returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '2s' as $$
declare
    today constant date := (now() at time zone 'UTC')::date;
    day date;
    partition text;
begin
    -- Only one caller at a time; all replicas may call this function.
    perform from zipcast.scheduler_locks where name = 'partitions' for update;
    for day in select today + n from generate_series(-1, 7) n loop
        partition := 'credential_issuances_' || to_char(day, 'YYYYMMDD');
        if to_regclass('zipcast.' || partition) is null then
            execute format('create table zipcast.%I (like zipcast.credential_issuances including all)', partition);
            execute format('alter table zipcast.credential_issuances attach partition zipcast.%I '
                           'for values from (%L) to (%L)', partition, day, day + 1);
        end if;
    end loop;
end $$;
revoke all on function zipcast.add_issuance_days() from public;
grant execute on function zipcast.add_issuance_days() to zipcast_schedulers;

create function zipcast.drop_issuance_days(before timestamptz) returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '50ms' as $$
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
end $$;
revoke all on function zipcast.drop_issuance_days(timestamptz) from public;
grant execute on function zipcast.drop_issuance_days(timestamptz) to zipcast_schedulers;

-- An epoch is revealed one epoch after its end, but not before earlier epochs, whose lengths may differ (at most 24 h).
create function zipcast.epoch_is_revealed(id text) returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select exists (select from zipcast.epochs as one where one.epoch_id = id and not exists (
        select from zipcast.epochs as other where other.start_at <= one.start_at
        and other.end_at > now() - interval '24 h' and other.end_at + (other.end_at - other.start_at) > now()))
$$;
revoke all on function zipcast.epoch_is_revealed(text) from public;
grant execute on function zipcast.epoch_is_revealed(text) to zipcast_schedulers, zipcast_responder, zipcast_bridge;

-- The bridge's health shows that a future epoch is prepared, and nothing else about it.
create function zipcast.next_epoch_is_prepared() returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select exists (select from zipcast.pending_epochs where start_at > now())
        or exists (select from zipcast.epochs where start_at > now())
$$;
revoke all on function zipcast.next_epoch_is_prepared() from public;
grant execute on function zipcast.next_epoch_is_prepared() to zipcast_schedulers, zipcast_responder, zipcast_bridge;

-- The inputs of a draft replace the promised ones.
create function zipcast.started_inputs(id text) returns bytea
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    if exists (select from zipcast.epochs where epoch_id = $1 and start_at <= now()) then
        return coalesce((select inputs from zipcast.epoch_drafts where epoch_id = id),
                        (select inputs from zipcast.epoch_inputs where epoch_id = id));
    end if;
    return null;
end $$;
revoke all on function zipcast.started_inputs(text) from public;
grant execute on function zipcast.started_inputs(text) to zipcast_schedulers, zipcast_responder, zipcast_bridge;

-- This is a function, because in a view, the planner may evaluate a reader's condition before the view's own.
create function zipcast.ended_seed(id text) returns text
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return (select seed from zipcast.epochs where epoch_id = id and end_at <= now());
end $$;
revoke all on function zipcast.ended_seed(text) from public;
grant execute on function zipcast.ended_seed(text) to zipcast_schedulers, zipcast_responder, zipcast_bridge;

create function zipcast.revealed_honeypots(id text) returns jsonb
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    if zipcast.epoch_is_revealed(id) then
        return (select content::jsonb from zipcast.epoch_honeypots where epoch_id = id);
    end if;
    return null;
end $$;
revoke all on function zipcast.revealed_honeypots(text) from public;
grant execute on function zipcast.revealed_honeypots(text) to zipcast_schedulers, zipcast_responder, zipcast_bridge;

create function zipcast.revealed_results(id text) returns setof zipcast.validator_results
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    if zipcast.epoch_is_revealed(id) then
        return query select * from zipcast.validator_results where epoch_id = $1;
    end if;
end $$;
revoke all on function zipcast.revealed_results(text) from public;
grant execute on function zipcast.revealed_results(text) to zipcast_responder, zipcast_bridge;

create function zipcast.revealed_audit(id text) returns setof zipcast.validation_audit
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    if zipcast.epoch_is_revealed(id) then
        -- Return only the rows of the reports that count, because a validator may have sent many others before.
        return query select * from zipcast.validation_audit where result_id in (
            select distinct on (hotkey, is_late) one.id from zipcast.validator_results as one where one.epoch_id = $1
            order by hotkey, is_late, received_at desc, one.id);
    end if;
end $$;
revoke all on function zipcast.revealed_audit(text) from public;
grant execute on function zipcast.revealed_audit(text) to zipcast_responder, zipcast_bridge;

-- These functions delete what the scheduler may not delete itself, and never recent data: details of epochs that are
-- not archived or ended within 7 days, records of the last 30 days, and revisions that an epoch with details needs.
-- Each call deletes one batch and returns the number of rows.
create function zipcast.drop_epoch_reports(before_id text, batch integer) returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
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
end $$;
revoke all on function zipcast.drop_epoch_reports(text, integer) from public;
grant execute on function zipcast.drop_epoch_reports(text, integer) to zipcast_schedulers;

create function zipcast.drop_audit_trail(before timestamptz, batch integer) returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    bound constant timestamptz := least(before, now() - interval '30 days');
    bound_id constant text := to_char(bound at time zone 'UTC', 'YYYY-MM-DD"T"HH24-MI-SS');
    left_over integer := batch;
    gone integer;
begin
    -- Also compare the epoch, because an override of a target may be much older than its epoch.
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
end $$;
revoke all on function zipcast.drop_audit_trail(timestamptz, integer) from public;
grant execute on function zipcast.drop_audit_trail(timestamptz, integer) to zipcast_schedulers;

create function zipcast.drop_zipcode_revisions(oldest_needed bigint, batch integer) returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
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
end $$;
revoke all on function zipcast.drop_zipcode_revisions(bigint, integer) from public;
grant execute on function zipcast.drop_zipcode_revisions(bigint, integer) to zipcast_schedulers;

create function zipcast.drop_published_zipcodes(oldest_needed bigint, batch integer) returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
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
end $$;
revoke all on function zipcast.drop_published_zipcodes(bigint, integer) from public;
grant execute on function zipcast.drop_published_zipcodes(bigint, integer) to zipcast_schedulers;

create view zipcast.revealed_seeds as
    select epoch_id, zipcast.ended_seed(epoch_id) as seed
    from zipcast.epochs
    where end_at <= now() and zipcast.ended_seed(epoch_id) is not null;
