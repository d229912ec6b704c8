"""Our webhooks at the provider: one of each source for all accounts, by name and URL."""

import logging
import re
from collections.abc import Mapping
from types import MappingProxyType

from clento_engine.domain.failure import Fail, OutcomeUnknown, Pause, Retry, Skip, Wait
from clento_engine.provider.port import Provider
from clento_engine.runtime.errors import NotRegistered

# By source, each event by name: the provider's default leaves `ok` and `stopped` out.
# Source: Unipile's webhook reference, section 4 of our sheet.
WANTED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "messaging": ("message_received",),
        "users": ("new_relation",),
        "account_status": (
            "creation_success",
            "ok",
            "reconnected",
            "sync_success",
            "error",
            "stopped",
            "credentials",
            "permissions",
            "deleted",
        ),
    }
)

PATH = "/webhooks/unipile"

# A version before registered one of each source for every organisation, all telling of everyone.
_OF_ORGANIZATION = re.compile(
    r"/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE
)

log = logging.getLogger(__name__)


async def register(provider: Provider, base_url: str, secret: str) -> list[str]:
    """Register what is missing of our webhooks; return the names of what was added.

    They come to PATH under `base_url`, for every account there is or will be.  Those that a version
    before registered under it, one set for each organisation, are deleted.
    The provider would register the same twice, so what it has is read first.  One that does not
    tell of every event we need is replaced.  A webhook keeps the secret it was registered with:
    after a change of the secret, delete them first.  Raises NotRegistered.
    """
    present = await provider.webhooks()
    if isinstance(present, Retry | Wait | Skip | Fail | Pause):
        raise NotRegistered("the webhooks cannot be listed", present.reason)
    url = f"{base_url.rstrip('/')}{PATH}"
    added = []
    for source, events in WANTED.items():
        name = f"clento {source}"
        ours = [each for each in present if (each.name, each.url) == (name, url)]
        if any(set(events) <= set(each.events) for each in ours):
            continue
        try:
            answer = await provider.register_webhook(
                source, url, events=events, secret=secret, name=name
            )
        except OutcomeUnknown as unknown:
            raise NotRegistered(name, unknown.reason) from unknown
        if not isinstance(answer, str):
            raise NotRegistered(name, answer.reason)
        added.append(name)
        log.info("webhook registered", extra={"webhook": name, "id": answer})
        for each in ours:  # after the new one: told twice is better than not told
            await _delete(provider, each.id)
    for each in present:
        is_ours = each.name is not None and each.name.removeprefix("clento ") in WANTED
        if (
            is_ours
            and each.url.startswith(url)
            and _OF_ORGANIZATION.fullmatch(each.url[len(url) :])
        ):
            await _delete(provider, each.id)
            log.info("webhook of one organisation deleted", extra={"id": each.id})
    return added


async def _delete(provider: Provider, webhook_id: str) -> None:
    try:
        answer = await provider.delete_webhook(webhook_id)
    except OutcomeUnknown as unknown:
        raise NotRegistered(f"webhook {webhook_id} not deleted", unknown.reason) from unknown
    if isinstance(answer, Retry | Wait | Skip | Fail | Pause):
        raise NotRegistered(f"webhook {webhook_id} not deleted", answer.reason)
