"""the digest of a status report's body

Two reports signed at the same time are told apart by their bodies, so that a signed text cannot be sent again with
another one.
"""

import sqlalchemy as sa
from alembic import op

revision = '0008'
down_revision = '0007'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('miner_submissions', sa.Column('body_sha256', sa.Text(), server_default='', nullable=False))
    op.alter_column('miner_submissions', 'body_sha256', server_default=None)


def downgrade() -> None:
    op.drop_column('miner_submissions', 'body_sha256')
