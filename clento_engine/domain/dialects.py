"""Variables in other tools' spellings: `{x}`, `${x}`, `%X%`, `#x#`, `<<x>>`, `*|X|*`, `{% x %}`.

A name that no sentence has (`first_name`) is found in looser company than a word, which counts only
where nothing but a variable is written so: `20 % off`, `#hiring`, `a << b` and `{ }` are text.
"""

import re
from collections.abc import Callable, Iterator

from clento_engine.domain import spintax
from clento_engine.domain.leftover import Kind, Leftover, Look
from clento_engine.domain.variable import field_of, is_no_word, key, meant_field

QUOTES = "\"'`‘’‚“”„«»‹›"

_WORD = r"[^\W\d][\w.:-]{0,40}"
_NAME = rf"{_WORD}(?: {_WORD}){{0,3}}"
_NO_WORD = (
    r"(?:(?:first|last|full|given|family|company|account|organi[sz]ation)_?name"
    r"|job_?title|current_company|[fl]name)"
)
_OURS = re.compile(
    r"(?P<twice>\[\[[^\[\]\n]*\]\])|\{\{\{[^{}]*\}\}\}|\{\{[^{}]*\}\}"
    r"|\[(?P<squared>[^\[\]{}|\n]*)(?:\|(?P<rest>[^\[\]{}\n]*))?\]"
)
_EXPRESSION = re.compile(
    rf"\s*(?P<name>{_NAME})\s*(?P<sign>\|\|?|\?\?|:-|[:,=?]|\bor\b)\s*(?P<rest>.*)", re.DOTALL
)
_FILTER = re.compile(
    r"\|*\s*(?:(?:default|fallback)\b(?!\s+\w)|(?:capitali[sz]e|titlecase|title_case|upcase|downcase"
    r"|upper_?case|lower_?case|upper|lower|strip|trim|escape|ucfirst)\s*(?:\(\s*\))?\s*(?:\||$))",
    re.IGNORECASE,
)
_DEFAULT = re.compile(
    r"\b(?:default|fallback)(?:_value)?\s*[:=(]?\s*(?P<rest>[^|)]*)", re.IGNORECASE
)
_BEFORE_CODE = re.compile(r"\\[A-Za-z]+(?:\{[^{}]*\})*$")  # LaTeX
_KEYWORD = re.compile(r"(?:break|const|continue|do|else|for|if|let|return|throw|try|var|while)\b")


def spelled(name: str, fallback: str | None = None) -> str:
    """Write a variable as we do."""
    words = _unquoted(fallback or "")
    return f"{{{{{name}|{words}}}}}" if words else f"{{{{{name}}}}}"


def own_variables(text: str, look: Look) -> tuple[list[Leftover], str]:
    """Return what is wrong with variables in our own spelling, and the text with a word for each.

    The text keeps its length, so that what is found in it stands where it does in `text`.
    """
    found: list[Leftover] = []

    def judged(match: re.Match[str]) -> str:
        name = match["squared"]
        if (twice := match["twice"]) is not None:
            return f"[[{'x' * (len(twice) - 4)}]]" if "{" in twice else twice
        if name is not None and not (not look.is_rendered and look.has(name)):
            if look.is_rendered and look.has(name):
                found.append(_named(match, name))
            return match[0]
        leftover = _square(match) if name is not None else _double(match, look)
        if leftover is not None:
            found.append(leftover)
        return "x" * len(match[0])

    return found, _OURS.sub(judged, text)


def foreign_variables(text: str, look: Look) -> Iterator[Leftover]:
    """Return the variables that other tools would fill; the most certain spellings first."""
    has_field = re.search(_NO_WORD, text, re.IGNORECASE) is not None
    for trigger, pattern, judge in _SPELLINGS:
        if has_field if trigger is _FIELD else trigger in text:
            for match in pattern.finditer(text):
                if (leftover := judge(match, look)) is not None:
                    yield leftover


def choices(text: str, look: Look) -> Iterator[Leftover]:
    """Return the spintax that is another tool's fallback; in a rendered text, all there is."""
    for group in spintax.groups(text):
        piece = text[group.start : group.end]
        words = [
            alternative[0].strip() if alternative and isinstance(alternative[0], str) else ""
            for alternative in group.alternatives
        ]
        alone = [len(each) <= 1 for each in group.alternatives]
        first = words[0] if alone[0] else ""
        names = [word for word, is_alone in zip(words, alone, strict=True) if is_alone and word]
        if look.is_rendered:
            yield Leftover(Kind.CHOICE, piece, group.start)
        elif (field := meant_field(first)) is not None and (field_of(first) or is_no_word(first)):
            plain = spelled(field, words[1]) if len(words) == 2 and all(alone) else None  # noqa: PLR2004
            yield Leftover(Kind.CHOICE, piece, group.start, plain)
        elif any(field_of(name) is not None for name in names) or (
            first and look.columns is not None and key(first) in look.columns
        ):
            yield Leftover(Kind.CHOICE, piece, group.start)


