"""Reads the answers of Unipile's API v1: what each refusal, or silence, means for us.

Decided on the error's type first, then on the HTTP status, never on text.  An answer without a
type is not Unipile's but a gateway's on the way to it: nothing is learned of lead or account, a
read waits, a write is unknown.  Sources, as in the
fact sheet: [oas] the official OpenAPI export; [ref] the reference pages; [live] recorded answers;
[prod] other teams' production code; [ts] the engine this one replaces; [us] our own judgement.
The classes are [us] throughout; a tag after a line says where its type, status or reason is from.
"""

from dataclasses import dataclass, replace
from datetime import timedelta
from enum import Enum

from clento_engine.domain.failure import (
    Fail,
    Failure,
    Means,
    OutcomeUnknown,
    Pause,
    Retry,
    Scope,
    Skip,
    Wait,
)
from clento_engine.provider.port import Sent


class Call(Enum):
    """What is asked of Unipile; the value is its method and route, as logs show it."""

    PROFILE = "GET /users/{identifier}"
    VISIT = "GET /users/{identifier}?notify=true"
    POSTS = "GET /users/{identifier}/posts"
    POST = "GET /posts/{post_id}"
    REACT = "POST /posts/reaction"
    COMMENT = "POST /posts/{post_id}/comments"
    OWN_COMMENTS = "GET /users/{identifier}/comments"
    INVITE = "POST /users/invite"
    SENT_INVITATIONS = "GET /users/invite/sent"
    WITHDRAW = "DELETE /users/invite/sent/{invitation_id}"
    START_CHAT = "POST /chats"
    INMAIL = "POST /chats (InMail)"
    SEND_MESSAGE = "POST /chats/{chat_id}/messages"
    CHATS = "GET /chats"
    CHAT = "GET /chats/{chat_id}"
    CHATS_WITH = "GET /chat_attendees/{provider_id}/chats"
    CHAT_MESSAGES = "GET /chats/{chat_id}/messages"
    MESSAGES = "GET /messages"
    RELATIONS = "GET /users/relations"
    ACCOUNT = "GET /accounts/{id}"
    ACCOUNTS = "GET /accounts"
    WEBHOOKS = "GET /webhooks"
    REGISTER_WEBHOOK = "POST /webhooks"
    DELETE_WEBHOOK = "DELETE /webhooks/{id}"

    @property
    def method(self) -> str:
        """The HTTP method."""
        return self.value.partition(" ")[0]

    @property
    def is_write(self) -> bool:
        """Whether it has an effect that may have happened although no good answer came."""
        return self is Call.VISIT or not self.value.startswith("GET")

    @property
    def is_counted(self) -> bool:
        """Whether it is a read that LinkedIn sees, and counts against the account's allowance.

        The others are of Unipile's own store.  [docs: Provider limits]
        """
        return self in (
            Call.PROFILE,
            Call.POSTS,
            Call.POST,
            Call.OWN_COMMENTS,
            Call.SENT_INVITATIONS,
            Call.RELATIONS,
        )


# What an answer of each call is, by its tag `object`.  [oas][sdk-run]
_KINDS: dict[Call, frozenset[str]] = {
    call: frozenset(kinds.split())
    for call, kinds in {
        Call.PROFILE: "UserProfile AccountOwnerProfile",
        Call.VISIT: "UserProfile AccountOwnerProfile",
        Call.POSTS: "PostList",
        Call.POST: "Post",
        Call.REACT: "ReactionAdded",
        Call.COMMENT: "CommentSent",
        Call.OWN_COMMENTS: "CommentList",
        Call.INVITE: "UserInvitationSent",
        Call.SENT_INVITATIONS: "InvitationList",
        Call.WITHDRAW: "InvitationCanceled",
        Call.START_CHAT: "ChatStarted",
        Call.INMAIL: "ChatStarted",
        Call.SEND_MESSAGE: "MessageSent",
        Call.CHATS: "ChatList",
        Call.CHAT: "Chat",
        Call.CHATS_WITH: "ChatList",
        Call.CHAT_MESSAGES: "MessageList",
        Call.MESSAGES: "MessageList",
        Call.RELATIONS: "UserRelationsList",
        Call.ACCOUNT: "Account",
        Call.ACCOUNTS: "AccountList",
        Call.WEBHOOKS: "WebhookList",
        Call.REGISTER_WEBHOOK: "WebhookCreated",
        Call.DELETE_WEBHOOK: "WebhookDeleted",
    }.items()
}
_KNOWN_KINDS = frozenset().union(*_KINDS.values())


