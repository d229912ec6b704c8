"""Every table, index and CHECK, each with its reason.

Every table of a tenant starts with `organization_id`: first column of its primary key, of every
foreign key and of every unique constraint.  A lead of one organisation cannot even be joined to
a campaign of another, and the schema can be distributed on that column.  Instants are UTC.

What a step writes is counted in index entries, each some 100 bytes of WAL: a wide key is paid for
at every step of every lead.
"""

from collections.abc import Iterable
from enum import StrEnum

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    Connection,
    Date,
    DateTime,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    Interval,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    event,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from clento_engine.domain.account import AccountStatus, PausedBy, Tier
from clento_engine.domain.action import ActionState
from clento_engine.domain.campaign import CampaignStatus
from clento_engine.domain.execution import FINAL, OnMissing, Outcome, Result, Status
from clento_engine.domain.notice import Notice
from clento_engine.domain.operation import Budget, Operation
from clento_engine.domain.person import NameKind
from clento_engine.domain.restore import Cause
from clento_engine.store.lanes import LANE_RUNS
from clento_engine.store.literals import (
    ACCOUNT_PAUSED,
    BY_OPERATOR,
    COMMENT,
    COMPLETED,
    DONE,
    DRAFT,
    HAPPENED,
    OPEN,
    POST,
    RECEIVED,
    UNKNOWN,
    post_of,
)

metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "fk": "%(table_name)s_%(referred_table_name)s_fkey",
        "ck": "%(table_name)s_%(constraint_name)s_check",
    }
)

_EMPTY_OBJECT = text("'{}'::jsonb")
_NOW = text("now()")  # when the row was made; nothing is decided by these


def _one_of(column: str, values: Iterable[StrEnum]) -> CheckConstraint:
    words = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({words})", name=column)


def _list(values: Iterable[StrEnum]) -> str:
    return ", ".join(f"'{value}'" for value in sorted(values))


def _ascii(column: str) -> CheckConstraint:
    """Keep out the dashes and spaces of word processors, which look like those we read."""
    return CheckConstraint(f"{column} ~ '^[ -~]+$'", name=f"{column}_ascii")


def _tenant() -> Column[object]:
    return Column("organization_id", Uuid, nullable=False)


def _at(name: str, *, nullable: bool = True) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=nullable)


def _created() -> Column[object]:
    return Column("created_at", DateTime(timezone=True), nullable=False, server_default=_NOW)


def _readable(column: str) -> CheckConstraint:
    """Keep out what no client can read: one such moment would stop every ticker."""
    return CheckConstraint(
        f"{column} >= '1970-01-01 00:00+00' AND {column} < '3000-01-01 00:00+00'",
        name=f"{column}_readable",
    )


organizations = Table(
    "organizations",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    _created(),
)

