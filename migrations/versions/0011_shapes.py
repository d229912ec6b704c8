"""What a claim cannot read is held alone, and kept out."""

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    pass