def is_of_another_call(call: Call, kind: str | None) -> bool:
    """Whether an answer's tag says that it answers something else.

    A tag that we do not know, or none, says nothing: they are not all documented.
    """
    return kind in _KNOWN_KINDS and kind not in _KINDS[call]


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer other than 2xx.  `type` is without its `errors/`.

    None when the body had none, or when a 2xx was no JSON with its tag: not Unipile's words.
    """

    call: Call
    status: int
    type: str | None = None
    retry_after: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Silence:
    """No answer came, or a read's answer broke off.  `left`: the request may have been written."""

    call: Call
    reason: str
    left: bool = True


NO_SUCH_CHAT = Skip("no such chat: this is not an identifier", means=Means.GONE)
# What each person, post or chat may answer on any day, however many in a row do.  All other words
# that end a step tell of the account, the request or the list when they come in a row.
_OF_THE_PERSON = frozenset(
    {
        "resource_not_found",  # the account is asked about first
        "invalid_resource_identifier",
        "already_invited_recently",
        "already_connected",
        "action_already_performed",
        "no_connection_with_recipient",
        "not_allowed_inmail",
        "user_unreachable",
        "blocked_recipient",
        "comments_disabled",
        "invalid_post",
    }
)
_MOST_WORD = 80  # characters of a word that are kept

NO_CHAT = Skip("Unipile knows no chat with this person")

_DAY = timedelta(days=1)
_INVITATION_THROTTLE = (timedelta(hours=24), timedelta(hours=72))
_ALLOWANCE_USED = (_DAY, timedelta(days=7))
_ACCOUNT_THROTTLE = (timedelta(hours=2), timedelta(hours=48))
_REFUSED = range(400, 500)
_LEAST_PAUSE = timedelta(minutes=1)  # a `Retry-After: 0` must not become a loop: doubled, it is 0


def already(refusal: Refusal | Silence) -> Sent | None:
    """Read the refusals which tell that the effect is there; None for every other answer."""
    match refusal:
        case Refusal(Call.REACT, type="action_already_performed"):  # [oas]
            return Sent()
        case Refusal(Call.DELETE_WEBHOOK, status=404, type=str()):  # [us]
            return Sent()
        case _:
            return None


def failure(answer: Refusal | Silence) -> Failure:
    """Say what an answer other than success means.

    Raises OutcomeUnknown when it answers a write that may have had its effect.
    """
    call = answer.call
    if isinstance(answer, Silence):
        if not answer.left:  # connection refused, DNS, TLS: never arrived
            return Retry(answer.reason, left=False, silence=1)
        # reset or our own time-out: most likely landed
        return _broken(call, answer.reason, silence=1)
    if answer.type is None:
        return _broken(call, _of_gateway(answer), silence=1)
    failed = _refused(answer)
    match failed:
        case Skip() | Fail() if answer.type not in _OF_THE_PERSON:
            return replace(failed, word=answer.type[:_MOST_WORD])
        case _:
            return failed