api_keys = Table(
    "api_keys",
    metadata,
    _tenant(),
    Column("id", Uuid, nullable=False),
    Column("name", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("key_hash", Text, nullable=False),  # never the key
    _created(),
    _at("revoked_at"),
    PrimaryKeyConstraint("organization_id", "id"),
    UniqueConstraint("organization_id", "key_hash", name="api_keys_key_hash_key"),
    ForeignKeyConstraint(["organization_id"], ["organizations.id"]),
    CheckConstraint("role IN ('viewer', 'operator', 'admin')", name="role"),
)

installation = Table(
    "installation",
    metadata,
    # what this database is bound to: one row, of no tenant; none until it is bound
    Column("is_only", Boolean, primary_key=True, server_default=text("true")),
    Column("provider_kind", Text),
    Column("provider_dsn", Text),  # the origin: scheme, host, port
    _at("bound_at"),
    CheckConstraint("is_only", name="is_only"),
    CheckConstraint("provider_kind IN ('real', 'simulated')", name="provider_kind"),
    CheckConstraint(
        "(provider_kind IS NULL) = (provider_dsn IS NULL)"
        " AND (provider_kind IS NULL) = (bound_at IS NULL)",
        name="bound",
    ),
)

provider_rest = Table(
    "provider_rest",
    metadata,
    # one row: answers in a row that were not the provider's; too many open a rest, in which nobody
    # asks it until a probe was answered.  The failures stay until a step or a sweep has succeeded.
    Column("is_only", Boolean, primary_key=True, server_default=text("true")),
    Column("silences", SmallInteger, nullable=False, server_default="0"),
    _at("since"),
    _at("until"),  # when it is probed
    Column("failures", SmallInteger, nullable=False, server_default="0"),
    Column("reason", Text),
    CheckConstraint("is_only", name="is_only"),
    CheckConstraint(
        "(until IS NULL) = (since IS NULL) AND (until IS NULL) = (reason IS NULL)", name="rest"
    ),
    CheckConstraint("silences >= 0 AND failures >= 0", name="counts"),
    _readable("since"),
    _readable("until"),
)

database_stamp = Table(
    "database_stamp",
    metadata,
    # one row: where this database was written, to see that it was restored, copied or promoted.
    # A stamp that does not match is quarantined: nothing is claimed from it.
    Column("is_only", Boolean, primary_key=True, server_default=text("true")),
    Column("id", Uuid, nullable=False),  # by which hosts remember it; another after a restore
    Column("system_identifier", BigInteger),  # what cannot be read is not compared
    Column("database_oid", BigInteger),
    Column("table_oid", BigInteger),  # of this very table
    Column("timeline", Integer),
    _at("stamped_at"),  # by its first ticker
    _at("quarantined_at"),
    Column("quarantine_cause", Text),
    _at("lost_since"),  # what was done from here to `restored_at` is not in the ledger
    _at("restored_at"),
    CheckConstraint("is_only", name="is_only"),
    CheckConstraint(
        "(stamped_at IS NULL) = (table_oid IS NULL)"
        " AND (stamped_at IS NULL) = (database_oid IS NULL)",
        name="stamped_at",
    ),
    CheckConstraint("(quarantined_at IS NULL) = (quarantine_cause IS NULL)", name="quarantine"),
    _one_of("quarantine_cause", Cause),
    CheckConstraint("(restored_at IS NULL) = (lost_since IS NULL)", name="lost"),
)

unrouted_webhooks = Table(
    "unrouted_webhooks",
    metadata,
    # one row: how many came of accounts that no organisation has; they are never stored
    Column("is_only", Boolean, primary_key=True, server_default=text("true")),
    Column("received", BigInteger, nullable=False),
    CheckConstraint("is_only", name="is_only"),
)

tickers = Table(
    "tickers",
    metadata,
    # who looks for what is due, of no tenant: the last of each host and kind, and when it did
    Column("host", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("pid", Integer, nullable=False),  # 0: ended in order
    Column("version", Text, nullable=False),
    Column("provider", Text),  # the origin of its DSN: scheme, host, port
    _at("started_at", nullable=False),
    _at("seen_at", nullable=False),
    _at("lanes_checked_at"),
    CheckConstraint("kind IN ('tick', 'run')", name="kind"),
)

provider_accounts = Table(
    "provider_accounts",
    metadata,
    # Which organisation has a LinkedIn member, and by which of Unipile's accounts: one at a time.
    # The only table unique over organisations, and of none: small, read by key, a reference table
    # should the others be distributed.
    Column("member_id", Text, primary_key=True),  # the member's own provider id
    Column("unipile_account_id", Text),  # null once released
    Column("organization_id", Uuid, nullable=False),
    Column("account_id", Uuid, nullable=False),
    _at("created_at"),  # of the account at Unipile: another one is another store
    _at("seen_at"),  # when Unipile showed it last; null: it was only said
    # let go: whoever has the member next takes the counters of the account named here
    _at("released_at"),
    UniqueConstraint("unipile_account_id", name="provider_accounts_unipile_account_id_key"),
    # one account is one member, and what an account's row refers to
    UniqueConstraint("organization_id", "account_id", name="provider_accounts_account_id_key"),
    UniqueConstraint(
        "member_id", "organization_id", "account_id", name="provider_accounts_member_id_key"
    ),
    CheckConstraint("(released_at IS NULL) = (unipile_account_id IS NOT NULL)", name="released_at"),
)

connected_accounts = Table(
    "connected_accounts",
    metadata,
    _tenant(),
    Column("id", Uuid, nullable=False),
    Column("unipile_account_id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("tier", Text, nullable=False),
    Column("time_zone", Text, nullable=False),
    # the member behind it, once Unipile has shown who that is
    Column("provider_id", Text),
    Column("status", Text, nullable=False, server_default=AccountStatus.ACTIVE),
    Column("paused_by", Text),  # what the provider paused, the provider's OK resumes
    Column("pause_reason", Text),
    Column("credentials", Text),  # encrypted; empty while Unipile holds them all
    # warm-up: 0 days is an established account; the ramp starts with the first real send
    Column("warmup_days", SmallInteger, nullable=False),
    _at("warmup_started_at"),
    # the least gap between any two actions of the account is random in this range
    Column("spacing_shortest", Interval, nullable=False),
    Column("spacing_longest", Interval, nullable=False),
    _at("next_free_at"),
    # the provider's own back-off: until when, and how often in a row
    _at("blocked_until"),
    Column("blocked_reason", Text),
    Column("throttles", SmallInteger, nullable=False, server_default="0"),
    Column("errors_in_a_row", SmallInteger, nullable=False, server_default="0"),
    _at("next_sweep_at"),
    # how often in a row its lists could not be read, since when last, and why
    Column("sweep_failures", SmallInteger, nullable=False, server_default="0"),
    _at("sweep_failed_at"),
    Column("sweep_failure", Text),
    _at("swept_messages_until"),
    _at("heard_at"),  # when a webhook last told anything of it, to about a minute
    _at("store_since"),  # since when Unipile's store of its chats may be incomplete
    _at("removed_at"),  # its member was let go: it stays for the history of what it did
    _created(),
    _at("hear_since"),  # after a restore: its messages are heard since then before it acts
    PrimaryKeyConstraint("organization_id", "id"),
    Index(
        "connected_accounts_unipile_account_id_key",
        "organization_id",
        "unipile_account_id",
        unique=True,
        postgresql_where=text("removed_at IS NULL"),
    ),
    ForeignKeyConstraint(["organization_id"], ["organizations.id"]),
    ForeignKeyConstraint(
        ["provider_id", "organization_id", "id"],
        [
            "provider_accounts.member_id",
            "provider_accounts.organization_id",
            "provider_accounts.account_id",
        ],
    ),
    _one_of("tier", Tier),
    _one_of("status", AccountStatus),
    CheckConstraint(
        f"(status = {ACCOUNT_PAUSED}) = (paused_by IS NOT NULL)", name="paused_by_somebody"
    ),
    _one_of("paused_by", PausedBy),
    # I3: what may act has a member, a member has one account, and so one budget
    CheckConstraint(f"status = {ACCOUNT_PAUSED} OR provider_id IS NOT NULL", name="member"),
    CheckConstraint(
        "(sweep_failures > 0) = (sweep_failed_at IS NOT NULL)"
        " AND (sweep_failures > 0) = (sweep_failure IS NOT NULL)",
        name="sweep_failure",
    ),
    CheckConstraint(
        f"removed_at IS NULL OR (paused_by = {BY_OPERATOR} AND provider_id IS NULL)",
        name="removed_at",
    ),
    CheckConstraint(
        "spacing_shortest >= '0' AND spacing_longest >= spacing_shortest", name="spacing"
    ),
    _ascii("time_zone"),
    # the sweep asks: which account is due
    Index("connected_accounts_sweep", "next_sweep_at"),
    _readable("next_free_at"),
    _readable("blocked_until"),
    _readable("next_sweep_at"),
)

rate_limits = Table(
    "rate_limits",
    metadata,
    # one row per account and operation: its caps, and the lock that a claim takes on its budget
    _tenant(),
    Column("account_id", Uuid, nullable=False),
    Column("operation", Text, nullable=False),
    Column("per_hour", Integer),
    Column("per_day", Integer),
    Column("per_week", Integer),
    Column("per_month", Integer),
    Column("spacing_shortest", Interval, nullable=False),
    Column("spacing_longest", Interval, nullable=False),
    _at("next_free_at"),
    _at("blocked_until"),
    Column("blocked_reason", Text),
    Column("throttles", SmallInteger, nullable=False, server_default="0"),
    PrimaryKeyConstraint("organization_id", "account_id", "operation"),
    ForeignKeyConstraint(
        ["organization_id", "account_id"],
        ["connected_accounts.organization_id", "connected_accounts.id"],
    ),
    _one_of("operation", Budget),
    CheckConstraint(
        "per_hour >= 0 AND per_day >= 0 AND per_week >= 0 AND per_month >= 0", name="caps"
    ),
    CheckConstraint(
        "spacing_shortest >= '0' AND spacing_longest >= spacing_shortest", name="spacing"
    ),
    _readable("next_free_at"),
    _readable("blocked_until"),
)

pending_invitations = Table(
    "pending_invitations",
    metadata,
    # one row per account whose pending invitations were counted, and the count under way
    _tenant(),
    Column("account_id", Uuid, nullable=False),
    Column("counted", SmallInteger),
    _at("counted_at"),
    Column("so_far", SmallInteger, nullable=False, server_default="0"),
    Column("cursor", Text),
    _at("begun_at"),
    PrimaryKeyConstraint("organization_id", "account_id"),
    ForeignKeyConstraint(
        ["organization_id", "account_id"],
        ["connected_accounts.organization_id", "connected_accounts.id"],
    ),
    CheckConstraint("counted >= 0 AND so_far >= 0", name="counts"),
    CheckConstraint("(counted IS NULL) = (counted_at IS NULL)", name="counted_at"),
    CheckConstraint("(begun_at IS NULL) = (cursor IS NULL)", name="begun_at"),
    _readable("counted_at"),
    _readable("begun_at"),
)

rate_counters = Table(
    "rate_counters",
    metadata,
    _tenant(),
    Column("account_id", Uuid, nullable=False),
    Column("operation", Text, nullable=False),
    _at("bucket_at", nullable=False),
    Column("used", Integer, nullable=False),
    PrimaryKeyConstraint("organization_id", "account_id", "operation", "bucket_at"),
    CheckConstraint("used >= 0", name="used"),
)

lead_lists = Table(
    "lead_lists",
    metadata,
    _tenant(),
    Column("id", Uuid, nullable=False),
    Column("name", Text, nullable=False),
    # the custom columns its files had: variables of templates, even where a lead has no value
    Column("columns", ARRAY(Text), nullable=False, server_default=text("'{}'::text[]")),
    _created(),
    PrimaryKeyConstraint("organization_id", "id"),
    UniqueConstraint("organization_id", "name", name="lead_lists_name_key"),
    ForeignKeyConstraint(["organization_id"], ["organizations.id"]),
    CheckConstraint("array_position(columns, NULL) IS NULL", name="columns"),
)

people = Table(
    "people",
    metadata,
    # somebody, once: never updated, so that its row is the lock of who is who
    _tenant(),
    Column("id", Uuid, nullable=False),
    _created(),
    PrimaryKeyConstraint("organization_id", "id"),
    ForeignKeyConstraint(["organization_id"], ["organizations.id"]),
)

person_names = Table(
    "person_names",
    metadata,
    # every name that was learned of somebody, each one person's
    _tenant(),
    Column("name", Text, nullable=False),  # normalised as leads' are
    Column("kind", Text, nullable=False),
    Column("person_id", Uuid, nullable=False),
    _at("learned_at", nullable=False),
    PrimaryKeyConstraint("organization_id", "name"),
    # No foreign key, which cost a first visit a tenth: a name is written under the lock of a walk
    # of the person, which whoever merges them holds, or with their row locked.
    _one_of("kind", NameKind),
    # what is known of somebody, and whether an id is
    Index("person_names_person", "organization_id", "person_id"),
)

person_merges = Table(
    "person_merges",
    metadata,
    # append-only: two people who turned out to be one, and what was the loser's until then
    _tenant(),
    Column("loser_id", Uuid, nullable=False),
    Column("winner_id", Uuid, nullable=False),
    _at("at", nullable=False),
    Column("shown", JSONB, nullable=False),  # the names that one answer showed together
    Column("names", ARRAY(Text), nullable=False),
    Column("leads", ARRAY(Uuid), nullable=False),
    PrimaryKeyConstraint("organization_id", "loser_id"),
)

leads = Table(
    "leads",
    metadata,
    _tenant(),
    Column("id", Uuid, nullable=False),
    Column("list_id", Uuid, nullable=False),
    Column("identity", Text, nullable=False),  # normalised: one person is one row of a list
    Column("public_identifier", Text),
    Column("provider_id", Text),
    Column("first_name", Text),
    Column("last_name", Text),
    Column("company", Text),
    Column("job_title", Text),
    Column("email", Text),
    Column("profile_url", Text),
    Column("fields", JSONB, nullable=False, server_default=_EMPTY_OBJECT),
    Column("row_number", Integer, nullable=False),
    # as `domain.suppression` spells them: what suppressions are compared with
    Column("email_key", Text),
    Column("company_key", Text),
    _created(),
    Column("person_id", Uuid, nullable=False),
    PrimaryKeyConstraint("organization_id", "id"),
    UniqueConstraint("organization_id", "list_id", "identity", name="leads_identity_key"),
    ForeignKeyConstraint(
        ["organization_id", "list_id"], ["lead_lists.organization_id", "lead_lists.id"]
    ),
    ForeignKeyConstraint(["organization_id", "person_id"], ["people.organization_id", "people.id"]),
    # on which lists somebody stands
    Index("leads_person", "organization_id", "person_id"),
    CheckConstraint("public_identifier IS NOT NULL OR provider_id IS NOT NULL", name="reachable"),
    # values of templates, each a text
    CheckConstraint(
        "jsonb_typeof(fields) = 'object' AND NOT jsonb_path_exists(fields,"
        """ 'strict $.* ? (@.type() != "string")', '{}', true)""",
        name="fields",
    ),
    # I6: whoever writes a lead by hand is reminded that a suppression must find it
    CheckConstraint(
        "(email IS NULL) = (email_key IS NULL) AND (company IS NULL) = (company_key IS NULL)",
        name="keys",
    ),
    # a suppression asks: whom is it about.  Some 150 bytes a lead; without, all leads are read
    Index(
        "leads_email_key",
        "organization_id",
        "email_key",
        postgresql_where=text("email_key IS NOT NULL"),
    ),
    Index(
        "leads_email_domain",
        "organization_id",
        text("split_part(email_key, '@', 2)"),
        postgresql_where=text("email_key IS NOT NULL"),
    ),
    Index(
        "leads_company_key",
        "organization_id",
        "company_key",
        postgresql_where=text("company_key IS NOT NULL"),
    ),
)

contacts = Table(
    "contacts",
    metadata,
    # what one account knows of one person: ids differ by the account that looks
    _tenant(),
    Column("account_id", Uuid, nullable=False),
    Column("person_id", Uuid, nullable=False),
    Column("provider_id", Text),
    Column("chat_id", Text),
    Column("invitation_id", Text),
    _at("connected_at"),
    _at("replied_at"),
    # no foreign keys: a contact is written under the lock of an execution, whose own hold account
    # and lead, and which whoever merges people holds as well
    PrimaryKeyConstraint("organization_id", "account_id", "person_id"),
)

suppressions = Table(
    "suppressions",
    metadata,
    _tenant(),
    Column("kind", Text, nullable=False),
    Column("value", Text, nullable=False),  # as `domain.suppression` spells it, like leads' keys
    Column("reason", Text, nullable=False),
    _at("expires_at"),
    _created(),
    PrimaryKeyConstraint("organization_id", "kind", "value"),
    ForeignKeyConstraint(["organization_id"], ["organizations.id"]),
    CheckConstraint("kind IN ('person', 'email', 'domain', 'company')", name="kind"),
)

opt_out_phrases = Table(
    "opt_out_phrases",
    metadata,
    # what an organisation changed about the phrases that everybody begins with
    _tenant(),
    Column("phrase", Text, nullable=False),  # as `domain.opt_out` compares it
    Column("is_in_force", Boolean, nullable=False),  # false: one of everybody's, taken out
    _created(),
    PrimaryKeyConstraint("organization_id", "phrase"),
    ForeignKeyConstraint(["organization_id"], ["organizations.id"]),
)

workflow_versions = Table(
    "workflow_versions",
    metadata,
    _tenant(),
    Column("id", Uuid, nullable=False),
    Column("name", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("document", JSONB, nullable=False),  # as the editor saved it
    Column("compiled", JSONB, nullable=False),
    _created(),
    PrimaryKeyConstraint("organization_id", "id"),
    UniqueConstraint("organization_id", "name", "version", name="workflow_versions_version_key"),
    ForeignKeyConstraint(["organization_id"], ["organizations.id"]),
)

campaigns = Table(
    "campaigns",
    metadata,
    _tenant(),
    Column("id", Uuid, nullable=False),
    Column("name", Text, nullable=False),
    Column("status", Text, nullable=False, server_default=CampaignStatus.DRAFT),
    Column("workflow_version_id", Uuid, nullable=False),
    Column("list_id", Uuid, nullable=False),
    Column("working_hours", Text, nullable=False),  # as `parse_hours` reads it
    Column("inmail_subject", Text),
    Column("stop_on_reply", Boolean, nullable=False, server_default=text("true")),
    Column("stop_on_own_message", Boolean, nullable=False, server_default=text("true")),
    Column("on_missing", Text, nullable=False, server_default=OnMissing.HOLD.value),
    Column("max_duration", Interval, nullable=False),
    # whether its people may walk in another running campaign as well, and how long nobody must have
    # been contacted before
    Column("overlap", Boolean, nullable=False, server_default=text("false")),
    Column("rest", Interval),
    # pace
    Column("max_concurrent_leads", Integer, nullable=False),
    Column("lead_processing_delay", Interval, nullable=False),
    Column("leads_per_day", Integer),  # null: as many as the tightest budget can carry on
    _at("start_at"),
    _at("next_start_at"),  # of the next lead; moved by `lead_processing_delay`
    # refusals in a row, by one word of the provider's, that hold a lane
    Column("hold_after", SmallInteger, nullable=False, server_default="5"),
    _at("started_at"),
    _at("completed_at"),
    _created(),
    PrimaryKeyConstraint("organization_id", "id"),
    UniqueConstraint("organization_id", "name", name="campaigns_name_key"),
    ForeignKeyConstraint(
        ["organization_id", "workflow_version_id"],
        ["workflow_versions.organization_id", "workflow_versions.id"],
    ),
    ForeignKeyConstraint(
        ["organization_id", "list_id"], ["lead_lists.organization_id", "lead_lists.id"]
    ),
    _one_of("status", CampaignStatus),
    CheckConstraint(f"(status = {COMPLETED}) = (completed_at IS NOT NULL)", name="completed_at"),
    CheckConstraint(f"status = {DRAFT} OR started_at IS NOT NULL", name="started_at"),
    _one_of("on_missing", OnMissing),
    CheckConstraint("max_concurrent_leads > 0", name="max_concurrent_leads"),
    CheckConstraint("leads_per_day > 0", name="leads_per_day"),
    CheckConstraint("rest > '0' AND rest <= '3650 days'", name="rest"),
    CheckConstraint(
        "lead_processing_delay >= '0' AND lead_processing_delay <= '3650 days'",
        name="lead_processing_delay",
    ),
    CheckConstraint("max_duration > '0' AND max_duration <= '3650 days'", name="max_duration"),
    _ascii("working_hours"),
    CheckConstraint("hold_after > 0", name="hold_after"),
    # in which campaigns a list's people walk
    Index("campaigns_list", "organization_id", "list_id"),
    _readable("next_start_at"),
)

campaign_senders = Table(
    "campaign_senders",
    metadata,
    _tenant(),
    Column("campaign_id", Uuid, nullable=False),
    Column("account_id", Uuid, nullable=False),
    Column("position", Integer, nullable=False),  # leads are dealt out in this order
    # how many leads began on that day, in the sender's zone
    Column("starts_on", Date),
    Column("starts", Integer, nullable=False, server_default="0"),
    Column("leads", Integer, nullable=False, server_default="0"),  # dealt out to it
    PrimaryKeyConstraint("organization_id", "campaign_id", "account_id"),
    UniqueConstraint(
        "organization_id", "campaign_id", "position", name="campaign_senders_position_key"
    ),
    ForeignKeyConstraint(
        ["organization_id", "campaign_id"], ["campaigns.organization_id", "campaigns.id"]
    ),
    ForeignKeyConstraint(
        ["organization_id", "account_id"],
        ["connected_accounts.organization_id", "connected_accounts.id"],
    ),
)


def _lane() -> Column[object]:
    """The lane's number, made of its key: an index of leads by lane has 8 bytes of it, not 50.

    Two lanes may share one, so whoever asks by it compares the key as well.
    """
    number = (
        "hashtextextended(operation,"
        " uuid_hash_extended(account_id, uuid_hash_extended(campaign_id, 0)))"
    )
    return Column("lane", BigInteger, Computed(number, persisted=True))


campaign_executions = Table(
    "campaign_executions",
    metadata,
    # a lead's place.  Its key is the lead in the campaign: nobody can be enrolled twice
    _tenant(),
    Column("campaign_id", Uuid, nullable=False),
    Column("lead_id", Uuid, nullable=False),
    Column("account_id", Uuid, nullable=False),
    Column("workflow_version_id", Uuid, nullable=False),
    Column("status", Text, nullable=False),
    Column("node_id", Text),
    Column("operation", Text, nullable=False),
    _lane(),
    _at("next_run_at"),
    Column("attempt", SmallInteger, nullable=False, server_default="0"),
    Column("posts", ARRAY(Text)),
    Column("relooked", Boolean, nullable=False, server_default=text("false")),
    Column("provider_id", Text),
    Column("connected", Boolean, nullable=False, server_default=text("false")),
    Column("replied", Boolean, nullable=False, server_default=text("false")),
    _at("started_at"),
    _at("expires_at"),
    _at("deadline_at"),
    Column("outcome", Text),
    Column("reason", Text),
    _at("finished_at"),
    _at("doubted_since"),  # it may have gone on since then, and a restore lost what it did
    PrimaryKeyConstraint("organization_id", "campaign_id", "lead_id"),
    ForeignKeyConstraint(
        ["organization_id", "campaign_id"], ["campaigns.organization_id", "campaigns.id"]
    ),
    ForeignKeyConstraint(["organization_id", "lead_id"], ["leads.organization_id", "leads.id"]),
    ForeignKeyConstraint(
        ["organization_id", "account_id"],
        ["connected_accounts.organization_id", "connected_accounts.id"],
    ),
    ForeignKeyConstraint(
        ["organization_id", "workflow_version_id"],
        ["workflow_versions.organization_id", "workflow_versions.id"],
    ),
    _one_of("status", Status),
    _one_of("operation", Operation),
    _one_of("outcome", Outcome),
    # I2: waiting has a time, held has a reason, an end has an outcome; nothing else exists
    CheckConstraint(
        "(next_run_at IS NOT NULL) = (status IN ('waiting', 'awaiting'))", name="next_run_at"
    ),
    CheckConstraint("status <> 'held' OR reason IS NOT NULL", name="held_reason"),
    CheckConstraint(f"(outcome IS NOT NULL) = (status IN ({_list(FINAL)}))", name="final_outcome"),
    CheckConstraint("(outcome IS NOT NULL) = (finished_at IS NOT NULL)", name="finished_at"),
    CheckConstraint("array_position(posts, NULL) IS NULL", name="posts"),
    # the claim takes each lane's first executions; the lead's id makes the order total
    Index(
        "campaign_executions_head",
        "lane",
        "next_run_at",
        "lead_id",
        postgresql_where=text("outcome IS NULL"),
    ),
    # a status asks: why are leads held
    Index(
        "campaign_executions_held",
        "organization_id",
        "campaign_id",
        "reason",
        postgresql_where=text("status = 'held'"),
    ),
    # and how many wrote to their senders
    Index(
        "campaign_executions_replied",
        "organization_id",
        "campaign_id",
        postgresql_where=text("replied"),
    ),
    _readable("next_run_at"),
    # the row is rewritten once a step: room on its page keeps the versions together
    postgresql_with={"fillfactor": "80"},
)

campaign_moves = Table(
    "campaign_moves",
    metadata,
    # how many leads moved so: what a status is added up from.  '' is nowhere, or nothing
    _tenant(),
    Column("campaign_id", Uuid, nullable=False),
    Column("shard", SmallInteger, nullable=False),  # whoever counts has one alone
    Column("node_id", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("result", Text, nullable=False),
    Column("entered", Text, nullable=False),
    Column("to_node_id", Text, nullable=False),
    Column("to_status", Text, nullable=False),
    Column("to_outcome", Text, nullable=False),
    Column("leads", BigInteger, nullable=False),
    PrimaryKeyConstraint(
        "organization_id",
        "campaign_id",
        "shard",
        "node_id",
        "status",
        "result",
        "entered",
        "to_node_id",
        "to_status",
        "to_outcome",
    ),
    ForeignKeyConstraint(
        ["organization_id", "campaign_id"], ["campaigns.organization_id", "campaigns.id"]
    ),
    # rewritten by every batch: room on the page keeps the update off the index
    postgresql_with={"fillfactor": "50"},
)

lanes = Table(
    "lanes",
    metadata,
    # what the ticker looks at: one queue per campaign, account and operation
    _tenant(),
    Column("campaign_id", Uuid, nullable=False),
    Column("account_id", Uuid, nullable=False),
    Column("operation", Text, nullable=False),
    _lane(),
    Column("budget", Text, nullable=False),
    # false while the campaign or the account does not run, or the lane is held
    Column("active", Boolean, nullable=False),
    # earliest moment at which the head may run; null: nothing waits here
    _at("ready_at"),
    # refusals by one word of the provider's since the last success, and what held the lane for it:
    # only a person lifts that, no resume of campaign or account
    Column("refusals", SmallInteger, nullable=False, server_default="0"),
    Column("refused_with", Text),
    _at("held_since"),
    Column("held_reason", Text),
    PrimaryKeyConstraint("organization_id", "campaign_id", "account_id", "operation"),
    ForeignKeyConstraint(
        ["organization_id", "campaign_id"], ["campaigns.organization_id", "campaigns.id"]
    ),
    ForeignKeyConstraint(
        ["organization_id", "account_id", "budget"],
        ["rate_limits.organization_id", "rate_limits.account_id", "rate_limits.operation"],
    ),
    _one_of("operation", Operation),
    CheckConstraint(
        "(held_reason IS NULL) = (held_since IS NULL) AND (held_reason IS NULL OR NOT active)",
        name="held",
    ),
    # is there work?
    Index("lanes_ready", "ready_at", postgresql_where=text("active AND ready_at IS NOT NULL")),
    # and of an organisation that comes first, in rotation?
    Index(
        "lanes_turn",
        "organization_id",
        "ready_at",
        postgresql_where=text("active AND ready_at IS NOT NULL"),
    ),
    # pausing an account
    Index("lanes_account", "organization_id", "account_id"),
    _readable("ready_at"),
    postgresql_with={"fillfactor": "50"},
)

OPEN_ACTION = f"state IN {OPEN}"

actions = Table(
    "actions",
    metadata,
    # the ledger: one row per thing done to a person, written before it is done.  It has no name of
    # its own, and no primary key: an open one is its execution's, and its token proves whose; a
    # settled one has its number in the lead's history.  Each index has it once, not once a version.
    _tenant(),
    Column("campaign_id", Uuid, nullable=False),
    Column("lead_id", Uuid, nullable=False),
    Column("account_id", Uuid, nullable=False),
    Column("token", Uuid, nullable=False),  # of the lease
    _at("intended_at", nullable=False),
    _at("bucket_at", nullable=False),  # of the counters that a unit was taken from
    Column("node_id", Text, nullable=False),
    Column("operation", Text, nullable=False),
    Column("budgets", ARRAY(Text), nullable=False),  # each gave one unit
    # exactly what is sent, so that reconcile can recognise it
    Column("target", Text, nullable=False),
    Column("text", Text),
    Column("subject", Text),
    # From here on is what an end changes: one after the other, since all between is logged again.
    Column("state", Text, nullable=False),
    _at("check_at"),  # from when reconcile may look at it: the lease is over
    Column("checks", SmallInteger, nullable=False, server_default="0"),
    Column("reference", Text),  # the provider's id of what was made
    Column("reason", Text),
    _at("settled_at"),
    # Its place in the history, among `events`.  A step that nothing came between is told here, in
    # their words: `history` shows both.
    Column("number", BigInteger),
    Column("kind", Text),
    Column("result", Text),
    Column("entered", Text),
    Column("detail", JSONB),
    Column("progress", JSONB),  # of the questions about an unknown one
    # whom it reaches; null of what reaches nobody.  Where a merge finds that both had been reached
    # already, `twin` tells the two apart.
    Column("person_id", Uuid),
    Column("twin", SmallInteger, nullable=False, server_default="0"),
    # no foreign key: an action is written by whoever has locked its execution
    _one_of("operation", Operation),
    _one_of("state", ActionState),
    CheckConstraint(f"({OPEN_ACTION}) = (check_at IS NOT NULL)", name="check_at"),
    CheckConstraint(f"({OPEN_ACTION}) = (settled_at IS NULL)", name="settled_at"),
    CheckConstraint(f"({OPEN_ACTION}) = (number IS NULL)", name="number"),
    CheckConstraint("(kind IS NOT NULL) = (detail IS NOT NULL)", name="detail"),
    CheckConstraint(f"(person_id IS NOT NULL) = (operation IN {RECEIVED})", name="person"),
    CheckConstraint(f"progress IS NULL OR state = {UNKNOWN}", name="progress"),
    _one_of("result", Result),
    # I1, by the schema itself: one open action per execution …
    Index(
        "actions_open",
        "organization_id",
        "campaign_id",
        "lead_id",
        unique=True,
        postgresql_where=text(OPEN_ACTION),
    ),
    # … and, for what a person receives, one that happened or may have, per person, node and post
    Index(
        "actions_once",
        "organization_id",
        "campaign_id",
        "person_id",
        "node_id",
        text(POST),
        "twin",
        unique=True,
        postgresql_where=text(f"state IN {HAPPENED} AND operation IN {RECEIVED}"),
    ),
    # what was done to a lead
    Index(
        "actions_settled",
        "organization_id",
        "lead_id",
        "number",
        unique=True,
        postgresql_where=text("number IS NOT NULL"),
    ),
    # reconcile asks: which comments of the account does the ledger know
    Index(
        "actions_comments",
        "organization_id",
        "account_id",
        "number",
        postgresql_where=text(f"state = {DONE} AND operation = {COMMENT}"),
    ),
    _readable("check_at"),
    # written twice: on one page its end is logged as what differs from its beginning
    postgresql_with={"fillfactor": "40"},
)

events = Table(
    "events",
    metadata,
    # append-only history of a lead, campaign or account (the subject), and by whom: all of it but
    # the steps that are told with their action
    _tenant(),
    Column("subject_id", Uuid, nullable=False),
    Column("id", BigInteger, Identity(always=True), nullable=False),
    Column("campaign_id", Uuid),
    _at("at", nullable=False),
    Column("kind", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("node_id", Text),
    Column("result", Text),  # what became of that node, when it was left
    Column("entered", Text),  # the node that the execution came to
    Column("detail", JSONB, nullable=False, server_default=_EMPTY_OBJECT),
    PrimaryKeyConstraint("organization_id", "subject_id", "id"),
    _one_of("result", Result),
)

# what happened to a lead, a campaign or an account, from both tables, in one order
HISTORY = """
create view history with (security_invoker) as
select organization_id, subject_id, id, campaign_id, at, kind, actor, node_id, result, entered,
       detail
  from events
 union all
select organization_id, lead_id, number, campaign_id, settled_at, kind, 'ticker', node_id, result,
       entered, detail
  from actions
 where number is not null and kind is not null
"""


_BUDGETS_OF_OPERATIONS = ", ".join(f"('{each}', '{each.budget}')" for each in Operation)

# Lanes against their first leads, must be empty.  How long a lane may sleep: until its gates open,
# a day more for a budget that is spent, and eight where there are hours, which SQL cannot read.
# What time it is says `clento.now`, where the clock is a simulator's.  Leads are found by the
# numbers of their lanes, one probe each: it costs what the lanes are, never the leads.
INVARIANTS = f"""
create view invariants.lanes with (security_invoker) as
with recursive clock(at) as (
    select coalesce(nullif(current_setting('clento.now', true), '')::timestamptz, now())),
numbers(lane) as (
    (select lane from campaign_executions where outcome is null order by lane limit 1)
    union all
    select (select e.lane from campaign_executions e
             where e.outcome is null and e.lane > n.lane order by e.lane limit 1)
      from numbers n where n.lane is not null),
budgets(operation, budget) as (values
        {_BUDGETS_OF_OPERATIONS})
select e.organization_id, e.campaign_id, e.account_id, e.operation, p.problem
  from numbers n
 cross join lateral (
       select x.* from campaign_executions x
        where x.lane = n.lane and x.outcome is null limit 1) e
  join campaigns c on c.organization_id = e.organization_id and c.id = e.campaign_id
 cross join lateral (
       select 'completed with leads unfinished' as problem where c.status = 'completed'
       union all
       select 'no such lane'
        where c.status in ('running', 'paused')
          and not exists (select from lanes l
                           where l.organization_id = e.organization_id
                             and l.campaign_id = e.campaign_id
                             and l.account_id = e.account_id and l.operation = e.operation)) p
union all
select l.organization_id, l.campaign_id, l.account_id, l.operation, p.problem
  from lanes l
  join campaigns c on c.organization_id = l.organization_id and c.id = l.campaign_id
  join connected_accounts a on a.organization_id = l.organization_id and a.id = l.account_id
  join rate_limits b on b.organization_id = l.organization_id and b.account_id = l.account_id
                    and b.operation = l.budget
  join budgets g on g.operation = l.operation
 cross join clock
  left join lateral (
       select e.next_run_at
         from (select * from campaign_executions e
                where e.lane = l.lane and e.outcome is null and e.next_run_at is not null
                order by e.next_run_at, e.lead_id
               offset 0) e
        where e.organization_id = l.organization_id and e.campaign_id = l.campaign_id
          and e.account_id = l.account_id and e.operation = l.operation
          and not exists (select from actions x
                           where x.organization_id = e.organization_id
                             and x.campaign_id = e.campaign_id and x.lead_id = e.lead_id
                             and x.state in ('intended', 'unknown')
                          offset 0)
        limit 1) h on c.status in ('running', 'paused')
 cross join lateral (
       select 'active, though campaign or account does not run' as problem
        where l.active and not ({LANE_RUNS})
       union all
       select 'not active, though campaign and account run' where not l.active and ({LANE_RUNS})
       union all
       select 'another budget than its operation''s' where l.budget <> g.budget
       union all
       select 'asleep past its first lead'
        where h.next_run_at is not null
          and (l.ready_at is null
               or l.ready_at > greatest(h.next_run_at, clock.at, a.next_free_at,
                                        a.blocked_until, b.next_free_at, b.blocked_until,
                                        case l.operation when 'start' then c.next_start_at end)
                               + case c.working_hours when 'always' then interval '1 day'
                                      else interval '9 days' end)) p
"""

# Who is who, must be empty: what merges and claims leave of it.  Reads the whole ledger.
PEOPLE_INVARIANTS = f"""
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
 where a.twin > 0 and a.state in {HAPPENED}
   and not exists (select from actions b
                    where b.organization_id = a.organization_id
                      and b.campaign_id = a.campaign_id and b.person_id = a.person_id
                      and b.node_id = a.node_id
                      and {post_of("b")} = {post_of("a")}
                      and b.twin = 0 and b.state in {HAPPENED}
                      and b.operation in {RECEIVED})
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

# what replicates changes of rows finds them by their keys: the ledger has none
REPLICATED = "alter table actions replica identity full"


@event.listens_for(metadata, "after_create")
def _create_the_rest(_metadata: MetaData, connection: Connection, **_named: object) -> None:
    connection.execute(text(HISTORY))
    connection.execute(text(REPLICATED))
    connection.execute(text("create schema if not exists invariants"))
    connection.execute(text(INVARIANTS))
    connection.execute(text(PEOPLE_INVARIANTS))


inbox_events = Table(
    "inbox_events",
    metadata,
    # webhooks as they came, once each
    _tenant(),
    Column("id", BigInteger, Identity(always=True), nullable=False),
    Column("key", Text, nullable=False),
    Column("payload", JSONB, nullable=False),
    _at("received_at", nullable=False),
    _at("applied_at"),
    Column("result", Text),
    # not before: who wrote it can be told only once a step that is under way is settled
    _at("apply_at"),
    # of a message that the account itself may have written by hand: the provider's id of the only
    # other person in its chat
    Column("recipient", Text),
    PrimaryKeyConstraint("organization_id", "id"),
    UniqueConstraint("organization_id", "key", name="inbox_events_key_key"),
    ForeignKeyConstraint(["organization_id"], ["organizations.id"]),
    # the ticker asks: what came in
    Index("inbox_events_new", "id", postgresql_where=text("applied_at IS NULL")),
    # a claim asks: did this person write, and nobody heard it yet
    Index(
        "inbox_events_unheard",
        "organization_id",
        text("((payload -> 'sender') ->> 'attendee_provider_id')"),
        postgresql_where=text("applied_at IS NULL OR result = 'nobody known'"),
    ),
    # and: did the account write to this person, and nobody knows yet whether by hand
    Index(
        "inbox_events_unheard_own",
        "organization_id",
        "recipient",
        postgresql_where=text("applied_at IS NULL AND recipient IS NOT NULL"),
    ),
)

_WORDS_OF_NOTICES = ", ".join(f"'{notice}'" for notice in Notice)
webhook_endpoints = Table(
    "webhook_endpoints",
    metadata,
    _tenant(),
    Column("id", Text, nullable=False),  # the `webhookId` of a workflow's node
    Column("name", Text, nullable=False),
    Column("url", Text, nullable=False),
    # what it is told besides the steps of those nodes
    Column("notices", ARRAY(Text), nullable=False, server_default=text("'{}'::text[]")),
    _created(),
    PrimaryKeyConstraint("organization_id", "id"),
    ForeignKeyConstraint(["organization_id"], ["organizations.id"]),
    CheckConstraint(f"notices <@ ARRAY[{_WORDS_OF_NOTICES}]::text[]", name="notices"),
)

webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    # the outbox: notices saved with the state that they tell of
    _tenant(),
    Column("id", Uuid, nullable=False),
    Column("campaign_id", Uuid, nullable=False),
    Column("lead_id", Uuid, nullable=False),
    Column("node_id", Text),  # none: not a node's, but what an endpoint is told
    Column("url", Text, nullable=False),
    Column("payload", JSONB, nullable=False),
    Column("attempt", SmallInteger, nullable=False, server_default="0"),
    _at("next_attempt_at"),
    _at("delivered_at"),
    _at("failed_at"),
    Column("reason", Text),
    _created(),
    PrimaryKeyConstraint("organization_id", "id"),
    UniqueConstraint(
        "organization_id", "campaign_id", "lead_id", "node_id", name="webhook_deliveries_node_key"
    ),
    CheckConstraint(
        "(next_attempt_at IS NOT NULL) = (delivered_at IS NULL AND failed_at IS NULL)",
        name="next_attempt_at",
    ),
    # the outbox asks: what is due
    Index(
        "webhook_deliveries_due",
        "next_attempt_at",
        postgresql_where=text("next_attempt_at IS NOT NULL"),
    ),
    _readable("next_attempt_at"),
)
