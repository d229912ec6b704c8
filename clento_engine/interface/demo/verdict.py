"""The verdict on a demo: from the simulator's own ledger, not from ours."""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta

from clento_engine.domain.limits import Caps
from clento_engine.domain.operation import Budget, Operation
from clento_engine.domain.schedule import WorkingHours, is_open
from clento_engine.domain.workflow import Workflow
from clento_engine.simulator.judge import Verdict, judge, normalised
from clento_engine.simulator.ledger import Effect, Ledger

# A reply that came in while a message was on its way is nobody's fault.
GRACE = timedelta(minutes=2)

_WRITTEN = {
    Effect.MESSAGE: Operation.SEND_FOLLOWUP,
    Effect.INMAIL: Operation.SEND_INMAIL,
    Effect.COMMENT: Operation.COMMENT_POST,
}


def verdict_of(
    ledger: Ledger,
    workflow: Workflow,
    *,
    hours: WorkingHours,
    zones: Mapping[str, str],
    caps: Mapping[str, Mapping[Budget, Caps]],
) -> Verdict:
    """Judge what reached people: `zones` and `caps` are by the provider's account id."""
    alike = Counter(
        (node.operation, normalised(node.text)) for node in workflow.nodes.values() if node.text
    )
    # two nodes with one text may reach a person twice with it; nothing else may
    most = {
        effect: max(
            (count for (of, _), count in alike.items() if of is operation),
            default=1,
        )
        for effect, operation in _WRITTEN.items()
    }

    def allowed(effect: Effect, _text: str | None) -> int:
        return most.get(effect, 1)

    def opened(account: str, at: datetime) -> bool:
        return is_open(hours, at, zones[account])

    return judge(
        ledger,
        caps=lambda account: {
            budget: {
                window: cap
                for window in ("hour", "day", "week", "month")
                if (cap := getattr(each, window)) is not None
            }
            for budget, each in caps[account].items()
        },
        allowed=allowed,
        is_open=opened,
        grace=GRACE,
    )
