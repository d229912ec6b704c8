"""Whoever answers is left alone: owners' messages, opt-out phrases, when accounts were heard."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

_OUTCOMES = (
    "finished",
    "accepted",
    "not_accepted",
    "replied",
    "taken_over",
    "expired",
    "suppressed",
    "skipped",
    "failed",
    "stopped",
)


def upgrade() -> None:
    instant = sa.DateTime(timezone=True)
    op.add_column("connected_accounts", sa.Column("heard_at", instant))
    op.add_column("inbox_events", sa.Column("apply_at", instant))
    op.add_column(
        "campaigns",
        sa.Column(
            "stop_on_own_message", sa.Boolean(), nullable=False, server_default=sa.text("true")
        ),
    )
    op.create_table(
        "opt_out_phrases",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("phrase", sa.Text(), nullable=False),
        sa.Column("is_in_force", sa.Boolean(), nullable=False),
        sa.Column("created_at", instant, server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "phrase"),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organizations.id"],
            name="opt_out_phrases_organizations_fkey",
        ),
    )
    # more words than before are allowed, so no row need be looked at again
    op.execute(
        "alter table campaign_executions drop constraint campaign_executions_outcome_check,"
        " add constraint campaign_executions_outcome_check check (outcome in ("
        + ", ".join(f"'{word}'" for word in _OUTCOMES)
        + ")) not valid"
    )
    op.execute(
        "alter table campaign_executions validate constraint campaign_executions_outcome_check"
    )
    op.create_index(
        "campaign_executions_replied",
        "campaign_executions",
        ["organization_id", "campaign_id"],
        postgresql_where=sa.text("replied"),
    )
    # stamps of the future, once believed, would make every later message an old one
    op.execute("update contacts set replied_at = now() where replied_at > now()")
