-- Creates the tables. `storage/database/tables/` explains them; `make check` compares the two.

create table zipcast.admin_commands (
    id uuid not null,
    requested_at timestamptz not null default clock_timestamp(),
    hotkey text not null,
    command text not null,
    arguments jsonb not null,
    request_id text not null,
    source text not null,
    state text not null default 'queued',
    finished_at timestamptz,
    outcome jsonb,
    constraint pk_admin_commands primary key (id),
    constraint ck_admin_commands_finished check ((state = 'queued') = (finished_at is null)),
    constraint ck_admin_commands_state check (state in ('queued', 'done', 'failed')),
    constraint ck_admin_commands_sizes
        check (length(hotkey) <= 1100 and length(command) <= 1100 and length(request_id) <= 1100
            and length(source) <= 1100 and length(arguments::text) <= 4000
            and length(outcome::text) <= 200000),
    constraint ck_admin_commands_times
        check (least(requested_at, finished_at) >= '2000-01-01 00:00+00'
            and greatest(requested_at, finished_at) < '3000-01-01 00:00+00')
);
create index ix_admin_commands_overridden on zipcast.admin_commands ((outcome ->> 'epochId'))
    where command = 'target.override';
create index ix_admin_commands_queued on zipcast.admin_commands (requested_at) where state = 'queued';
create index ix_admin_commands_requested_at on zipcast.admin_commands (requested_at);

create table zipcast.credential_issuances (
    signed_on date not null,
    hotkey text not null,
    request_key text not null,
    body_sha256 text not null,
    issued_at timestamptz not null,
    expires_at timestamptz not null,
    role text not null,
    kind text not null,
    bucket text not null,
    prefix text not null,
    epoch_id text,
    request_id text not null,
    source text not null,
    outcome text,
    constraint pk_credential_issuances primary key (signed_on, hotkey, request_key),
    constraint ck_credential_issuances_body_sha256 check (body_sha256 ~ '^[0-9a-f]{64}$'),
    constraint ck_credential_issuances_role check (role in ('miner', 'validator')),
    constraint ck_credential_issuances_lifetime
        check (expires_at > issued_at and expires_at <= issued_at + interval '24 hours'),
    constraint ck_credential_issuances_signed_on
        check ((issued_at at time zone 'UTC')::date between signed_on - 1 and signed_on + 1),
    constraint ck_credential_issuances_sizes
        check (length(hotkey) <= 1100 and length(request_key) <= 1100 and length(kind) <= 1100
            and length(bucket) <= 1100 and length(prefix) <= 1100 and length(epoch_id) <= 1100
            and length(request_id) <= 1100 and length(source) <= 1100 and length(outcome) <= 1100),
    constraint ck_credential_issuances_times
        check (least(issued_at, expires_at) >= '2000-01-01 00:00+00'
            and greatest(issued_at, expires_at) < '3000-01-01 00:00+00')
) partition by range (signed_on);
create index ix_credential_issuances_hotkey_issued_at on zipcast.credential_issuances (hotkey, issued_at);
create index ix_credential_issuances_issued_at on zipcast.credential_issuances (issued_at);

create table zipcast.beacon_rounds (
    chain text not null,
    round bigint not null,
    signature text not null,
    stored_at timestamptz not null,
    constraint pk_beacon_rounds primary key (chain, round),
    constraint ck_beacon_rounds_signature check (signature ~ '^[0-9a-f]{96}$')
);

create table zipcast.epoch_drafts (
    epoch_id text not null,
    inputs bytea not null,
    payload bytea not null,
    signer text not null,
    signature text not null,
    sent_at timestamptz,
    constraint pk_epoch_drafts primary key (epoch_id)
);

create table zipcast.epoch_honeypots (
    epoch_id text not null,
    content text not null,
    compared_at timestamptz,
    constraint pk_epoch_honeypots primary key (epoch_id)
);
create index ix_epoch_honeypots_uncompared on zipcast.epoch_honeypots (epoch_id) where compared_at is null;

create table zipcast.epoch_inputs (
    epoch_id text not null,
    inputs bytea not null,
    inputs_sha256 text not null,
    committed_at timestamptz not null,
    constraint pk_epoch_inputs primary key (epoch_id),
    constraint ck_epoch_inputs_inputs_hash check (inputs_sha256 = encode(sha256(inputs), 'hex'))
);

