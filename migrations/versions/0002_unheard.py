"""An index of the messages that came and that no lead has heard.

A claim looks for them: it is the last look at whether a person replied.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    with op.get_context().autocommit_block():  # webhooks go on being stored while it is made
        op.create_index(
            "inbox_events_unheard",
            "inbox_events",
            ["organization_id", sa.text("((payload -> 'sender') ->> 'attendee_provider_id')")],
            postgresql_where=sa.text("applied_at IS NULL OR result = 'nobody known'"),
            postgresql_concurrently=True,
            if_not_exists=True,
        )
