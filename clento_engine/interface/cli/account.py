"""`clento account`: the senders."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from uuid import UUID

import click

from clento_engine.domain.account import PausedBy, Tier
from clento_engine.domain.limits import ESTABLISHED, Caps, ramp
from clento_engine.domain.operation import Budget
from clento_engine.interface.cli.output import Table, answer, note
from clento_engine.interface.cli.session import Here, json_option, org_option, within
from clento_engine.interface.cli.values import (
    LIMIT,
    NAME,
    WINDOWS,
    ZONE,
    LimitChange,
    zone_warnings,
)
from clento_engine.interface.cli.waiting import settled, still_in_flight
from clento_engine.runtime.binding import Added
from clento_engine.runtime.binding import add as add_bound
from clento_engine.store import accounts as store
from clento_engine.store import budgets
from clento_engine.store.accounts import NOT_LOOKED_UP, AccountRow, find_account
from clento_engine.store.members import look_up_again, remove_account

_LONGEST_WARM_UP = 365


@click.command()
@click.option("--unipile-id", required=True, type=NAME, help="The account's id in Unipile.")
@click.option("--name", required=True, type=NAME, help="What people call it.")
@click.option(
    "--tier",
    required=True,
    type=click.Choice([tier.value for tier in Tier]),
    help="Its kind, which sets its limits; `new` is under 3 months or 150 connections.",
)
@click.option("--zone", required=True, type=ZONE, help="Time zone of its working hours.")
@click.option(
    "--warm-up-days",
    type=click.IntRange(0, _LONGEST_WARM_UP),
    help="Days until its full limits; without it, as its tier needs.",
)
@click.option("--established", is_flag=True, help="It needs no warm-up.")
@org_option
@json_option
def add(
    unipile_id: str,
    name: str,
    tier: str,
    zone: str,
    warm_up_days: int | None,
    established: bool,
    org: str | None,
    as_json: bool,
) -> None:
    """Add a sender with the limits of its tier.

    Unipile is asked which LinkedIn member it is: limits are the member's.  One who was a sender of
    yours before, under another id of Unipile's, goes on as that sender, with what it used.  Without
    UNIPILE_DSN it is added paused, and looked up by the next `clento tick` or `clento run`.

    \b
    Example:
      clento account add --unipile-id Xy12 --name Lea --tier premium --zone Europe/Berlin
    """
    if established and warm_up_days:
        raise click.UsageError("--established and --warm-up-days contradict each other")

    warmup_days = ESTABLISHED if established else warm_up_days

    async def work(here: Here) -> Added | UUID:
        return await _added(here, unipile_id, name, Tier(tier), zone, warmup_days)

    data: dict[str, object] = {"unipile_account_id": unipile_id, "name": name, "tier": tier}
    match within(org, work, asking=True):
        case Added(account_id, member, is_known, paused):
            data |= {"id": account_id, "member": member, "known": is_known, "paused": paused}
            how = "a sender of yours before, and goes on as that one" if is_known else "added"
            lines = [f"{name} is {member} on LinkedIn: {how}"]
            if paused is not None:
                lines.append(f"paused, since Unipile says {paused}: sign it in there")
        case account_id:
            data |= {"id": account_id, "member": None, "known": False, "paused": NOT_LOOKED_UP}
            until = "the next tick has looked it up at Unipile, since UNIPILE_DSN is not set"
            lines = [f"added {name}, paused until {until}"]
    answer(as_json, data, *lines, "`clento account limits` shows what it may do")
    for warning in zone_warnings(zone):
        note(f"warning: {warning}")


async def _added(
    here: Here,
    unipile_id: str,
    name: str,
    tier: Tier,
    zone: str,
    warmup_days: int | None,
) -> Added | UUID:
    """Add a sender, bound where Unipile can be asked; else its id, and it is looked up later."""
    if (world := here.world) is None:
        account_id = await store.add_account(
            here.conn,
            here.organization_id,
            unipile_account_id=unipile_id,
            name=name,
            tier=tier,
            time_zone=zone,
            warmup_days=warmup_days,
        )
        await look_up_again(here.conn, here.organization_id, account_id)
        return account_id
    return await add_bound(
        world,
        here.organization_id,
        unipile_account_id=unipile_id,
        name=name,
        tier=tier,
        time_zone=zone,
        warmup_days=warmup_days,
    )


@click.command("list")
@org_option
@json_option
def list_(org: str | None, as_json: bool) -> None:
    """List the senders.

    \b
    Example:
      clento account list
    """
    found = within(org, lambda here: store.accounts(here.conn, here.organization_id))
    rows = [
        (
            a.name,
            a.unipile_account_id,
            a.provider_id,
            a.tier,
            a.time_zone,
            a.status,
            a.pause_reason,
        )
        for a in found
    ]
    columns = ("name", "unipile id", "member", "tier", "zone", "status", "reason")
    none = "there is no sender yet: `clento account add --help`"
    answer(as_json, found, Table(columns, rows, empty=none))


@click.command()
@click.argument("name")
@click.option("--reason", default="paused by an operator", help="Shown wherever it is listed.")
@click.option("--no-wait", is_flag=True, help="Do not wait for what is in flight.")
@org_option
@json_option
def pause(name: str, reason: str, no_wait: bool, org: str | None, as_json: bool) -> None:
    """Stop a sender: no step of it is begun any more.

    Answers when its steps in flight are settled, too.  Its leads wait; other senders go on.  The
    provider does not lift this pause.

    \b
    Example:
      clento account pause Lea --reason holidays
    """

    async def work(here: Here) -> tuple[AccountRow, bool, int]:
        found = await find_account(here.conn, here.organization_id, name)
        changed = await store.pause_account(
            here.conn,
            here.organization_id,
            found.id,
            by=PausedBy.OPERATOR,
            reason=reason,
            now=here.clock(),
        )

        async def flying() -> int:
            return await store.in_flight_of(here.conn, here.organization_id, found.id, here.clock())

        return found, changed, await (flying() if no_wait else settled(flying))

    account, changed, left = within(org, work)
    said = f"paused {account.name}" if changed else f"{account.name} was paused already"
    if left and not no_wait:
        raise still_in_flight(said, left)
    told = {"id": account.id, "name": account.name, "changed": changed, "in_flight": left}
    answer(as_json, told, f"{said}; {left:,} actions are in flight" if left else said)


@click.command()
@click.argument("name")
@org_option
@json_option
def resume(name: str, org: str | None, as_json: bool) -> None:
    """Let a paused sender act again.

    Its limits and gaps hold, so that no burst follows.  One whose LinkedIn member is not known yet
    acts once Unipile has shown it.

    \b
    Example:
      clento account resume Lea
    """

    async def work(here: Here) -> tuple[AccountRow, bool]:
        found = await find_account(here.conn, here.organization_id, name)
        if not found.is_bound:
            await look_up_again(here.conn, here.organization_id, found.id)
            return found, True
        return found, await store.resume_account(
            here.conn, here.organization_id, found.id, by=PausedBy.OPERATOR, now=here.clock()
        )

    account, changed = within(org, work)
    said = f"{account.name} acts again" if changed else f"{account.name} was not paused"
    if not account.is_bound:
        said = (
            f"{account.name} acts once Unipile has shown which LinkedIn member it is: the next tick"
            " asks"
        )
    answer(as_json, {"id": account.id, "name": account.name, "changed": changed}, said)


@click.command()
@click.argument("name")
@org_option
@json_option
def remove(name: str, org: str | None, as_json: bool) -> None:
    """Let a sender's LinkedIn member go, for good.

    Nothing is done by it any more, and any organisation may connect the member: whoever does
    carries what was used of its limits.  What it did stays in the history.  It is refused while
    leads of running or paused campaigns are to be walked by it.

    \b
    Example:
      clento account remove Lea
    """

    async def work(here: Here) -> AccountRow:
        found = await find_account(here.conn, here.organization_id, name)
        await remove_account(here.conn, here.organization_id, found.id, here.clock())
        return found

    account = within(org, work)
    answer(as_json, {"id": account.id, "name": account.name}, f"removed {account.name}")


@dataclass(frozen=True, slots=True)
class _Allowed:
    account: AccountRow
    caps: Mapping[Budget, Caps]
    used: Mapping[Budget, Mapping[str, int]]
    warm_up_share: float


@click.command()
@click.argument("name")
@click.option(
    "--set",
    "changes",
    type=LIMIT,
    multiple=True,
    help="LIMIT.WINDOW=NUMBER or =none; window: hour, day, week, month.  May be repeated.",
)
@org_option
@json_option
def limits(name: str, changes: tuple[LimitChange, ...], org: str | None, as_json: bool) -> None:
    """Show what a sender may do and did, or change it.

    Each cell is used/cap over the sliding window.  An account that warms up may use a share of
    its day and week caps.

    \b
    Example:
      clento account limits Lea --set invitation.day=15 --set invitation.week=80
    """

    async def work(here: Here) -> _Allowed:
        account = await find_account(here.conn, here.organization_id, name)
        now = here.clock()
        async with here.conn.transaction():
            caps = dict(await budgets.limits(here.conn, here.organization_id, account.id))
            for change in changes:
                changed = replace(caps[change.budget], **{change.window: change.cap})
                caps[change.budget] = changed
                await budgets.set_limit(
                    here.conn, here.organization_id, account.id, change.budget, changed, now=now
                )
        used = await budgets.used(here.conn, here.organization_id, account.id, now)
        share = ramp(account.warmup_started_at, now, account.warmup_days)
        return _Allowed(account, caps, used, share)

    found = within(org, work)
    data = {
        "account": found.account.name,
        "warm_up_share": found.warm_up_share,
        "limits": {
            budget: {
                window: {"used": found.used.get(budget, {}).get(window, 0), "cap": cap}
                for window, cap in asdict(caps).items()
            }
            for budget, caps in found.caps.items()
            if budget is not Budget.NONE
        },
    }
    said = (
        ""
        if found.warm_up_share >= 1
        else (f"warms up: {found.warm_up_share:.0%} of the day and week caps for now")
    )
    answer(as_json, data, use_table(found.caps, found.used), *([said] if said else []))


def use_table(
    caps: Mapping[Budget, Caps], used: Mapping[Budget, Mapping[str, int]], title: str = ""
) -> Table:
    """Draw used/cap by limit and window."""
    rows = [
        (
            budget,
            *(
                _use(getattr(allowed, window), used.get(budget, {}).get(window, 0))
                for window in WINDOWS
            ),
        )
        for budget, allowed in caps.items()
        if budget is not Budget.NONE
    ]
    return Table(("used/cap", *WINDOWS), rows, title=title)


def _use(cap: int | None, used: int) -> str:
    if cap is None:
        return f"{used:,}" if used else "-"
    return f"{used:,}/{cap:,}"
