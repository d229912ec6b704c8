"""Routes of profiles, relations and invitations."""

from clento_engine.simulator import payloads
from clento_engine.simulator.asgi import Answer, Handler, Request
from clento_engine.simulator.invitations import WITHDRAWN_FOR, invite, withdraw
from clento_engine.simulator.ledger import Read
from clento_engine.simulator.payloads import Json
from clento_engine.simulator.reading import read, read_profile
from clento_engine.simulator.refusal import Refusal
from clento_engine.simulator.routes.paging import list_answer, page_of
from clento_engine.simulator.routes.parameters import account_of, flag, optional_text, required_text
from clento_engine.simulator.world import World


class PeopleRoutes:
    """Profiles, relations and invitations."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.handlers: dict[str, Handler] = {
            "GET /users/relations": self.relations,
            "POST /users/invite": self.invite,
            "GET /users/invite/sent": self.sent_invitations,
            "DELETE /users/invite/sent/{id}": self.withdraw,
            "GET /users/{identifier}": self.profile,
        }

    def profile(self, request: Request, identifier: str) -> Answer:
        """Look a profile up; with `notify=true` it is a visit the person sees."""
        account = account_of(self.world, request)
        api = request.query.get("linkedin_api")
        if api not in (None, "sales_navigator", "recruiter"):
            raise Refusal("invalid_parameters", "linkedin_api is recruiter or sales_navigator.")
        if api is not None and api != account.tier:
            raise Refusal("feature_not_subscribed", "The account has no such subscription.")
        notify = flag(request, "notify")
        if identifier in (account.provider_id, account.slug):
            read(self.world, account, Read.OWN_PROFILE)
            return Answer(payloads.self_profile(account))
        sales = api is not None
        person = read_profile(self.world, account, identifier, notify=notify, sales=sales)
        tie = self.world.tie(account, person)
        return Answer(
            payloads.profile(tie, withdrawn_for=WITHDRAWN_FOR, now=self.world.clock(), sales=sales)
        )

    def relations(self, request: Request) -> Answer:
        """List first-degree connections, newest first."""
        account = account_of(self.world, request)
        read(self.world, account, Read.RELATIONS)
        now = self.world.clock()
        known = [account.member.ties[slug] for _, slug in reversed(account.member.relations)]
        wanted = request.query.get("filter")
        if wanted:
            known = [tie for tie in known if wanted.casefold() in tie.person.name.casefold()]
        page, cursor = page_of(request, known, default=100, most=1000)
        items = []
        for tie in page:
            if tie.connected_at is None:
                continue
            if tie.acceptance is not None:
                tie.acceptance.learn(now)
            items.append(payloads.relation(tie.person, tie.connected_at))
        return list_answer("UserRelationsList", items, cursor)

    def invite(self, request: Request) -> Answer:
        """Ask to connect."""
        fields = request.json
        account = self.world.account(required_text(fields, "account_id"))
        invitation, usage = invite(
            self.world,
            account,
            required_text(fields, "provider_id"),
            optional_text(fields, "message"),
        )
        body: Json = {"object": "UserInvitationSent", "invitation_id": invitation.id}
        if usage is not None:
            body["usage"] = usage
        return Answer(body)

    def sent_invitations(self, request: Request) -> Answer:
        """List pending invitations, newest first; ten a page unless asked otherwise."""
        account = account_of(self.world, request)
        read(self.world, account, Read.INVITATIONS)
        now = self.world.stamp()
        pending = list(reversed(account.member.pending.values()))
        page, cursor = page_of(request, pending, default=10, most=250)
        by_slug = self.world.reliability.pending_by_slug_only
        items = (payloads.invitation(invitation, now, by_slug=by_slug) for invitation in page)
        return list_answer("InvitationList", items, cursor)

    def withdraw(self, request: Request, invitation_id: str) -> Answer:
        """Take a pending invitation back."""
        withdraw(self.world, account_of(self.world, request), invitation_id)
        return Answer({"object": "InvitationCanceled"})
