"""The judge after the storm: our books held against what really reached whom.

`settled_verdict` is pure: the simulator's ledger and our books in, findings out.  `judged` reads
the books first.  Call either when the dust has settled: every ticker has ended or has nothing due.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from clento_engine.domain.campaign import CampaignStatus
from clento_engine.interface.chaos import bookkeeping, contacts, walks
from clento_engine.interface.chaos.evidence import Evidence, Named
from clento_engine.interface.chaos.findings import Findings
from clento_engine.simulator.ledger import Ledger
from clento_engine.store.audit import Books, Turned, books
from clento_engine.store.database import Database

GRACE = timedelta(minutes=2)  # what is on its way when something happens is nobody's fault


async def judged(
    database: Database,
    ledger: Ledger,
    *,
    now: datetime,
    grace: timedelta = GRACE,
    suppressed: Mapping[Named, datetime] | None = None,
    turns: Sequence[Turned] | None = None,
) -> Findings:
    """Read our books and judge them; see `settled_verdict`.

    `turns`: when pauses and stops were answered, and resumes asked for.  The books have only when
    they were asked for, and the promise holds from the answer on.
    """
    kept = await books(database)
    if turns is not None:
        kept = replace(kept, turns=turns)
    return settled_verdict(ledger, kept, now=now, grace=grace, suppressed=suppressed)


def settled_verdict(
    ledger: Ledger,
    kept: Books,
    *,
    now: datetime,
    grace: timedelta = GRACE,
    suppressed: Mapping[Named, datetime] | None = None,
) -> Findings:
    """Hold our books against the ledger of what really happened.

    Hours, zones and caps are those in the books.  `now`: the engine's time; what was due before it
    should have run.  `grace`: how much the clocks of those involved may differ, and how long what
    was on its way may take.  `suppressed`: from when on a person (by any name) was to be left
    alone.  A member is one sender, under whatever ids of Unipile's: named by the first of them.
    """
    evidence = Evidence(ledger, kept, now, grace, suppressed or {})
    lines_by_kind = {
        "duplicates": list(contacts.duplicates(evidence)),
        "lost": list(walks.lost(evidence)),
        "over_cap": list(contacts.over_cap(evidence)),
        "outside_hours": list(contacts.outside_hours(evidence)),
        "after_stop": list(contacts.after_stop(evidence)),
        "disagreements": [
            *bookkeeping.landed_and_not_written(evidence),
            *bookkeeping.written_and_not_landed(evidence),
            *bookkeeping.miscounted(evidence),
            *bookkeeping.uncounted(evidence),
            *kept.miscounted,
            *bookkeeping.unheard(evidence),
            *bookkeeping.taken_over(evidence),
        ],
        "unknown": list(walks.unknown(evidence)),
        "held": list(walks.held(evidence)),
        "unresolved": list(walks.unresolved(evidence)),
    }
    judged_walks = [run for run in kept.executions if run.campaign_status != CampaignStatus.STOPPED]
    return Findings(
        **{kind: len(lines) for kind, lines in lines_by_kind.items()},
        walks=len(judged_walks),
        ended=sum(run.outcome is not None for run in judged_walks),
        details={kind: lines for kind, lines in lines_by_kind.items() if lines},
    )
