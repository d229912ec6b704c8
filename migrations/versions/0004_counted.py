"""What moved so far, counted from the leads and their history.

Apart from the tables' migration, so that no lock is held while all of it is read.  Tickers of the
version before do not count: `clento db recount` adds what they moved, once they have ended.
"""

from alembic import op

revision = "0004"
down_revision = "0003"

_FILL = """
insert into campaign_moves
select organization_id, campaign_id, 0, '', '', '', '', coalesce(node_id, ''), status,
       coalesce(outcome, ''), count(*)
  from campaign_executions group by 1, 2, 8, 9, 10
union all
select organization_id, campaign_id, 0, coalesce(node_id, '') as left_id, '',
       coalesce(result, '') as became, coalesce(entered, '') as came_to, '', '', '', count(*)
  from events
 where campaign_id is not null and (result is not null or entered is not null)
 group by 1, 2, left_id, became, came_to
"""

_DEALT = """
update campaign_senders s set leads = d.leads
  from (select organization_id, campaign_id, account_id, count(*) as leads
          from campaign_executions group by 1, 2, 3) d
 where s.organization_id = d.organization_id and s.campaign_id = d.campaign_id
   and s.account_id = d.account_id
"""


def upgrade() -> None:
    op.execute(_FILL)
    op.execute(_DEALT)
