"""How many invitations of a sender are pending, counted by its sweep a page at a time."""

from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.execute(
        """
        create table pending_invitations (
            organization_id uuid not null,
            account_id uuid not null,
            counted smallint,
            counted_at timestamptz,
            so_far smallint not null default '0',
            cursor text,
            begun_at timestamptz,
            constraint pending_invitations_pkey primary key (organization_id, account_id),
            constraint pending_invitations_connected_accounts_fkey
                foreign key (organization_id, account_id)
                references connected_accounts (organization_id, id),
            constraint pending_invitations_counts_check check (counted >= 0 and so_far >= 0),
            constraint pending_invitations_counted_at_check
                check ((counted is null) = (counted_at is null)),
            constraint pending_invitations_begun_at_check
                check ((begun_at is null) = (cursor is null)),
            constraint pending_invitations_counted_at_readable_check check (
                counted_at >= '1970-01-01 00:00+00' and counted_at < '3000-01-01 00:00+00'),
            constraint pending_invitations_begun_at_readable_check check (
                begun_at >= '1970-01-01 00:00+00' and begun_at < '3000-01-01 00:00+00'))
        """
    )
