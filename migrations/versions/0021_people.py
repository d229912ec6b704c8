"""A person is a row: every lead, contact and action is somebody's, whatever name a list gave them.

Who is the same is read from what is known already: the provider's id of the list or of an answer,
else the public identifier.  Two ids are never joined by a public identifier that both had: it was
given on, and is the newest one's.  Walks of one person that exclude each other end by and by, as
the claim comes to them.
"""

from alembic import op

revision = "0021"
down_revision = "0020"

_RECEIVED = (
    "('comment_post', 'like_post', 'send_connection_request', 'send_followup', 'send_inmail')"
)
_ON_POSTS = "('comment_post', 'like_post')"
_HAPPENED = "('intended', 'unknown', 'done', 'unresolved')"
_POST = f"(case when operation in {_ON_POSTS} then target else '' end)"

_TABLES = (
    """
    create table people (
        organization_id uuid not null,
        id uuid not null,
        created_at timestamptz not null default now(),
        constraint people_pkey primary key (organization_id, id),
        constraint people_organizations_fkey
            foreign key (organization_id) references organizations (id))
    """,
    """
    create table person_names (
        organization_id uuid not null,
        name text not null,
        kind text not null,
        person_id uuid not null,
        learned_at timestamptz not null,
        constraint person_names_pkey primary key (organization_id, name),
        constraint person_names_kind_check check (kind in ('slug', 'id')))
    """,
    """
    create table person_merges (
        organization_id uuid not null,
        loser_id uuid not null,
        winner_id uuid not null,
        at timestamptz not null,
        shown jsonb not null,
        names text[] not null,
        leads uuid[] not null,
        constraint person_merges_pkey primary key (organization_id, loser_id))
    """,
    """
    alter table campaigns
        add column overlap boolean not null default false,
        add column rest interval,
        add constraint campaigns_rest_check check (rest > '0' and rest <= '3650 days')
    """,
    "alter table leads add column person_id uuid",
    """
    alter table actions
        add column person_id uuid,
        add column twin smallint not null default '0'
    """,
    "alter table contacts add column person_id uuid",
    "alter table campaign_executions drop constraint campaign_executions_outcome_check",
    """
    alter table campaign_executions add constraint campaign_executions_outcome_check check (
        outcome in ('finished', 'accepted', 'not_accepted', 'replied', 'taken_over', 'expired',
                    'suppressed', 'duplicate', 'skipped', 'failed', 'stopped')) not valid
    """,
    "alter table campaign_executions validate constraint campaign_executions_outcome_check",
)

# Which id each lead has: the list's, else the one that an account learned.
_IDS = (
    """
    create temporary table learned_ids on commit drop as
    select organization_id, lead_id, min(provider_id) as provider_id,
           array_agg(distinct provider_id) as provider_ids
      from (select organization_id, lead_id, provider_id from contacts
             union all
            select organization_id, lead_id, provider_id from campaign_executions) k
     where provider_id is not null
     group by organization_id, lead_id
    """,
    """
    create temporary table lead_people on commit drop as
    select l.organization_id, l.id as lead_id, l.public_identifier as slug,
           coalesce(l.provider_id, k.provider_id) as provider_id,
           array(select unnest(k.provider_ids) union select l.provider_id
                  where l.provider_id is not null) as provider_ids, l.created_at
      from leads l
      left join learned_ids k on k.organization_id = l.organization_id and k.lead_id = l.id
    """,
    "analyze lead_people",
    # Ids that one lead had, of its list and of several accounts, are one person's, and so are those
    # of another lead that had one of them: each takes the least, until nothing is less.
    """
    create temporary table same_ids on commit drop as
    select organization_id, lead_id, id, id as least
      from lead_people cross join lateral unnest(provider_ids) id
     where cardinality(provider_ids) > 1
    """,
    """
    do $$ declare found bigint;
    begin
        loop
            update same_ids s set least = m.least
              from (select x.organization_id, x.lead_id, x.id,
                           least(min(x.least) over (partition by x.organization_id, x.lead_id),
                                 min(x.least) over (partition by x.organization_id, x.id)) as least
                      from same_ids x) m
             where m.organization_id = s.organization_id and m.lead_id = s.lead_id and m.id = s.id
               and m.least < s.least;
            get diagnostics found = row_count;
            exit when found = 0;
        end loop;
    end $$
    """,
    """
    update lead_people p set provider_id = s.least
      from (select distinct organization_id, id, least from same_ids) s
     where s.organization_id = p.organization_id and s.id = p.provider_id
    """,
    """
    update lead_people p set provider_id = s.provider_id
      from (select organization_id, slug, min(provider_id) as provider_id from lead_people
             where slug is not null and provider_id is not null
             group by organization_id, slug
            having count(distinct provider_id) = 1) s
     where p.organization_id = s.organization_id and p.slug = s.slug and p.provider_id is null
    """,
    """
    create temporary table new_people on commit drop as
    select organization_id, coalesce(provider_id, slug) as name, gen_random_uuid() as id,
           min(created_at) as created_at
      from lead_people group by organization_id, coalesce(provider_id, slug)
    """,
    "analyze new_people",
)

