"""results and signals

What a validator's report is told apart by (the request it came with, whether it came late), when a miner first
said that it had completed an epoch, and which epochs have been looked through for signals. The responder compares
uploads with their manifest, so it may note that one signal, of epochs that are revealed.
"""

import sqlalchemy as sa
from alembic import op

revision = '0006'
down_revision = '0005'
branch_labels = None
depends_on = None

RESPONDER = 'zipcast_responder'


def upgrade() -> None:
    op.add_column('epochs', sa.Column('signals_computed_at', sa.DateTime(timezone=True), nullable=True))
    op.add_column('epochs', sa.Column('changes_checked_at', sa.DateTime(timezone=True), nullable=True))
    op.add_column('miner_submissions', sa.Column('first_completed_at', sa.DateTime(timezone=True), nullable=True))
    op.add_column('miner_submissions', sa.Column('first_completed_listings', sa.Integer(), nullable=True))
    op.execute(
        'update miner_submissions set first_completed_at = received_at, '
        "first_completed_listings = listings_scraped where status = 'COMPLETED'"
    )
    op.add_column('validator_results', sa.Column('started_at', sa.DateTime(timezone=True), nullable=True))
    op.add_column('validator_results', sa.Column('is_late', sa.Boolean(), server_default=sa.text('false'), nullable=False))
    op.add_column('validator_results', sa.Column('request_key', sa.Text(), nullable=True))
    op.create_index(op.f('uq_validator_results_epoch_id_hotkey_request_key'), 'validator_results', ['epoch_id', 'hotkey', 'request_key'], unique=True)
    op.execute(f'grant select (changes_checked_at), update (changes_checked_at) on epochs to {RESPONDER}')
    op.execute(f'grant insert on miner_signals to {RESPONDER}')
    op.execute(
        f'create policy changes on miner_signals for insert to {RESPONDER} '
        "with check (kind = 'changed_after_deadline' and epoch_is_revealed(epoch_id))"
    )


def downgrade() -> None:
    op.execute('drop policy changes on miner_signals')
    op.execute(f'revoke insert on miner_signals from {RESPONDER}')
    op.drop_index(op.f('uq_validator_results_epoch_id_hotkey_request_key'), table_name='validator_results')
    op.drop_column('validator_results', 'request_key')
    op.drop_column('validator_results', 'is_late')
    op.drop_column('validator_results', 'started_at')
    op.drop_column('miner_submissions', 'first_completed_listings')
    op.drop_column('miner_submissions', 'first_completed_at')
    op.drop_column('epochs', 'changes_checked_at')
    op.drop_column('epochs', 'signals_computed_at')
