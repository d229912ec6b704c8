"""A lead and who that is: every spelling of a LinkedIn profile is one identity."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import quote, unquote

from clento_engine.domain.missing_value import NOTHING, is_nothing
from clento_engine.domain.outside import normalised

PROFILE = "https://www.linkedin.com/in/"


@dataclass(frozen=True, slots=True)
class Identity:
    """One person: the same `key` for every spelling of the same profile address.

    `key` is the public identifier where it is known, else the provider id.  The two never meet:
    the first has no capitals, the second starts with one.  `url` is the one spelling that we
    keep; `identity(url)` gives the same person again.
    """

    key: str
    public_identifier: str | None
    provider_id: str | None
    url: str

    def known_also_as(self, other: "Identity") -> "Identity":
        """Return the one person whom both name, for instance in two columns of a row."""
        named = other if self.public_identifier is None else self
        return replace(named, provider_id=self.provider_id or other.provider_id)


@dataclass(frozen=True, slots=True)
class Rejected:
    """Why a value was not taken, and what its owner can do about it."""

    field: str
    problem: str
    fix: str


@dataclass(frozen=True, slots=True)
class LeadRow:
    """A person as a file or a request names them, ready to be imported.

    `row_number` counts from 1; `fields` are the columns we have no name for, keys in snake_case;
    `notes` say what was left out or put right on the way.
    """

    row_number: int
    identity: Identity
    first_name: str | None = None
    last_name: str | None = None
    company: str | None = None
    job_title: str | None = None
    email: str | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


# LinkedIn's rule for public identifiers is 3 to 100 characters.
MIN_SLUG = 3
MAX_SLUG = 100
_LONGEST_NAME = 4 * MAX_SLUG  # before its signs are joined: an accent may be one of its own

_LONGEST_ADDRESS = 4096  # with its query, and the sentence or formula that it stands in

# Ids are base64url: a two-byte tag, then the member's number, whose upper bytes are zero; so a
# classic id starts with ACoAA (newer ones ADoAA), and no slug does.  source: unipile.md section 1
_CLASSIC_ID = re.compile(r"A[CD]oAA[A-Za-z0-9_-]{2,95}")
_SALES_ID = re.compile(r"ACwAA[A-Za-z0-9_-]{2,95}")
_RECRUITER_ID = re.compile(r"AE[A-Za-z]AA[A-Za-z0-9_-]{2,95}")
_AN_ID = re.compile(r"A(?:[CD]o|Cw)AA")
_ID_WITHOUT_CAPITALS = re.compile(r"a(?:[cd]o|cw|e[a-z])aa[a-z0-9_-]{30,}")

_PLAIN = re.compile(r"https?://(?:www\.)?linkedin\.com/in/(?!a..aa)([a-z0-9][a-z0-9-]{2,99})/?")
_SCHEME = re.compile(r"(?:(?P<name>https?):/*|//)", re.IGNORECASE)
_URN = re.compile(r"urn:li:(?P<kind>\w+):\(?(?P<id>[^,)]*)", re.IGNORECASE)
_AROUND = " \t\r\n\"'`<>()[]{}«»“”‘’‹›,;\xa0"
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
_NOT_IN_A_SLUG = re.compile(
    r"""[\s/\\?#%"<>|{}^`@:;=$*\[\]"""
    "\x00-\x1f\x7f-\x9f\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff\ufffd]"
)
_NOT_BARE = re.compile(r"[\s,&()!+~']")  # a sentence or a company in the wrong column

# An address inside a text, to where the text goes on; what follows a question mark is its query,
# whatever address stands in there.
_IN_TEXT = re.compile(
    r"""(?<![^\s()\[\]<>"'`;|,«“])(?:https?:/*|//)?(?:[\w-]+\.)*linkedin\.com(?::\d+)?/"""
    r"""(?:(?!https?:)[^\s;|<>"\]?#])*(?:[?#][^\s;|<>"\]]*)?|"""
    r"""(?<=/)https?:/*(?:[\w-]+\.)*linkedin\.com/[^\s;|<>"\]?#]*(?:[?#][^\s;|<>"\]]*)?""",
    re.IGNORECASE,
)
_WORD_AFTER = re.compile(r"[ \xa0]+(?!https?:|www\.)\w", re.IGNORECASE)  # a name with a space in it
_TRACKING = re.compile(r"&[\w.-]+=|%3f|%23", re.IGNORECASE)  # a query whose mark was lost
_SENTENCE = " .,;:!?…'\"`’”»›)]}*"  # what a sentence leaves behind the address at its end