_FILL = (
    """
    insert into people (organization_id, id, created_at)
    select organization_id, id, created_at from new_people
    """,
    """
    insert into person_names (organization_id, name, kind, person_id, learned_at)
    select organization_id, name, case when name ~ '^A([CD]o|Cw|E[A-Za-z])AA' then 'id'
                                       else 'slug' end, id, created_at
      from new_people
    """,
    """
    insert into person_names (organization_id, name, kind, person_id, learned_at)
    select distinct on (p.organization_id, x.name)
           p.organization_id, x.name, x.kind, n.id, p.created_at
      from lead_people p
      join new_people n on n.organization_id = p.organization_id
                       and n.name = coalesce(p.provider_id, p.slug)
     cross join lateral (
           select p.slug as name, 'slug' as kind where p.slug is not null
            union all
           select each, 'id' from unnest(p.provider_ids) each) x
     order by p.organization_id, x.name, p.created_at desc, p.lead_id desc
        on conflict do nothing
    """,
    """
    update leads l set person_id = n.id
      from lead_people p
      join new_people n on n.organization_id = p.organization_id
                       and n.name = coalesce(p.provider_id, p.slug)
     where l.organization_id = p.organization_id and l.id = p.lead_id
    """,
    f"""
    update actions a set person_id = l.person_id
      from leads l
     where l.organization_id = a.organization_id and l.id = a.lead_id
       and a.operation in {_RECEIVED}
    """,
    f"""
    update actions a set twin = t.twin
      from (select ctid as place, row_number() over (
                   partition by organization_id, campaign_id, person_id, node_id, {_POST}
                       order by intended_at, lead_id) - 1 as twin
              from actions
             where state in {_HAPPENED} and operation in {_RECEIVED}) t
     where a.ctid = t.place and t.twin > 0
    """,
    """
    update contacts k set person_id = l.person_id
      from leads l
     where l.organization_id = k.organization_id and l.id = k.lead_id
    """,
)

# What an account knew of one person by several leads is one contact.
_FOLD = (
    "delete from contacts where person_id is null",
    """
    create temporary table folded on commit drop as
    select organization_id, account_id, person_id, max(provider_id) as provider_id,
           max(chat_id) as chat_id, max(invitation_id) as invitation_id,
           min(connected_at) as connected_at, max(replied_at) as replied_at
      from contacts
     group by organization_id, account_id, person_id
    having count(*) > 1
    """,
    """
    delete from contacts k using folded f
     where k.organization_id = f.organization_id and k.account_id = f.account_id
       and k.person_id = f.person_id
    """,
    "drop index contacts_provider_id",
    "alter table contacts drop constraint contacts_pkey",
    "alter table contacts drop column lead_id",
    """
    insert into contacts (organization_id, account_id, person_id, provider_id, chat_id,
                          invitation_id, connected_at, replied_at)
    select organization_id, account_id, person_id, provider_id, chat_id, invitation_id,
           connected_at, replied_at
      from folded
    """,
    """
    alter table contacts
        alter column person_id set not null,
        add constraint contacts_pkey primary key (organization_id, account_id, person_id)
    """,
)

_CONSTRAIN = (
    "create index person_names_person on person_names (organization_id, person_id)",
    """
    alter table leads
        alter column person_id set not null,
        add constraint leads_people_fkey foreign key (organization_id, person_id)
            references people (organization_id, id)
    """,
    "create index leads_person on leads (organization_id, person_id)",
    "create index campaigns_list on campaigns (organization_id, list_id)",
    f"""
    alter table actions
        add constraint actions_person_check
            check ((person_id is not null) = (operation in {_RECEIVED}))
    """,
    "drop index actions_once",
    f"""
    create unique index actions_once
        on actions (organization_id, campaign_id, person_id, node_id, {_POST}, twin)
     where state in {_HAPPENED} and operation in {_RECEIVED}
    """,
)

_INVARIANTS = f"""
create view invariants.people with (security_invoker) as
select a.organization_id, a.campaign_id, a.lead_id, a.person_id,
       'an action of another person than its lead''s' as problem
  from actions a
  left join leads l on l.organization_id = a.organization_id and l.id = a.lead_id
 where a.person_id is not null and l.person_id is distinct from a.person_id
union all
select a.organization_id, a.campaign_id, a.lead_id, a.person_id,
       'reached, and the schema refuses no second time'
  from actions a
 where a.twin > 0 and a.state in {_HAPPENED}
   and not exists (select from actions b
                    where b.organization_id = a.organization_id
                      and b.campaign_id = a.campaign_id and b.person_id = a.person_id
                      and b.node_id = a.node_id
                      and (case when b.operation in {_ON_POSTS} then b.target else '' end) = (case when a.operation in {_ON_POSTS} then a.target else '' end)
                      and b.twin = 0 and b.state in {_HAPPENED}
                      and b.operation in {_RECEIVED})
union all
select k.organization_id, null, null, k.person_id, 'a contact of nobody'
  from contacts k
 where not exists (select from people p
                    where p.organization_id = k.organization_id and p.id = k.person_id)
union all
select n.organization_id, null, null, n.person_id, 'a name of nobody'
  from person_names n
 where not exists (select from people p
                    where p.organization_id = n.organization_id and p.id = n.person_id)
union all
select l.organization_id, null, l.id, l.person_id, 'a person without a name'
  from leads l
 where not exists (select from person_names n
                    where n.organization_id = l.organization_id and n.person_id = l.person_id)
"""


def upgrade() -> None:
    for statement in (*_TABLES, *_IDS, *_FILL, *_FOLD, *_CONSTRAIN, _INVARIANTS):
        op.execute(statement)
