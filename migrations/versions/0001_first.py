"""Create the tables, the functions, and the rights of each process.

The statements are in the folder beside this file. A downgrade drops everything except the roles, which
other databases of the server may use.
"""

from pathlib import Path

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

STATEMENTS = Path(__file__).with_suffix("")


def upgrade() -> None:
    for name in ("roles", "tables", "functions", "rights"):
        run(name)
    op.execute("select zipcast.add_issuance_days()")


def downgrade() -> None:
    run("downgrade")


def run(name: str) -> None:
    """Execute all statements of a file as one block, because asyncpg prepares one statement at a time."""
    statements = (STATEMENTS / f"{name}.sql").read_text("utf-8")
    op.get_bind().exec_driver_sql(f"do $file$ begin {statements} end $file$")
