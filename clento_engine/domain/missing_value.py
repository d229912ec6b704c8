"""Values that are none: what exports leave where nothing was, and what is left of a damaged one.

One list for cells and for addresses alike.  A wrong name is sent to its owner, so whatever is not
certain to be a value is none.
"""

import re

# Words that mean "nothing" in whatever letter case, with the brackets and signs around them taken
# off.  No word that is somebody's name, such as Blank or Nil.
NOTHING = frozenset(
    {
        *(
            "",
            "null",
            "none",
            "nan",
            "na",
            "n/a",
            "n.a",
            "n\\a",
            "undefined",
            "unknown",
            "nil value",
        ),
        *("unspecified", "unavailable", "not available", "not applicable", "not provided"),
        *("not specified", "not found", "not set", "not known", "no data", "no value", "no name"),
        *("no company", "no title", "tbd", "tba", "to be determined", "missing value"),
        *("object object", "anonymous", "anonymous member", "redacted"),
        *("keine angabe", "keine angaben", "k.a", "k. a", "unbekannt", "nicht verfügbar"),
        *("inconnu", "inconnue", "non renseigné", "non renseignée", "non disponible", "n.c"),
        *("desconocido", "desconocida", "no disponible", "sin datos", "desconhecido"),
        *("desconhecida", "não informado", "não disponível", "sconosciuto", "sconosciuta"),
        *("onbekend", "okänd", "ukjent", "ukendt", "nieznany", "brak danych", "неизвестно"),
        *("ninguno", "ninguna", "nessuno"),
    }
)
# These are names and words as well: nothing only in brackets, or as tools write them.
_BRACKETED = frozenset(
    {"blank", "leer", "vide", "empty", "deleted", "brak", "geen", "aucun", "vacío", "vuoto"}
)
_PEOPLES = frozenset({"Na"})  # Korean; tools write NA, na, N/A

# A cell that a spreadsheet could not compute, in the languages of Excel and Google.
_ERROR = re.compile(r"#(?:N/A|N/D|NV|GETTING_DATA|[¡¿]?[A-ZÀ-Ý]{2,12}[!?]|¡?[A-ZÀ-Ý]{2,4}/0!|#+)")
_FORMULA = re.compile(
    r"""=\s*(?:["']|[A-Z$][A-Z0-9_.$]*\s*[(!:]|[A-Z$]{1,4}[0-9$]+\b)|=\s*$""", re.IGNORECASE
)
_ENTITY = re.compile(
    r"&(?:#\d{1,7}|#x[0-9a-f]{1,6}|amp|lt|gt|quot|apos|nbsp|rsquo|lsquo|ldquo|rdquo|ndash|mdash"
    r"|hellip|copy|reg|trade|euro|shy|zwj|zwnj|[a-z]{1,5}(?:uml|acute|grave|circ|tilde|cedil|caron"
    r"|ring|slash|lig|ogon|strok|dot|macr|breve|horn));",
    re.IGNORECASE,
)
_TAG = re.compile(
    r"</?(?:p|br|b|i|u|a|em|strong|span|div|font|li|ul|ol|table|tr|td|th|img|h[1-6]|html|body)"
    r"(?:\s[^<>]*)?/?>",
    re.IGNORECASE,
)
_UNFILLED = re.compile(r"\{\{|\}\}|\$\{|%%|\{%|<%|\*\||\[object ", re.IGNORECASE)
_REPLACED = "\ufffd"
_TWO_FOREIGN = re.compile(r"[^\x00-\x7f]{2}|[ÂÃÐÑâ]|[\x80-\x9f]")

_LETTER = re.compile(r"[^\W\d_]")
_PLAIN_NAME = re.compile(r"[A-Za-z][A-Za-z0-9 '(),-]*")
_LOST_LETTER = re.compile(r"[^\W\d_]\?[^\W\d_]")

# Emoji and the signs that join and colour them; not © ® ™, which companies have in their names.
_EMOJI = re.compile(
    "(?:[\U0001f000-\U0001faff\u2600-\u27bf\u2300-\u23ff\u2b00-\u2bff\u25a0-\u25ff\u2190-\u21ff"
    "\u2934\u2935\u3030\u303d\u3297\u3299]"
    "[\ufe0f\u20e3\u200d\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]*|[\ufe0f\u20e3])+"
)

