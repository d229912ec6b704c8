"""Asking the provider who an account is: before it acts, and before its absence is believed."""

from dataclasses import dataclass
from uuid import UUID

from clento_engine.domain.account import PausedBy, Tier
from clento_engine.domain.failure import Fail, Failure, Pause, Retry, Skip
from clento_engine.provider.port import Account
from clento_engine.runtime.errors import NotAdded
from clento_engine.runtime.guard import require_stamp
from clento_engine.runtime.world import World, surely
from clento_engine.store.accounts import add_account, pause_account
from clento_engine.store.members import Bound, Refused, bind, look_up_again

NO_MEMBER = "Unipile does not say which LinkedIn member is signed in"


@dataclass(frozen=True, slots=True)
class Added:
    """A sender that was added.

    `member`: the name of the LinkedIn member.  `is_known`: the member acted for this organisation
    before: `account_id` is the account of that time, and goes on.  `paused`: why it cannot act yet.
    """

    account_id: UUID
    member: str
    is_known: bool
    paused: str | None = None


async def add(
    world: World,
    organization_id: UUID,
    *,
    unipile_account_id: str,
    name: str,
    tier: Tier,
    time_zone: str,
    warmup_days: int | None,
) -> Added:
    """Add a sender as Unipile shows it, bound to its member at once.

    Raises NotAdded, AlreadyExists, and WrongProvider: then nothing was added.
    """
    answer = await world.provider.account(unipile_account_id)
    if not isinstance(answer, Account):
        is_unknown = isinstance(answer, Pause) and not answer.everyone
        raise NotAdded(f"account {unipile_account_id}: {answer.reason}", is_unknown=is_unknown)
    member_id = answer.provider_id
    if member_id is None:
        raise NotAdded(NO_MEMBER)

    async def once() -> Bound:
        async with world.database.transaction() as conn:
            await require_stamp(conn, world)
            account_id = await add_account(
                conn,
                organization_id,
                unipile_account_id=unipile_account_id,
                name=name,
                tier=tier,
                time_zone=time_zone,
                warmup_days=warmup_days,
            )
            if not answer.usable:  # another account of the member's may still be
                await look_up_again(conn, organization_id, account_id, reason=answer.status)
                return Bound(account_id, is_folded=False)
            bound = await bind(
                conn,
                organization_id,
                account_id,
                member_id=member_id,
                unipile_account_id=unipile_account_id,
                created_at=answer.created_at,
                now=world.clock(),
            )
            if isinstance(bound, Refused):
                raise NotAdded(bound.reason)  # undoes the transaction
            return bound

    bound = await surely(once)
    paused = None if answer.usable else answer.status
    return Added(bound.account_id, answer.name, bound.is_folded, paused)


async def confirm(
    world: World, organization_id: UUID, account_id: UUID, unipile_account_id: str
) -> Failure | None:
    """Ask the provider for an account, and hold its answer against what the account is bound to.

    None: it is the account it was, or was bound just now, and may act unless an operator paused
    it.  Else it may not be used: a Pause has stopped it, a Skip says that its leads go on under
    another row.  Causes no LinkedIn traffic.  Raises WrongProvider.
    """
    answer = await world.provider.account(unipile_account_id)
    if isinstance(answer, Account):
        failure = await _compare(world, organization_id, account_id, answer)
    else:
        # only a Pause is about the account; a refusal of another kind says nothing of it
        failure = Retry(answer.reason) if isinstance(answer, Skip | Fail) else answer
    if isinstance(failure, Pause):
        reason = failure.reason

        async def pause() -> None:
            async with world.database.connection() as conn:
                await pause_account(
                    conn,
                    organization_id,
                    account_id,
                    by=PausedBy.PROVIDER,
                    reason=reason,
                    now=world.clock(),
                )

        await surely(pause)
    return failure


async def _compare(
    world: World, organization_id: UUID, account_id: UUID, account: Account
) -> Failure | None:
    if not account.usable:
        return Pause(account.status)
    member_id = account.provider_id
    if member_id is None:
        return Retry(NO_MEMBER)

    async def once() -> Bound | Refused:
        async with world.database.transaction() as conn:
            await require_stamp(conn, world)
            return await bind(
                conn,
                organization_id,
                account_id,
                member_id=member_id,
                unipile_account_id=account.id,
                created_at=account.created_at,
                now=world.clock(),
            )

    match await surely(once):
        case Refused(reason, is_paused):
            return Pause(reason) if is_paused else Skip(reason)
        case Bound(is_folded=True):
            return Skip("its leads go on under the account that its member had before")
        case _:
            return None
