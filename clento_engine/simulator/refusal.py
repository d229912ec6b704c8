"""What Unipile and LinkedIn answer when they do not do as they are asked."""

from http import HTTPStatus

# source: unipile.md section 3, from Unipile's OpenAPI export and pages; where a type is listed
# under two statuses, the one of the routes simulated here
STATUSES = {
    400: (
        "invalid_parameters missing_parameters malformed_request invalid_request invalid_url "
        "unescaped_characters content_too_large too_many_characters limit_too_high"
    ),
    401: (
        "missing_credentials insufficient_privileges disconnected_account expired_credentials "
        "invalid_credentials wrong_account multiple_sessions checkpoint_error "
        "invalid_checkpoint_solution captcha_not_supported disconnected_feature expired_link "
        "invalid_proxy_credentials"
    ),
    403: (
        "account_restricted action_required unknown_authentication_context session_mismatch "
        "account_mismatch feature_not_subscribed subscription_required insufficient_permissions "
        "resource_access_restricted"
    ),
    404: "resource_not_found invalid_resource_identifier",
    407: "proxy_auth_error",
    409: "operation_canceled already_exists",
    415: "unsupported_media_type",
    422: (
        "cannot_resend_yet cannot_resend_within_24hrs limit_exceeded connection_limit_reached "
        "already_invited_recently already_connected action_already_performed "
        "cannot_invite_attendee invalid_recipient blocked_recipient user_unreachable "
        "no_connection_with_recipient not_allowed_inmail insufficient_credits payment_error "
        "invalid_message cant_send_message invalid_post comments_disabled invalid_account "
        "account_configuration_error unauthorized provider_unreachable "
        "realtime_client_not_initialized unprocessable_entity"
    ),
    429: "too_many_requests",
    500: "unexpected_error provider_error authentication_intent_error",
    501: "feature_not_implemented",
    502: "proxy_error",
    503: "no_client_session no_channel no_handler network_down service_unavailable",
    504: "request_timeout",
}
STATUS_OF = {kind: status for status, kinds in STATUSES.items() for kind in kinds.split()}

_UNKNOWN = HTTPStatus.UNPROCESSABLE_ENTITY


class Refusal(Exception):
    """An answer that is an error; `kind` is Unipile's type without its `errors/`."""

    def __init__(
        self,
        kind: str,
        detail: str = "",
        *,
        status: int | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(kind)
        self.kind = kind
        self.detail = detail
        self.status = status or STATUS_OF.get(kind, _UNKNOWN)
        self.retry_after_s = retry_after_s

    def body(self, instance: str) -> dict[str, object]:
        """Return the body, in the manner of RFC 7807."""
        body: dict[str, object] = {
            "status": int(self.status),
            "type": f"errors/{self.kind}",
            "title": self.kind.replace("_", " ").capitalize(),
            "instance": instance,
        }
        if self.detail:
            body["detail"] = self.detail
        return body