create table zipcast.legacy_opt_outs (
    hotkey text not null,
    opted_out_at timestamptz not null,
    request_id text not null,
    constraint pk_legacy_opt_outs primary key (hotkey),
    constraint ck_legacy_opt_outs_sizes check (length(hotkey) <= 1100 and length(request_id) <= 1100),
    constraint ck_legacy_opt_outs_times
        check (least(opted_out_at) >= '2000-01-01 00:00+00' and greatest(opted_out_at) < '3000-01-01 00:00+00')
);

create table zipcast.pending_epochs (
    epoch_id text not null,
    start_at timestamptz not null,
    end_at timestamptz not null,
    content bytea not null,
    constraint pk_pending_epochs primary key (epoch_id),
    constraint ex_pending_epochs_overlap exclude using gist (tstzrange(start_at, end_at) with &&),
    constraint ck_pending_epochs_interval check (start_at < end_at),
    constraint uq_pending_epochs_start_at unique (start_at)
);

create table zipcast.registry_snapshots (
    network text not null,
    netuid integer not null,
    block_number bigint not null,
    taken_at timestamptz not null,
    snapshot jsonb not null,
    constraint pk_registry_snapshots primary key (network, netuid, block_number)
);

create table zipcast.report_locks (
    slot smallint not null,
    constraint pk_report_locks primary key (slot)
);

create table zipcast.request_refusals (
    id bigint generated always as identity,
    refused_at timestamptz not null,
    process text not null,
    verb text not null,
    error text not null,
    hotkey text,
    source text not null,
    request_id text not null,
    suppressed integer not null default 0,
    constraint pk_request_refusals primary key (id),
    constraint ck_request_refusals_suppressed check (suppressed >= 0),
    constraint ck_request_refusals_sizes
        check (length(process) <= 1100 and length(verb) <= 1100 and length(error) <= 1100
            and length(hotkey) <= 1100 and length(source) <= 1100 and length(request_id) <= 1100),
    constraint ck_request_refusals_times
        check (least(refused_at) >= '2000-01-01 00:00+00' and greatest(refused_at) < '3000-01-01 00:00+00')
);
create index ix_request_refusals_hotkey_refused_at on zipcast.request_refusals (hotkey, refused_at);
create index ix_request_refusals_refused_at on zipcast.request_refusals (refused_at);

create table zipcast.scheduler_locks (
    name text not null,
    holder text,
    until timestamptz,
    constraint pk_scheduler_locks primary key (name)
);

create table zipcast.zipcode_imports (
    id bigint generated always as identity,
    imported_at timestamptz not null,
    source_name text not null,
    source_sha256 text not null,
    added integer not null,
    changed integer not null,
    unchanged integer not null,
    rejected integer not null,
    trimmed_at timestamptz,
    constraint pk_zipcode_imports primary key (id),
    constraint ck_zipcode_imports_source_sha256 check (source_sha256 ~ '^[0-9a-f]{64}$')
);

create table zipcast.published_zipcodes (
    import_id bigint not null,
    zipcode text not null,
    state text not null,
    city text not null,
    county text not null,
    market_tier text not null,
    geographic_region text not null,
    expected_listings integer not null,
    population integer,
    base_weight double precision not null,
    last_scraped_at timestamptz not null,
    commitment text not null,
    constraint pk_published_zipcodes primary key (import_id, zipcode),
    constraint ck_published_zipcodes_zipcode check (zipcode ~ '^[0-9]{5}$'),
    constraint ck_published_zipcodes_listings check (expected_listings >= 0),
    constraint ck_published_zipcodes_commitment check (commitment ~ '^[0-9a-f]{64}$'),
    constraint fk_published_zipcodes_import_id foreign key (import_id) references zipcast.zipcode_imports (id)
);

create table zipcast.zipcode_honeypots (
    import_id bigint not null,
    zipcode text not null,
    real_listings integer not null,
    threshold integer not null,
    salt text not null,
    constraint pk_zipcode_honeypots primary key (import_id, zipcode),
    constraint ck_zipcode_honeypots_zipcode check (zipcode ~ '^[0-9]{5}$'),
    constraint ck_zipcode_honeypots_real_listings check (0 <= real_listings and real_listings < threshold),
    constraint fk_zipcode_honeypots_import_id foreign key (import_id) references zipcast.zipcode_imports (id)
);