def _refused(answer: Refusal) -> Failure:
    """Say what Unipile's own word means."""
    call, said = answer.call, _said(answer)
    match answer.type, answer.status, call:
        case _, 400 | 404, Call.WITHDRAW:
            # Accepted, expired or withdrawn; or pending under another id: the profile knows.  400
            # has a leaked translation key as its type, so the status of this route decides.  [oas]
            raise OutcomeUnknown(f"the invitation is not there under this id: {said}")

        # 400: a defect of ours, repeating cannot help: a person must look  [oas]
        case (
            "invalid_parameters"
            | "missing_parameters"
            | "malformed_request"
            | "invalid_request"
            | "invalid_url"
            | "unescaped_characters"
            | "content_too_large",
            _,
            _,
        ):
            return _ours(f"Unipile does not accept the request: {said}")
        case "too_many_characters", _, _:  # [oas] notes: 300 characters, 200 for free accounts
            return _ours(f"the text is too long: {said}")
        case "limit_too_high", _, _:  # [oas] the `limit` of a page, not a limit of LinkedIn's
            return _ours(f"Unipile does not accept the page size: {said}")

        # 401: who is not let in, the engine or the account?
        case "missing_credentials" | "insufficient_privileges", _, _:  # [oas] our API key
            return Pause(f"Unipile refuses the access token: {said}", everyone=True)
        case (  # [oas] the LinkedIn session is gone; hammering worsens it
            "disconnected_account"
            | "expired_credentials"
            | "invalid_credentials"
            | "wrong_account"
            | "multiple_sessions",
            _,
            _,
        ):
            return Pause(f"the account is signed out of LinkedIn, reconnect it: {said}")
        case (  # [oas]
            "checkpoint_error" | "invalid_checkpoint_solution" | "captcha_not_supported",
            _,
            _,
        ):
            return Pause(f"LinkedIn wants to see a person sign in: {said}")
        case "disconnected_feature", _, Call.INMAIL:  # [oas]
            return Skip(f"this LinkedIn product is not connected: {said}")
        case "disconnected_feature", _, _:  # [oas] one product is down
            return Pause(f"a LinkedIn product of the account is not connected: {said}")
        case (  # [oas], the proxy [prod]: set-up of links, proxies and mail, not expected here
            "expired_link"
            | "invalid_proxy_credentials"
            | "invalid_imap_configuration"
            | "invalid_smtp_configuration"
            | "invalid_credentials_but_valid_account_imap",
            _,
            _,
        ):
            return Pause(f"the account's connection is not set up rightly: {said}")

        # 403
        case "account_restricted", _, _:  # [oas]
            return Pause(f"LinkedIn has restricted the account: {said}")
        case (  # [oas] the user must act on LinkedIn
            "action_required"
            | "unknown_authentication_context"
            | "session_mismatch"
            | "account_mismatch",
            _,
            _,
        ):
            return Pause(f"the account's owner must act on LinkedIn: {said}")
        case "feature_not_subscribed" | "subscription_required", _, _:  # [oas] the same for all
            return Skip(f"the account's LinkedIn plan does not allow this: {said}")
        case "insufficient_permissions" | "resource_access_restricted", _, _:  # [oas]
            return Skip(f"LinkedIn does not show or allow this to the account: {said}")

        # 404: the object decides  [oas]
        case "resource_not_found", _, Call.CHATS_WITH:  # [prod] not: "not connected"
            return NO_CHAT
        case "resource_not_found" | "invalid_resource_identifier", _, _:
            return _missing(call, said, Means.GONE)

        # 407-425: on the routes that connect accounts, not expected here  [oas]
        case "proxy_auth_error" | "already_exists" | "auth_in_progress", _, _:
            return Retry(f"Unipile is busy with the account: {said}")
        case "operation_canceled", _, _:  # [us] cancelled when?  A write may have landed
            return _broken(call, said)
        case "unsupported_media_type", _, _:  # 415 [oas] an attachment, or our encoding
            return _ours(f"Unipile does not accept the request: {said}")

        # 422: LinkedIn says no
        case "cannot_resend_yet", _, _:
            # The sender's invitations are throttled, nothing about the lead; seen at 123 and at
            # 336 in a rolling week.  Further attempts prolong it.  [prod]
            delay, longest = _INVITATION_THROTTLE
            return Wait(f"LinkedIn holds invitations back: {said}", delay, longest, Scope.BUDGET)
        case "cannot_resend_within_24hrs", _, _:  # [oas] by its name; never seen live
            return Wait(f"LinkedIn wants a day's pause for this person: {said}", _DAY, _DAY)
        case "limit_exceeded", _, _:  # [oas]
            delay, longest = _ALLOWANCE_USED
            return Wait(f"LinkedIn's allowance is used up: {said}", delay, longest, Scope.BUDGET)
        case "connection_limit_reached", _, _:  # [ref] network or pending invitations are full
            delay = timedelta(hours=72)
            return Wait(f"too many connections or invitations: {said}", delay, delay, Scope.BUDGET)
        case "already_invited_recently", _, _:  # [oas][prod] pending, or withdrawn weeks ago
            return Skip(f"was invited already: {said}", means=Means.INVITED)
        case "already_connected", _, _:  # [ref]
            return Skip(f"is a connection already: {said}", means=Means.CONNECTED)
        case "action_already_performed", _, _:  # [oas] a reaction: see `already`
            return Skip(f"was done already: {said}")
        case "cannot_invite_attendee", _, _:  # [oas] maybe the e-mail address is needed
            return Skip(f"LinkedIn allows no invitation to this person: {said}")
        case "invalid_recipient", _, _:  # [oas] wrong kind of id, or a locked profile
            return Fail(f"LinkedIn does not know this person: {said}", means=Means.WRONG_ID)
        case "blocked_recipient" | "user_unreachable", _, _:  # [oas] nothing will ever pass
            return Fail(f"this person cannot be reached: {said}")
        case "no_connection_with_recipient", _, _:  # [oas]
            return Skip(f"is not a connection (any more): {said}")
        case "not_allowed_inmail", _, _:  # [oas]
            return Skip(f"takes no InMail: {said}")
        case "insufficient_credits" | "payment_error", _, _:  # [oas][ref] credits renew monthly
            delay, longest = _ALLOWANCE_USED
            return Wait(f"no InMail credits are left: {said}", delay, longest, Scope.BUDGET)
        case (  # [oas], comments_disabled [ref]
            "invalid_message" | "cant_send_message" | "invalid_post" | "comments_disabled",
            _,
            _,
        ):
            return Skip(f"LinkedIn refuses this content or target: {said}")
        case (  # [oas] the account lacks the product
            "invalid_account" | "account_configuration_error" | "unauthorized",
            _,
            Call.INMAIL,
        ):
            return Skip(f"the account has no InMail: {said}")
        case "invalid_account" | "account_configuration_error" | "unauthorized", _, _:  # [oas]
            return Pause(f"the account is of the wrong kind or not set up: {said}")
        case "provider_unreachable" | "realtime_client_not_initialized", _, _:
            return _broken(call, f"Unipile did not reach LinkedIn: {said}")  # [oas] transport
        case (  # [oas] an unknown refusal must not loop against LinkedIn; the others: mail, jobs
            "unprocessable_entity"
            | "parent_mail_not_found"
            | "invalid_reply_subject"
            | "invalid_headers"
            | "send_as_denied"
            | "invalid_folder"
            | "invalid_thread"
            | "sender_rejected"
            | "recipient_rejected"
            | "ip_rejected_by_server"
            | "insufficient_job_slot",
            _,
            _,
        ):
            return Skip(f"refused, and we do not know why: {said}", alert=True)

        # 429 and 5xx
        case "too_many_requests", _, _:  # [oas]
            return _throttled(answer)
        case "unexpected_error", _, _:  # 500 [oas] may have happened
            return _broken(call, said)
        case "provider_error", _, _:  # 500 [oas]; exceeded limits show as 429 or as this
            return _broken(call, said, throttled=True)
        case "authentication_intent_error", _, _:  # 500 [oas] the sign-in died
            return Pause(f"signing in to LinkedIn failed: {said}")
        case "feature_not_implemented", _, _:  # 501 [oas] never will be
            return Skip(f"Unipile cannot do this: {said}", alert=True)
        case (  # 502, 503: the account's worker is not running, or the network; verify writes [oas]
            "proxy_error"
            | "no_client_session"
            | "no_channel"
            | "no_handler"
            | "network_down"
            | "service_unavailable",
            _,
            _,
        ):
            return _broken(call, said)
        case "request_timeout", _, _:  # 504, 408 [oas] the most likely to have landed
            return _broken(call, said)

        # A type that we do not know: by status  [us]
        case _, 401, _:
            return Pause(f"the account is not let in: {said}")
        case _, 402, _:  # our subscription with Unipile: no lead should pay for it
            return Pause(f"Unipile wants to be paid: {said}", everyone=True)
        case _, 404, _:  # by a word we do not know: proves nothing
            return _missing(call, said, Means.NOTHING)
        case _, 407 | 409 | 423 | 425, _:
            return Retry(f"not now: {said}")
        case _, 408 | 499, _:
            return _broken(call, said)
        case _, 429, _:
            return _throttled(answer)
        case _, 501, _:
            return Skip(f"Unipile cannot do this: {said}", alert=True)
        case _, 301 | 307 | 308, _:  # not followed: a write, or to another host.  No lead is lost
            return Pause(f"the address is redirected, check UNIPILE_DSN: {said}", everyone=True)
        case _, status, _ if status in _REFUSED:  # 400, 403, 422 and their like
            return Skip(f"refused, and we do not know why: {said}", alert=True)
        case _:  # 5xx; 1xx, 3xx and nonsense
            return _broken(call, said)


