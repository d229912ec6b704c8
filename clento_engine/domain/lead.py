"""A lead and who that is: every spelling of a LinkedIn profile is one identity."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import quote, unquote

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

# Ids are base64url: a two-byte tag, then the member's number, whose upper bytes are zero; so a
# classic id starts with ACoAA (newer ones ADoAA), and no slug does.  source: unipile.md section 1
_CLASSIC_ID = re.compile(r"A[CD]oAA[A-Za-z0-9_-]{2,95}")
_SALES_ID = re.compile(r"ACwAA[A-Za-z0-9_-]{2,95}")
_RECRUITER_ID = re.compile(r"AE[A-Za-z]AA[A-Za-z0-9_-]{2,95}")
_ID_WITHOUT_CAPITALS = re.compile(r"a(?:[cd]o|cw|e[a-z])aa[a-z0-9_-]{30,}")

_PLAIN = re.compile(r"https?://(?:www\.)?linkedin\.com/in/(?!a..aa)([a-z0-9][a-z0-9-]{2,99})/?")
_SCHEME = re.compile(r"(?:(?P<name>https?):/*|//)", re.IGNORECASE)
_URN = re.compile(r"urn:li:(?P<kind>\w+):\(?(?P<id>[^,)]*)", re.IGNORECASE)
_AROUND = " \t\r\n\"'`<>()[]{}«»“”‘’‹›,;\xa0"
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
_NOT_IN_A_SLUG = re.compile(
    r"""[\s/\\?#%"<>|{}^`@:;=$*\[\]"""
    "\x00-\x1f\x7f-\x9f\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)
_NOT_BARE = re.compile(r"[\s,&()!+~']")  # a sentence or a company in the wrong column
_NOBODY = frozenset({"", "-", "--", "#n/a", "n/a", "na", "nan", "none", "null", "undefined"})

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
    quotes.  A query is never read: `miniProfileUrn` in it may be somebody else.  Never raises.
    """
    if plain := _PLAIN.fullmatch(value or ""):  # what most exports hold; spares the rest below
        slug = plain[1]
        return Identity(slug, slug, None, PROFILE + slug)
    text = _UNSEEN.sub("", value or "").strip(_AROUND)
    if text.lower() in _NOBODY:
        return _rejected("the address is empty", _COPY_ADDRESS)
    if urn := _URN.match(text):
        return _by_urn(urn["kind"], urn["id"])
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
    return _by_name(address)


def _by_path(path: str) -> Identity | Rejected:
    parts = [part.strip() for part in path.split("/")]
    parts = [part for part in parts if part]
    while parts and parts[0].lower() in ("mwlite", "m", "comm"):  # mobile site, links in e-mails
        parts = parts[2:] if [p.lower() for p in parts[1:2]] == ["profile"] else parts[1:]
    match [parts[0].lower() if parts else "", *parts[1:]]:
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
    try:
        name = unquote(encoded, errors="strict")  # once: a slug that still holds % is damaged
    except UnicodeDecodeError:
        return _rejected("the address holds signs that are not UTF-8", _COPY_ADDRESS)
    if _CLASSIC_ID.fullmatch(name):
        return _by_provider_id(name)
    if _SALES_ID.fullmatch(name):
        return _sales_navigator()
    if _RECRUITER_ID.fullmatch(name):
        return _rejected("this is a Recruiter id, which cannot be invited", _COPY_ADDRESS)
    if len(name) > _LONGEST_NAME:
        return _rejected(
            f"a profile name has {MIN_SLUG} to {MAX_SLUG} characters, this one {len(name)}",
            _COPY_ADDRESS,
        )
    slug = normalised(normalised(name).lower())
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
    return _by_slug(slug)


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
