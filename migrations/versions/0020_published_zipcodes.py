"""what is published of the zipcodes, and of which of them the counts are false

`published_zipcodes` is what epochs are drawn from and what validators get. Which of its counts are false says
`zipcode_honeypots`, which schedulers alone may read. Bridge and responder lose the real counts: a comparison would
tell them the honeypots. They get an epoch's honeypots by `opened_honeypots`, once it is revealed: a function of its
owner, since row-level security would let EXPLAIN count what it hides.
"""

import sqlalchemy as sa
from alembic import op

revision = '0020'
down_revision = '0007'
branch_labels = None
depends_on = None

SCHEDULERS, RESPONDER, BRIDGE = 'zipcast_schedulers', 'zipcast_responder', 'zipcast_bridge'
HEADER = 'security definer set search_path = pg_catalog, public, pg_temp as $$'

OPENED = f"""
create function opened_honeypots(id text)
returns table (zipcode text, real_listings integer, published_listings integer, salt text, discarded boolean)
language plpgsql stable {HEADER}
begin
    if public.epoch_is_revealed(id) then
        return query select h.zipcode, h.real_listings, h.published_listings, h.salt, h.discarded
        from public.epoch_honeypots as h where h.epoch_id = id order by h.zipcode;
    end if;
end $$
"""

DROP_PUBLISHED = f"""
create function drop_published_zipcodes(oldest_needed bigint, batch integer) returns integer
language plpgsql {HEADER}
declare
    bound constant bigint := least(
        oldest_needed,
        (select min(import_id) from public.epochs where status in ('pending', 'active', 'completed')),
        (select max(import_id) from public.published_zipcodes)
    );
    gone integer;
    more integer;
begin
    delete from public.published_zipcodes where ctid = any (array(
        select ctid from public.published_zipcodes where import_id < bound order by import_id limit batch));
    get diagnostics gone = row_count;
    delete from public.zipcode_honeypots where ctid = any (array(
        select ctid from public.zipcode_honeypots where import_id < bound order by import_id limit batch - gone));
    get diagnostics more = row_count;
    return gone + more;
end $$
"""

FUNCTIONS = (
    ('opened_honeypots(text)', OPENED, f'{SCHEDULERS}, {RESPONDER}, {BRIDGE}'),
    ('drop_published_zipcodes(bigint, integer)', DROP_PUBLISHED, SCHEDULERS),
)


def upgrade() -> None:
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
    sa.ForeignKeyConstraint(['import_id'], ['zipcode_imports.id'], name=op.f('fk_published_zipcodes_import_id')),
    sa.PrimaryKeyConstraint('import_id', 'zipcode', name=op.f('pk_published_zipcodes'))
    )
    op.create_table('zipcode_honeypots',
    sa.Column('import_id', sa.BigInteger(), nullable=False),
    sa.Column('zipcode', sa.Text(), nullable=False),
    sa.Column('real_listings', sa.Integer(), nullable=False),
    sa.Column('threshold', sa.Integer(), nullable=False),
    sa.Column('salt', sa.Text(), nullable=False),
    sa.CheckConstraint("zipcode ~ '^[0-9]{5}$'", name=op.f('ck_zipcode_honeypots_zipcode')),
    sa.CheckConstraint('0 <= real_listings and real_listings < threshold', name=op.f('ck_zipcode_honeypots_real_listings')),
    sa.ForeignKeyConstraint(['import_id'], ['zipcode_imports.id'], name=op.f('fk_zipcode_honeypots_import_id')),
    sa.PrimaryKeyConstraint('import_id', 'zipcode', name=op.f('pk_zipcode_honeypots'))
    )
    op.create_table('retired_honeypots',
    sa.Column('zipcode', sa.Text(), nullable=False),
    sa.Column('import_id', sa.BigInteger(), nullable=False),
    sa.CheckConstraint("zipcode ~ '^[0-9]{5}$'", name=op.f('ck_retired_honeypots_zipcode')),
    sa.ForeignKeyConstraint(['import_id'], ['zipcode_imports.id'], name=op.f('fk_retired_honeypots_import_id')),
    sa.PrimaryKeyConstraint('zipcode', name=op.f('pk_retired_honeypots'))
    )
    op.add_column('epochs', sa.Column('relaxed_age_days', sa.Integer(), server_default=sa.text('0'), nullable=False))
    op.add_column('epoch_honeypots', sa.Column('salt', sa.Text(), server_default='', nullable=False))
    op.add_column('epoch_honeypots', sa.Column('discarded', sa.Boolean(), server_default=sa.text('false'), nullable=False))
    op.alter_column('epoch_honeypots', 'salt', server_default=None)
    op.alter_column('epoch_honeypots', 'discarded', server_default=None)
    for signature, body, roles in FUNCTIONS:
        op.execute(body)
        op.execute(f'revoke all on function {signature} from public')
        op.execute(f'grant execute on function {signature} to {roles}')
    op.execute(f'grant select, insert on published_zipcodes, zipcode_honeypots, retired_honeypots to {SCHEDULERS}')
    op.execute(f'grant select on published_zipcodes to {RESPONDER}, {BRIDGE}')
    op.execute(f'grant select (relaxed_age_days) on epochs to {RESPONDER}, {BRIDGE}')
    op.execute(f'revoke select on zipcodes, zipcode_revisions, epoch_honeypots from {RESPONDER}, {BRIDGE}')
    op.execute(f'grant select (zipcode, state, market_tier, active) on zipcodes to {BRIDGE}')
    op.execute('drop policy revealed on epoch_honeypots')


def downgrade() -> None:
    op.execute(
        f'create policy revealed on epoch_honeypots for select to {RESPONDER}, {BRIDGE} '
        'using (epoch_is_revealed(epoch_id))'
    )
    op.execute(f'revoke select (zipcode, state, market_tier, active) on zipcodes from {BRIDGE}')
    op.execute(f'grant select on zipcodes, zipcode_revisions, epoch_honeypots to {RESPONDER}, {BRIDGE}')
    for signature, _, _ in FUNCTIONS:
        op.execute(f'drop function {signature}')
    op.drop_column('epoch_honeypots', 'discarded')
    op.drop_column('epoch_honeypots', 'salt')
    op.drop_column('epochs', 'relaxed_age_days')
    op.drop_table('retired_honeypots')
    op.drop_table('zipcode_honeypots')
    op.drop_table('published_zipcodes')
