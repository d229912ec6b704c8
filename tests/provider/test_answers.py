"""What every answer of Unipile's error table means, to a read and to a write."""

from collections.abc import Mapping
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
from clento_engine.provider.answers import NO_CHAT, Call, Refusal, Silence, already, failure
from clento_engine.provider.port import Sent

UNKNOWN = "unknown"
THROTTLED = "unknown, throttled"

H24, H48, H72, WEEK = (timedelta(hours=h) for h in (24, 48, 72, 168))


def wait(delay: timedelta, longest: timedelta, scope: Scope) -> Failure:
    return Wait("", delay, longest, scope)


RETRY, NEVER_LEFT = Retry(""), Retry("", left=False)
SKIP, ALERT = Skip(""), Skip("", alert=True)
OURS = Skip("", means=Means.OURS, alert=True)
GONE = Skip("", means=Means.GONE)
FAIL, WRONG_ID = Fail(""), Fail("", means=Means.WRONG_ID)
PAUSE, PAUSE_ALL = Pause(""), Pause("", everyone=True)

# Type, status, and what it means to a read and to a write: section 3 of the fact sheet.
TABLE: list[tuple[str, int, Failure | str, Failure | str]] = [
    *(
        (kind, 400, OURS, OURS)
        for kind in (
            "invalid_parameters",
            "missing_parameters",
            "malformed_request",
            "invalid_request",
            "invalid_url",
            "unescaped_characters",
            "content_too_large",
            "too_many_characters",
            "limit_too_high",
        )
    ),
    ("limit_too_high", 422, OURS, OURS),
    ("missing_credentials", 401, PAUSE_ALL, PAUSE_ALL),
    ("insufficient_privileges", 401, PAUSE_ALL, PAUSE_ALL),
    *(
        (kind, 401, PAUSE, PAUSE)
        for kind in (
            "disconnected_account",
            "expired_credentials",
            "invalid_credentials",
            "wrong_account",
            "multiple_sessions",
            "checkpoint_error",
            "invalid_checkpoint_solution",
            "captcha_not_supported",
            "disconnected_feature",
            "expired_link",
            "invalid_proxy_credentials",
            "invalid_imap_configuration",
            "invalid_smtp_configuration",
            "invalid_credentials_but_valid_account_imap",
        )
    ),
    *(
        (kind, 403, PAUSE, PAUSE)
        for kind in (
            "account_restricted",
            "action_required",
            "unknown_authentication_context",
            "session_mismatch",
            "account_mismatch",
        )
    ),
    *(
        (kind, 403, SKIP, SKIP)
        for kind in (
            "feature_not_subscribed",
            "subscription_required",
            "insufficient_permissions",
            "resource_access_restricted",
        )
    ),
    ("resource_not_found", 404, GONE, GONE),
    ("invalid_resource_identifier", 404, GONE, GONE),
    ("proxy_auth_error", 407, RETRY, RETRY),
    ("request_timeout", 408, RETRY, UNKNOWN),
    ("operation_canceled", 409, RETRY, UNKNOWN),
    ("already_exists", 409, RETRY, RETRY),
    ("auth_in_progress", 425, RETRY, RETRY),
    ("unsupported_media_type", 415, OURS, OURS),
    *(
        (kind, 422, meaning, meaning)
        for kind, meaning in (
            ("cannot_resend_yet", wait(H24, H72, Scope.BUDGET)),
            ("cannot_resend_within_24hrs", wait(H24, H24, Scope.LEAD)),
            ("limit_exceeded", wait(H24, WEEK, Scope.BUDGET)),
            ("connection_limit_reached", wait(H72, H72, Scope.BUDGET)),
            ("already_invited_recently", Skip("", means=Means.INVITED)),
            ("already_connected", Skip("", means=Means.CONNECTED)),
            ("action_already_performed", SKIP),
            ("cannot_invite_attendee", SKIP),
            ("invalid_recipient", WRONG_ID),
            ("blocked_recipient", FAIL),
            ("user_unreachable", FAIL),
            ("no_connection_with_recipient", SKIP),
            ("not_allowed_inmail", SKIP),
            ("insufficient_credits", wait(H24, WEEK, Scope.BUDGET)),
            ("payment_error", wait(H24, WEEK, Scope.BUDGET)),
            ("invalid_message", SKIP),
            ("cant_send_message", SKIP),
            ("invalid_post", SKIP),
            ("comments_disabled", SKIP),
            ("invalid_account", PAUSE),
            ("account_configuration_error", PAUSE),
            ("unauthorized", PAUSE),
            ("unprocessable_entity", ALERT),
            ("parent_mail_not_found", ALERT),
            ("invalid_reply_subject", ALERT),
            ("invalid_headers", ALERT),
            ("send_as_denied", ALERT),
            ("invalid_folder", ALERT),
            ("invalid_thread", ALERT),
            ("sender_rejected", ALERT),
            ("recipient_rejected", ALERT),
            ("ip_rejected_by_server", ALERT),
            ("insufficient_job_slot", ALERT),
        )
    ),
    ("provider_unreachable", 422, RETRY, UNKNOWN),
    ("realtime_client_not_initialized", 422, RETRY, UNKNOWN),
    (
        "too_many_requests",
        429,
        wait(timedelta(hours=2), H48, Scope.ACCOUNT),
        wait(timedelta(hours=2), H48, Scope.ACCOUNT),
    ),
    ("unexpected_error", 500, RETRY, UNKNOWN),
    ("provider_error", 500, RETRY, THROTTLED),
    ("authentication_intent_error", 500, PAUSE, PAUSE),
    ("feature_not_implemented", 501, ALERT, ALERT),
    ("proxy_error", 502, RETRY, UNKNOWN),
    *(
        (kind, 503, RETRY, UNKNOWN)
        for kind in (
            "no_client_session",
            "no_channel",
            "no_handler",
            "network_down",
            "service_unavailable",
        )
    ),
    ("request_timeout", 504, RETRY, UNKNOWN),
]

