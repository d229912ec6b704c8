"""The database knows where it was written, and what it lost.

A backup restored in mid-campaign knew nothing of what was sent since, and sent it again to
everybody.  The stamp says of which server, database and tables it is; what does not match is
quarantined, and after a restore each lead that was under way is looked for at the provider first.
"""

from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    op.execute(
        """
        create table database_stamp (
            is_only boolean default true not null,
            id uuid not null,
            system_identifier bigint,
            database_oid bigint,
            table_oid bigint,
            timeline integer,
            stamped_at timestamptz,
            quarantined_at timestamptz,
            quarantine_cause text,
            lost_since timestamptz,
            restored_at timestamptz,
            constraint database_stamp_pkey primary key (is_only),
            constraint database_stamp_is_only_check check (is_only),
            constraint database_stamp_stamped_at_check check (
                (stamped_at is null) = (table_oid is null)
                and (stamped_at is null) = (database_oid is null)),
            constraint database_stamp_quarantine_check check (
                (quarantined_at is null) = (quarantine_cause is null)),
            constraint database_stamp_quarantine_cause_check check (quarantine_cause in
                ('server', 'database', 'tables', 'timeline', 'ledger', 'words')),
            constraint database_stamp_lost_check check (
                (restored_at is null) = (lost_since is null)))
        """
    )
    # stamped by the first ticker: who makes a template to copy databases from is not the one
    op.execute("insert into database_stamp (id) values (gen_random_uuid())")
    op.execute("alter table connected_accounts add hear_since timestamptz")
    op.execute("alter table campaign_executions add doubted_since timestamptz")
