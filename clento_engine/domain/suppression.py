"""Who is never to be contacted: every spelling of one value is the same value."""

import re
from enum import StrEnum

from clento_engine.domain.lead import Identity, Rejected, email_address, identity


class Kind(StrEnum):
    """What a suppression names: one person, an e-mail address, or all of a domain or company."""

    PERSON = "person"
    EMAIL = "email"
    DOMAIN = "domain"
    COMPANY = "company"


LONGEST_DOMAIN = 253  # RFC 1035, section 2.3.4

_DOMAIN = re.compile(r"(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.)+[^\W\d_][\w-]{1,62}")


def suppressed_value(kind: Kind, text: str) -> str | Rejected:
    """Return `text` as leads are compared with it, or what is wrong with it.  Never raises.

    A company keeps its capitals: only the database knows how it lowers the ones that leads have.
    """
    text = text.strip()
    match kind:
        case Kind.PERSON:
            named = identity(text)
            return named.key if isinstance(named, Identity) else named
        case Kind.EMAIL:
            address = email_address(text)
            return address or Rejected("email", "this is no e-mail address", "write lea@acme.com")
        case Kind.DOMAIN:
            domain = text.lower().removeprefix("@")
            if len(domain) <= LONGEST_DOMAIN and _DOMAIN.fullmatch(domain):
                return domain
            return Rejected("domain", "this is no domain of e-mail addresses", "write acme.com")
        case Kind.COMPANY:
            fix = "write it as the leads' company column has it"
            return text or Rejected("company", "the company has no name", fix)