# Without a type, or with one we have never heard of, the status decides.
BY_STATUS: Mapping[int, tuple[Failure | str, Failure | str]] = {
    400: (ALERT, ALERT),
    401: (PAUSE, PAUSE),
    402: (PAUSE_ALL, PAUSE_ALL),
    403: (ALERT, ALERT),
    404: (SKIP, SKIP),
    405: (ALERT, ALERT),
    407: (RETRY, RETRY),
    408: (RETRY, UNKNOWN),
    409: (RETRY, RETRY),
    413: (ALERT, ALERT),
    415: (ALERT, ALERT),
    422: (ALERT, ALERT),
    423: (RETRY, RETRY),
    425: (RETRY, RETRY),
    429: (
        wait(timedelta(hours=2), H48, Scope.ACCOUNT),
        wait(timedelta(hours=2), H48, Scope.ACCOUNT),
    ),
    499: (RETRY, UNKNOWN),
    500: (RETRY, UNKNOWN),
    501: (ALERT, ALERT),
    502: (RETRY, UNKNOWN),
    503: (RETRY, UNKNOWN),
    504: (RETRY, UNKNOWN),
    520: (RETRY, UNKNOWN),
    301: (PAUSE_ALL, PAUSE_ALL),
    302: (RETRY, UNKNOWN),
    303: (RETRY, UNKNOWN),
    308: (PAUSE_ALL, PAUSE_ALL),
    100: (RETRY, UNKNOWN),
    999: (RETRY, UNKNOWN),
}

READS = [call for call in Call if not call.is_write]
WRITES = [call for call in Call if call.is_write]


def meaning(answer: Refusal | Silence) -> Failure | str:
    """Return what an answer means, without its words."""
    try:
        found = failure(answer)
    except OutcomeUnknown as unknown:
        return THROTTLED if unknown.throttled else UNKNOWN
    assert found.reason
    match found:
        case Retry(_, left):
            return Retry("", left)
        case Wait(_, delay, longest, scope):
            return Wait("", delay, longest, scope)
        case Skip(_, means, alert):
            return Skip("", means, alert)
        case Fail(_, means):
            return Fail("", means)
        case Pause(_, everyone):
            return Pause("", everyone)


@pytest.mark.parametrize(("kind", "status", "to_read", "to_write"), TABLE)
def test_every_type_of_the_error_table_has_its_meaning(
    kind: str, status: int, to_read: Failure | str, to_write: Failure | str
) -> None:
    assert meaning(Refusal(Call.RELATIONS, status, kind)) == to_read
    assert meaning(Refusal(Call.INVITE, status, kind)) == to_write


@pytest.mark.parametrize(("status", "expected"), BY_STATUS.items())
def test_without_a_known_type_the_status_decides(
    status: int, expected: tuple[Failure | str, Failure | str]
) -> None:
    to_read, to_write = expected
    assert meaning(Refusal(Call.RELATIONS, status, "never_heard_of")) == to_read
    assert meaning(Refusal(Call.INVITE, status, "never_heard_of")) == to_write


@pytest.mark.parametrize("status", [200, 204, *BY_STATUS])
@pytest.mark.parametrize("call", Call)
def test_an_answer_without_a_type_is_not_unipile_s_and_judges_nothing(
    call: Call, status: int
) -> None:
    answer = Refusal(call, status)
    assert already(answer) is None
    if call.is_write:
        with pytest.raises(OutcomeUnknown) as unknown:
            failure(answer)
        assert unknown.value.silence == 1
    else:
        found = failure(answer)
        assert isinstance(found, Retry)
        assert found.silence == 1
        assert "not Unipile's own answer" in found.reason


