"""Routes of accounts, and of the links by which people sign in."""

from clento_engine.simulator import payloads
from clento_engine.simulator.accounts import delete_account, set_status
from clento_engine.simulator.asgi import Answer, Handler, Request
from clento_engine.simulator.chance import hexadecimal
from clento_engine.simulator.ledger import Read
from clento_engine.simulator.reading import read
from clento_engine.simulator.refusal import Refusal
from clento_engine.simulator.routes.paging import list_answer, page_of
from clento_engine.simulator.routes.parameters import (
    account_of,
    instant,
    optional_text,
    required_text,
)
from clento_engine.simulator.senders import Status
from clento_engine.simulator.world import SignIn, World


class AccountRoutes:
    """Accounts: listed, shown, disconnected, restarted; and how one is signed in."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.handlers: dict[str, Handler] = {
            "GET /accounts": self.accounts,
            "GET /accounts/{id}": self.account,
            "DELETE /accounts/{id}": self.delete_account,
            "POST /accounts/{id}/restart": self.restart_account,
            "GET /users/me": self.me,
            "GET /linkedin/inmail_balance": self.inmail_balance,
            "POST /hosted/accounts/link": self.hosted_link,
        }

    def accounts(self, request: Request) -> Answer:
        """List the connected accounts."""
        accounts = list(self.world.accounts.values())
        page, cursor = page_of(request, accounts, default=100, most=250)
        return list_answer("AccountList", map(payloads.account, page), cursor)

    def account(self, _request: Request, account_id: str) -> Answer:
        """Show a connected account; causes no LinkedIn traffic."""
        return Answer(payloads.account(self.world.account(account_id)))

    def delete_account(self, _request: Request, account_id: str) -> Answer:
        """Disconnect an account."""
        delete_account(self.world, self.world.account(account_id))
        return Answer({"object": "AccountDeleted"})

    def restart_account(self, _request: Request, account_id: str) -> Answer:
        """Un-freeze an account's sources; what needs a person stays as it is."""
        account = self.world.account(account_id)
        if account.status in (Status.STOPPED, Status.ERROR, Status.CONNECTING):
            set_status(self.world, account, Status.OK)
        restarted = account.status is Status.OK
        return Answer({"object": "AccountRestarted" if restarted else "AccountFailedToRestart"})

    def me(self, request: Request) -> Answer:
        """Show the sender's own profile."""
        account = account_of(self.world, request)
        read(self.world, account, Read.OWN_PROFILE)
        return Answer(payloads.owner(account))

    def inmail_balance(self, request: Request) -> Answer:
        """Show the InMail credits left."""
        account = account_of(self.world, request)
        read(self.world, account, Read.INMAIL_BALANCE)
        return Answer(payloads.inmail_balance(account, self.world.clock()))

    def hosted_link(self, request: Request) -> Answer:
        """Make a link by which a person signs in; opening it is the signing in."""
        fields = request.json
        kind = required_text(fields, "type")
        reconnect = optional_text(fields, "reconnect_account")
        if kind not in ("create", "reconnect") or (kind == "reconnect") is not bool(reconnect):
            raise Refusal("invalid_parameters", "type is create, or reconnect with its account.")
        if reconnect:
            self.world.account(reconnect)
        token = hexadecimal(self.world.seed, "sign-in", len(self.world.sign_ins), length=32)
        self.world.sign_ins[token] = SignIn(
            expires_at=instant(required_text(fields, "expiresOn")),
            account_id=reconnect,
            name=optional_text(fields, "name"),
            notify_url=optional_text(fields, "notify_url"),
        )
        base = required_text(fields, "api_url").rstrip("/")
        return Answer({"object": "HostedAuthUrl", "url": f"{base}/simulator/sign-in/{token}"})
