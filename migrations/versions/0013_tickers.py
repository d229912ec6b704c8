"""Nothing stands still, and it shows: tickers' heartbeats, lanes against their heads."""

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    pass
