"""How many leads of a campaign moved how, so that a status need not read them all."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    with op.get_context().autocommit_block():  # campaigns go on while it is made
        op.create_index(
            "campaign_executions_held",
            "campaign_executions",
            ["organization_id", "campaign_id", "reason"],
            postgresql_where=sa.text("status = 'held'"),
            postgresql_concurrently=True,
            if_not_exists=True,
        )
    op.add_column(
        "campaign_senders", sa.Column("leads", sa.Integer(), server_default="0", nullable=False)
    )
    op.create_table(
        "campaign_moves",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("campaign_id", sa.Uuid(), nullable=False),
        sa.Column("shard", sa.SmallInteger(), nullable=False),
        sa.Column("node_id", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("result", sa.Text(), nullable=False),
        sa.Column("entered", sa.Text(), nullable=False),
        sa.Column("to_node_id", sa.Text(), nullable=False),
        sa.Column("to_status", sa.Text(), nullable=False),
        sa.Column("to_outcome", sa.Text(), nullable=False),
        sa.Column("leads", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id", "campaign_id"],
            ["campaigns.organization_id", "campaigns.id"],
            name=op.f("campaign_moves_campaigns_fkey"),
        ),
        sa.PrimaryKeyConstraint(
            "organization_id",
            "campaign_id",
            "shard",
            "node_id",
            "status",
            "result",
            "entered",
            "to_node_id",
            "to_status",
            "to_outcome",
            name=op.f("campaign_moves_pkey"),
        ),
        postgresql_with={"fillfactor": "50"},
    )
