"""What webhooks are told, and which of it is lost or told twice."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from clento_engine.simulator import payloads
from clento_engine.simulator.chance import Draw, hexadecimal
from clento_engine.simulator.messages import Kind, Message
from clento_engine.simulator.people import Person
from clento_engine.simulator.refusal import Refusal
from clento_engine.simulator.senders import Account, Member, Tie
from clento_engine.simulator.webhooks import EVENTS, Delivery, Webhook
from clento_engine.simulator.world import World

_POSTED_WITHIN_S = 20.0  # how fast the provider's store tells of a message it sees


def register_webhook(world: World, fields: Mapping[str, Any]) -> Webhook:
    """Add a webhook."""
    try:
        return _register(world, fields)
    except (KeyError, TypeError) as error:
        raise Refusal("invalid_parameters", f"Not a webhook: {error}.") from error


def _register(world: World, fields: Mapping[str, Any]) -> Webhook:
    source = fields.get("source")
    if not isinstance(source, str) or source not in EVENTS:
        raise Refusal("invalid_parameters", f"Unknown source {source!r}.")
    url = fields.get("request_url")
    if not isinstance(url, str) or not url.startswith(("http://", "https://")):
        raise Refusal("invalid_url", "request_url must be an absolute URL.")
    known, default = EVENTS[source]
    events = tuple(fields.get("events") or default)
    if unknown := set(events) - set(known):
        raise Refusal("invalid_parameters", f"Unknown events {sorted(unknown)}.")
    webhook = Webhook(
        id=f"wh_{hexadecimal(world.seed, 'webhook', world.next_number(), length=18)}",
        source=source,
        url=url,
        events=events,
        name=fields.get("name"),
        headers=tuple((one["key"], one["value"]) for one in fields.get("headers") or ()),
        account_ids=tuple(fields.get("account_ids") or ()),
        format=fields.get("format") or "json",
        enabled=fields.get("enabled", True) is not False,
        data=tuple((one["name"], one["key"]) for one in fields.get("data") or ()),
    )
    world.webhooks[webhook.id] = webhook
    return webhook


def tell_status(world: World, account: Account, word: str) -> None:
    """Send an account's new state to whoever asked for it."""
    account.transitions += 1
    key = ("status", account.id, word, account.transitions)
    _tell(
        world,
        "account_status",
        word.lower(),
        account,
        lambda _webhook: payloads.account_status(account, word),
        key=key,
    )


def tell_message(
    world: World, member: Member, tie: Tie, message: Message, *, at_once: bool = False
) -> None:
    """Tell of a message in each of a member's accounts, soon or at once."""

    def learn(at: datetime) -> None:
        if message.signal is not None:
            message.signal.tell(at)
        elif message.kind is Kind.INVITATION and tie.acceptance is not None:
            tie.acceptance.learn(at)

    def tell(account: Account) -> None:
        _tell(
            world,
            "messaging",
            "message_received",
            account,
            partial(_message_received, account, message),
            key=("message", message.ids[account.id]),
            on_delivered=learn,
            within_s=0 if at_once else _POSTED_WITHIN_S,
        )

    for account in member.accounts:
        if account.synced_at > world.clock():  # the messages of the gap come in a burst
            world.plan(account, account.synced_at, partial(tell, account))
        else:
            tell(account)


def tell_relation(world: World, member: Member, tie: Tie) -> None:
    """Tell of a new connection in each of a member's accounts."""

    def learn(at: datetime) -> None:
        if tie.acceptance is not None:
            tie.acceptance.learn(at)

    for account in member.accounts:
        _tell(
            world,
            "users",
            "new_relation",
            account,
            partial(_new_relation, account, tie.person),
            key=("relation", account.id, tie.person.slug, tie.invitations),
            on_delivered=learn,
        )


def notify(world: World, url: str, payload: Mapping[str, Any]) -> None:
    """Call a sign-in's `notify_url`: once, with neither custom headers nor retries lost."""
    delivery = Delivery(url, {}, payloads.encode(payload))
    world.agenda.plan(world.clock(), lambda: delivery)


def _tell(
    world: World,
    source: str,
    event: str,
    account: Account,
    payload: Callable[[Webhook], Mapping[str, Any]],
    *,
    key: tuple[object, ...],
    on_delivered: Callable[[datetime], None] = lambda _at: None,
    within_s: float = 0,
) -> None:
    """Plan the deliveries of one event; `key` decides whether it is lost or told twice."""
    receivers = [one for one in world.webhooks.values() if one.wants(source, event, account.id)]
    if not receivers:
        return
    draw = Draw(world.seed, "delivery", *key)
    lost, duplicated = draw.share(), draw.share()
    if lost < world.reliability.lost:
        world.deliveries.lost += 1
        return
    at = world.clock() + timedelta(seconds=within_s * draw.share())
    times = [at]
    if duplicated < world.reliability.duplicated:
        world.deliveries.duplicated += 1
        times.append(at + timedelta(seconds=draw.between(0, 90)))
    for webhook in receivers:
        body = webhook.body(payload(webhook))
        for when in times:
            delivery = Delivery(webhook.url, dict(webhook.headers), body, on_delivered)
            world.agenda.plan(when, lambda delivery=delivery: delivery)  # type: ignore[misc]


def _message_received(account: Account, message: Message, webhook: Webhook) -> Mapping[str, Any]:
    return payloads.message_received(account, message, webhook.name)


def _new_relation(account: Account, person: Person, webhook: Webhook) -> Mapping[str, Any]:
    return payloads.new_relation(account, person, webhook.name)