@pytest.mark.parametrize("left", [True, False])
def test_silence_tells_of_the_provider_as_a_whole(left: bool) -> None:
    silent = failure(Silence(Call.PROFILE, "no answer", left=left))
    assert silent == Retry("no answer", left=left, silence=1)


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        ("feature_not_subscribed", "feature_not_subscribed"),
        ("unprocessable_entity", "unprocessable_entity"),
        ("invalid_recipient", "invalid_recipient"),
        ("never_heard_of", "never_heard_of"),
        ("already_invited_recently", None),
        ("already_connected", None),
        ("resource_not_found", None),
        ("not_allowed_inmail", None),
    ],
)
def test_a_word_counts_towards_a_hold_where_a_run_of_it_is_not_about_people(
    kind: str, word: str | None
) -> None:
    refused = failure(Refusal(Call.INVITE, 422, kind))
    assert isinstance(refused, Skip | Fail)
    assert refused.word == word


@pytest.mark.parametrize("kind", ["resource_not_found", "invalid_resource_identifier"])
def test_what_is_not_found_decides_whom_it_concerns(kind: str) -> None:
    def not_found(call: Call) -> Failure | str:
        return meaning(Refusal(call, 404, kind))

    means = Means.GONE
    assert not_found(Call.PROFILE) == not_found(Call.VISIT) == Fail("", means=means)
    assert not_found(Call.POST) == not_found(Call.COMMENT) == Skip("", means=means)
    assert not_found(Call.SEND_MESSAGE) == Skip("", means=means)
    assert not_found(Call.ACCOUNT) == PAUSE
    assert already(Refusal(Call.DELETE_WEBHOOK, 404, kind)) == Sent()


def test_an_attendee_who_is_not_found_has_no_chat_but_a_gateways_404_proves_nothing() -> None:
    assert failure(Refusal(Call.CHATS_WITH, 404, "resource_not_found")) == NO_CHAT
    assert isinstance(failure(Refusal(Call.CHATS_WITH, 404)), Retry)


@pytest.mark.parametrize("kind", ["api.errors.invalid_invitation_id", "invalid_parameters"])
@pytest.mark.parametrize("status", [400, 404])
def test_whether_an_invitation_that_is_not_there_is_withdrawn_only_the_profile_says(
    status: int, kind: str
) -> None:
    """It may be pending under another id than the one that we were given, or were not."""
    refusal = Refusal(Call.WITHDRAW, status, kind)
    assert already(refusal) is None
    with pytest.raises(OutcomeUnknown, match="not there under this id"):
        failure(refusal)


def test_a_repeated_reaction_is_a_reaction() -> None:
    again = "action_already_performed"
    assert already(Refusal(Call.REACT, 422, again)) == Sent()
    assert already(Refusal(Call.INVITE, 422, again)) is None


@pytest.mark.parametrize(
    "kind", ["disconnected_feature", "invalid_account", "account_configuration_error"]
)
def test_an_account_without_inmail_goes_on_with_everything_else(kind: str) -> None:
    assert meaning(Refusal(Call.INMAIL, 422, kind)) == SKIP
    assert meaning(Refusal(Call.START_CHAT, 422, kind)) == PAUSE


@pytest.mark.parametrize("call", WRITES)
@pytest.mark.parametrize("status", [500, 502, 503, 504, 408])
def test_no_write_is_called_refused_by_a_server_that_broke(call: Call, status: int) -> None:
    assert already(Refusal(call, status)) is None
    assert meaning(Refusal(call, status)) == UNKNOWN


@pytest.mark.parametrize("call", Call)
def test_silence_is_unknown_to_a_write_unless_nothing_left(call: Call) -> None:
    assert meaning(Silence(call, "reset")) == (UNKNOWN if call.is_write else RETRY)
    assert meaning(Silence(call, "refused", left=False)) == NEVER_LEFT


def test_a_visit_is_a_write_although_it_is_a_get() -> None:
    assert Call.VISIT.method == "GET"
    assert Call.VISIT.is_write
    assert not Call.PROFILE.is_write


@pytest.mark.parametrize(
    ("asked", "delay", "longest"),
    [
        (timedelta(minutes=30), timedelta(minutes=30), H48),
        (timedelta(), timedelta(minutes=1), H48),  # doubling 0 would be a loop
        (WEEK, H48, H48),  # a word from outside: never longer than a throttle of our own
    ],
)
def test_a_throttled_account_waits_as_long_as_it_is_told(
    asked: timedelta, delay: timedelta, longest: timedelta
) -> None:
    told = Refusal(Call.INVITE, 429, "too_many_requests", retry_after=asked)
    assert meaning(told) == wait(delay, longest, Scope.ACCOUNT)


@given(st.sampled_from(Call), st.integers(-1, 1200), st.none() | st.text())
def test_no_answer_of_any_status_and_type_is_without_meaning(
    call: Call, status: int, kind: str | None
) -> None:
    refusal = Refusal(call, status, kind)
    assert meaning(refusal) == UNKNOWN or isinstance(failure(refusal), Failure)
    if already(refusal) is not None:
        assert call is Call.DELETE_WEBHOOK


@given(st.text(min_size=1))
def test_a_reason_is_one_short_line_whatever_the_provider_writes(kind: str) -> None:
    reason = failure(Refusal(Call.RELATIONS, 422, kind)).reason
    assert reason.isprintable()
    assert len(reason) < 200