# In double braces and in single square brackets: our own spellings


def _double(match: re.Match[str], look: Look) -> Leftover | None:
    inner = match[0].strip("{}").strip()
    name, bar, fallback = (part.strip() for part in inner.partition("|"))
    if look.is_rendered:
        return _named(match, name, fallback or None)
    if inner.startswith(tuple("#/^>!*")) or inner.casefold() in ("else", "end"):
        return Leftover(Kind.VARIABLE, match[0], match.start())
    if inner.startswith(tuple("&=$%~")):
        return _named(match, inner[1:])
    if bar and _is_foreign(fallback):
        return _named(match, name, _fallback(fallback) or "", known=name)
    if not bar and not look.has(name) and (parts := _EXPRESSION.fullmatch(inner)):
        is_quoted = parts["rest"][:1] in tuple(QUOTES)
        if is_quoted or is_no_word(parts["name"]):
            return _named(match, parts["name"], parts["rest"], known=parts["name"])
    if match[0].startswith("{{{"):
        return _named(match, name, fallback or None, known=name)
    if "." in name and not look.has(name) and meant_field(name) is not None:
        return _named(match, name, fallback or None)
    return None


def _square(match: re.Match[str]) -> Leftover | None:
    rest = match["rest"]
    if rest is not None and _is_foreign(rest.strip()):
        return _named(match, match["squared"], _fallback(rest.strip()) or "")
    return None


def _is_foreign(fallback: str) -> bool:
    """Whether what stands after the bar is a filter, an expression or a name, not words to send."""
    if "|" in fallback or _FILTER.match(fallback) or is_no_word(fallback):
        return True
    return len(fallback) > 1 and fallback[0] in QUOTES and fallback[-1] in QUOTES


def _fallback(expression: str) -> str | None:
    """Return the words that an expression of another tool gives as a fallback, if it does."""
    if found := _DEFAULT.search(expression):
        return _unquoted(found["rest"])
    if _FILTER.match(expression) or is_no_word(expression):
        return None
    return _unquoted(expression.strip("| "))


def _unquoted(words: str) -> str:
    return re.sub(r"[{}|\n]", "", words).strip().strip(QUOTES).strip()


def _named(
    match: re.Match[str], name: str, fallback: str | None = None, *, known: str | None = None
) -> Leftover:
    """Return what a variable is to be written as; `known`: its name, where that is ours anyway."""
    field = meant_field(name) or (known.strip() if known else None)
    kind = Kind.VARIABLE if fallback is None else Kind.FALLBACK
    plain = None if not field else spelled(field, fallback)
    return Leftover(kind, match[0], match.start(), plain)


# In other tools' spellings


def _certain(match: re.Match[str], _look: Look) -> Leftover:
    """Judge what nobody writes but for a variable, or a statement."""
    inner = match["inner"].strip().strip("-=# ").strip()
    parts = _EXPRESSION.fullmatch(inner)
    if parts is None or meant_field(parts["name"]) is None:
        return _named(match, inner)
    return _named(match, parts["name"], _fallback(parts["rest"]) or "")


def _with_sign(match: re.Match[str], look: Look) -> Leftover | None:
    """Judge `${x}` and its kin."""
    inner = match["inner"].strip()
    if not inner[:1].isalpha() and inner[:1] != "_":
        return None
    return _certain(match, look)


def _single(match: re.Match[str], _look: Look) -> Leftover | None:
    """Judge `{x}`: a name alone, or one with a fallback."""
    inner = match["inner"]
    name = inner.strip()
    if parts := _EXPRESSION.fullmatch(name):
        is_asked = parts["sign"] in ("||", "??") and parts["rest"][:1] in tuple(QUOTES)
        is_field = parts["sign"] in ("||", "??") and meant_field(parts["name"]) is not None
        if is_no_word(parts["name"]) or is_asked or is_field:
            return _named(match, parts["name"], parts["rest"])
        return None
    if re.fullmatch(_NAME, name) is None:
        return None
    if meant_field(name) is None:
        before = match.string[max(0, match.start() - 40) : match.start()]
        is_code = inner != name or _KEYWORD.match(name) or _BEFORE_CODE.search(before)
        if is_code:
            return None
    return _named(match, name)