# Parts of LinkedIn's own addresses, and what tools and people write where a name is to stand.
_RESERVED = frozenset(
    {
        *(
            "edit",
            "settings",
            "profile",
            "profiles",
            "public-profile",
            "view-profile",
            "profile-url",
        ),
        *("overlay", "details", "recent-activity", "linkedin", "linkedin.com", "www.linkedin.com"),
        *("linkedin-member", "linkedinmember", "linkedin-user", "linkedin-profile", "linkedin-url"),
        *("http", "https", "www", "company", "school", "login", "signup", "authwall", "feed"),
        *("your-profile", "yourprofile", "your-name", "yourname", "your-username", "yourusername"),
        *(
            "your-linkedin",
            "your-linkedin-profile",
            "your-id",
            "your-url",
            "my-profile",
            "myprofile",
        ),
        *("username", "user-name", "firstname-lastname", "first-last", "first-name-last-name"),
        *("firstnamelastname", "firstname", "lastname", "public-identifier", "publicidentifier"),
        *("not-available", "not-found", "no-profile", "no-linkedin", "notfound", "not-provided"),
        *("linkedin-not-found", "to-be-determined", "object-object", "deleted-user"),
    }
)
_NAMELESS = _RESERVED | {word.replace(" ", "-") for word in NOTHING}
_A_HOST = re.compile(r"(?:www\.)?[\w-]+\.(?:com|net|org|io|co|de|fr|it|es|nl|eu|uk|ch|at|ai|app)")

# Ids that other systems give to a person: they look like a name, and would be somebody's.
_FOREIGN_ID = re.compile(
    r"\d+(?:\.0+)?"  # any; a spreadsheet may have made a decimal of it
    r"|\d(?:\.\d+)?e\+\d+"
    r"|[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"  # UUID
    r"|(?=[a-f]*\d)[0-9a-f]{24}"  # MongoDB, and so Apollo
    r"|00[0-9a-z](?=[a-z]*\d)[0-9a-z]{12}(?:[0-9a-z]{3})?"  # Salesforce
    r"|rec(?=[a-z]*\d)[0-9a-z]{14}",  # Airtable
    re.IGNORECASE,
)

_COPY_ADDRESS = "open the person's profile and copy its address: https://www.linkedin.com/in/…"
_OTHER_PAGES = {
    "company": "a company's page",
    "showcase": "a company's page",
    "school": "a school's page",
    "jobs": "a job offer",
    "posts": "a post",
    "feed": "a post",
    "pulse": "an article",
    "newsletters": "a newsletter",
    "groups": "a group",
    "events": "an event",
    "learning": "a course",
    "services": "a service page",
    "search": "a list of search results",
    "talent": "a Recruiter address",
    "recruiter": "a Recruiter address",
    "hiring": "a Recruiter address",
    "pub": "an address in LinkedIn's old style",
    "profile": "an address in LinkedIn's old style",
    "authwall": "LinkedIn's sign-in page",
    "login": "LinkedIn's sign-in page",
    "checkpoint": "LinkedIn's sign-in page",
}


def identity(value: str | None) -> Identity | Rejected:
    """Return the person whom a profile address, public identifier or provider id names.

    Everything around the name is taken off: scheme, country and mobile hosts, tracking, locale,
    quotes, and the sentence or link that an address stands in.  A query is never read:
    `miniProfileUrn` in it may be somebody else.  Never raises.
    """
    # What most exports hold; spares the rest below.
    if (plain := _PLAIN.fullmatch(value or "")) and (slug := plain[1]) not in _NAMELESS:
        return Identity(slug, slug, None, PROFILE + slug)
    if len(value or "") > _LONGEST_ADDRESS:
        return _rejected("this is too long for an address", _COPY_ADDRESS)
    text = _without(_AROUND, _UNSEEN.sub("", value or "").lstrip(_AROUND))
    if is_nothing(text):
        return _rejected("the address is empty", _COPY_ADDRESS)
    if urn := _URN.match(text):
        return _by_urn(urn["kind"], urn["id"])
    found = list(_IN_TEXT.finditer(text))
    if not found or found[0][0] == text:
        return _by_address(text)
    return _by_text(text, found)


