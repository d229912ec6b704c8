"""What a step costs, once more: fewer index entries, and the step's line of history in its action.

A lead stands in its lane by the lane's number, 8 bytes of each index entry where the lane's key
took 50.  An action is in one index while it is open and in another once it is settled, where it was
in four; and it tells what the step came to, which was a row of `events` with a key of its own.
`history` reads both.

The ledger and the leads are written anew: as long as that takes, nobody else can use them.  What
was told in `events` so far stays there.
"""

from alembic import op

from clento_engine.store.tables import HISTORY, REPLICATED

revision = "0007"
down_revision = "0006"

_LANE = (
    "bigint generated always as (hashtextextended(operation,"
    " uuid_hash_extended(account_id, uuid_hash_extended(campaign_id, 0)))) stored"
)

_ACTIONS = """
create table settled_anew (
    organization_id uuid not null,
    campaign_id uuid not null,
    lead_id uuid not null,
    account_id uuid not null,
    token uuid not null,
    intended_at timestamptz not null,
    bucket_at timestamptz not null,
    node_id text not null,
    operation text not null,
    budgets text[] not null,
    target text not null,
    text text,
    subject text,
    state text not null,
    check_at timestamptz,
    checks smallint not null default '0',
    reference text,
    reason text,
    settled_at timestamptz,
    number bigint,
    kind text,
    result text,
    entered text,
    detail jsonb,
    constraint actions_operation_check check (operation in (
        'start', 'profile_lookup', 'find_posts', 'profile_visit', 'like_post', 'comment_post',
        'send_connection_request', 'check_acceptance', 'send_followup', 'send_inmail',
        'withdraw_request', 'webhook')),
    constraint actions_state_check check (
        state in ('intended', 'unknown', 'done', 'refused', 'absent', 'released')),
    constraint actions_check_at_check check (
        (state in ('intended', 'unknown')) = (check_at is not null)),
    constraint actions_settled_at_check check (
        (state in ('intended', 'unknown')) = (settled_at is null)),
    constraint actions_number_check check ((state in ('intended', 'unknown')) = (number is null)),
    constraint actions_detail_check check ((kind is not null) = (detail is not null)),
    constraint actions_result_check check (result in ('done', 'skipped', 'failed'))
) with (fillfactor = 40)
"""

_COPY = """
insert into settled_anew
select organization_id, campaign_id, lead_id, account_id, token, intended_at, bucket_at, node_id,
       operation, budgets, target, text, subject, state, check_at, checks, reference, reason,
       settled_at, case when settled_at is not null then nextval('events_id_seq') end
  from actions
 order by settled_at
"""


def upgrade() -> None:
    # an intent that was written after the copy would be lost
    op.execute("lock table lanes, campaign_executions, actions in access exclusive mode")
    op.drop_index("campaign_executions_head")
    op.execute(f"alter table campaign_executions add lane {_LANE}")
    op.execute(f"alter table lanes add lane {_LANE}")
    op.execute(
        "create index campaign_executions_head on campaign_executions (lane, next_run_at, lead_id)"
        " where outcome is null"
    )
    op.execute(_ACTIONS)
    op.execute(_COPY)
    op.execute("drop table actions")
    op.execute("alter table settled_anew rename to actions")
    op.execute(
        "create unique index actions_open on actions (organization_id, campaign_id, lead_id)"
        " where state in ('intended', 'unknown')"
    )
    op.execute(
        "create unique index actions_once"
        " on actions (organization_id, campaign_id, lead_id, node_id, target)"
        " where state in ('intended', 'unknown', 'done') and operation in ('comment_post',"
        " 'like_post', 'send_connection_request', 'send_followup', 'send_inmail')"
    )
    op.execute(
        "create unique index actions_settled on actions (organization_id, lead_id, number)"
        " where number is not null"
    )
    op.execute(REPLICATED)
    op.execute(HISTORY)
