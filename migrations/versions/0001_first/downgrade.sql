-- Functions that return rows of a table go before it, and those that a policy calls go after it.

drop view zipcast.revealed_seeds;
drop function zipcast.revealed_results(text), zipcast.revealed_audit(text);

drop table zipcast.validation_audit, zipcast.validator_results, zipcast.upload_seals, zipcast.upload_manifests,
    zipcast.miner_submissions, zipcast.miner_signals, zipcast.epoch_messages, zipcast.epoch_assignments,
    zipcast.zipcodes, zipcast.zipcode_revisions, zipcast.epochs, zipcast.retired_honeypots,
    zipcast.zipcode_honeypots, zipcast.published_zipcodes, zipcast.zipcode_imports, zipcast.scheduler_locks,
    zipcast.request_refusals, zipcast.report_locks, zipcast.registry_snapshots, zipcast.pending_epochs,
    zipcast.legacy_opt_outs, zipcast.epoch_inputs, zipcast.epoch_honeypots, zipcast.epoch_drafts, zipcast.beacon_rounds, zipcast.credential_issuances,
    zipcast.admin_commands;

drop function zipcast.add_issuance_days(), zipcast.drop_issuance_days(timestamptz),
    zipcast.epoch_is_revealed(text), zipcast.next_epoch_is_prepared(), zipcast.started_inputs(text),
    zipcast.ended_seed(text), zipcast.revealed_honeypots(text), zipcast.drop_epoch_reports(text, integer),
    zipcast.drop_audit_trail(timestamptz, integer), zipcast.drop_zipcode_revisions(bigint, integer),
    zipcast.drop_published_zipcodes(bigint, integer);

revoke usage on schema zipcast from zipcast_schedulers, zipcast_responder, zipcast_bridge;
