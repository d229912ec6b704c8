"""${message.capitalize()}.

Small, and safe while the code of the version before runs: new columns are nullable or have a
default, what is no longer used goes one release later.
"""
<%
    imported = imports.splitlines() if imports else []
%>
import sqlalchemy as sa
from alembic import op
% for line in imported:
${line}
% endfor

revision = "${up_revision}"
down_revision = "${down_revision}"


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}
