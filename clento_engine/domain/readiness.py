"""Whether a compiled workflow can run here and now: with these senders, webhooks and columns."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from clento_engine.domain import review, template
from clento_engine.domain.account import Tier
from clento_engine.domain.finding import Allowance, Finding, Severity, as_allowed
from clento_engine.domain.leftover import Leftover
from clento_engine.domain.operation import Operation
from clento_engine.domain.reach import PUBLIC, Reach, has_credentials, misplaced
from clento_engine.domain.workflow import Node, Workflow

_WITHOUT_INMAIL = frozenset({Tier.NEW, Tier.FREE})
_LIKELY_VALUE = 15  # code units of a value, to warn before a lead is too long


def check_ready(
    workflow: Workflow,
    *,
    tiers: Collection[Tier],
    webhooks: Mapping[str, str],
    columns: Collection[str] | None,
    inmail_subject: str | None,
    reach: Reach = PUBLIC,
) -> list[Finding]:
    """Report what keeps a node from running in one campaign, and what may turn out badly.

    `tiers` are those of the campaign's senders, `webhooks` the URLs of the registered webhooks by
    their ids, `reach` where notices may go, `columns` the columns of the lead list (None when it
    is not known yet: variables are then not checked), and `inmail_subject` the campaign's.  This
    adds to what reading the document found, and repeats nothing of it.  Nodes that the operator
    passes over are not checked.
    """
    findings: list[Finding] = []
    for node in workflow.nodes.values():
        if node.skip is not None or node.unsupported is not None:
            continue
        if columns is not None:
            findings += _unknown_variables(node, columns)
        match node.operation:
            case Operation.WEBHOOK:
                findings += _webhook(node, webhooks, reach)
            case Operation.SEND_CONNECTION_REQUEST:
                findings += _note(node, tiers, columns or ())
            case Operation.SEND_INMAIL:
                findings += _inmail(node, tiers, inmail_subject)
                if inmail_subject and not node.subject:
                    findings += _campaign_subject(node, inmail_subject, columns)
            case _:
                pass
    return findings


def skip_unready(workflow: Workflow, findings: Collection[Finding]) -> Workflow:
    """Return the workflow with every node that `findings` call unready marked to be passed.

    `skip` is the reason, for people.  Nodes marked before keep theirs, so twice is as once.
    """
    reasons: dict[str, list[str]] = {}
    for finding in findings:
        if finding.node_id is not None and finding.severity is Severity.UNREADY:
            reasons.setdefault(finding.node_id, []).append(finding.problem)
    nodes = {
        node.id: replace(node, skip="; ".join(reasons[node.id]))
        if node.id in reasons and node.skip is None
        else node
        for node in workflow.nodes.values()
    }
    return Workflow(first=workflow.first, nodes=nodes)


def with_allowed(workflow: Workflow, allowed: Mapping[str, Collection[Allowance]]) -> Workflow:
    """Return the workflow with what the operator allows by node id, besides what was before."""
    nodes = {
        node.id: replace(node, allowed=tuple(sorted({*node.allowed, *allowed.get(node.id, ())})))
        for node in workflow.nodes.values()
    }
    return Workflow(first=workflow.first, nodes=nodes)


def check_targets(workflow: Workflow, reach: Reach) -> list[Finding]:
    """Report webhook nodes whose own URL nothing is posted to, as far as the URL shows it."""
    return [
        finding
        for node in workflow.nodes.values()
        if node.skip is None and node.operation is Operation.WEBHOOK
        for finding in _target(node, reach)
    ]


def _webhook(node: Node, webhooks: Mapping[str, str], reach: Reach) -> Iterator[Finding]:
    yield from _target(node, reach)
    if node.webhook_id is None:
        return
    if (url := webhooks.get(node.webhook_id)) is not None:
        # a registered webhook goes before the URL of the node
        if (refusal := misplaced(url, reach)) is not None:
            problem, fix = refusal
            problem = f"the webhook {node.webhook_id}: {problem}"
            yield Finding(node.id, "webhookId", problem, fix, Severity.UNREADY)
    elif node.webhook_url is None:
        yield Finding(
            node.id,
            "webhookId",
            f"nobody registered the webhook {node.webhook_id}",
            "register it, with the address it is to go to",
            Severity.UNREADY,
            subject=node.webhook_id,
        )


def _target(node: Node, reach: Reach) -> Iterator[Finding]:
    if node.webhook_url is None:
        return
    if has_credentials(node.webhook_url):
        yield Finding(
            node.id,
            "targetUrl",
            "the address holds a user or password, which everybody who reads the workflow sees",
            "take them out, or register the address and name it by webhookId",
            Severity.UNREADY,
        )
    if (refusal := misplaced(node.webhook_url, reach)) is not None:
        yield Finding(node.id, "targetUrl", *refusal, Severity.UNREADY)


def _note(node: Node, tiers: Collection[Tier], columns: Collection[str]) -> Iterator[Finding]:
    limits = {tier: template.text_limit(node.operation, tier) for tier in tiers}
    limit = min(limits.values(), default=None)
    if limit is None or not node.text:
        return
    who = _listed(tier for tier in limits if limits[tier] == limit)
    least, longest = template.extent(node.text, 0, columns)
    likely = max(longest, template.extent(node.text, _LIKELY_VALUE, columns)[1])
    if least > limit:
        yield Finding(
            node.id,
            "text",
            f"the note has {least} characters and senders of tier {who} may send {limit}",
            "shorten the note, or leave these senders out",
            Severity.UNREADY,
        )
    elif likely > limit:
        yield Finding(
            node.id,
            "text",
            f"the note may reach {likely} characters and senders of tier {who} may send {limit}",
            "shorten the note: leads whose values are long cannot be invited with it",
            Severity.WARNING,
        )


def _inmail(node: Node, tiers: Collection[Tier], subject: str | None) -> Iterator[Finding]:
    if unable := _WITHOUT_INMAIL.intersection(tiers):
        yield Finding(
            node.id,
            "sender",
            f"senders of tier {_listed(unable)} cannot send InMail",
            "leave these senders out, or pass over the node",
            Severity.UNREADY,
        )
    if not node.subject.strip() and not (subject or "").strip():
        yield Finding(
            node.id,
            "subject",
            "the InMail has no subject, which LinkedIn asks for and the editor cannot save",
            "give the campaign an InMail subject",
            Severity.UNREADY,
        )


def _campaign_subject(
    node: Node, subject: str, columns: Collection[str] | None
) -> Iterator[Finding]:
    def error(problem: str, fix: str) -> Finding:
        return Finding(node.id, "inmail_subject", problem, fix, Severity.ERROR)

    if columns is not None:
        yield from _unknown(node, "inmail_subject", subject, columns)
    if leftover := template.unfilled(subject):
        yield error(
            f"{leftover[0]} in the campaign's InMail subject is no variable",
            "write variables as {{first_name}}",
        )
    for each in review.by_kind(review.leftovers(subject, columns)):
        yield _as_it_is(node, "inmail_subject", each)
    if (least := template.extent(subject, 0)[0]) > (limit := template.SUBJECT_LIMIT):
        yield error(
            f"the campaign's InMail subject has {least} characters, {limit} are allowed",
            "shorten the subject",
        )


def _unknown_variables(node: Node, columns: Collection[str]) -> Iterator[Finding]:
    for field, text in (("text", node.text), ("subject", node.subject)):
        yield from _unknown(node, field, text, columns)
        yield from _left_over(node, field, text, columns)


def _unknown(node: Node, field: str, text: str, columns: Collection[str]) -> Iterator[Finding]:
    """Report variables that no lead of the list can have, each once."""
    fallbacks: dict[str, bool] = {}
    for place in template.placed(text, columns):
        if not template.is_known(place.name, columns):
            always = fallbacks.get(place.name, True)
            fallbacks[place.name] = always and place.fallback is not None
    for name, always in fallbacks.items():
        yield Finding(
            node.id,
            field,
            f"no lead of this list has {name}: "
            + ("its fallback is always used" if always else "the text can never be sent"),
            "correct the name, add the column to the list, or give a fallback: {{name|fallback}}",
            Severity.WARNING if always else Severity.ERROR,
        )


def _left_over(node: Node, field: str, text: str, columns: Collection[str]) -> Iterator[Finding]:
    """Report what the text alone did not show: names in square brackets that are no columns."""
    before = {each.piece for each in review.leftovers(text)}
    found = [each for each in review.leftovers(text, columns) if each.piece not in before]
    for each in review.by_kind(found):
        yield _as_it_is(node, field, each)


def _as_it_is(node: Node, field: str, found: Sequence[Leftover]) -> Finding:
    problem, fix = review.problem(found), review.fix(found)
    finding = Finding(node.id, field, problem, fix, Severity.ERROR, allowance=Allowance.TEXT)
    return as_allowed(finding) if Allowance.TEXT in node.allowed else finding


def _listed(tiers: Collection[Tier] | Iterator[Tier]) -> str:
    return " and ".join(sorted(tier.value for tier in tiers))
