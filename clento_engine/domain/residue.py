"""What editors, exports and AI leave in a text: gaps, tags, entities, broken signs."""

import re
from collections.abc import Iterator
from html import unescape
from html.entities import html5

from clento_engine.domain.leftover import Kind, Leftover, Look

# Gaps: `[Your Name]`, `[specific detail]`, `[insert topic]`, `<your company>`, also where an AI
# wrote them in another language of the editors

_NOUN = (
    r"(?:(?:first|last|full|company|job|contact|colleague)[ ]?)?name|company|firm|employer|role"
    r"|(?:job )?title|position|industry|topic|city|location|country|product|service"
    r"|pain[ -]?points?|mutual (?:connection|contact|friend)"
    r"|(?:recent |latest )?(?:post|article|event|project)"
    r"(?: topic| title)?|school|university|achievement|skill|department|team|date|time"
    r"|(?:calendar |booking |meeting )?link|url|phone(?: number)?|e-?mail(?: address)?|signature"
    r"|website|number|x{2,}"
)
_FOREIGN_NOUN = (
    r"(?:vor|nach|firmen)?name|firma|unternehmen|position|branche|thema|stadt"
    r"|(?:pr[eé])?nom|entreprise|soci[eé]t[eé]|poste|secteur|sujet|ville"
    r"|nombre|apellidos?|empresa|cargo|puesto|sector|tema|ciudad"
    r"|nome|sobrenome|cognome|azienda|ruolo|setor|cidade|citt[aà]"
)
_GAP_ALWAYS = re.compile(
    rf"""(?:your|insert|enter|fill[ ]in|specify|mention|specific|personali[sz]ed|placeholder)\b.*
      | (?:add|relevant|something)[ ](?:\w+[ ]){{0,3}}\w+
      | (?:recipient|prospect|sender|lead|contact|person)(?:['’]?s)?[ ]\w.*
      | (?:name|title|topic)[ ]of[ ]\w.*
      | (?:ihr|dein|mein)e?[ ](?:{_FOREIGN_NOUN})
      | (?:{_FOREIGN_NOUN})[ ](?:hier[ ])?(?:einf[uü]gen|eintragen)
      | (?:votre|ton|ta|mon)[ ](?:{_FOREIGN_NOUN}) | ins[eé]rer[ ].* | ins[eé]rez[ ].*
      | (?:tu|su|mi)[ ](?:{_FOREIGN_NOUN})
      | (?:insertar|inserta|inserte|insira|inserir|inserisci)[ ].*
      | (?:seu|sua|teu|tua|meu|minha)[ ](?:{_FOREIGN_NOUN})
      | (?:il[ ]tuo|la[ ]tua|il[ ]mio|la[ ]mia)[ ](?:{_FOREIGN_NOUN})
      | (?:nom|nombre|nome)[ ](?:de|da|do|del|della|de[ ]la|de[ ]l['’])[ ]?\w.*
    """,
    re.IGNORECASE | re.VERBOSE,
)
_GAP_ALONE = re.compile(
    rf"(?:(?:the|their|his|her|his/her|my|our|a|an) )?(?:{_NOUN})|(?:{_FOREIGN_NOUN})",
    re.IGNORECASE,
)
_BRACKETED = re.compile(r"\[(?P<squared>[^\[\]\n]{1,80})\](?!\()|<(?P<angled>[^<>\n@/]{1,80})>")

# Tags: with attributes only as HTML writes them, so that `a <b and c> d` is none

_TAGS = (
    "a|abbr|article|aside|b|big|blockquote|body|br|button|caption|center|cite|code|col|dd|del|div|dl"
    "|dt|em|figure|font|footer|form|h[1-6]|head|header|hr|html|i|iframe|img|input|ins|label|li|link"
    "|main|mark|meta|nav|object|ol|option|p|pre|q|s|script|section|select|small|span|strike|strong"
    "|style|sub|sup|svg|table|tbody|td|textarea|tfoot|th|thead|title|tr|tt|u|ul|video|wbr"
)
_ATTRIBUTE = r"""\s+[a-z][\w:-]*\s*=\s*(?:"[^"]*"|'[^']*'|[^\s"'<>=]+)"""
TAG = re.compile(
    rf"</?(?P<tag>{_TAGS})(?:{_ATTRIBUTE})*\s*/?>|<!--.*?-->|<!doctype[^<>]*>",
    re.IGNORECASE | re.DOTALL,
)
ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});|&nbsp(?!\w)")
_BREAKING = re.compile(r"blockquote|br|div|h[1-6]|hr|li|ol|p|table|tr|ul")