def _between(match: re.Match[str], _look: Look) -> Leftover | None:
    """Judge `%x%`, `#x#` and `<<x>>`: any single word, or a field's name of several."""
    inner = match["inner"]
    name = inner.strip()
    if meant_field(name) is not None:
        return _named(match, name)
    is_word = inner == name and re.fullmatch(_WORD, name) is not None
    return Leftover(Kind.VARIABLE, match[0], match.start()) if is_word else None


def _field_only(match: re.Match[str], _look: Look) -> Leftover | None:
    return _named(match, match["inner"]) if meant_field(match["inner"]) is not None else None


def _quoted(match: re.Match[str], _look: Look) -> Leftover | None:
    """Judge `«First Name»`, which is a quotation where it is a word."""
    name = match["inner"]
    several = "_" in key(name) and meant_field(name) is not None
    return _named(match, name) if several or is_no_word(name) else None


def _stray(match: re.Match[str], _look: Look) -> Leftover:
    return Leftover(Kind.FALLBACK, match[0], match.start())


def _squared_twice(match: re.Match[str], _look: Look) -> Leftover:
    return _named(match, match["inner"])


def _like_ours(match: re.Match[str], look: Look) -> Leftover | None:
    """Judge `[pain_point]` once it is known to be no column."""
    if look.columns is None or look.has(match["inner"]):
        return None
    return Leftover(Kind.VARIABLE, match[0], match.start())


_Judge = Callable[["re.Match[str]", Look], Leftover | None]


def _spelling(trigger: str, pattern: str, judge: _Judge) -> tuple[str, "re.Pattern[str]", _Judge]:
    return trigger, re.compile(pattern, re.IGNORECASE), judge


_FIELD = "name"  # looked for only where a text has the name of a field
_NAMED = rf"(?P<inner>{_NAME})"
_SPELLINGS = [
    _spelling("*|", r"\*\|(?P<inner>[^|*\n]{1,80})\|\*", _certain),
    _spelling("{%", r"\{%(?P<inner>[^{}]{0,200}?)%\}", _certain),
    _spelling("{%", r"\{%-?\s*(?P<inner>[^\W\d]\w*)", _certain),
    _spelling("{#", r"\{#(?P<inner>[^{}\n]{0,200})#\}", _certain),
    _spelling("<%", r"<%(?P<inner>[^<>\n]{0,200})%>", _certain),
    _spelling("<?", r"<\?(?P<inner>[^<>\n]{0,200})\?>", _certain),
    _spelling("[%", rf"\[%\s*{_NAMED}\s*%\]", _certain),
    _spelling("[[", rf"\[\[\s*{_NAMED}\s*\]\]", _squared_twice),
    _spelling("((", rf"\(\(\s*{_NAMED}\s*\)\)", _field_only),
    _spelling("{", r"[$#@%]\{(?P<inner>[^{}\n]{1,100})\}", _with_sign),
    _spelling("{", r"(?<!\{)\{(?P<inner>[^{}|\n]{1,100}(?:\|\|[^{}|\n]{0,100})?)\}(?!\})", _single),
    _spelling("<<", rf"<{{2,3}}(?P<inner>\s*{_NAME}\s*)>{{2,3}}", _between),
    _spelling("«", rf"«\s*{_NAMED}\s*»", _quoted),
    _spelling("<", rf"<\s*{_NAMED}\s*>", _field_only),
    _spelling("%", rf"(?<![%\w])%{{1,2}}(?P<inner>{_NAME})%{{1,2}}(?![%\w])", _between),
    _spelling("#", rf"(?<![#\w])#{{1,2}}(?P<inner>{_NAME})#{{1,2}}(?![#\w])", _between),
    _spelling(_FIELD, rf"(?<!\w)(?P<inner>{_NO_WORD})\s*\|+\s*[{QUOTES}]?\w+[{QUOTES}]?", _stray),
    _spelling("||", rf"[\w\])}}]\s*\|\|\s*[{QUOTES}][^\n{QUOTES}]*[{QUOTES}]?", _stray),
    _spelling(
        "a",
        rf"\b(?:default|fallback)(?:_value)?(?:\s*[:=]\s*[{QUOTES}]|\(\s*[{QUOTES}])"
        rf"[^\n{QUOTES}]*[{QUOTES}]?",
        _stray,
    ),
    _spelling("[", r"\[(?P<inner>[A-Z]+(?:_[A-Z]+)+)(?:\|[^\[\]\n]*)?\]", _like_ours),
    _spelling(
        _FIELD,
        rf"(?:(?<![A-Za-z0-9])[_-]{{1,3}}|[$@%~^§:#*|<(]{{1,3}}_*)(?P<inner>{_NO_WORD})"
        r"(?![A-Za-z0-9])(?:_{0,3}[$@%~^§:#*|>)]{1,3}|_{1,3})?",
        _field_only,
    ),
]
