"""What the provider does wrong during a storm: rules for the simulator, every kind in turn."""

import random
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

from clento_engine.simulator.faults import FaultKind
from clento_engine.simulator.refusal import STATUSES

_WRITES = "POST /*"
# Not the probe of the workspace's rest: while that lasts there is no other request, and each wrong
# answer, meant for one of many, would prolong it.  The moments of a gateway hit the probe as well.
PROBES = "GET /accounts"
REQUESTS = "* /[!a]*"
_ANY = (REQUESTS, REQUESTS, REQUESTS, "GET /accounts/*")
SOMEBODY_ELSE = "answer about somebody else"
GATEWAY_PAGES = "answers of a gateway"  # by the moments of the storm
INVITED_WITHOUT_ID = "invitation answered without an id"
# Reads by id only: who a public identifier stands for now, its answer alone can say.
_BY_ID = ("GET /users/AC*", "GET /posts/urn:*", "GET /chats/*/messages", "GET /chat_attendees/AC*")
_LISTS = "GET /users/{identifier}/posts"  # of what has pages, asked for most
_BOTH = (  # before the effect or after it: the engine sees the same
    FaultKind.RESET,
    FaultKind.TIMEOUT,
    FaultKind.UNEXPECTED_ERROR,
    FaultKind.PROVIDER_ERROR,
    FaultKind.BAD_GATEWAY,
    FaultKind.UNAVAILABLE,
    FaultKind.REQUEST_TIMEOUT,
)
_SPOILED = (FaultKind.MALFORMED_JSON, FaultKind.WRONG_TYPES, FaultKind.EMPTY_BODY)
# Every sender stops until somebody has put the key right: that would be a storm without wind.
_OF_THE_KEY = frozenset({"missing_credentials", "insufficient_privileges"})
_UNPROCESSABLE = int(HTTPStatus.UNPROCESSABLE_ENTITY)
_DONE_ALREADY = "action_already_performed"
_AFTER = " after the effect"
_OF_THE_SENDER = (int(HTTPStatus.UNAUTHORIZED), int(HTTPStatus.FORBIDDEN))


def rules(held_back_s: float, chance: random.Random) -> Iterator[Mapping[str, Any]]:
    """Give rules without end, each for one request: every kind once, shuffled, and again.

    401 and 403 are one kind each, of a type drawn anew; each type of 422 is a kind.
    """
    while True:
        kinds = list(_kinds(held_back_s, chance))
        chance.shuffle(kinds)
        yield from ({"times": 1, **kind} for kind in kinds)


def kind_of(label: str) -> str:
    """Return the kind that the simulator's label of a fault belongs to."""
    words = label.removesuffix(_AFTER).split(" ", 1)
    if words[0] != FaultKind.REFUSAL.value:
        return label
    status = next(code for code, types in STATUSES.items() if words[1] in types.split())
    return f"{status} {words[1]}" if status == _UNPROCESSABLE else str(status)


def kinds() -> set[str]:
    """Return every kind there is, as `kind_of` names them."""
    drawn = _kinds(0, random.Random(0))  # noqa: S311  no secret
    return {kind_of(_label(rule)) for rule in drawn}


def _kinds(held_back_s: float, chance: random.Random) -> Iterator[dict[str, Any]]:
    for kind in _BOTH:
        told = {"kind": kind.value, "delay_s": held_back_s}
        yield {**told, "route": chance.choice(_ANY)}
        yield {**told, "route": _WRITES, "after_effect": True}
    yield {"kind": FaultKind.TOO_MANY_REQUESTS.value, "route": chance.choice(_ANY)}
    yield {
        "kind": FaultKind.TOO_MANY_REQUESTS.value,
        "route": chance.choice(_ANY),
        "retry_after": 600,
    }
    for kind in _SPOILED:
        yield {"kind": kind.value, "route": chance.choice(_ANY)}
    for status in (403, 404, 200):  # 502 is one of those above
        page = {
            "kind": FaultKind.GATEWAY_PAGE.value,
            "status": status,
            "route": chance.choice(_ANY),
        }
        yield {**page, "name": f"gateway_page {status}"}
    yield {"kind": FaultKind.LOOPING_CURSOR.value, "route": _LISTS}
    yield {"kind": FaultKind.NULL_IDS.value, "route": _WRITES}
    yield {
        "kind": FaultKind.NULL_IDS.value,
        "route": "POST /users/invite",
        "name": INVITED_WITHOUT_ID,
    }
    for route in _BY_ID:
        yield {"kind": FaultKind.SOMEBODY_ELSE.value, "route": route, "name": SOMEBODY_ELSE}
    for status in _OF_THE_SENDER:
        types = [each for each in STATUSES[status].split() if each not in _OF_THE_KEY]
        yield _refusal(chance.choice(types), chance.choice(_ANY))
    for each in STATUSES[_UNPROCESSABLE].split():
        # what says that something is there already is believed, so it is never a lie
        truly = {"route": "POST /posts/reaction", "after_effect": True}
        yield _refusal(each, _WRITES) | (truly if each == _DONE_ALREADY else {})


def _refusal(type_: str, route: str) -> dict[str, Any]:
    return {"kind": FaultKind.REFUSAL.value, "type": type_, "route": route}


def _label(rule: Mapping[str, Any]) -> str:
    if "name" in rule:
        return str(rule["name"])
    words = [rule["kind"]]
    if "type" in rule:
        words.append(rule["type"])
    if "retry_after" in rule:
        words.append("with retry-after")
    if rule.get("after_effect"):
        return " ".join(words) + _AFTER
    return " ".join(words)
