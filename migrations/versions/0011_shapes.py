"""What a claim cannot read is kept out: shapes of JSON, characters of hours and zones, durations.

What a hand has written is put right: values become texts, word processors' dashes hyphens.
"""

from alembic import op

revision = "0011"
down_revision = "0010"

_DASHES = "\u2010\u2011\u2012\u2013\u2014\u2212"  # a word processor's, for a hyphen
_SPACES = "\u00a0\u2009\u202f"
_LONGEST = "3650 days"  # what the commands take
_ARE_TEXTS = (
    "jsonb_typeof(fields) = 'object' and not jsonb_path_exists(fields,"
    """ 'strict $.* ? (@.type() != "string")', '{}', true)"""
)


def _add(table: str, name: str, condition: str) -> None:
    op.execute(f"alter table {table} add constraint {table}_{name}_check check ({condition})")


def upgrade() -> None:
    op.execute(
        f"""
        update leads
           set fields = case when jsonb_typeof(fields) <> 'object' then '{{}}' else coalesce(
                   (select jsonb_object_agg(f.key, f.value #>> '{{}}') from jsonb_each(fields) f
                     where f.value <> 'null'), '{{}}') end
         where not ({_ARE_TEXTS})
        """
    )
    _add("leads", "fields", _ARE_TEXTS)
    for table, column in (("lead_lists", "columns"), ("campaign_executions", "posts")):
        op.execute(
            f"update {table} set {column} = array_remove({column}, null)"
            f" where array_position({column}, null) is not null"
        )
        _add(table, column, f"array_position({column}, null) is null")
    for table, column in (("campaigns", "working_hours"), ("connected_accounts", "time_zone")):
        written = f"translate({column}, '{_DASHES}{_SPACES}', '------   ')"
        op.execute(f"update {table} set {column} = {written} where {column} <> {written}")
        _add(table, f"{column}_ascii", f"{column} ~ '^[ -~]+$'")
    for column, least in (("max_duration", ">"), ("lead_processing_delay", ">=")):
        op.execute(f"update campaigns set {column} = '{_LONGEST}' where {column} > '{_LONGEST}'")
        op.execute(f"alter table campaigns drop constraint campaigns_{column}_check")
        _add("campaigns", column, f"{column} {least} '0' and {column} <= '{_LONGEST}'")
