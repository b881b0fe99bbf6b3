"""Fills a database with the data of years, in SQL: epochs, assignments, messages, inputs, reports and audit
rows.

No details were deleted, which is the worst case for queries. One epoch runs, one is pending, and 50 days are
not archived, so that there is something to archive. Signatures are not valid; only their size and the hashes
are right.
"""

import json
from dataclasses import asdict
from datetime import timedelta

import psycopg

from zipcast.selection.model import SelectionSettings

ASSIGNED = 40
ZIPCODES = 42_000
# Issuances are kept for a year, as audit trail.
ISSUANCE_DAYS = 365

FILL = """
-- Keys are right by construction; checking each of a million rows takes a minute.
set session_replication_role = replica;
create temporary table made as
    select n, start_at, start_at + interval '4 h' as end_at,
           to_char(start_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24-MI-SS') as epoch_id,
           case when n = 0 then 'active' when n = -1 then 'pending' when n < 300 then 'completed'
                else 'archived' end as status
    from generate_series(-1, {epochs} - 2) n,
         lateral (select date_bin('4 h', now(), '2026-01-01 00:00+00') - n * interval '4 h' as start_at) s;
create index on made (epoch_id);
create index on made (n);
analyze made;
insert into zipcode_imports (imported_at, source_name, source_sha256, added, changed, unchanged, rejected)
    values (now(), 'years', repeat('0', 64), {zipcodes}, 0, 0, 0);
insert into zipcodes (zipcode, import_id, state, city, county, population, recently_sold_listings, market_tier,
                      geographic_region, last_scraped_at)
    select lpad(z::text, 5, '0'), 1, (array['PA', 'NJ', 'NY', 'DE', 'MD'])[1 + z % 5], 'Springfield', 'Example',
           z, 200 + z % 2800, (array['PREMIUM', 'STANDARD', 'EMERGING'])[1 + z % 3], 'EAST', now()
    from generate_series(0, {zipcodes} - 1) z;
insert into zipcode_revisions (zipcode, import_id, state, city, county, population, recently_sold_listings,
                               market_tier, geographic_region, last_scraped_at)
    select zipcode, import_id, state, city, county, population, recently_sold_listings, market_tier,
           geographic_region, last_scraped_at from zipcodes;
insert into epoch_messages (epoch_id, message_sha256, payload, signer, signature, stored_at)
    select epoch_id, encode(sha256(payload), 'hex'), payload, 'signer', repeat('a', 128), start_at
    from made, lateral (select convert_to('{{"epochId": "' || epoch_id || '"}}' || repeat('x', 4000), 'UTF8')) p(payload);
insert into epochs (epoch_id, start_at, end_at, status, target_listings, tolerance_percent, total_expected_listings,
                    algorithm_version, nonce, seed, seed_commitment, secret_id, candidate_pool_hash, import_id,
                    message_sha256, prepared_at, published_at, stream_sequence, completed_at)
    select epoch_id, start_at, end_at, status, 10000, 10, 10000, 'zipcast-selection/1', md5(epoch_id),
           md5(epoch_id), md5(epoch_id), '1', md5(epoch_id), 1, message_sha256, start_at - interval '5 min',
           case when status <> 'pending' then start_at end, {epochs} - n, case when n > 0 then end_at end
    from made join epoch_messages using (epoch_id);
insert into epoch_inputs (epoch_id, inputs, inputs_sha256, committed_at)
    select epoch_id, inputs, encode(sha256(inputs), 'hex'), start_at - interval '4 h'
    from (select m.epoch_id, m.start_at, convert_to(json_build_object(
              'algorithmVersion', 'zipcast-selection/1', 'epochId', m.epoch_id, 'importId', 1, 'secretId', '1',
              'historyEpochIds', (select coalesce(json_agg(h.epoch_id order by h.epoch_id), '[]'::json) from made h
                                  where h.n between m.n + 1 and m.n + 6),
              'settings', '{settings}'::json)::text, 'UTF8') as inputs
          from made m) i;
insert into epoch_assignments (epoch_id, zipcode, position, expected_listings)
    select epoch_id, lpad(((z * 1009 + n * 40 + 80) % {zipcodes})::text, 5, '0'), z, 250
    from made, generate_series(0, {assigned} - 1) z;
insert into miner_submissions (epoch_id, hotkey, status, reported_at, received_at, is_late, s3_upload_complete,
                               body_sha256, request_id)
    select epoch_id, 'miner-' || m, 'COMPLETED', end_at, end_at, false, true, '', 'r'
    from made, generate_series(1, 10) m where n > 0;
do $$
declare day date;
begin
    for day in select (now() at time zone 'UTC')::date - n from generate_series(2, {days}) n loop
        execute format('create table credential_issuances_%s partition of credential_issuances '
                       'for values from (%L) to (%L)', to_char(day, 'YYYYMMDD'), day, day + 1);
    end loop;
end $$;
insert into credential_issuances (signed_on, hotkey, request_key, body_sha256, issued_at, expires_at, role, kind,
                                  bucket, prefix, request_id, source)
    select (start_at at time zone 'UTC')::date, 'miner-' || m, epoch_id, repeat('0', 64), start_at, end_at, 'miner',
           's3.miner-upload', 'b', 'p', 'r', 'nats'
    from made, generate_series(1, 10) m
    where start_at > (now() at time zone 'UTC')::date - {days} + 1 and start_at < now()
    union all
    select (now() at time zone 'UTC')::date, 'miner-' || m % 256, 'btauth:' || m, repeat('0', 64), now(),
           now() + interval '4 h', 'miner', 's3.miner-upload', 'b', 'p', 'r', 'nats'
    from generate_series(1, 5000) m;
insert into request_refusals (refused_at, process, verb, error, hotkey, source, request_id)
    select start_at, 'responder', 'epoch.current', 'bad_signature', 'miner-' || m, 'nats', 'r'
    from made, generate_series(1, 10) m;
insert into admin_commands (id, requested_at, hotkey, command, arguments, request_id, source, state, finished_at,
                            outcome)
    select gen_random_uuid(), start_at, 'admin', case n % 3 when 0 then 'target.override' else 'epoch.generate' end,
           '{{}}', 'r', 'nats', 'done', start_at, jsonb_build_object('epochId', epoch_id, 'targetListings', 9000)
    from made;
drop table made;
set session_replication_role = origin;
"""


async def fill(url: str, epochs: int) -> None:
    """Fill an empty, migrated database, as its owner."""
    settings = asdict(SelectionSettings())
    for name, value in settings.items():
        settings[name] = int(value.total_seconds()) if isinstance(value, timedelta) else value
    statements = FILL.format(
        epochs=epochs, days=ISSUANCE_DAYS, zipcodes=ZIPCODES, assigned=ASSIGNED, settings=json.dumps(settings)
    )
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute(statements.encode())
        await connection.execute("vacuum analyze")
