"""what a miner claimed at most

A later report replaces the earlier one, and with it what that had claimed: so the most that was ever claimed of each
zipcode of the epoch is kept beside it. What is on record already claims what its newest report does.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0007'
down_revision = '0006'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        'miner_submissions',
        sa.Column('most_claimed', postgresql.JSONB(), server_default=sa.text("'{}'"), nullable=False),
    )
    op.execute(
        "update miner_submissions set most_claimed = (select coalesce(jsonb_object_agg(zipcode, listings), '{}') "
        "from (select one ->> 'zipcode' as zipcode, max((one ->> 'listingsScraped')::bigint) as listings "
        'from jsonb_array_elements(zipcodes_completed) as one group by 1) as counted)'
    )


def downgrade() -> None:
    op.drop_column('miner_submissions', 'most_claimed')
