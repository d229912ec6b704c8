"""One row of the whole database for each subject: whoever holds one keeps nobody from the others.

What the database is bound to, the provider's rest and the webhooks of strangers were one row: a
process that stopped inside a transaction over one of them stopped all who wrote another.
"""

from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    op.execute(
        """
        create table provider_rest (
            is_only boolean default true not null,
            silences smallint not null default '0',
            since timestamptz,
            until timestamptz,
            failures smallint not null default '0',
            reason text,
            constraint provider_rest_pkey primary key (is_only),
            constraint provider_rest_is_only_check check (is_only),
            constraint provider_rest_rest_check check (
                (until is null) = (since is null) and (until is null) = (reason is null)),
            constraint provider_rest_counts_check check (silences >= 0 and failures >= 0),
            constraint provider_rest_since_readable_check check (
                since >= '1970-01-01 00:00+00' and since < '3000-01-01 00:00+00'),
            constraint provider_rest_until_readable_check check (
                until >= '1970-01-01 00:00+00' and until < '3000-01-01 00:00+00'))
        """
    )
    op.execute(
        """
        create table unrouted_webhooks (
            is_only boolean default true not null,
            received bigint not null,
            constraint unrouted_webhooks_pkey primary key (is_only),
            constraint unrouted_webhooks_is_only_check check (is_only))
        """
    )
    op.execute(
        "insert into provider_rest (silences, since, until, failures, reason)"
        " select silences, rest_since, rest_until, rest_failures, rest_reason from installation"
    )
    op.execute("insert into provider_rest default values on conflict do nothing")
    op.execute(
        "insert into unrouted_webhooks (received)"
        " select unrouted_webhooks from installation where unrouted_webhooks > 0"
    )
    op.execute("delete from installation where provider_kind is null")
    op.execute(
        """
        alter table installation
            drop constraint installation_rest_check,
            drop silences, drop rest_since, drop rest_until, drop rest_failures, drop rest_reason,
            drop unrouted_webhooks
        """
    )