# What LinkedIn shows in place of a name that the viewer may not see.
_MEMBERS = frozenset(
    {
        *("linkedin member", "linkedin user", "linkedin mitglied", "linkedin-mitglied"),
        *("membre linkedin", "membre de linkedin", "utilisateur linkedin"),
        *("miembro de linkedin", "usuario de linkedin", "membro do linkedin"),
        *("usuário do linkedin", "utilizador do linkedin", "utente linkedin", "membro di linkedin"),
        *("linkedin-lid", "linkedin lid", "linkedin-medlem", "linkedin medlem"),
        *("użytkownik linkedin", "członek linkedin", "участник linkedin", "linkedin üyesi"),
        *("uživatel linkedin", "člen linkedin", "linkedin member profile"),
    }
)
_AROUND = " \t\r\n\xa0\"'`´.,;:!?*_~-–—‐‑−/\\|…·•()[]{}<>«»“”‘’#"
_LONGEST_WORD = 40


def is_nothing(text: str) -> bool:
    """Whether a value says that there is none: `N/A`, `undefined`, `(none)`, `--`, `#REF!`."""
    if len(text) > _LONGEST_WORD:
        return False
    if text[:1].isalnum() and text[-1:].isalnum():  # most values, and nothing around them
        return text.casefold() in NOTHING and text not in _PEOPLES
    bare = text.strip(_AROUND).casefold()
    if bare in _BRACKETED:
        return text[:1] in "([<{"
    return bare in NOTHING or _ERROR.fullmatch(text) is not None


def damage(text: str) -> str | None:
    """Return what is left in a value that is not its own, or None.

    A value with it is none: what stood there can only be guessed.
    """
    if _REPLACED in text:
        return "signs were lost when its encoding was changed"
    if not text.isascii() and _TWO_FOREIGN.search(text) is not None and _is_mojibake(text):
        return "its encoding was taken for another"
    if text.startswith("=") and _FORMULA.match(text):
        return "a formula"
    if "&" in text and _ENTITY.search(text) is not None:
        return "an HTML entity"
    if "<" in text and _TAG.search(text) is not None:
        return "an HTML tag"
    if _UNFILLED.search(text) is not None:
        return "a template that nobody filled"
    return None


def damage_of_name(text: str) -> str | None:
    """Return why a text is nobody's first or last name, or None if it may be one."""
    if _LETTER.search(text) is None:
        return "no letter in it"
    if "@" in text or "://" in text or text[:4].lower() == "www.":
        return "an address"
    return _lost_letter(text) or _placeholder(text)


def damage_of_title(text: str) -> str | None:
    """Return why a text is the name of no company or position, or None if it may be one."""
    if not any(sign.isalnum() for sign in text):
        return "no letter in it"
    return _lost_letter(text) or _placeholder(text)


def _lost_letter(text: str) -> str | None:
    if "?" in text and _LOST_LETTER.search(text) is not None:
        return "signs were lost when its encoding was changed"
    return None


def _placeholder(text: str) -> str | None:
    return "LinkedIn's own placeholder" if "inked" in text and is_hidden_member(text) else None


def is_plainly_a_name(text: str) -> bool:
    """Whether a text of ASCII is a name at the first glance: what most are, and quick to say."""
    return (
        _PLAIN_NAME.fullmatch(text) is not None
        and "inked" not in text
        and text.lower() not in NOTHING
    )


def is_hidden_member(name: str) -> bool:
    """Whether a full name is what LinkedIn shows in place of one."""
    return " ".join(name.casefold().split()) in _MEMBERS


def without_emoji(text: str) -> str:
    """Return a text without its emoji, and without the spaces that stood beside them."""
    return " ".join(_EMOJI.sub(" ", text).split())


def _is_mojibake(text: str) -> bool:
    from ftfy.badness import is_bad  # noqa: PLC0415 - 0.1 s to import, and most files need none

    return bool(is_bad(text))
