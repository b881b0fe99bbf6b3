"""honeypots and signals

Decoys of epochs, and what is noticed of miners. The scheduler writes both; bridge and responder see them once the
epoch is revealed. When that is, one function says: `epoch_is_revealed`: one epoch after its end, and after those
before it, whose lengths may be others (24 h at the most). It runs with its owner's rights, so that a policy may ask
it for whom an epoch is out of sight.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0004'
down_revision = '0003'
branch_labels = None
depends_on = None

SCHEDULERS, RESPONDER, BRIDGE = 'zipcast_schedulers', 'zipcast_responder', 'zipcast_bridge'
TABLES = ('epoch_honeypots', 'miner_signals')


def upgrade() -> None:
    op.create_table('epoch_honeypots',
    sa.Column('epoch_id', sa.Text(), nullable=False),
    sa.Column('zipcode', sa.Text(), nullable=False),
    sa.Column('real_listings', sa.Integer(), nullable=False),
    sa.Column('published_listings', sa.Integer(), nullable=False),
    sa.Column('threshold', sa.Integer(), nullable=False),
    sa.Column('compared_at', sa.DateTime(timezone=True), nullable=True),
    sa.CheckConstraint("zipcode ~ '^[0-9]{5}$'", name=op.f('ck_epoch_honeypots_zipcode')),
    sa.CheckConstraint('0 <= real_listings and real_listings < threshold', name=op.f('ck_epoch_honeypots_real_listings')),
    sa.CheckConstraint('threshold < published_listings', name=op.f('ck_epoch_honeypots_published_listings')),
    sa.ForeignKeyConstraint(['epoch_id'], ['epochs.epoch_id'], name=op.f('fk_epoch_honeypots_epoch_id')),
    sa.PrimaryKeyConstraint('epoch_id', 'zipcode', name=op.f('pk_epoch_honeypots'))
    )
    op.create_index('ix_epoch_honeypots_uncompared', 'epoch_honeypots', ['epoch_id'], unique=False, postgresql_where=sa.text('compared_at is null'))
    op.create_table('miner_signals',
    sa.Column('epoch_id', sa.Text(), nullable=False),
    sa.Column('hotkey', sa.Text(), nullable=False),
    sa.Column('kind', sa.Text(), nullable=False),
    sa.Column('details', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('computed_at', sa.DateTime(timezone=True), nullable=False),
    sa.CheckConstraint("kind ~ '^[a-z_]+$'", name=op.f('ck_miner_signals_kind')),
    sa.ForeignKeyConstraint(['epoch_id'], ['epochs.epoch_id'], name=op.f('fk_miner_signals_epoch_id')),
    sa.PrimaryKeyConstraint('epoch_id', 'hotkey', 'kind', name=op.f('pk_miner_signals'))
    )
    op.execute(
        'create function epoch_is_revealed(id text) returns boolean '
        'language sql stable security definer set search_path = pg_catalog, public, pg_temp as $$ '
        'select exists (select from public.epochs as one where one.epoch_id = id and not exists ('
        'select from public.epochs as other where other.start_at <= one.start_at '
        "and other.end_at > now() - interval '24 h' and other.end_at + (other.end_at - other.start_at) > now())) $$"
    )
    op.execute('revoke all on function epoch_is_revealed(text) from public')
    op.execute(f'grant execute on function epoch_is_revealed(text) to {SCHEDULERS}, {RESPONDER}, {BRIDGE}')
    op.execute(f'grant insert, delete, update (compared_at) on epoch_honeypots to {SCHEDULERS}')
    op.execute(f'grant insert on miner_signals to {SCHEDULERS}')
    for table in TABLES:
        op.execute(f'grant select on {table} to {SCHEDULERS}, {RESPONDER}, {BRIDGE}')
        op.execute(f'alter table {table} enable row level security')
        op.execute(f'create policy scheduling on {table} to {SCHEDULERS} using (true) with check (true)')
        op.execute(
            f'create policy revealed on {table} for select to {RESPONDER}, {BRIDGE} using (epoch_is_revealed(epoch_id))'
        )


def downgrade() -> None:
    op.drop_table('miner_signals')
    op.drop_table('epoch_honeypots')
    op.execute('drop function epoch_is_revealed(text)')
