"""Absence is proved by what is there: how far questions came, known comments, reads of lists."""

from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.execute("alter table actions add progress jsonb")
    op.execute(
        "alter table actions add constraint actions_progress_check"
        " check (progress is null or state = 'unknown')"
    )
    op.execute(
        "create index actions_comments on actions (organization_id, account_id, number)"
        " where state = 'done' and operation = 'comment_post'"
    )
    op.execute("alter table rate_limits drop constraint rate_limits_operation_check")
    op.execute(
        "alter table rate_limits add constraint rate_limits_operation_check check (operation in"
        " ('profile_visit', 'invitation', 'invitation_note', 'message', 'inmail', 'post_comment',"
        " 'post_reaction', 'post_read', 'list_read', 'withdrawal', 'none'))"
    )
    op.execute(
        "insert into rate_limits (organization_id, account_id, operation, per_hour, per_day,"
        " spacing_shortest, spacing_longest)"
        " select organization_id, id, 'list_read', 20, 60, '30 s', '75 s' from connected_accounts"
    )
