"""Lanes by organisation, so that each has its turn."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    with op.get_context().autocommit_block():  # campaigns go on while it is made
        op.create_index(
            "lanes_turn",
            "lanes",
            ["organization_id", "ready_at"],
            postgresql_where=sa.text("active AND ready_at IS NOT NULL"),
            postgresql_concurrently=True,
            if_not_exists=True,
        )
