-- Grants each process the rights that it needs, and no others.
--
-- Only the scheduler's role may query an epoch that has not been opened. Honeypots and validators' reports are in
-- tables of the scheduler or the responder; other roles get them from functions once they are revealed.
--
-- No role has UPDATE or DELETE on a whole table that another process writes, because these rights would allow LOCK
-- TABLE. UPDATE on single columns does not allow it.

grant select on zipcast.published_zipcodes, zipcast.zipcode_imports, zipcast.epoch_assignments,
    zipcast.epoch_messages, zipcast.registry_snapshots, zipcast.miner_submissions, zipcast.upload_manifests,
    zipcast.upload_seals, zipcast.miner_signals, zipcast.revealed_seeds
    to zipcast_schedulers, zipcast_responder, zipcast_bridge;

-- The scheduler. Only it may read real counts, because comparing them with published ones reveals honeypots.
grant select on zipcast.zipcodes, zipcast.zipcode_revisions, zipcast.zipcode_honeypots, zipcast.retired_honeypots,
    zipcast.epochs, zipcast.pending_epochs, zipcast.epoch_inputs, zipcast.epoch_drafts, zipcast.beacon_rounds,
    zipcast.epoch_honeypots, zipcast.scheduler_locks,
    zipcast.credential_issuances, zipcast.request_refusals, zipcast.admin_commands
    to zipcast_schedulers;
grant insert, update on zipcast.epochs, zipcast.admin_commands, zipcast.scheduler_locks to zipcast_schedulers;
grant insert, update, delete on zipcast.pending_epochs, zipcast.epoch_honeypots to zipcast_schedulers;
grant insert, delete on zipcast.epoch_assignments, zipcast.registry_snapshots to zipcast_schedulers;
grant update (sent_at) on zipcast.epoch_drafts to zipcast_schedulers;
grant insert on zipcast.epoch_messages, zipcast.epoch_inputs, zipcast.epoch_drafts, zipcast.beacon_rounds,
    zipcast.miner_signals, zipcast.published_zipcodes,
    zipcast.zipcode_honeypots, zipcast.retired_honeypots
    to zipcast_schedulers;
grant delete on zipcast.request_refusals to zipcast_schedulers;

-- The responder.
grant select on zipcast.credential_issuances, zipcast.request_refusals, zipcast.admin_commands,
    zipcast.legacy_opt_outs, zipcast.validator_results, zipcast.validation_audit, zipcast.report_locks
    to zipcast_responder;
grant insert on zipcast.credential_issuances, zipcast.upload_manifests, zipcast.upload_seals, zipcast.miner_signals,
    zipcast.miner_submissions, zipcast.validator_results
    to zipcast_responder;
grant insert (result_id, epoch_id, miner_hotkey, zipcode, validation_type, result, score, listings_checked, issues)
    on zipcast.validation_audit to zipcast_responder;
-- The database sets the time of a command, and only the scheduler writes its outcome.
grant insert (id, hotkey, command, arguments, request_id, source) on zipcast.admin_commands to zipcast_responder;
grant insert, delete on zipcast.legacy_opt_outs to zipcast_responder;
grant update (changes_checked_at) on zipcast.upload_seals to zipcast_responder;
grant update (outcome) on zipcast.credential_issuances to zipcast_responder;
grant update (status, reported_at, received_at, is_late, listings_scraped, zipcodes_completed, s3_upload_complete,
    s3_upload_at, request_id, body_sha256, first_completed_at, first_completed_listings, most_claimed)
    on zipcast.miner_submissions to zipcast_responder;
grant update (superseded_at) on zipcast.validator_results to zipcast_responder;
grant update (slot) on zipcast.report_locks to zipcast_responder;

-- The bridge.
grant select on zipcast.legacy_opt_outs to zipcast_bridge;
grant select (zipcode, state, market_tier, active) on zipcast.zipcodes to zipcast_bridge;

-- Responder and bridge: every column of `epochs` except the seed. They cannot choose the numbers that PostgreSQL
-- assigns, because numbers used beforehand would make the inserts of others fail.
grant select (epoch_id, start_at, end_at, status, target_listings, tolerance_percent, total_expected_listings,
    algorithm_version, nonce, seed_commitment, secret_id, candidate_pool_hash, beacon, relaxed_cooldown, relaxed_age_days,
    import_id, message_sha256, prepared_at, published_at, stream_sequence, completed_at, signals_computed_at)
    on zipcast.epochs to zipcast_responder, zipcast_bridge;
grant insert (refused_at, process, verb, error, hotkey, source, request_id, suppressed)
    on zipcast.request_refusals to zipcast_responder, zipcast_bridge;

-- Row-level security limits which rows a role may insert: signals count only the responder's refusals, and the
-- responder writes only one kind of signal.
alter table zipcast.request_refusals enable row level security;
create policy reads on zipcast.request_refusals for select
    to zipcast_schedulers, zipcast_responder, zipcast_bridge using (true);
create policy retention on zipcast.request_refusals for delete to zipcast_schedulers using (true);
create policy responder on zipcast.request_refusals for insert to zipcast_responder
    with check (process = 'responder');
create policy bridge on zipcast.request_refusals for insert to zipcast_bridge with check (process = 'bridge');

alter table zipcast.miner_signals enable row level security;
create policy reads on zipcast.miner_signals for select
    to zipcast_schedulers, zipcast_responder, zipcast_bridge using (true);
create policy signals on zipcast.miner_signals for insert to zipcast_schedulers with check (true);
create policy changes on zipcast.miner_signals for insert to zipcast_responder
    with check (kind = 'changed_after_deadline' and zipcast.epoch_is_revealed(epoch_id));