def _ours(reason: str) -> Skip:
    """Have a person look: the request itself was wrong, and so is not the lead's fault."""
    return Skip(reason, means=Means.OURS, alert=True)


def _of_gateway(answer: Refusal) -> str:
    """Name an answer that is not Unipile's own."""
    match answer.status:
        case 301 | 302 | 303 | 307 | 308:
            hint = " (a redirect: check UNIPILE_DSN)"
        case 401 | 403 | 407:
            hint = " (check UNIPILE_DSN, and what stands between)"
        case _:
            hint = ""
    return f"not Unipile's own answer: HTTP {answer.status} of a gateway{hint}"


def _broken(call: Call, reason: str, *, throttled: bool = False, silence: int = 0) -> Retry:
    """Let a read be repeated; raise OutcomeUnknown for a write."""
    if call.is_write:
        raise OutcomeUnknown(reason, throttled=throttled, silence=silence)
    return Retry(reason, silence=silence)


def _missing(call: Call, said: str, means: Means) -> Failure:
    match call:
        case Call.PROFILE | Call.VISIT:
            return Fail(f"no such profile: {said}", means=means)
        case Call.ACCOUNT:  # [us]
            return Pause(f"Unipile does not know this account: {said}")
        case _:
            return Skip(f"is not there (any more): {said}", means=means)


def _throttled(refusal: Refusal) -> Wait:
    """Wait as long as the answer says, else the usual; no header is promised.  [us]"""
    delay, longest = _ACCOUNT_THROTTLE
    if refusal.retry_after is not None:  # a word from outside: no longer than our own longest
        delay = min(max(refusal.retry_after, _LEAST_PAUSE), longest)
    reason = f"LinkedIn throttles the account: {_said(refusal)}"
    return Wait(reason, delay, longest, Scope.ACCOUNT)


def _said(refusal: Refusal) -> str:
    """Name the answer for people, short and on one line whatever the provider wrote."""
    word = "".join(c if c.isprintable() else "?" for c in (refusal.type or "")[:_MOST_WORD])
    return f"{word} (HTTP {refusal.status})"