def member_id(value: str | None) -> Identity | Rejected:
    """Return the person whom a value of a column of ids names: by LinkedIn's id, nothing else.

    Numbers and ids of other systems look like a public identifier, and would be somebody's.
    """
    who = identity(value)
    if isinstance(who, Rejected):
        return replace(who, field="provider_id")
    if who.provider_id is None and "/" not in (value or ""):
        return Rejected(
            "provider_id", "this is no id of LinkedIn's, which begins with ACoAA", _COPY_ADDRESS
        )
    return who


def _by_text(text: str, found: Sequence[re.Match[str]]) -> Identity | Rejected:
    """Return the one person whom the addresses in a text name."""
    named: dict[str, Identity] = {}
    refused: Rejected | None = None
    for address in found:
        if _WORD_AFTER.match(text, address.end()):
            return _rejected("the address holds signs that no profile name has", _COPY_ADDRESS)
        match _by_address(_without(_AROUND, address[0])):
            case Identity() as who:
                named[who.key] = who
            case Rejected() as why:
                refused = refused or why
    if len(named) > 1:
        return _rejected("this names two people", "write one address")
    return next(iter(named.values()), refused) or _rejected("this is no address", _COPY_ADDRESS)


def _by_address(text: str) -> Identity | Rejected:
    scheme = _SCHEME.match(text)
    address = re.split(r"[?#]", text[scheme.end() :] if scheme else text, maxsplit=1)[0]
    if "@" in address:
        return _rejected("this is not a LinkedIn address", _COPY_ADDRESS)
    head, slash, rest = address.partition("/")
    if scheme or "." in head:
        host = head.lower().partition(":")[0].rstrip(".")
        if host == "lnkd.in":
            return _rejected("this is a short link", f"open it, then {_COPY_ADDRESS}")
        if host != "linkedin.com" and not host.endswith(".linkedin.com"):
            return _rejected("this is not a LinkedIn address", _COPY_ADDRESS)
        return _by_path(rest)
    if slash:
        return _by_path(address)
    if _NOT_BARE.search(address):
        return _rejected("this is not a LinkedIn address", _COPY_ADDRESS)
    if _FOREIGN_ID.fullmatch(address):
        return _rejected("this is a number or id of another system", _COPY_ADDRESS)
    return _by_name(address)


def _by_path(path: str) -> Identity | Rejected:
    parts = [part.strip() for part in path.split("/")]
    parts = [part for part in parts if part]
    while parts and parts[0].lower() in ("mwlite", "m", "comm"):  # mobile site, links in e-mails
        parts = parts[2:] if [p.lower() for p in parts[1:2]] == ["profile"] else parts[1:]
    match [parts[0].lower() if parts else "", *parts[1:]]:
        case ["in", host, *rest] if host.lower() in ("linkedin.com", "www.linkedin.com") and rest:
            return _by_path("/".join(rest))  # an address pasted behind one
        case ["in", name, *_]:  # what follows is a locale or a part of the profile
            return _by_name(name)
        case ["" | "in"]:
            return _rejected("the address names no profile", _COPY_ADDRESS)
        case ["sales", "company" | "accounts", *_]:
            return _rejected("this is a company's page, not a person's profile", _COPY_ADDRESS)
        case ["sales", *_]:
            return _sales_navigator()
        case [page, *_] if page in _OTHER_PAGES:
            return _rejected(
                f"/{page}/ is {_OTHER_PAGES[page]}, not a person's profile", _COPY_ADDRESS
            )
        case _:
            return _rejected("this is not the address of a profile", _COPY_ADDRESS)


