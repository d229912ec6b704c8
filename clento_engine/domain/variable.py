"""What variables of a text are called: our fields, their aliases, and what other tools say."""

import re
from collections.abc import Collection
from functools import lru_cache

from clento_engine.domain.outside import decomposed, normalised

FIELDS = frozenset({"first_name", "last_name", "full_name", "company", "job_title"})
"""What every lead may have; anything else is a column of its list."""

ALIASES = {
    "firstname": "first_name",
    "given_name": "first_name",
    "lastname": "last_name",
    "surname": "last_name",
    "family_name": "last_name",
    "fullname": "full_name",
    "name": "full_name",
    "company_name": "company",
    "companyname": "company",
    "organization": "company",
    "organisation": "company",
    "jobtitle": "job_title",
    "title": "job_title",
    "position": "job_title",
}

# As other tools, and other languages, call a field.  No variables of ours: a list may have columns
# of these names.  They say what is meant where a text has them in another tool's spelling.
_ELSEWHERE = {
    "fname": "first_name",
    "vorname": "first_name",
    "prenom": "first_name",
    "prénom": "first_name",
    "nombre": "first_name",
    "nome": "first_name",
    "lname": "last_name",
    "nachname": "last_name",
    "nom": "last_name",
    "apellido": "last_name",
    "apellidos": "last_name",
    "sobrenome": "last_name",
    "cognome": "last_name",
    "firma": "company",
    "unternehmen": "company",
    "entreprise": "company",
    "empresa": "company",
    "azienda": "company",
    "account_name": "company",
    "organization_name": "company",
    "current_company": "company",
    "puesto": "job_title",
    "cargo": "job_title",
}
_OWNERS = re.compile(
    r"(?:contact|lead|person|people|prospect|recipient|customer|subscriber|user|profile|receiver|to)"
    r"[.:]",
    re.IGNORECASE,
)
_GLUED = frozenset({"firstname", "lastname", "fullname", "companyname", "jobtitle"})
_GLUED_ELSEWHERE = frozenset({"fname", "lname"})

INVISIBLE = "\u200b\u200e\u200f\u2060\ufeff"  # spreadsheets leave these around a value
_WITHOUT_INVISIBLE = dict.fromkeys(map(ord, INVISIBLE))


@lru_cache(maxsize=4096)  # the columns of a list, for each of its leads; see `template._clean`
def key(name: str) -> str:
    """Spell a name so that case, white space, underscores and hyphens make no difference."""
    name = name.translate(_WITHOUT_INVISIBLE)
    folded = normalised(decomposed(name).casefold())
    return "_".join(folded.replace("_", " ").replace("-", " ").split())


def keys(names: Collection[str]) -> frozenset[str]:
    """Return the keys of names."""
    return frozenset(map(key, names))


def field_of(name: str) -> str | None:
    """Return the field that a name stands for in our own templates, if any."""
    spelled = key(name)
    field = ALIASES.get(spelled, spelled)
    return field if field in FIELDS else None


def meant_field(name: str) -> str | None:
    """Return the field that a name means in any tool: `FNAME`, `contact.firstname`, `prénom`."""
    bare = _OWNERS.sub("", name.strip(), count=1)
    return field_of(bare) or _ELSEWHERE.get(key(bare))


def is_no_word(name: str) -> bool:
    """Whether a name of a field is none that a sentence has: `first_name`, not `company`."""
    bare = name.strip()
    if key(bare) in _GLUED | _GLUED_ELSEWHERE:
        return True
    return "_" in bare and meant_field(bare) is not None
