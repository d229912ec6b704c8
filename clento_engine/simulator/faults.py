"""Faults on request: what networks, gateways and the provider do on bad days.

A fault comes before the effect of a request or after it: the engine sees the same either way, and
must come out right in both.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import translate
from typing import Any

from clento_engine.simulator.chance import Draw
from clento_engine.simulator.refusal import STATUS_OF, Refusal
from clento_engine.simulator.strangers import of_somebody_else


class FaultKind(StrEnum):
    """What goes wrong."""

    RESET = "reset"  # the connection is torn down without an answer
    TIMEOUT = "timeout"  # the answer never comes
    SLOW = "slow"  # the right answer, `delay_s` real seconds late
    UNEXPECTED_ERROR = "unexpected_error"  # 500
    PROVIDER_ERROR = "provider_error"  # 500, which also shows exceeded limits
    BAD_GATEWAY = "bad_gateway"  # 502, a page of HTML
    GATEWAY_PAGE = "gateway_page"  # a page of HTML with `status`, 200 unless it is given
    UNAVAILABLE = "unavailable"  # 503
    REQUEST_TIMEOUT = "request_timeout"  # 504
    TOO_MANY_REQUESTS = "too_many_requests"  # 429, with Retry-After when `retry_after` is given
    REFUSAL = "refusal"  # any `type`, with its own status or `status`
    MALFORMED_JSON = "malformed_json"  # 2xx that breaks off
    WRONG_TYPES = "wrong_types"  # 2xx whose values have other types than documented
    EMPTY_BODY = "empty_body"  # 2xx without a body
    LOOPING_CURSOR = "looping_cursor"  # every page names itself as the next one
    NULL_IDS = "null_ids"  # 2xx whose ids are null
    SOMEBODY_ELSE = "somebody_else"  # 2xx that tells of another than was asked for

    @property
    def needs_answer(self) -> bool:
        """Whether it spoils a real answer, so that the request has its effect."""
        return self in _SPOILED


_SPOILED = frozenset(
    {
        FaultKind.SLOW,
        FaultKind.MALFORMED_JSON,
        FaultKind.WRONG_TYPES,
        FaultKind.EMPTY_BODY,
        FaultKind.LOOPING_CURSOR,
        FaultKind.NULL_IDS,
        FaultKind.SOMEBODY_ELSE,
    }
)
_REFUSED = {
    FaultKind.UNEXPECTED_ERROR: "unexpected_error",
    FaultKind.PROVIDER_ERROR: "provider_error",
    FaultKind.UNAVAILABLE: "service_unavailable",
    FaultKind.REQUEST_TIMEOUT: "request_timeout",
    FaultKind.TOO_MANY_REQUESTS: "too_many_requests",
}
_FIELDS = frozenset(
    {
        "kind",
        "route",
        "share",
        "times",
        "after_effect",
        "delay_s",
        "type",
        "status",
        "retry_after",
        "name",
    }
)


@dataclass(slots=True)
class Rule:
    """A fault and when it strikes.

    `route` is a glob on "METHOD /path" (without /api/v1, where `*` crosses slashes), or exactly a
    route's template such as "POST /users/invite".  It strikes `times` more matching requests, or
    the seeded `share` of them.  `delay_s`: how long a timeout keeps the connection, or how late a
    slow answer is, in real seconds.
    `name`: what it is counted as, where its kind does not say enough.
    """

    kind: FaultKind
    route: str = "*"
    share: float = 1.0
    times: int | None = None
    after_effect: bool = False
    delay_s: float | None = None
    type: str | None = None
    status: int | None = None
    retry_after: int | None = None
    name: str | None = None
    number: int = field(default=0, init=False)  # in the order they were put into force
    pattern: re.Pattern[str] = field(init=False, repr=False)
    seen: Counter[str] = field(default_factory=Counter, repr=False)

    def __post_init__(self) -> None:
        self.pattern = re.compile(translate(self.route))

    @classmethod
    def parse(cls, fields: Mapping[str, Any]) -> "Rule":
        """Read a rule from JSON; refuse what is not one."""
        if unknown := fields.keys() - _FIELDS:
            raise Refusal("invalid_parameters", f"Unknown fields {sorted(unknown)}.")
        try:
            kind = FaultKind(fields.get("kind", ""))
        except ValueError as error:
            raise Refusal("invalid_parameters", str(error)) from error
        if kind is FaultKind.REFUSAL and not fields.get("type"):
            raise Refusal("invalid_parameters", "A refusal needs a type.")
        return cls(**{**fields, "kind": kind})

    def strikes(self, seed: int, route: str, path: str, identity: str) -> bool:
        """Say whether this request is struck.

        The share is drawn from the request itself and how often it came, not from a sequence: the
        same requests in another order meet the same faults.
        """
        if self.times == 0 or not (self.route == route or self.pattern.match(path)):
            return False
        if self.times is not None:
            self.times -= 1
            return True
        if self.share >= 1:
            return True
        self.seen[identity] += 1
        return Draw(seed, "fault", self.number, identity, self.seen[identity]).happens(self.share)

    @property
    def label(self) -> str:
        """What it does, in as many words as it takes to tell it from every other kind."""
        if self.name is not None:
            return self.name
        words = [self.kind.value]
        if self.type is not None:
            words.append(self.type)
        if self.retry_after is not None:
            words.append("with retry-after")
        if self.after_effect:
            words.append("after the effect")
        return " ".join(words)

    def row(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {name: getattr(self, name) for name in sorted(_FIELDS)}

    def refusal(self) -> Refusal:
        """Return the error this fault answers with."""
        kind = self.type if self.kind is FaultKind.REFUSAL else _REFUSED[self.kind]
        return Refusal(
            self.type or kind or "unexpected_error",
            "A fault, on request.",
            status=self.status or STATUS_OF.get(self.type or kind or ""),
            retry_after_s=self.retry_after,
        )


class Faults:
    """The rules in force, first match first."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._next = 0
        self.rules: list[Rule] = []
        self.applied: Counter[str] = Counter()  # by kind
        self.struck: Counter[str] = Counter()  # by label

    def set(self, rules: list[Rule]) -> None:
        """Put these rules into force, after those that are."""
        self.rules = [rule for rule in self.rules if rule.times != 0]  # those have struck
        for rule in rules:
            rule.number = self._next
            self._next += 1
        self.rules.extend(rules)

    def clear(self) -> None:
        """Put all rules out of force; the counts stay."""
        self.rules.clear()
        self._next = 0

    def strike(self, route: str, path: str, identity: str) -> Rule | None:
        """Return the fault that strikes this request, if one does."""
        for rule in self.rules:
            if rule.strikes(self._seed, route, path, identity):
                self.applied[rule.kind.value] += 1
                self.struck[rule.label] += 1
                return rule
        return None


