"""Texts of other tools rewritten as ours, as far as it is plain what they mean.

Fields in other spellings, tags, entities, and signs that an encoding broke.  Gaps, conditions and
fields that nobody knows stay: only who wrote them can say.
"""

import re
from collections.abc import Collection, Mapping
from copy import deepcopy
from dataclasses import dataclass

from clento_engine.domain.leftover import Kind
from clento_engine.domain.node_config import text_keys
from clento_engine.domain.review import leftovers

_LINK = re.compile(
    r"""<a\s[^<>]*?href\s*=\s*(?:"(?P<double>[^"<>]*)"|'(?P<single>[^'<>]*)')[^<>]*>(?P<words>.*?)</a>""",
    re.IGNORECASE | re.DOTALL,
)
_MOST_PASSES = 4  # what an entity hid may be a tag, and behind that another


@dataclass(frozen=True, slots=True)
class Change:
    """A text of a node, before and after."""

    node_id: str
    key: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Converted:
    """A document with its texts rewritten."""

    document: object
    changes: tuple[Change, ...]


def convert(document: object, allowed: Collection[str] = ()) -> Converted:
    """Rewrite the texts of a saved workflow; `allowed` are the nodes whose texts stay as they are.

    Whatever the document is, all else of it is left.
    """
    copy = deepcopy(document)
    changes: list[Change] = []
    nodes = copy.get("nodes") if isinstance(copy, dict) else None
    for node in nodes if isinstance(nodes, list) else []:
        name, data = (node.get("id"), node.get("data")) if isinstance(node, dict) else (None, None)
        config = data.get("config") if isinstance(data, Mapping) else None
        if not isinstance(config, dict) or not isinstance(name, str) or name in allowed:
            continue
        for key in text_keys(data) if isinstance(data, Mapping) else ():
            before = config.get(key)
            if isinstance(before, str) and (after := converted(before)) != before:
                config[key] = after
                changes.append(Change(name, key, before, after))
    return Converted(copy, tuple(changes))


def converted(text: str) -> str:
    """Return a text with all in it rewritten of which it is plain what is meant."""
    for _ in range(_MOST_PASSES):
        rewritten = _rewritten(text)
        if rewritten == text:
            break
        text = rewritten
    return text


def _rewritten(text: str) -> str:
    had_markup = any(each.kind is Kind.MARKUP for each in leftovers(text))
    if had_markup:
        text = _LINK.sub(_link, text)
    parts: list[str] = []
    end = 0
    for each in leftovers(text):
        if each.instead is not None:
            parts += [text[end : each.start], each.instead]
            end = each.end
    rewritten = "".join((*parts, text[end:]))
    return _tidied(rewritten) if had_markup else rewritten


def _link(match: re.Match[str]) -> str:
    address, words = (match["double"] or match["single"] or "").strip(), match["words"].strip()
    address = address.removeprefix("mailto:")
    if not address or address == words:
        return words
    return f"{words} ({address})" if words else address


def _tidied(text: str) -> str:
    """Return what was markup with the line breaks of a letter, not those of a page."""
    text = re.sub(r"[ \t]+(?=\n)|(?<=\n)[ \t]+", "", text)
    return re.sub(r"\n{3,}", "\n\n", text).strip()