create table zipcast.retired_honeypots (
    zipcode text not null,
    import_id bigint not null,
    constraint pk_retired_honeypots primary key (zipcode),
    constraint ck_retired_honeypots_zipcode check (zipcode ~ '^[0-9]{5}$'),
    constraint fk_retired_honeypots_import_id foreign key (import_id) references zipcast.zipcode_imports (id)
);

create table zipcast.epochs (
    epoch_id text not null,
    start_at timestamptz not null,
    end_at timestamptz not null,
    status text not null,
    target_listings integer,
    tolerance_percent integer,
    total_expected_listings integer,
    algorithm_version text,
    nonce text,
    seed text,
    seed_commitment text not null,
    secret_id text not null,
    candidate_pool_hash text,
    beacon text,
    relaxed_cooldown text[] not null default '{}',
    relaxed_age_days integer not null default 0,
    import_id bigint,
    message_sha256 text,
    prepared_at timestamptz not null,
    published_at timestamptz,
    stream_sequence bigint,
    completed_at timestamptz,
    signals_computed_at timestamptz,
    constraint pk_epochs primary key (epoch_id),
    constraint ex_epochs_overlap exclude using gist (tstzrange(start_at, end_at) with &&),
    constraint ck_epochs_beacon check (beacon in ('round', 'fallback', 'none')),
    constraint ck_epochs_message check ((status = 'missed') = (message_sha256 is null)),
    constraint ck_epochs_published check (published_at is not null or status in ('pending', 'missed')),
    constraint ck_epochs_status check (status in ('pending', 'active', 'completed', 'archived', 'missed')),
    constraint ck_epochs_interval check (start_at < end_at),
    constraint fk_epochs_import_id foreign key (import_id) references zipcast.zipcode_imports (id),
    constraint uq_epochs_start_at unique (start_at)
);
create index ix_epochs_end_at on zipcast.epochs (end_at);
create index ix_epochs_in_detail on zipcast.epochs (epoch_id) where status in ('pending', 'active', 'completed');
create index ix_epochs_unfinished on zipcast.epochs (start_at) where status in ('pending', 'active');

create table zipcast.zipcode_revisions (
    zipcode text not null,
    import_id bigint not null,
    state text not null,
    city text not null,
    county text not null,
    population integer,
    median_home_value integer,
    recently_sold_listings integer not null,
    market_tier text not null,
    geographic_region text not null,
    base_weight double precision not null default 1,
    last_scraped_at timestamptz not null,
    active boolean not null default true,
    constraint pk_zipcode_revisions primary key (zipcode, import_id),
    constraint ck_zipcode_revisions_market_tier check (market_tier in ('PREMIUM', 'STANDARD', 'EMERGING')),
    constraint ck_zipcode_revisions_state check (state ~ '^[A-Z]{2}$'),
    constraint ck_zipcode_revisions_zipcode check (zipcode ~ '^[0-9]{5}$'),
    constraint ck_zipcode_revisions_base_weight check (base_weight > 0),
    constraint ck_zipcode_revisions_home_value check (median_home_value >= 0),
    constraint ck_zipcode_revisions_population check (population >= 0),
    constraint ck_zipcode_revisions_listings check (recently_sold_listings >= 0),
    constraint fk_zipcode_revisions_import_id foreign key (import_id) references zipcast.zipcode_imports (id)
);

create table zipcast.zipcodes (
    zipcode text not null,
    import_id bigint not null,
    state text not null,
    city text not null,
    county text not null,
    population integer,
    median_home_value integer,
    recently_sold_listings integer not null,
    market_tier text not null,
    geographic_region text not null,
    base_weight double precision not null default 1,
    last_scraped_at timestamptz not null,
    active boolean not null default true,
    constraint pk_zipcodes primary key (zipcode),
    constraint ck_zipcodes_market_tier check (market_tier in ('PREMIUM', 'STANDARD', 'EMERGING')),
    constraint ck_zipcodes_state check (state ~ '^[A-Z]{2}$'),
    constraint ck_zipcodes_zipcode check (zipcode ~ '^[0-9]{5}$'),
    constraint ck_zipcodes_base_weight check (base_weight > 0),
    constraint ck_zipcodes_home_value check (median_home_value >= 0),
    constraint ck_zipcodes_population check (population >= 0),
    constraint ck_zipcodes_listings check (recently_sold_listings >= 0),
    constraint fk_zipcodes_import_id foreign key (import_id) references zipcast.zipcode_imports (id)
);
create index ix_zipcodes_state on zipcast.zipcodes (state);