def spoiled(kind: FaultKind, body: dict[str, Any], number: int) -> bytes | dict[str, Any]:
    """Return an answer's body as the `number`th fault of this kind leaves it."""
    match kind:
        case FaultKind.MALFORMED_JSON:
            return b'{"object":"' + str(body.get("object", "")).encode() + b'","items":[{'
        case FaultKind.EMPTY_BODY:
            return b""
        case FaultKind.WRONG_TYPES:
            return {key: _other_type(value) for key, value in body.items()}
        case FaultKind.LOOPING_CURSOR:
            return {**body, "cursor": LOOPING_CURSOR}
        case FaultKind.NULL_IDS:
            return {key: _without_ids(value, key) for key, value in body.items()}
        case FaultKind.SOMEBODY_ELSE:
            return of_somebody_else(body, number)
        case _:
            return body


LOOPING_CURSOR = "bG9vcGluZyBjdXJzb3Ih"  # standard base64 of an honest name; reads as the start


def _other_type(value: Any) -> Any:  # noqa: ANN401  # JSON
    match value:
        case bool() | None:
            return {"unexpected": value}
        case str():
            return [value]
        case list() | dict():
            return "unexpected"
        case _:
            return str(value)


def _without_ids(value: Any, name: str = "") -> Any:  # noqa: ANN401  # JSON
    if name == "id" or name.endswith("_id"):
        return None
    match value:
        case dict():
            return {key: _without_ids(inner, key) for key, inner in value.items()}
        case list():
            return [_without_ids(inner) for inner in value]
        case _:
            return value
