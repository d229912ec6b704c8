"""Actions of walks that are over, of which nobody can find out whether they happened, may be closed.

They were asked about for ever, and kept their sender from being removed.
"""

from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    # more words than before are allowed, so no row need be looked at again
    op.execute(
        "alter table actions drop constraint actions_state_check,"
        " add constraint actions_state_check check (state in ('intended', 'unknown', 'done',"
        " 'refused', 'absent', 'released', 'unresolved')) not valid"
    )
    op.execute("alter table actions validate constraint actions_state_check")
    op.execute("drop index actions_once")
    op.execute(
        "create unique index actions_once"
        " on actions (organization_id, campaign_id, lead_id, node_id, target)"
        " where state in ('intended', 'unknown', 'done', 'unresolved') and operation in"
        " ('comment_post', 'like_post', 'send_connection_request', 'send_followup', 'send_inmail')"
    )