# Signs that are broken for certain; what an encoding left is found by `_mojibake`

_BROKEN = re.compile(
    "[\ufffc\ufffd\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]+"
    r"|\[object Object\]|\\u[0-9a-fA-F]{4}|(?<![\w:\\/])\\r?\\?n(?![a-z])|(?<=\w)\\n\\n"
    r"|=\?[\w-]+\?[BQbq]\?[^?\s]*\?="
)

# Mending costs more than the length of a word, and a text of which much is broken is broken
_LONGEST_WORD = 100
_MOST_BROKEN = 20

# What was one sign in UTF-8 is two others at least, or one before a space that was the second
_MAYBE_MOJIBAKE = re.compile("[^\x00-\x7f]{2}|[ÂÃÄÅÎÏÐÑâãäåæìíïð] ")


def gaps(text: str, look: Look) -> Iterator[Leftover]:
    """Return what the writer of a text was to fill in.

    A single noun is one only once it is known to be no column: `[city]` may be a variable.
    """
    if "[" not in text and "<" not in text:
        return
    for match in _BRACKETED.finditer(text):
        words = (match["squared"] or match["angled"]).strip().strip(".…:!?*_").strip()
        if look.columns is not None and look.has(words):
            continue
        is_noun = look.columns is not None or match["angled"]
        if _GAP_ALWAYS.fullmatch(words) or (is_noun and _GAP_ALONE.fullmatch(words)):
            yield Leftover(Kind.GAP, match[0], match.start())


def markup(text: str) -> Iterator[Leftover]:
    """Return tags and entities."""
    if "<" in text:
        for match in TAG.finditer(text):
            yield Leftover(Kind.MARKUP, match[0], match.start(), plain_tag(match))
    if "&" in text:
        for match in ENTITY.finditer(text):
            if (sign := plain_entity(match[0])) is not None:
                yield Leftover(Kind.MARKUP, match[0], match.start(), sign)


def plain_tag(match: "re.Match[str]") -> str:
    """Return what a tag is in plain text: a line break, or nothing."""
    tag = (match["tag"] or "").lower()
    is_end = match[0].startswith("</")
    return "\n" if _BREAKING.fullmatch(tag) and (is_end or tag in ("br", "hr")) else ""


def plain_entity(entity: str) -> str | None:
    """Return the sign that an entity stands for; None for what is no entity (`AT&T;`)."""
    if entity.startswith("&#") or entity.removeprefix("&") in html5 or entity == "&nbsp":
        return unescape(entity).replace("\xa0", " ")
    return None


def damage(text: str) -> Iterator[Leftover]:
    """Return signs that no writer means."""
    for match in _BROKEN.finditer(text):
        yield Leftover(Kind.DAMAGE, match[0], match.start())
    if not text.isascii() and _MAYBE_MOJIBAKE.search(text):
        yield from _mojibake(text)


def _mojibake(text: str) -> Iterator[Leftover]:
    """Return words whose signs were read by another encoding than they were written in."""
    from ftfy import fix_encoding  # noqa: PLC0415 - slow to import, and most texts need none of it
    from ftfy.badness import BADNESS_RE  # noqa: PLC0415

    end, count = 0, 0
    for match in BADNESS_RE.finditer(text):
        if match.start() < end or count == _MOST_BROKEN:
            continue
        count += 1
        start = max(text.rfind(" ", 0, match.start()), text.rfind("\n", 0, match.start())) + 1
        start = max(start, end, match.start() - _LONGEST_WORD)
        for words in (1, 2):  # a sign that was a space once parted the word
            piece = _words(text, start, match.end(), words)
            end = start + len(piece)
            if (mended := fix_encoding(piece)) != piece:
                yield Leftover(Kind.DAMAGE, piece, start, mended)
                break


def _words(text: str, start: int, beyond: int, count: int) -> str:
    """Return the words from `start` to the end of the one at `beyond`, or of later ones."""
    end = min(beyond + _LONGEST_WORD, len(text))
    rest = re.compile(r"\S*" + r"\s+\S+" * (count - 1)).match(text, beyond, end)
    return text[start : rest.end() if rest else end]
