"""Notices of what happened to a lead; whom the account wrote to, for the claim to see.

Rows that wait in the inbox are as they were: of those the claim sees no recipient.
"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.add_column("inbox_events", sa.Column("recipient", sa.Text()))
    op.create_index(
        "inbox_events_unheard_own",
        "inbox_events",
        ["organization_id", "recipient"],
        postgresql_where=sa.text("applied_at IS NULL AND recipient IS NOT NULL"),
    )
    op.add_column(
        "webhook_endpoints",
        sa.Column(
            "notices", sa.ARRAY(sa.Text()), nullable=False, server_default=sa.text("'{}'::text[]")
        ),
    )
    op.create_check_constraint(
        op.f("webhook_endpoints_notices_check"),
        "webhook_endpoints",
        "notices <@ ARRAY['replied', 'taken_over', 'opted_out']::text[]",
    )
    op.alter_column("webhook_deliveries", "node_id", nullable=True)
