"""Our tables stand in a schema of their own.

In `public` they met tables of the same names, another program's `alembic_version`, and what a host
grants there: Supabase lets everybody in who has the public key.  Moved are ours alone, by name,
with all that belongs to them; a role that was granted one of them may enter the schema.
"""

from alembic import context, op

revision = "0018"
down_revision = "0017"

_FORMER = "public"
_TABLES = (
    *("actions", "api_keys", "campaign_executions", "campaign_moves", "campaign_senders"),
    *("campaigns", "connected_accounts", "contacts", "events", "inbox_events", "installation"),
    *("lanes", "lead_lists", "leads", "opt_out_phrases", "organizations", "pending_invitations"),
    *("provider_accounts", "provider_rest", "rate_counters", "rate_limits", "suppressions"),
    *("tickers", "unrouted_webhooks", "webhook_deliveries", "webhook_endpoints"),
    "workflow_versions",
)
_VIEWS = ("history",)

# The row alone: what else a table of versions holds is another program's.
_VERSIONS = """
create table {schema}.alembic_version (like public.alembic_version including all);
with moved as (delete from public.alembic_version where version_num = '0017' returning version_num)
insert into {schema}.alembic_version select version_num from moved;
do $$ begin
    if not exists (select from public.alembic_version) then
        drop table public.alembic_version;
    end if;
end $$
"""

_ENTER = """
do $$ declare grantee text;
begin
    for grantee in
        select distinct quote_ident(r.rolname)
          from pg_class c cross join aclexplode(c.relacl) a join pg_roles r on r.oid = a.grantee
         where c.relnamespace = '{schema}'::regnamespace and a.grantee <> c.relowner
           and r.rolname not in ('anon', 'authenticated')
    loop
        execute 'grant usage on schema {schema} to ' || grantee;
    end loop;
end $$
"""


def upgrade() -> None:
    found = op.get_bind().exec_driver_sql("select current_schema()").scalar_one()
    schema = context.config.attributes["schema"] if found == _FORMER else found
    if found == schema:
        return  # made where it belongs
    for table in _TABLES:
        op.execute(f'alter table {_FORMER}.{table} set schema "{schema}"')
    for view in _VIEWS:
        op.execute(f'alter view {_FORMER}.{view} set schema "{schema}"')
    op.execute(_VERSIONS.format(schema=f'"{schema}"'))
    op.execute(_ENTER.format(schema=f'"{schema}"'))
    # where this revision is written down, and all that follows in this transaction
    op.execute(f"""set local search_path = "{schema}", pg_temp""")