create table zipcast.epoch_assignments (
    epoch_id text not null,
    zipcode text not null,
    position integer not null,
    expected_listings integer not null,
    constraint pk_epoch_assignments primary key (epoch_id, zipcode),
    constraint ck_epoch_assignments_zipcode check (zipcode ~ '^[0-9]{5}$'),
    constraint ck_epoch_assignments_listings check (expected_listings >= 0),
    constraint fk_epoch_assignments_epoch_id foreign key (epoch_id) references zipcast.epochs (epoch_id)
);
create index ix_epoch_assignments_zipcode on zipcast.epoch_assignments (zipcode);

create table zipcast.epoch_messages (
    epoch_id text not null,
    message_sha256 text not null,
    payload bytea not null,
    signer text not null,
    signature text not null,
    stored_at timestamptz not null,
    constraint pk_epoch_messages primary key (epoch_id, message_sha256),
    constraint ck_epoch_messages_payload_hash check (message_sha256 = encode(sha256(payload), 'hex')),
    constraint ck_epoch_messages_message_sha256 check (message_sha256 ~ '^[0-9a-f]{64}$'),
    constraint ck_epoch_messages_signature check (signature ~ '^[0-9a-f]{128}$'),
    constraint fk_epoch_messages_epoch_id foreign key (epoch_id) references zipcast.epochs (epoch_id)
);

create table zipcast.miner_signals (
    epoch_id text not null,
    hotkey text not null,
    kind text not null,
    details jsonb not null,
    computed_at timestamptz not null,
    constraint pk_miner_signals primary key (epoch_id, hotkey, kind),
    constraint ck_miner_signals_kind check (kind ~ '^[a-z_]+$'),
    constraint fk_miner_signals_epoch_id foreign key (epoch_id) references zipcast.epochs (epoch_id),
    constraint ck_miner_signals_sizes
        check (length(hotkey) <= 1100 and length(kind) <= 1100 and length(details::text) <= 300000),
    constraint ck_miner_signals_times
        check (least(computed_at) >= '2000-01-01 00:00+00' and greatest(computed_at) < '3000-01-01 00:00+00')
);

create table zipcast.miner_submissions (
    epoch_id text not null,
    hotkey text not null,
    status text not null,
    reported_at timestamptz not null,
    received_at timestamptz not null,
    is_late boolean not null,
    listings_scraped integer,
    zipcodes_completed jsonb not null default '[]',
    s3_upload_complete boolean not null,
    s3_upload_at timestamptz,
    request_id text not null,
    body_sha256 text not null,
    first_completed_at timestamptz,
    first_completed_listings integer,
    most_claimed jsonb not null default '{}',
    constraint pk_miner_submissions primary key (epoch_id, hotkey),
    constraint ck_miner_submissions_status check (status in ('IN_PROGRESS', 'COMPLETED', 'FAILED', 'TIMEOUT')),
    constraint ck_miner_submissions_listings check (listings_scraped >= 0),
    constraint fk_miner_submissions_epoch_id foreign key (epoch_id) references zipcast.epochs (epoch_id),
    constraint ck_miner_submissions_sizes
        check (length(hotkey) <= 1100 and length(request_id) <= 1100
            and length(zipcodes_completed::text) <= 300000 and length(most_claimed::text) <= 300000),
    constraint ck_miner_submissions_times
        check (least(reported_at, received_at, s3_upload_at, first_completed_at) >= '2000-01-01 00:00+00'
            and greatest(reported_at, received_at, s3_upload_at, first_completed_at) < '3000-01-01 00:00+00')
);

create table zipcast.upload_manifests (
    epoch_id text not null,
    hotkey text not null,
    object_key text not null,
    version_id text,
    size_bytes bigint not null,
    etag text not null,
    stored_at timestamptz not null,
    sealed_at timestamptz not null,
    constraint pk_upload_manifests primary key (epoch_id, hotkey, object_key),
    constraint ck_upload_manifests_size check (size_bytes >= 0),
    constraint fk_upload_manifests_epoch_id foreign key (epoch_id) references zipcast.epochs (epoch_id),
    constraint ck_upload_manifests_sizes
        check (length(hotkey) <= 1100 and length(object_key) <= 1100 and length(version_id) <= 1100
            and length(etag) <= 1100),
    constraint ck_upload_manifests_times
        check (least(stored_at, sealed_at) >= '2000-01-01 00:00+00'
            and greatest(stored_at, sealed_at) < '3000-01-01 00:00+00')
);

