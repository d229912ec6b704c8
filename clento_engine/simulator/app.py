"""Unipile's v1 HTTP over the world, as unipile.md describes it."""

from asyncio import sleep, wait_for
from collections.abc import Callable
from contextlib import suppress

import httpx

from clento_engine.simulator.asgi import (
    Answer,
    App,
    Handler,
    Receive,
    Request,
    Route,
    Router,
    Scope,
    Send,
    read_body,
    write,
)
from clento_engine.simulator.control import Control
from clento_engine.simulator.faults import FaultKind, Rule, spoiled
from clento_engine.simulator.refusal import Refusal
from clento_engine.simulator.routes.accounts import AccountRoutes
from clento_engine.simulator.routes.messages import MessageRoutes
from clento_engine.simulator.routes.people import PeopleRoutes
from clento_engine.simulator.routes.posts import PostRoutes
from clento_engine.simulator.routes.webhooks import WebhookRoutes
from clento_engine.simulator.world import World

PREFIX = "/api/v1"
ABORT = "clento.abort"  # in the scope's extensions: tears the connection down
HELD_BACK_S = 600.0  # how long a timeout keeps a connection when the rule does not say


class ConnectionDropped(httpx.ReadError):
    """In-process stand-in for a connection that broke before an answer came."""


class AnswerHeldBack(httpx.ReadTimeout):
    """In-process stand-in for an answer that did not come in time."""


def create_app(world: World, *, api_key: str | None = None) -> App:
    """Return the ASGI application; with `api_key` None any key will do, but one is needed."""
    router = _unipile(world)
    control = Control(world)
    key = None if api_key is None else api_key.encode()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await _lifespan(receive, send)
            return
        request = Request(scope, await read_body(receive))
        path = request.path
        if path.startswith("/simulator"):
            await write(send, await _controlled(control, request), world.stamp())
            return
        rule, answer = _answered(world, router, request, key)
        match rule.kind if rule else None:
            case FaultKind.RESET:
                await _reset(scope, receive)
            case FaultKind.TIMEOUT:
                await _hold_back(scope, receive, rule.delay_s if rule else None)
            case FaultKind.SLOW:
                await sleep((rule.delay_s if rule else None) or 0.0)
                await write(send, answer, world.stamp())
            case _:
                await write(send, answer, world.stamp())

    return app


def _unipile(world: World) -> Router:
    """Return Unipile's routes, each by what it is about."""
    router = Router()
    for group in (AccountRoutes, PeopleRoutes, PostRoutes, MessageRoutes, WebhookRoutes):
        for template, handler in group(world).handlers.items():
            router.add(template, handler)
    return router


def _answered(
    world: World, router: Router, request: Request, key: bytes | None
) -> tuple[Rule | None, Answer]:
    """Answer a request and count it; the fault that strikes it is for whoever writes the answer."""
    world.requests.seq += 1
    path = request.path.removeprefix(PREFIX)
    ours = request.path.startswith(f"{PREFIX}/")
    found = router.find(request.method, path) if ours else None
    template = found[0].template if found else "unknown"
    rule: Rule | None = None
    try:
        _need_key(request, key)
        handler, parameters = _need_route(found)
        if world.faults.rules:
            rule = world.faults.strike(template, f"{request.method} {path}", request.identity)
        if rule is None:
            answer = _call(handler, request, parameters)
        else:
            number = world.faults.applied[rule.kind.value]
            answer = _struck(rule, number, handler, request, parameters)
    except Refusal as refusal:
        answer = refused(refusal, request.path)
    world.requests.counts[template, answer.status] += 1
    return rule, answer


def _need_key(request: Request, key: bytes | None) -> None:
    given = request.header(b"x-api-key")
    if not given or (key is not None and given != key):
        raise Refusal("missing_credentials", "The X-API-KEY header is missing or wrong.")


def _need_route(found: tuple[Route, list[str]] | None) -> tuple[Handler, list[str]]:
    if found is None:
        raise Refusal("resource_not_found", "No such route.")
    return found[0].handler, found[1]


def _call(handler: Handler, request: Request, parameters: list[str]) -> Answer:
    answer = handler(request, *parameters)
    assert isinstance(answer, Answer)  # noqa: S101  # only control routes are awaited
    return answer


def _struck(
    rule: Rule, number: int, handler: Handler, request: Request, parameters: list[str]
) -> Answer:
    """Answer with a fault: after the effect, or instead of it."""
    if rule.kind.needs_answer:
        answer = _call(handler, request, parameters)
        if isinstance(answer.body, bytes):
            return answer
        return Answer(spoiled(rule.kind, dict(answer.body), number), answer.status)
    if rule.after_effect:
        try:
            _call(handler, request, parameters)
        except Refusal:  # there was no effect to come after
            if rule.kind is FaultKind.REFUSAL:  # "already done", say, would be a lie then
                raise
    match rule.kind:
        case FaultKind.RESET | FaultKind.TIMEOUT:
            return Answer(b"", status=0)  # never written
        case FaultKind.BAD_GATEWAY:
            page = b"<html><head><title>502 Bad Gateway</title></head><body></body></html>"
            return Answer(page, 502, b"text/html")
        case FaultKind.GATEWAY_PAGE:
            page = b"<html><head><title>One moment</title></head><body></body></html>"
            return Answer(page, rule.status or 200, b"text/html")
        case _:
            return refused(rule.refusal(), request.path)


def refused(refusal: Refusal, instance: str) -> Answer:
    """Return the answer of a refusal."""
    headers = (
        ((b"retry-after", str(refusal.retry_after_s).encode()),)
        if refusal.retry_after_s is not None
        else ()
    )
    return Answer(refusal.body(instance), refusal.status, headers=headers)


async def _controlled(control: Control, request: Request) -> Answer:
    try:
        handler, parameters = _need_route(control.router.find(request.method, request.path))
        answer = handler(request, *parameters)
        return answer if isinstance(answer, Answer) else await answer
    except Refusal as refusal:
        return refused(refusal, request.path)


async def _reset(scope: Scope, receive: Receive) -> None:
    """Tear the connection down without an answer."""
    abort: Callable[[], None] | None = scope.get("extensions", {}).get(ABORT)
    if abort is None:
        raise ConnectionDropped("the simulator dropped the connection")
    abort()
    await receive()  # http.disconnect: only then is the server done with this request


async def _hold_back(scope: Scope, receive: Receive, delay_s: float | None) -> None:
    """Keep the caller waiting until it goes away, or for so many real seconds."""
    if ABORT not in scope.get("extensions", {}):
        raise AnswerHeldBack("the simulator holds its answer back")
    with suppress(TimeoutError):
        await wait_for(receive(), HELD_BACK_S if delay_s is None else delay_s)
        return
    await _reset(scope, receive)


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
