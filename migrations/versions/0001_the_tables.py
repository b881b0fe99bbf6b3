"""the tables"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0001'
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('admin_commands',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('requested_at', sa.DateTime(timezone=True), server_default=sa.text('clock_timestamp()'), nullable=False),
    sa.Column('hotkey', sa.Text(), nullable=False),
    sa.Column('command', sa.Text(), nullable=False),
    sa.Column('arguments', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('request_id', sa.Text(), nullable=False),
    sa.Column('source', sa.Text(), nullable=False),
    sa.Column('state', sa.Text(), server_default=sa.text("'queued'"), nullable=False),
    sa.Column('finished_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('outcome', postgresql.JSONB(astext_type=sa.Text()), nullable=True),
    sa.CheckConstraint("(state = 'queued') = (finished_at is null)", name=op.f('ck_admin_commands_finished')),
    sa.CheckConstraint("state in ('queued', 'done', 'failed')", name=op.f('ck_admin_commands_state')),
    sa.CheckConstraint("least(requested_at, finished_at) >= '2000-01-01 00:00+00' and greatest(requested_at, finished_at) < '3000-01-01 00:00+00'", name=op.f('ck_admin_commands_times')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_admin_commands')),
    schema='zipcast'
    )
    op.create_index('ix_admin_commands_overridden', 'admin_commands', [sa.literal_column("(outcome ->> 'epochId')")], unique=False, schema='zipcast', postgresql_where=sa.text("command = 'target.override'"))
    op.create_index('ix_admin_commands_queued', 'admin_commands', ['requested_at'], unique=False, schema='zipcast', postgresql_where=sa.text("state = 'queued'"))
    op.create_index(op.f('ix_admin_commands_requested_at'), 'admin_commands', ['requested_at'], unique=False, schema='zipcast')
    op.create_table('credential_issuances',
    sa.Column('signed_on', sa.Date(), nullable=False),
    sa.Column('hotkey', sa.Text(), nullable=False),
    sa.Column('request_key', sa.Text(), nullable=False),
    sa.Column('body_sha256', sa.Text(), nullable=False),
    sa.Column('issued_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('expires_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('role', sa.Text(), nullable=False),
    sa.Column('kind', sa.Text(), nullable=False),
    sa.Column('bucket', sa.Text(), nullable=False),
    sa.Column('prefix', sa.Text(), nullable=False),
    sa.Column('epoch_id', sa.Text(), nullable=True),
    sa.Column('request_id', sa.Text(), nullable=False),
    sa.Column('source', sa.Text(), nullable=False),
    sa.Column('outcome', sa.Text(), nullable=True),
    sa.CheckConstraint("body_sha256 ~ '^[0-9a-f]{64}$'", name=op.f('ck_credential_issuances_body_sha256')),
    sa.CheckConstraint("role in ('miner', 'validator')", name=op.f('ck_credential_issuances_role')),
    sa.CheckConstraint("expires_at > issued_at and expires_at <= issued_at + interval '24 hours'", name=op.f('ck_credential_issuances_lifetime')),
    sa.CheckConstraint("(issued_at at time zone 'UTC')::date between signed_on - 1 and signed_on + 1", name=op.f('ck_credential_issuances_signed_on')),
    sa.CheckConstraint("least(issued_at, expires_at) >= '2000-01-01 00:00+00' and greatest(issued_at, expires_at) < '3000-01-01 00:00+00'", name=op.f('ck_credential_issuances_times')),
    sa.PrimaryKeyConstraint('signed_on', 'hotkey', 'request_key', name=op.f('pk_credential_issuances')),
    schema='zipcast',
    postgresql_partition_by='RANGE (signed_on)'
    )
    op.create_index(op.f('ix_credential_issuances_hotkey_issued_at'), 'credential_issuances', ['hotkey', 'issued_at'], unique=False, schema='zipcast')
    op.create_index(op.f('ix_credential_issuances_issued_at'), 'credential_issuances', ['issued_at'], unique=False, schema='zipcast')
    op.create_table('epoch_honeypots',
    sa.Column('epoch_id', sa.Text(), nullable=False),
    sa.Column('content', sa.Text(), nullable=False),
    sa.Column('compared_at', sa.DateTime(timezone=True), nullable=True),
    sa.PrimaryKeyConstraint('epoch_id', name=op.f('pk_epoch_honeypots')),
    schema='zipcast'
    )
    op.create_index('ix_epoch_honeypots_uncompared', 'epoch_honeypots', ['epoch_id'], unique=False, schema='zipcast', postgresql_where=sa.text('compared_at is null'))
    op.create_table('epoch_inputs',
    sa.Column('epoch_id', sa.Text(), nullable=False),
    sa.Column('inputs', sa.LargeBinary(), nullable=False),
    sa.Column('inputs_sha256', sa.Text(), nullable=False),
    sa.Column('committed_at', sa.DateTime(timezone=True), nullable=False),
    sa.CheckConstraint("inputs_sha256 = encode(sha256(inputs), 'hex')", name=op.f('ck_epoch_inputs_inputs_hash')),
    sa.PrimaryKeyConstraint('epoch_id', name=op.f('pk_epoch_inputs')),
    schema='zipcast'
    )
    op.create_table('legacy_opt_outs',
    sa.Column('hotkey', sa.Text(), nullable=False),
    sa.Column('opted_out_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('request_id', sa.Text(), nullable=False),
    sa.CheckConstraint("least(opted_out_at) >= '2000-01-01 00:00+00' and greatest(opted_out_at) < '3000-01-01 00:00+00'", name=op.f('ck_legacy_opt_outs_times')),
    sa.PrimaryKeyConstraint('hotkey', name=op.f('pk_legacy_opt_outs')),
    schema='zipcast'
    )
    op.create_table('pending_epochs',
    sa.Column('epoch_id', sa.Text(), nullable=False),
    sa.Column('start_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('end_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('content', sa.LargeBinary(), nullable=False),
    postgresql.ExcludeConstraint((sa.text('tstzrange(start_at, end_at)'), '&&'), using='gist', name='ex_pending_epochs_overlap'),
    sa.CheckConstraint('start_at < end_at', name=op.f('ck_pending_epochs_interval')),
    sa.PrimaryKeyConstraint('epoch_id', name=op.f('pk_pending_epochs')),
    sa.UniqueConstraint('start_at', name=op.f('uq_pending_epochs_start_at')),
    schema='zipcast'
    )
    op.create_table('registry_snapshots',
    sa.Column('network', sa.Text(), nullable=False),
    sa.Column('netuid', sa.Integer(), nullable=False),
    sa.Column('block_number', sa.BigInteger(), nullable=False),
    sa.Column('taken_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('snapshot', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.PrimaryKeyConstraint('network', 'netuid', 'block_number', name=op.f('pk_registry_snapshots')),
    schema='zipcast'
    )
    op.create_table('report_locks',
    sa.Column('slot', sa.SmallInteger(), autoincrement=False, nullable=False),
    sa.PrimaryKeyConstraint('slot', name=op.f('pk_report_locks')),
    schema='zipcast'
    )
    op.create_table('request_refusals',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('refused_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('process', sa.Text(), nullable=False),
    sa.Column('verb', sa.Text(), nullable=False),
    sa.Column('error', sa.Text(), nullable=False),
    sa.Column('hotkey', sa.Text(), nullable=True),
    sa.Column('source', sa.Text(), nullable=False),
    sa.Column('request_id', sa.Text(), nullable=False),
    sa.Column('suppressed', sa.Integer(), server_default=sa.text('0'), nullable=False),
    sa.CheckConstraint('suppressed >= 0', name=op.f('ck_request_refusals_suppressed')),
    sa.CheckConstraint("least(refused_at) >= '2000-01-01 00:00+00' and greatest(refused_at) < '3000-01-01 00:00+00'", name=op.f('ck_request_refusals_times')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_request_refusals')),
    schema='zipcast'
    )
    op.create_index(op.f('ix_request_refusals_hotkey_refused_at'), 'request_refusals', ['hotkey', 'refused_at'], unique=False, schema='zipcast')
    op.create_index(op.f('ix_request_refusals_refused_at'), 'request_refusals', ['refused_at'], unique=False, schema='zipcast')
    op.create_table('scheduler_locks',
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('holder', sa.Text(), nullable=True),
    sa.Column('until', sa.DateTime(timezone=True), nullable=True),
    sa.PrimaryKeyConstraint('name', name=op.f('pk_scheduler_locks')),
    schema='zipcast'
    )
    op.create_table('zipcode_imports',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('imported_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('source_name', sa.Text(), nullable=False),
    sa.Column('source_sha256', sa.Text(), nullable=False),
    sa.Column('added', sa.Integer(), nullable=False),
    sa.Column('changed', sa.Integer(), nullable=False),
    sa.Column('unchanged', sa.Integer(), nullable=False),
    sa.Column('rejected', sa.Integer(), nullable=False),
    sa.Column('trimmed_at', sa.DateTime(timezone=True), nullable=True),
    sa.CheckConstraint("source_sha256 ~ '^[0-9a-f]{64}$'", name=op.f('ck_zipcode_imports_source_sha256')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_zipcode_imports')),
    schema='zipcast'
    )
    op.create_table('published_zipcodes',
    sa.Column('import_id', sa.BigInteger(), nullable=False),
    sa.Column('zipcode', sa.Text(), nullable=False),
    sa.Column('state', sa.Text(), nullable=False),
    sa.Column('city', sa.Text(), nullable=False),
    sa.Column('county', sa.Text(), nullable=False),
    sa.Column('market_tier', sa.Text(), nullable=False),
    sa.Column('geographic_region', sa.Text(), nullable=False),
    sa.Column('expected_listings', sa.Integer(), nullable=False),
    sa.Column('population', sa.Integer(), nullable=True),
    sa.Column('base_weight', sa.Double(), nullable=False),
    sa.Column('last_scraped_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('commitment', sa.Text(), nullable=False),
    sa.CheckConstraint("zipcode ~ '^[0-9]{5}$'", name=op.f('ck_published_zipcodes_zipcode')),
    sa.CheckConstraint('expected_listings >= 0', name=op.f('ck_published_zipcodes_listings')),
    sa.CheckConstraint("commitment ~ '^[0-9a-f]{64}$'", name=op.f('ck_published_zipcodes_commitment')),
    sa.ForeignKeyConstraint(['import_id'], ['zipcast.zipcode_imports.id'], name=op.f('fk_published_zipcodes_import_id')),
    sa.PrimaryKeyConstraint('import_id', 'zipcode', name=op.f('pk_published_zipcodes')),
    schema='zipcast'
    )
    op.create_table('zipcode_honeypots',
    sa.Column('import_id', sa.BigInteger(), nullable=False),
    sa.Column('zipcode', sa.Text(), nullable=False),
    sa.Column('real_listings', sa.Integer(), nullable=False),
    sa.Column('threshold', sa.Integer(), nullable=False),
    sa.Column('salt', sa.Text(), nullable=False),
    sa.CheckConstraint("zipcode ~ '^[0-9]{5}$'", name=op.f('ck_zipcode_honeypots_zipcode')),
    sa.CheckConstraint('0 <= real_listings and real_listings < threshold', name=op.f('ck_zipcode_honeypots_real_listings')),
    sa.ForeignKeyConstraint(['import_id'], ['zipcast.zipcode_imports.id'], name=op.f('fk_zipcode_honeypots_import_id')),
    sa.PrimaryKeyConstraint('import_id', 'zipcode', name=op.f('pk_zipcode_honeypots')),
    schema='zipcast'
    )
    op.create_table('retired_honeypots',
    sa.Column('zipcode', sa.Text(), nullable=False),
    sa.Column('import_id', sa.BigInteger(), nullable=False),
    sa.CheckConstraint("zipcode ~ '^[0-9]{5}$'", name=op.f('ck_retired_honeypots_zipcode')),
    sa.ForeignKeyConstraint(['import_id'], ['zipcast.zipcode_imports.id'], name=op.f('fk_retired_honeypots_import_id')),
    sa.PrimaryKeyConstraint('zipcode', name=op.f('pk_retired_honeypots')),
    schema='zipcast'
    )
    op.create_table('epochs',
    sa.Column('epoch_id', sa.Text(), nullable=False),
    sa.Column('start_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('end_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('status', sa.Text(), nullable=False),
    sa.Column('target_listings', sa.Integer(), nullable=True),
    sa.Column('tolerance_percent', sa.Integer(), nullable=True),
    sa.Column('total_expected_listings', sa.Integer(), nullable=True),
    sa.Column('algorithm_version', sa.Text(), nullable=True),
    sa.Column('nonce', sa.Text(), nullable=True),
    sa.Column('seed', sa.Text(), nullable=True),
    sa.Column('seed_commitment', sa.Text(), nullable=False),
    sa.Column('secret_id', sa.Text(), nullable=False),
    sa.Column('candidate_pool_hash', sa.Text(), nullable=True),
    sa.Column('relaxed_cooldown', sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
    sa.Column('relaxed_age_days', sa.Integer(), server_default=sa.text('0'), nullable=False),
    sa.Column('import_id', sa.BigInteger(), nullable=True),
    sa.Column('message_sha256', sa.Text(), nullable=True),
    sa.Column('prepared_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('published_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('stream_sequence', sa.BigInteger(), nullable=True),
    sa.Column('completed_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('signals_computed_at', sa.DateTime(timezone=True), nullable=True),
    postgresql.ExcludeConstraint((sa.text('tstzrange(start_at, end_at)'), '&&'), using='gist', name='ex_epochs_overlap'),
    sa.CheckConstraint("(status = 'missed') = (message_sha256 is null)", name=op.f('ck_epochs_message')),
    sa.CheckConstraint("published_at is not null or status in ('pending', 'missed')", name=op.f('ck_epochs_published')),
    sa.CheckConstraint("status in ('pending', 'active', 'completed', 'archived', 'missed')", name=op.f('ck_epochs_status')),
    sa.CheckConstraint('start_at < end_at', name=op.f('ck_epochs_interval')),
    sa.ForeignKeyConstraint(['import_id'], ['zipcast.zipcode_imports.id'], name=op.f('fk_epochs_import_id')),
    sa.PrimaryKeyConstraint('epoch_id', name=op.f('pk_epochs')),
    sa.UniqueConstraint('start_at', name=op.f('uq_epochs_start_at')),
    schema='zipcast'
    )
    op.create_index(op.f('ix_epochs_end_at'), 'epochs', ['end_at'], unique=False, schema='zipcast')
    op.create_index('ix_epochs_in_detail', 'epochs', ['epoch_id'], unique=False, schema='zipcast', postgresql_where=sa.text("status in ('pending', 'active', 'completed')"))
    op.create_index('ix_epochs_unfinished', 'epochs', ['start_at'], unique=False, schema='zipcast', postgresql_where=sa.text("status in ('pending', 'active')"))
    op.create_table('zipcode_revisions',
    sa.Column('zipcode', sa.Text(), nullable=False),
    sa.Column('import_id', sa.BigInteger(), nullable=False),
    sa.Column('state', sa.Text(), nullable=False),
    sa.Column('city', sa.Text(), nullable=False),
    sa.Column('county', sa.Text(), nullable=False),
    sa.Column('population', sa.Integer(), nullable=True),
    sa.Column('median_home_value', sa.Integer(), nullable=True),
    sa.Column('recently_sold_listings', sa.Integer(), nullable=False),
    sa.Column('market_tier', sa.Text(), nullable=False),
    sa.Column('geographic_region', sa.Text(), nullable=False),
    sa.Column('base_weight', sa.Double(), server_default=sa.text('1'), nullable=False),
    sa.Column('last_scraped_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('active', sa.Boolean(), server_default=sa.text('true'), nullable=False),
    sa.CheckConstraint("market_tier in ('PREMIUM', 'STANDARD', 'EMERGING')", name=op.f('ck_zipcode_revisions_market_tier')),
    sa.CheckConstraint("state ~ '^[A-Z]{2}$'", name=op.f('ck_zipcode_revisions_state')),
    sa.CheckConstraint("zipcode ~ '^[0-9]{5}$'", name=op.f('ck_zipcode_revisions_zipcode')),
    sa.CheckConstraint('base_weight > 0', name=op.f('ck_zipcode_revisions_base_weight')),
    sa.CheckConstraint('median_home_value >= 0', name=op.f('ck_zipcode_revisions_home_value')),
    sa.CheckConstraint('population >= 0', name=op.f('ck_zipcode_revisions_population')),
    sa.CheckConstraint('recently_sold_listings >= 0', name=op.f('ck_zipcode_revisions_listings')),
    sa.ForeignKeyConstraint(['import_id'], ['zipcast.zipcode_imports.id'], name=op.f('fk_zipcode_revisions_import_id')),
    sa.PrimaryKeyConstraint('zipcode', 'import_id', name=op.f('pk_zipcode_revisions')),
    schema='zipcast'
    )
    op.create_table('zipcodes',
    sa.Column('zipcode', sa.Text(), nullable=False),
    sa.Column('import_id', sa.BigInteger(), nullable=False),
    sa.Column('state', sa.Text(), nullable=False),
    sa.Column('city', sa.Text(), nullable=False),
    sa.Column('county', sa.Text(), nullable=False),
    sa.Column('population', sa.Integer(), nullable=True),
    sa.Column('median_home_value', sa.Integer(), nullable=True),
    sa.Column('recently_sold_listings', sa.Integer(), nullable=False),
    sa.Column('market_tier', sa.Text(), nullable=False),
    sa.Column('geographic_region', sa.Text(), nullable=False),
    sa.Column('base_weight', sa.Double(), server_default=sa.text('1'), nullable=False),
    sa.Column('last_scraped_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('active', sa.Boolean(), server_default=sa.text('true'), nullable=False),
    sa.CheckConstraint("market_tier in ('PREMIUM', 'STANDARD', 'EMERGING')", name=op.f('ck_zipcodes_market_tier')),
    sa.CheckConstraint("state ~ '^[A-Z]{2}$'", name=op.f('ck_zipcodes_state')),
    sa.CheckConstraint("zipcode ~ '^[0-9]{5}$'", name=op.f('ck_zipcodes_zipcode')),
    sa.CheckConstraint('base_weight > 0', name=op.f('ck_zipcodes_base_weight')),
    sa.CheckConstraint('median_home_value >= 0', name=op.f('ck_zipcodes_home_value')),
    sa.CheckConstraint('population >= 0', name=op.f('ck_zipcodes_population')),
    sa.CheckConstraint('recently_sold_listings >= 0', name=op.f('ck_zipcodes_listings')),
    sa.ForeignKeyConstraint(['import_id'], ['zipcast.zipcode_imports.id'], name=op.f('fk_zipcodes_import_id')),
    sa.PrimaryKeyConstraint('zipcode', name=op.f('pk_zipcodes')),
    schema='zipcast'
    )
    op.create_index(op.f('ix_zipcodes_state'), 'zipcodes', ['state'], unique=False, schema='zipcast')
    op.create_table('epoch_assignments',
    sa.Column('epoch_id', sa.Text(), nullable=False),
    sa.Column('zipcode', sa.Text(), nullable=False),
    sa.Column('position', sa.Integer(), nullable=False),
    sa.Column('expected_listings', sa.Integer(), nullable=False),
    sa.CheckConstraint("zipcode ~ '^[0-9]{5}$'", name=op.f('ck_epoch_assignments_zipcode')),
    sa.CheckConstraint('expected_listings >= 0', name=op.f('ck_epoch_assignments_listings')),
    sa.ForeignKeyConstraint(['epoch_id'], ['zipcast.epochs.epoch_id'], name=op.f('fk_epoch_assignments_epoch_id')),
    sa.PrimaryKeyConstraint('epoch_id', 'zipcode', name=op.f('pk_epoch_assignments')),
    schema='zipcast'
    )
    op.create_index(op.f('ix_epoch_assignments_zipcode'), 'epoch_assignments', ['zipcode'], unique=False, schema='zipcast')
    op.create_table('epoch_messages',
    sa.Column('epoch_id', sa.Text(), nullable=False),
    sa.Column('message_sha256', sa.Text(), nullable=False),
    sa.Column('payload', sa.LargeBinary(), nullable=False),
    sa.Column('signer', sa.Text(), nullable=False),
    sa.Column('signature', sa.Text(), nullable=False),
    sa.Column('stored_at', sa.DateTime(timezone=True), nullable=False),
    sa.CheckConstraint("message_sha256 = encode(sha256(payload), 'hex')", name=op.f('ck_epoch_messages_payload_hash')),
    sa.CheckConstraint("message_sha256 ~ '^[0-9a-f]{64}$'", name=op.f('ck_epoch_messages_message_sha256')),
    sa.CheckConstraint("signature ~ '^[0-9a-f]{128}$'", name=op.f('ck_epoch_messages_signature')),
    sa.ForeignKeyConstraint(['epoch_id'], ['zipcast.epochs.epoch_id'], name=op.f('fk_epoch_messages_epoch_id')),
    sa.PrimaryKeyConstraint('epoch_id', 'message_sha256', name=op.f('pk_epoch_messages')),
    schema='zipcast'
    )
    op.create_table('miner_signals',
    sa.Column('epoch_id', sa.Text(), nullable=False),
    sa.Column('hotkey', sa.Text(), nullable=False),
    sa.Column('kind', sa.Text(), nullable=False),
    sa.Column('details', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('computed_at', sa.DateTime(timezone=True), nullable=False),
    sa.CheckConstraint("kind ~ '^[a-z_]+$'", name=op.f('ck_miner_signals_kind')),
    sa.ForeignKeyConstraint(['epoch_id'], ['zipcast.epochs.epoch_id'], name=op.f('fk_miner_signals_epoch_id')),
    sa.CheckConstraint("least(computed_at) >= '2000-01-01 00:00+00' and greatest(computed_at) < '3000-01-01 00:00+00'", name=op.f('ck_miner_signals_times')),
    sa.PrimaryKeyConstraint('epoch_id', 'hotkey', 'kind', name=op.f('pk_miner_signals')),
    schema='zipcast'
    )
    op.create_table('miner_submissions',
    sa.Column('epoch_id', sa.Text(), nullable=False),
    sa.Column('hotkey', sa.Text(), nullable=False),
    sa.Column('status', sa.Text(), nullable=False),
    sa.Column('reported_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('received_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('is_late', sa.Boolean(), nullable=False),
    sa.Column('listings_scraped', sa.Integer(), nullable=True),
    sa.Column('zipcodes_completed', postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'"), nullable=False),
    sa.Column('s3_upload_complete', sa.Boolean(), nullable=False),
    sa.Column('s3_upload_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('request_id', sa.Text(), nullable=False),
    sa.Column('body_sha256', sa.Text(), nullable=False),
    sa.Column('first_completed_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('first_completed_listings', sa.Integer(), nullable=True),
    sa.Column('most_claimed', postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
    sa.CheckConstraint("status in ('IN_PROGRESS', 'COMPLETED', 'FAILED', 'TIMEOUT')", name=op.f('ck_miner_submissions_status')),
    sa.CheckConstraint('listings_scraped >= 0', name=op.f('ck_miner_submissions_listings')),
    sa.ForeignKeyConstraint(['epoch_id'], ['zipcast.epochs.epoch_id'], name=op.f('fk_miner_submissions_epoch_id')),
    sa.CheckConstraint("least(reported_at, received_at, s3_upload_at, first_completed_at) >= '2000-01-01 00:00+00' and greatest(reported_at, received_at, s3_upload_at, first_completed_at) < '3000-01-01 00:00+00'", name=op.f('ck_miner_submissions_times')),
    sa.PrimaryKeyConstraint('epoch_id', 'hotkey', name=op.f('pk_miner_submissions')),
    schema='zipcast'
    )
    op.create_table('upload_manifests',
    sa.Column('epoch_id', sa.Text(), nullable=False),
    sa.Column('hotkey', sa.Text(), nullable=False),
    sa.Column('object_key', sa.Text(), nullable=False),
    sa.Column('version_id', sa.Text(), nullable=True),
    sa.Column('size_bytes', sa.BigInteger(), nullable=False),
    sa.Column('etag', sa.Text(), nullable=False),
    sa.Column('stored_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('sealed_at', sa.DateTime(timezone=True), nullable=False),
    sa.CheckConstraint('size_bytes >= 0', name=op.f('ck_upload_manifests_size')),
    sa.ForeignKeyConstraint(['epoch_id'], ['zipcast.epochs.epoch_id'], name=op.f('fk_upload_manifests_epoch_id')),
    sa.CheckConstraint("least(stored_at, sealed_at) >= '2000-01-01 00:00+00' and greatest(stored_at, sealed_at) < '3000-01-01 00:00+00'", name=op.f('ck_upload_manifests_times')),
    sa.PrimaryKeyConstraint('epoch_id', 'hotkey', 'object_key', name=op.f('pk_upload_manifests')),
    schema='zipcast'
    )
    op.create_table('upload_seals',
    sa.Column('epoch_id', sa.Text(), nullable=False),
    sa.Column('sealed_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('changes_checked_at', sa.DateTime(timezone=True), nullable=True),
    sa.ForeignKeyConstraint(['epoch_id'], ['zipcast.epochs.epoch_id'], name=op.f('fk_upload_seals_epoch_id')),
    sa.CheckConstraint("least(sealed_at, changes_checked_at) >= '2000-01-01 00:00+00' and greatest(sealed_at, changes_checked_at) < '3000-01-01 00:00+00'", name=op.f('ck_upload_seals_times')),
    sa.PrimaryKeyConstraint('epoch_id', name=op.f('pk_upload_seals')),
    schema='zipcast'
    )
    op.create_table('validator_results',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('epoch_id', sa.Text(), nullable=False),
    sa.Column('hotkey', sa.Text(), nullable=False),
    sa.Column('alpha_stake_rao', sa.BigInteger(), nullable=False),
    sa.Column('reported_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('received_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('superseded_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('duration_seconds', sa.Double(), nullable=False),
    sa.Column('miners_evaluated', sa.Integer(), nullable=False),
    sa.Column('listings_validated', sa.Integer(), nullable=False),
    sa.Column('top_3_miners', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('files', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('body_sha256', sa.Text(), nullable=False),
    sa.Column('request_id', sa.Text(), nullable=False),
    sa.Column('started_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('is_late', sa.Boolean(), server_default=sa.text('false'), nullable=False),
    sa.Column('request_key', sa.Text(), nullable=True),
    sa.CheckConstraint("body_sha256 ~ '^[0-9a-f]{64}$'", name=op.f('ck_validator_results_body_sha256')),
    sa.CheckConstraint('alpha_stake_rao >= 0', name=op.f('ck_validator_results_stake')),
    sa.CheckConstraint('duration_seconds >= 0', name=op.f('ck_validator_results_duration')),
    sa.CheckConstraint('listings_validated >= 0', name=op.f('ck_validator_results_listings')),
    sa.CheckConstraint('miners_evaluated >= 0', name=op.f('ck_validator_results_miners')),
    sa.ForeignKeyConstraint(['epoch_id'], ['zipcast.epochs.epoch_id'], name=op.f('fk_validator_results_epoch_id')),
    sa.CheckConstraint("least(reported_at, received_at, superseded_at, started_at) >= '2000-01-01 00:00+00' and greatest(reported_at, received_at, superseded_at, started_at) < '3000-01-01 00:00+00'", name=op.f('ck_validator_results_times')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_validator_results')),
    schema='zipcast'
    )
    op.create_index(op.f('ix_validator_results_epoch_id_hotkey'), 'validator_results', ['epoch_id', 'hotkey'], unique=False, schema='zipcast')
    op.create_index('uq_validator_results_epoch_id_hotkey_request_key', 'validator_results', ['epoch_id', 'hotkey', 'request_key'], unique=True, schema='zipcast')
    op.create_index('uq_validator_results_in_force', 'validator_results', ['epoch_id', 'hotkey'], unique=True, schema='zipcast', postgresql_where=sa.text('superseded_at is null'))
    op.create_table('validation_audit',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('result_id', sa.Uuid(), nullable=False),
    sa.Column('epoch_id', sa.Text(), nullable=False),
    sa.Column('miner_hotkey', sa.Text(), nullable=False),
    sa.Column('zipcode', sa.Text(), nullable=False),
    sa.Column('validation_type', sa.Text(), nullable=False),
    sa.Column('result', sa.Text(), nullable=False),
    sa.Column('score', sa.Double(), nullable=False),
    sa.Column('listings_checked', sa.Integer(), nullable=False),
    sa.Column('issues', sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
    sa.CheckConstraint("result in ('pass', 'fail', 'partial')", name=op.f('ck_validation_audit_result')),
    sa.CheckConstraint("score >= 0 and score < 'Infinity'", name=op.f('ck_validation_audit_score')),
    sa.CheckConstraint("validation_type in ('basic', 'spot_check', 'full')", name=op.f('ck_validation_audit_validation_type')),
    sa.CheckConstraint("zipcode ~ '^[0-9]{5}$'", name=op.f('ck_validation_audit_zipcode')),
    sa.CheckConstraint('listings_checked >= 0', name=op.f('ck_validation_audit_listings')),
    sa.ForeignKeyConstraint(['epoch_id'], ['zipcast.epochs.epoch_id'], name=op.f('fk_validation_audit_epoch_id')),
    sa.ForeignKeyConstraint(['result_id'], ['zipcast.validator_results.id'], name=op.f('fk_validation_audit_result_id')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_validation_audit')),
    schema='zipcast'
    )
    op.create_index(op.f('ix_validation_audit_epoch_id_miner_hotkey'), 'validation_audit', ['epoch_id', 'miner_hotkey'], unique=False, schema='zipcast')
    op.create_index(op.f('ix_validation_audit_result_id'), 'validation_audit', ['result_id'], unique=False, schema='zipcast')


def downgrade() -> None:
    op.drop_index(op.f('ix_validation_audit_result_id'), table_name='validation_audit', schema='zipcast')
    op.drop_index(op.f('ix_validation_audit_epoch_id_miner_hotkey'), table_name='validation_audit', schema='zipcast')
    op.drop_table('validation_audit', schema='zipcast')
    op.drop_index('uq_validator_results_in_force', table_name='validator_results', schema='zipcast', postgresql_where=sa.text('superseded_at is null'))
    op.drop_index('uq_validator_results_epoch_id_hotkey_request_key', table_name='validator_results', schema='zipcast')
    op.drop_index(op.f('ix_validator_results_epoch_id_hotkey'), table_name='validator_results', schema='zipcast')
    op.drop_table('validator_results', schema='zipcast')
    op.drop_table('upload_seals', schema='zipcast')
    op.drop_table('upload_manifests', schema='zipcast')
    op.drop_table('miner_submissions', schema='zipcast')
    op.drop_table('miner_signals', schema='zipcast')
    op.drop_table('epoch_messages', schema='zipcast')
    op.drop_index(op.f('ix_epoch_assignments_zipcode'), table_name='epoch_assignments', schema='zipcast')
    op.drop_table('epoch_assignments', schema='zipcast')
    op.drop_index(op.f('ix_zipcodes_state'), table_name='zipcodes', schema='zipcast')
    op.drop_table('zipcodes', schema='zipcast')
    op.drop_table('zipcode_revisions', schema='zipcast')
    op.drop_index('ix_epochs_unfinished', table_name='epochs', schema='zipcast', postgresql_where=sa.text("status in ('pending', 'active')"))
    op.drop_index('ix_epochs_in_detail', table_name='epochs', schema='zipcast', postgresql_where=sa.text("status in ('pending', 'active', 'completed')"))
    op.drop_index(op.f('ix_epochs_end_at'), table_name='epochs', schema='zipcast')
    op.drop_table('epochs', schema='zipcast')
    op.drop_table('retired_honeypots', schema='zipcast')
    op.drop_table('zipcode_honeypots', schema='zipcast')
    op.drop_table('published_zipcodes', schema='zipcast')
    op.drop_table('zipcode_imports', schema='zipcast')
    op.drop_table('scheduler_locks', schema='zipcast')
    op.drop_index(op.f('ix_request_refusals_refused_at'), table_name='request_refusals', schema='zipcast')
    op.drop_index(op.f('ix_request_refusals_hotkey_refused_at'), table_name='request_refusals', schema='zipcast')
    op.drop_table('request_refusals', schema='zipcast')
    op.drop_table('report_locks', schema='zipcast')
    op.drop_table('registry_snapshots', schema='zipcast')
    op.drop_table('pending_epochs', schema='zipcast')
    op.drop_table('legacy_opt_outs', schema='zipcast')
    op.drop_table('epoch_inputs', schema='zipcast')
    op.drop_index('ix_epoch_honeypots_uncompared', table_name='epoch_honeypots', schema='zipcast', postgresql_where=sa.text('compared_at is null'))
    op.drop_table('epoch_honeypots', schema='zipcast')
    op.drop_index(op.f('ix_credential_issuances_issued_at'), table_name='credential_issuances', schema='zipcast')
    op.drop_index(op.f('ix_credential_issuances_hotkey_issued_at'), table_name='credential_issuances', schema='zipcast')
    op.drop_table('credential_issuances', schema='zipcast')
    op.drop_index(op.f('ix_admin_commands_requested_at'), table_name='admin_commands', schema='zipcast')
    op.drop_index('ix_admin_commands_queued', table_name='admin_commands', schema='zipcast', postgresql_where=sa.text("state = 'queued'"))
    op.drop_index('ix_admin_commands_overridden', table_name='admin_commands', schema='zipcast', postgresql_where=sa.text("command = 'target.override'"))
    op.drop_table('admin_commands', schema='zipcast')
