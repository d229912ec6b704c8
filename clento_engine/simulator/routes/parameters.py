"""What requests say in their query, their fields and their forms."""

from datetime import UTC, datetime
from re import fullmatch
from typing import Any

from clento_engine.simulator.asgi import Request
from clento_engine.simulator.refusal import Refusal
from clento_engine.simulator.senders import Account
from clento_engine.simulator.world import World

_INSTANT = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


def account_of(world: World, request: Request) -> Account:
    """Return the sender that the query names; refuse when there is none."""
    return world.account(request.query.get("account_id"))


def span(request: Request) -> tuple[datetime, datetime]:
    """Return the instants that `after` and `before` exclude."""
    after, before = request.query.get("after"), request.query.get("before")
    return (
        instant(after) if after else datetime.min.replace(tzinfo=UTC),
        instant(before) if before else datetime.max.replace(tzinfo=UTC),
    )


def instant(text: str) -> datetime:
    """Read an instant as Unipile wants it: UTC, with milliseconds, and Z."""
    if not fullmatch(_INSTANT, text):
        raise Refusal("invalid_parameters", "Instants are like 2026-10-09T08:00:00.000Z.")
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise Refusal("invalid_parameters", str(error)) from error


def flag(request: Request, name: str) -> bool:
    """Return a query's true or false; false where it is not said."""
    word = request.query.get(name, "false")
    if word not in ("true", "false"):
        raise Refusal("invalid_parameters", f"{name} is true or false.")
    return word == "true"


def required_text(fields: dict[str, Any], name: str) -> str:
    """Return a field's text; refuse when it is missing or empty."""
    value = optional_text(fields, name)
    if not value:
        raise Refusal("missing_parameters", f"{name} is required.")
    return value


def optional_text(fields: dict[str, Any], name: str) -> str | None:
    """Return a field's text, if it is there; refuse what is none."""
    value = fields.get(name)
    if value is not None and not isinstance(value, str):
        raise Refusal("invalid_parameters", f"{name} must be text.")
    return value


def form_value(form: dict[str, list[str]], name: str) -> str | None:
    """Return the last value that a form has of this name."""
    values = form.get(name)
    return values[-1] if values else None
