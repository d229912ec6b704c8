"""What tests and demos ask of the simulator itself: time, people, faults, and the truth."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from clento_engine.simulator import payloads
from clento_engine.simulator.accounts import connect_account, resync, set_status, sign_in_anew
from clento_engine.simulator.asgi import Answer, Handler, Request, Router
from clento_engine.simulator.clock import DrivenClock, iso_exact
from clento_engine.simulator.faults import Rule
from clento_engine.simulator.invitations import accept
from clento_engine.simulator.messaging import reply, write_by_hand, write_to_group
from clento_engine.simulator.posts import comment_by_hand, find_post, others_comment, written_by
from clento_engine.simulator.refusal import Refusal
from clento_engine.simulator.scheduler import advance, halt
from clento_engine.simulator.senders import Account, Status, Tie, Tier
from clento_engine.simulator.webhook_events import notify, tell_status
from clento_engine.simulator.world import World

MOST_ENTRIES = 50_000  # in one page of the ledger

_SECONDS = {"accepts_after", "replies_after", "connected_for"}
_TEMPER = _SECONDS | {"replies_to_message", "noticed_after", "reply"}
_RELIABILITY = {
    "visible_after_s",
    "noticed_within_s",
    "lost",
    "duplicated",
    "null_ids",
    "empty_lists",
    "pending_by_slug_only",
    "stamps_behind_s",
}
_TRAITS = {
    "exists",
    "locked",
    "open_profile",
    "premium",
    "takes_inmail",
    "posts",
    "new_slug",
    "first_name",
    "last_name",
    "headline",
    "company",
}


class Control:
    """The routes under /simulator; none needs a key."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.router = Router()
        routes: dict[str, Handler] = {
            "GET /simulator/clock": self.clock,
            "POST /simulator/clock/halt": self.halt,
            "POST /simulator/advance": self.advance,
            "GET /simulator/state": self.state,
            "GET /simulator/ledger": self.ledger,
            "GET /simulator/ledger/reads": self.reads,
            "GET /simulator/ledger/signals": self.signals,
            "POST /simulator/accounts": self.add_account,
            "POST /simulator/accounts/{id}/status": self.set_status,
            "POST /simulator/accounts/{id}/sign-in-anew": self.sign_in_anew,
            "POST /simulator/accounts/{id}/resync": self.resync,
            "POST /simulator/accounts/{id}/comments": self.write_by_hand,
            "POST /simulator/posts/{id}/comments": self.others_comment,
            "POST /simulator/people/{slug}": self.force,
            "GET /simulator/people/{slug}": self.show_person,
            "POST /simulator/people/{slug}/reply": self.reply,
            "POST /simulator/people/{slug}/by-hand": self.by_hand,
            "POST /simulator/people/{slug}/group-message": self.group_message,
            "POST /simulator/people/{slug}/accept": self.accept,
            "GET /simulator/faults": self.faults,
            "POST /simulator/faults": self.add_faults,
            "DELETE /simulator/faults": self.clear_faults,
            "PATCH /simulator/settings": self.set_reliability,
            "GET /simulator/settings": self.reliability,
            "GET /simulator/sign-in/{token}": self.sign_in,
        }
        for template, handler in routes.items():
            self.router.add(template, handler)

    # --- time

    def clock(self, _request: Request) -> Answer:
        """Say what time it is."""
        speed = getattr(self.world.clock, "speed", 0.0)
        return Answer(
            {"object": "SimulatorClock", "now": iso_exact(self.world.clock()), "speed": speed}
        )

    def halt(self, request: Request) -> Answer:
        """Stop a running clock: from now on time is moved by requests."""
        halt(self.world)
        return self.clock(request)

    async def advance(self, request: Request) -> Answer:
        """Let time go on, up to `to` or to the first webhook."""
        if not isinstance(self.world.clock, DrivenClock):
            raise Refusal("invalid_request", "This clock runs by itself.")
        linger = timedelta(seconds=float(request.json.get("linger_s", 0)))
        came = await advance(self.world, _instant(request.json.get("to")), linger)
        return Answer(
            {
                "object": "SimulatorAdvance",
                "now": iso_exact(came.now),
                "delivered": came.delivered,
                "next": iso_exact(came.next_at) if came.next_at else None,
            }
        )

    # --- the truth

    def ledger(self, request: Request) -> Answer:
        """Show what reached people, page by page."""
        after = _number(request.query.get("after", "0"))
        limit = min(_number(request.query.get("limit", "1000")), MOST_ENTRIES)
        return Answer(self.world.ledger.page(after, limit))

    def reads(self, _request: Request) -> Answer:
        """Show what was read, by account and kind."""
        return Answer(self.world.ledger.reads_page())

    def signals(self, _request: Request) -> Answer:
        """Show who accepted and who replied, and when the engine could know."""
        return Answer(self.world.ledger.signals_page())

    def state(self, _request: Request) -> Answer:
        """Show counts of everything."""
        world = self.world
        ledger = world.ledger
        counts = world.deliveries
        by_status: dict[str, dict[str, int]] = {}
        for (route, status), count in sorted(world.requests.counts.items()):
            by_status.setdefault(route, {})[str(status)] = count
        return Answer(
            {
                "object": "SimulatorState",
                "now": iso_exact(world.clock()),
                "seed": world.seed,
                "people": len({id(person) for person in world.people.values()}),
                "accounts": [
                    {
                        "id": account.id,
                        "name": account.name,
                        "tier": account.tier.value,
                        "status": account.status.value,
                        "provider_id": account.provider_id,
                        "pending_invitations": len(account.member.pending),
                        "relations": len(account.member.relations),
                    }
                    for account in world.accounts.values()
                ],
                "actions": dict(ledger.counts()),
                "reads": {
                    account: {kind.value: len(times) for kind, times in kinds.items()}
                    for account, kinds in ledger.reads.items()
                },
                "acceptances": len(ledger.acceptances),
                "replies": len(ledger.replies),
                "requests": {"total": world.requests.seq, "by_route": by_status},
                "faults": dict(world.faults.applied),
                "webhooks": {
                    "registered": len(world.webhooks),
                    "delivered": counts.delivered,
                    "failed_attempts": counts.failed_attempts,
                    "dropped": counts.dropped,
                    "lost": counts.lost,
                    "duplicated": counts.duplicated,
                },
                "happenings": len(world.agenda),
                "next": iso_exact(world.agenda.next_at) if world.agenda.next_at else None,
            }
        )

    # --- senders

    def add_account(self, request: Request) -> Answer:
        """Connect a sender: `id`, `name` and `tier` are optional.

        With the `provider_id` of one there is, that member under one id more: name and tier stay.
        """
        fields = _fields(request, {"id", "name", "tier", "provider_id"})
        tier = _one_of(Tier, fields.get("tier", Tier.PREMIUM.value))
        account = connect_account(
            self.world, fields.get("name"), tier, fields.get("id"), fields.get("provider_id")
        )
        return Answer(payloads.account(account), 201)

    def sign_in_anew(self, request: Request, account_id: str) -> Answer:
        """Have an account's member sign in under a new id: the old account is gone.

        `new_id`; `silent`: no webhook tells of it; `synced_after_s`: when old chats are shown.
        """
        fields = _fields(request, {"new_id", "silent", "synced_after_s"})
        account = sign_in_anew(
            self.world,
            self.world.account(account_id),
            fields.get("new_id"),
            synced_after=timedelta(seconds=fields.get("synced_after_s", 0)),
            is_silent=bool(fields.get("silent", False)),
        )
        return Answer(payloads.account(account), 201)

    def resync(self, request: Request, account_id: str) -> Answer:
        """Have an account reconnected: its store is empty `for_s`; `silent`: no webhook tells."""
        fields = _fields(request, {"for_s", "silent"})
        account = self.world.account(account_id)
        resync(
            self.world,
            account,
            timedelta(seconds=fields.get("for_s", 0)),
            is_silent=bool(fields.get("silent", False)),
        )
        return Answer(payloads.account(account))

    def set_status(self, request: Request, account_id: str) -> Answer:
        """Change an account's state, now or `after_s` seconds from now."""
        fields = _fields(request, {"status", "after_s"})
        account = self.world.account(account_id)
        status = _one_of(Status, fields.get("status", ""))
        self._when(account, fields, lambda: set_status(self.world, account, status))
        return Answer(payloads.account(account))

    def write_by_hand(self, request: Request, account_id: str) -> Answer:
        """Have an account's owner comment a post by hand: `post`, its social id, and `text`."""
        fields = _fields(request, {"post", "text"})
        remark = comment_by_hand(
            self.world,
            self.world.account(account_id),
            str(fields.get("post")),
            str(fields.get("text")),
        )
        return Answer(payloads.comment(remark, self.world.stamp()), 201)

    # --- people

    def others_comment(self, request: Request, post_id: str) -> Answer:
        """Have `count` other members comment a post, now or `after_s` seconds from now."""
        fields = _fields(request, {"count", "after_s"})
        post, count = find_post(self.world, post_id), int(fields.get("count", 1))
        after = timedelta(seconds=fields.get("after_s") or 0)
        if after:
            self.world.agenda.plan(
                self.world.clock() + after, lambda: others_comment(self.world, post, count)
            )
        else:
            others_comment(self.world, post, count)
        return Answer({"object": "SimulatorDone", "comments": len(post.comments)}, 201)

    def force(self, request: Request, slug: str) -> Answer:
        """Decide what a person is and does; durations in seconds, null for never."""
        fields = _fields(request, _TRAITS | _TEMPER | {"connected_to"})
        person = self.world.person(slug)
        if "posts" in fields:
            person.posts.clear()
            person.posts_written = 0
            fields["posts_every"] = None
        tempers = {
            name: timedelta(seconds=value) if name in _SECONDS and value is not None else value
            for name, value in fields.items()
            if name in _TEMPER
        }
        traits = {
            name: value for name, value in fields.items() if name in _TRAITS | {"posts_every"}
        }
        self.world.force(person, traits, tempers)
        for account_id in fields.get("connected_to") or ():
            self.world.befriend(self.world.account(account_id), person)
        return self.show_person(request, slug)

    def show_person(self, _request: Request, slug: str) -> Answer:
        """Show who a person is."""
        person = self.world.person(slug)
        traits = person.traits
        return Answer(
            {
                "object": "SimulatorPerson",
                "slug": person.slug,
                "public_identifier": person.public_identifier,
                "provider_id": person.provider_id,
                "sales_navigator_id": person.sales_id,
                "name": person.name,
                "exists": traits.exists,
                "locked": traits.locked,
                "open_profile": traits.open_profile,
                "takes_inmail": traits.takes_inmail,
                "posts": [
                    {"social_id": post.social_id, "at": iso_exact(post.at)}
                    for post in written_by(self.world, person)
                ],
            }
        )

    def reply(self, request: Request, slug: str) -> Answer:
        """Have a person write to an account, by default to all that have to do with them.

        `stored_after_s`: how late it comes to the store; `stamp`: the moment that the store shows,
        when it is a wrong one; `silent`: no webhook tells.
        """
        known = {"account_id", "text", "after_s", "stored_after_s", "stamp", "silent"}
        fields = _fields(request, known)
        text = fields.get("text") or "Thanks for reaching out!"
        stamp = fields.get("stamp")
        return self._by_ties(
            fields,
            slug,
            lambda account: reply(
                self.world,
                account,
                self.world.tie(account, self.world.person(slug)),
                text,
                stored_after=timedelta(seconds=fields.get("stored_after_s") or 0),
                stamp=None if stamp is None else _instant(stamp),
                is_silent=bool(fields.get("silent", False)),
            ),
        )

    def by_hand(self, request: Request, slug: str) -> Answer:
        """Have an account's owner write to a person by hand."""
        return self._write(request, slug, write_by_hand)

    def group_message(self, request: Request, slug: str) -> Answer:
        """Have a person write in a group that an account is in."""
        return self._write(request, slug, write_to_group)

    def _write(
        self, request: Request, slug: str, write: Callable[[World, Account, Tie, str], object]
    ) -> Answer:
        fields = _fields(request, {"account_id", "text", "after_s"})
        text = fields.get("text") or "By the way"
        return self._by_ties(
            fields,
            slug,
            lambda account: write(
                self.world, account, self.world.tie(account, self.world.person(slug)), text
            ),
        )

    def accept(self, request: Request, slug: str) -> Answer:
        """Have a person accept what is pending, of one account or of all."""
        fields = _fields(request, {"account_id", "after_s"})

        def accept_pending(account: Account) -> None:
            tie = self.world.tie(account, self.world.person(slug))
            if tie.invitation is not None:
                accept(self.world, account, tie, tie.invitation)

        return self._by_ties(fields, slug, accept_pending)

    # --- faults and settings

    def faults(self, _request: Request) -> Answer:
        """Show the rules in force."""
        faults = self.world.faults
        return Answer(
            {
                "object": "SimulatorFaults",
                "rules": [rule.row() for rule in faults.rules],
                "applied": dict(faults.applied),
                "struck": dict(faults.struck),
            }
        )

    def add_faults(self, request: Request) -> Answer:
        """Put rules into force: `{"rules": [...]}`."""
        rules = _fields(request, {"rules"}).get("rules")
        if not isinstance(rules, list):
            raise Refusal("invalid_parameters", "rules must be a list.")
        self.world.faults.set([Rule.parse(rule) for rule in rules])
        return self.faults(request)

    def clear_faults(self, request: Request) -> Answer:
        """Put all rules out of force."""
        self.world.faults.clear()
        return self.faults(request)

    def reliability(self, _request: Request) -> Answer:
        """Show how well store and webhooks serve."""
        now = self.world.reliability
        return Answer(
            {
                "object": "SimulatorSettings",
                "visible_after_s": now.visible_after.total_seconds(),
                "noticed_within_s": now.noticed_within.total_seconds(),
                "lost": now.lost,
                "duplicated": now.duplicated,
                "null_ids": now.null_ids,
                "empty_lists": now.empty_lists,
                "pending_by_slug_only": now.pending_by_slug_only,
                "stamps_behind_s": now.stamps_behind.total_seconds(),
            }
        )

    def set_reliability(self, request: Request) -> Answer:
        """Change how well store and webhooks serve, from now on."""
        fields = _fields(request, _RELIABILITY)
        changes: dict[str, Any] = {
            name.removesuffix("_s"): timedelta(seconds=value) if name.endswith("_s") else value
            for name, value in fields.items()
        }
        self.world.rely_on(replace(self.world.reliability, **changes))
        return self.reliability(request)

    def sign_in(self, _request: Request, token: str) -> Answer:
        """Be the person who opens a hosted link: the account is connected, or is again."""
        link = self.world.sign_ins.pop(token, None)
        if link is None or self.world.clock() >= link.expires_at:
            raise Refusal("expired_link", "This link is used up or too old.")
        if link.account_id is None:
            account = connect_account(self.world, link.name)
            word, status = "creation_success", "CREATION_SUCCESS"
        else:
            account = self.world.account(link.account_id)
            account.status = Status.OK
            account.member.forgive()
            word, status = "reconnected", "RECONNECTED"
        tell_status(self.world, account, word.upper())
        if link.notify_url:
            notify(
                self.world,
                link.notify_url,
                {"status": status, "account_id": account.id, "name": link.name},
            )
        return Answer({"object": "SimulatorSignIn", "account_id": account.id, "status": status})

    # --- inside

    def _by_ties(
        self, fields: Mapping[str, Any], slug: str, act: Callable[[Account], object]
    ) -> Answer:
        """Act for one account, or for each that has to do with the person."""
        person = self.world.person(slug)
        given = fields.get("account_id")
        accounts = (
            [self.world.account(given)]
            if given
            else [one for one in self.world.accounts.values() if person.slug in one.member.ties]
        )
        if not accounts:
            raise Refusal("resource_not_found", "No account has to do with this person.")
        for account in accounts:
            self._when(account, fields, partial(act, account))
        return Answer({"object": "SimulatorDone", "accounts": [account.id for account in accounts]})

    def _when(self, account: Account, fields: Mapping[str, Any], act: Callable[[], object]) -> None:
        """Do it now, or plan it."""
        after_s = fields.get("after_s")
        if after_s is None:
            act()
        else:
            self.world.plan(account, self.world.clock() + timedelta(seconds=after_s), act)


def _fields(request: Request, known: set[str]) -> dict[str, Any]:
    """Return the body's fields; a misspelt one is refused rather than ignored."""
    fields = request.json if request.body else {}
    if unknown := fields.keys() - known:
        raise Refusal("invalid_parameters", f"Unknown fields {sorted(unknown)}.")
    return dict(fields)


def _instant(text: object) -> datetime:
    try:
        at = datetime.fromisoformat(str(text))
    except ValueError as error:
        raise Refusal("invalid_parameters", f"Not an instant: {text!r}.") from error
    if at.tzinfo is None:
        raise Refusal("invalid_parameters", "An instant needs its offset.")
    return at.astimezone(UTC)


def _number(text: str) -> int:
    if not text.isdecimal():
        raise Refusal("invalid_parameters", f"Not a number: {text!r}.")
    return int(text)


def _one_of(kind: Any, value: object) -> Any:  # noqa: ANN401  # any of the enumerations
    try:
        return kind(value)
    except ValueError as error:
        raise Refusal("invalid_parameters", str(error)) from error