def _by_urn(kind: str, name: str) -> Identity | Rejected:
    if "sales" in kind.lower():
        return _sales_navigator()
    if _CLASSIC_ID.fullmatch(name):
        return _by_provider_id(name)
    return _rejected(f"urn:li:{kind} does not name a profile that we can reach", _COPY_ADDRESS)


def _by_name(encoded: str) -> Identity | Rejected:
    encoded = _TRACKING.split(encoded, maxsplit=1)[0]
    try:
        # once: a slug that still holds % is damaged
        name = unquote(_without(_SENTENCE, encoded), errors="strict")
    except UnicodeDecodeError:
        return _rejected("the address holds signs that are not UTF-8", _COPY_ADDRESS)
    if _CLASSIC_ID.fullmatch(name):
        return _by_provider_id(name)
    if _SALES_ID.fullmatch(name):
        return _sales_navigator()
    if _RECRUITER_ID.fullmatch(name):
        return _rejected("this is a Recruiter id, which cannot be invited", _COPY_ADDRESS)
    if _AN_ID.match(name):
        return _rejected("the address holds a damaged LinkedIn id", _COPY_ADDRESS)
    if len(name) > _LONGEST_NAME:
        return _rejected(
            f"a profile name has {MIN_SLUG} to {MAX_SLUG} characters, this one {len(name)}",
            _COPY_ADDRESS,
        )
    slug = normalised(normalised(name).lower()).rstrip(".")
    if _ID_WITHOUT_CAPITALS.fullmatch(slug):
        return _rejected(
            "this is a LinkedIn id whose capitals were lost, so that it names nobody",
            f"export the file without changing the case of addresses, or {_COPY_ADDRESS}",
        )
    if "%" in slug:
        return _rejected("the address was percent-encoded twice, or cut short", _COPY_ADDRESS)
    if _NOT_IN_A_SLUG.search(slug) or not any(sign.isalnum() for sign in slug):
        return _rejected("the address holds signs that no profile name has", _COPY_ADDRESS)
    if not MIN_SLUG <= len(slug) <= MAX_SLUG:
        return _rejected(
            f"a profile name has {MIN_SLUG} to {MAX_SLUG} characters, this one {len(slug)}",
            _COPY_ADDRESS,
        )
    if slug in _NAMELESS or _A_HOST.fullmatch(slug):
        return _rejected(f"{slug!r} is nobody's profile name", _COPY_ADDRESS)
    return _by_slug(slug)


def _without(signs: str, text: str) -> str:
    """Return a text without `signs` at its end; a bracket that it opens itself is its own."""
    while text and text[-1] in signs:
        if text[-1] == ")" and text.count("(") >= text.count(")"):
            break
        text = text[:-1]
    return text


def _by_slug(slug: str) -> Identity:
    return Identity(slug, slug, None, PROFILE + quote(slug, safe=""))


def _by_provider_id(provider_id: str) -> Identity:
    return Identity(provider_id, None, provider_id, PROFILE + provider_id)


def _sales_navigator() -> Rejected:
    # Its ids (ACw…) belong to that product: an invitation takes only the classic id, and the
    # two cannot be computed from each other.  source: unipile.md sections 1 and 2.1
    return _rejected(
        "this is a Sales Navigator address, which cannot be invited",
        "export the public profile address (https://www.linkedin.com/in/…) into a column as well",
    )


def _rejected(problem: str, fix: str) -> Rejected:
    return Rejected("profile_url", problem, fix)


_EMAIL = re.compile(
    r"[^\s@<>()\[\]\\,;:\"]{1,64}@(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.)+[^\W\d_][\w-]{1,62}"
)
MAX_EMAIL = 254  # RFC 5321, errata 1690


def email_address(value: str) -> str | None:
    """Return the first well-formed e-mail address in `value`, in lower case, or None.

    Lower case, because suppressions are compared with it, and no mail host in use minds.
    """
    value = value.lower()
    if len(value) <= MAX_EMAIL and _EMAIL.fullmatch(value):
        return value
    for part in re.split(r"[\s,;]+", value):
        address = part.strip("<>()[]\"'").removeprefix("mailto:")
        if len(address) <= MAX_EMAIL and _EMAIL.fullmatch(address):
            return address
    return None