create table zipcast.upload_seals (
    epoch_id text not null,
    sealed_at timestamptz not null,
    changes_checked_at timestamptz,
    constraint pk_upload_seals primary key (epoch_id),
    constraint fk_upload_seals_epoch_id foreign key (epoch_id) references zipcast.epochs (epoch_id),
    constraint ck_upload_seals_times
        check (least(sealed_at, changes_checked_at) >= '2000-01-01 00:00+00'
            and greatest(sealed_at, changes_checked_at) < '3000-01-01 00:00+00')
);

create table zipcast.validator_results (
    id uuid not null,
    epoch_id text not null,
    hotkey text not null,
    alpha_stake_rao bigint not null,
    reported_at timestamptz not null,
    received_at timestamptz not null,
    superseded_at timestamptz,
    duration_seconds double precision not null,
    miners_evaluated integer not null,
    listings_validated integer not null,
    top_3_miners jsonb not null,
    files jsonb not null,
    body_sha256 text not null,
    request_id text not null,
    started_at timestamptz,
    is_late boolean not null default false,
    request_key text,
    constraint pk_validator_results primary key (id),
    constraint ck_validator_results_body_sha256 check (body_sha256 ~ '^[0-9a-f]{64}$'),
    constraint ck_validator_results_stake check (alpha_stake_rao >= 0),
    constraint ck_validator_results_duration check (duration_seconds >= 0),
    constraint ck_validator_results_listings check (listings_validated >= 0),
    constraint ck_validator_results_miners check (miners_evaluated >= 0),
    constraint fk_validator_results_epoch_id foreign key (epoch_id) references zipcast.epochs (epoch_id),
    constraint ck_validator_results_sizes
        check (length(hotkey) <= 1100 and length(request_id) <= 1100 and length(request_key) <= 1100
            and length(top_3_miners::text) <= 4000 and length(files::text) <= 300000),
    constraint ck_validator_results_times
        check (least(reported_at, received_at, superseded_at, started_at) >= '2000-01-01 00:00+00'
            and greatest(reported_at, received_at, superseded_at, started_at) < '3000-01-01 00:00+00')
);
create index ix_validator_results_epoch_id_hotkey on zipcast.validator_results (epoch_id, hotkey);
create unique index uq_validator_results_epoch_id_hotkey_request_key
    on zipcast.validator_results (epoch_id, hotkey, request_key);
create unique index uq_validator_results_in_force on zipcast.validator_results (epoch_id, hotkey)
    where superseded_at is null;

create table zipcast.validation_audit (
    id bigint generated always as identity,
    result_id uuid not null,
    epoch_id text not null,
    miner_hotkey text not null,
    zipcode text not null,
    validation_type text not null,
    result text not null,
    score double precision not null,
    listings_checked integer not null,
    issues text[] not null default '{}',
    constraint pk_validation_audit primary key (id),
    constraint ck_validation_audit_sizes
        check (length(miner_hotkey) <= 1100 and length(issues::text) <= 300000),
    constraint ck_validation_audit_result check (result in ('pass', 'fail', 'partial')),
    constraint ck_validation_audit_score check (score >= 0 and score < 'Infinity'),
    constraint ck_validation_audit_validation_type check (validation_type in ('basic', 'spot_check', 'full')),
    constraint ck_validation_audit_zipcode check (zipcode ~ '^[0-9]{5}$'),
    constraint ck_validation_audit_listings check (listings_checked >= 0),
    constraint fk_validation_audit_epoch_id foreign key (epoch_id) references zipcast.epochs (epoch_id),
    constraint fk_validation_audit_result_id foreign key (result_id) references zipcast.validator_results (id)
);
create index ix_validation_audit_epoch_id_miner_hotkey on zipcast.validation_audit (epoch_id, miner_hotkey);
create index ix_validation_audit_result_id on zipcast.validation_audit (result_id);

-- Never compress these columns, because the compressed size would reveal something about the content.
alter table zipcast.pending_epochs alter content set storage external;
alter table zipcast.epoch_honeypots alter content set storage external;

-- These rows are only locked or leased.
insert into zipcast.scheduler_locks (name) values ('preparation'), ('partitions');
insert into zipcast.report_locks select generate_series(0, 63);
