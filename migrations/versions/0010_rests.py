"""Only Unipile's own words judge: the workspace's rest, lanes held after runs of refusals."""

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    pass
