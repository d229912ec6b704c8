"""Who is never to be contacted: every spelling of one value is the same value.

A lead's e-mail address and company are stored as `email_key` and `company_key` spell them, and a
suppression's value so as well.  The database compares them equal to equal: what `lower()` makes of
a text is its locale's affair, and on two servers two things.
"""

import re
from enum import StrEnum

import idna

from clento_engine.domain.lead import Identity, Rejected, email_address, identity
from clento_engine.domain.outside import normalised


class Kind(StrEnum):
    """What a suppression names: one person, an e-mail address, or all of a domain or company."""

    PERSON = "person"
    EMAIL = "email"
    DOMAIN = "domain"
    COMPANY = "company"


LONGEST_DOMAIN = 253  # RFC 1035, section 2.3.4
LONGEST_LABEL = 63  # of a domain, the same section
LONGEST_COMPANY = 200  # of which names are compared: it stands in an index

_DOMAIN = re.compile(r"(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.)+[^\W\d_][\w-]{1,62}")
_LABEL = re.compile(r"[^\W_](?:[\w-]*[^\W_])?")

# Neither seen nor a space.  The joiners (U+200C, U+200D) are letters' affair and stay.
_UNSEEN = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]"
)
# Turkish has i and I with a dot and without; which is whose capital, only a language tells.
_DOTTED = re.compile("i\u0307+")


def comparable(text: str) -> str:
    """Return a text as every spelling of it is: NFC, folded case, single spaces, all of it visible.

    The four letters i of Turkish are one: whoever writes IKEA or İKEA, ikea or ıkea means it.
    """
    text = " ".join((text if text.isprintable() else _UNSEEN.sub("", text)).split())
    if text.isascii():
        return text.lower()
    folded = normalised(text).casefold().replace("ı", "i")
    return normalised(_DOTTED.sub("i", folded))


def company_key(company: str) -> str:
    """Return a company's name as it is compared; '' when nothing of it is visible."""
    return comparable(company)[:LONGEST_COMPANY].rstrip()


def email_key(email: str) -> str:
    """Return an e-mail address as it is compared; what follows its @ is its domain's key."""
    key = comparable(email)
    if "xn--" not in key:
        return key
    name, at, domain = key.rpartition("@")
    return name + at + domain_key(domain)


def domain_key(domain: str) -> str:
    """Return a domain as it is compared: in its own letters, where it may be encoded (xn--…)."""
    key = comparable(domain).removeprefix("@").rstrip(".")
    return ".".join(map(_decoded, key.split("."))) if "xn--" in key else key


def _decoded(label: str) -> str:
    """Return a label in its own letters, or as it is where an address cannot be written so."""
    if not label.startswith("xn--") or len(label) > LONGEST_LABEL:
        return label
    try:
        decoded = comparable(idna.decode(label))
    except idna.IDNAError:
        return label
    return decoded if _LABEL.fullmatch(decoded) else label


def suppressed_value(kind: Kind, text: str) -> str | Rejected:
    """Return `text` as leads are compared with it, or what is wrong with it.  Never raises."""
    match kind:
        case Kind.PERSON:
            named = identity(text)
            return named.key if isinstance(named, Identity) else named
        case Kind.EMAIL:
            if address := email_address(normalised(text.strip())):
                return email_key(address)
            return Rejected("email", "this is no e-mail address", "write lea@acme.com")
        case Kind.DOMAIN:
            domain = domain_key(text)
            if len(domain) <= LONGEST_DOMAIN and _DOMAIN.fullmatch(domain):
                return domain
            return Rejected("domain", "this is no domain of e-mail addresses", "write acme.com")
        case Kind.COMPANY:
            fix = "write it as the leads' company column has it"
            return company_key(text) or Rejected("company", "the company has no name", fix)
