"""Only Unipile's own words judge: the workspace's rest, lanes held after runs of refusals."""

from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.execute(
        """
        alter table installation
            add silences smallint not null default '0',
            add rest_since timestamptz,
            add rest_until timestamptz,
            add rest_failures smallint not null default '0',
            add rest_reason text,
            add constraint installation_rest_check check (
                (rest_until is null) = (rest_since is null)
                and (rest_until is null) = (rest_reason is null))
        """
    )
    op.execute(
        """
        alter table lanes
            add refusals smallint not null default '0',
            add refused_with text,
            add held_since timestamptz,
            add held_reason text,
            add constraint lanes_held_check check (
                (held_reason is null) = (held_since is null)
                and (held_reason is null or not active))
        """
    )
    op.execute(
        """
        alter table campaigns
            add hold_after smallint not null default '5',
            add constraint campaigns_hold_after_check check (hold_after > 0)
        """
    )
