"""Every spelling of whom to leave alone is one value, equal to what leads are compared with."""

import pytest

from clento_engine.domain.lead import Rejected
from clento_engine.domain.suppression import Kind, suppressed_value


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (Kind.PERSON, "https://www.linkedin.com/in/Lea-Moreau/?trk=x", "lea-moreau"),
        (Kind.PERSON, " Lea-Moreau ", "lea-moreau"),
        (Kind.PERSON, "ACoAAB1xyz", "ACoAAB1xyz"),
        (Kind.EMAIL, " Lea@Acme.COM", "lea@acme.com"),
        (Kind.DOMAIN, "@Acme.COM ", "acme.com"),
        (Kind.DOMAIN, "mail.acme.co.uk", "mail.acme.co.uk"),
        (Kind.COMPANY, " Acme & Söhne ", "Acme & Söhne"),
    ],
)
def test_a_value_is_what_leads_are_compared_with(kind: Kind, text: str, value: str) -> None:
    assert suppressed_value(kind, text) == value


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Kind.PERSON, "https://www.linkedin.com/company/acme"),
        (Kind.PERSON, ""),
        (Kind.EMAIL, "lea"),
        (Kind.DOMAIN, "https://acme.com"),
        (Kind.DOMAIN, "lea@acme.com"),
        (Kind.DOMAIN, "acme"),
        (Kind.COMPANY, "  "),
    ],
)
def test_what_names_nobody_is_refused_with_its_fix(kind: Kind, text: str) -> None:
    refused = suppressed_value(kind, text)
    assert isinstance(refused, Rejected)
    assert refused.problem
    assert refused.fix
