"""Every spelling of a profile is one identity, and nothing else is taken for a profile."""

import unicodedata
from urllib.parse import quote

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from clento_engine.domain.lead import Identity, Rejected, email_address, identity, member_id

A_PROVIDER_ID = "ACoAAAcDMMQBODyLwZrRcHYhrkCafURGqva0U4E"
A_SALES_ID = "ACwAAAcDMMQBODyLwZrRcHYhrkCafURGqva0U4E"


def key(value: str | None) -> str | None:
    who = identity(value)
    return who.key if isinstance(who, Identity) else None


def problem(value: str | None) -> str:
    who = identity(value)
    assert isinstance(who, Rejected), who
    assert who.field == "profile_url"
    assert who.fix
    return who.problem


def is_slug(text: str) -> bool:
    return (
        3 <= len(text) <= 100
        and any(sign.isalnum() for sign in text)
        and text == unicodedata.normalize("NFC", text.lower())
        and not text.startswith(("acoaa", "adoaa", "acwaa", "ae"))
        and not text.isdecimal()
        # hypothesis knows the words of our source
        and isinstance(identity(f"https://www.linkedin.com/in/{text}"), Identity)
    )


SLUGS = (
    st.text(st.characters(categories=["Ll", "Lo", "Nd"], include_characters="-_"), min_size=3)
    .map(lambda text: unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).lower()))
    .filter(is_slug)
)


def spellings(slug: str) -> list[str]:
    encoded = quote(slug)
    decomposed = quote(unicodedata.normalize("NFD", slug))
    return [
        f"https://www.linkedin.com/in/{encoded}",
        f"https://www.linkedin.com/in/{encoded}/",
        f"https://www.linkedin.com/in/{encoded.lower()}",
        f"https://www.linkedin.com/in/{slug}",
        f"https://www.linkedin.com/in/{decomposed}",
        f"http://linkedin.com/in/{encoded}//",
        f"linkedin.com/in/{encoded}",
        f"www.linkedin.com/in/{slug}",
        f"//www.linkedin.com/in/{slug}",
        f"https:/www.linkedin.com/in/{slug}",
        f"in/{slug}",
        f"/in/{slug}/",
        f"HTTPS://WWW.LINKEDIN.COM/IN/{encoded}",
        f"https://www.linkedin.com:443/in/{encoded}",
        f"https://fr.linkedin.com/in/{encoded}/en",
        f"https://m.linkedin.com/in/{encoded}#experience",
        f"https://www.linkedin.com/mwlite/in/{encoded}",
        f"https://www.linkedin.com/mwlite/profile/in/{encoded}",
        f"https://www.linkedin.com/comm/in/{encoded}?midToken=x",
        f"https://www.linkedin.com/in/{encoded}/overlay/contact-info/",
        f"https://www.linkedin.com/in/{encoded}/?originalSubdomain=fr",
        f"https://www.linkedin.com/in/{encoded}?miniProfileUrn=urn%3Ali%3A{A_PROVIDER_ID}",
        f"  https://www.linkedin.com/in/{encoded}\r\n",
        f'"https://www.linkedin.com/in/{encoded}"',
        f"<https://www.linkedin.com/in/{encoded}>",
        f"(https://www.linkedin.com/in/{encoded}),",
        f"\ufeffhttps://www.linkedin.com/in/\u200b{encoded}",
        slug,
    ]


@given(SLUGS)
@example("lea-moreau-4f2a")
@example("léa-moréau")
@example("美咲-山森")
@example("ελένης")
def test_every_spelling_of_a_profile_is_one_identity(slug: str) -> None:
    expected = Identity(slug, slug, None, f"https://www.linkedin.com/in/{quote(slug)}")
    assert {spelling: identity(spelling) for spelling in spellings(slug)} == dict.fromkeys(
        spellings(slug), expected
    )


@given(SLUGS)
def test_capitals_make_no_other_person(slug: str) -> None:
    assume(slug.upper().lower() == slug)  # ß and a few others have no way back
    assert key(f"https://www.linkedin.com/in/{quote(slug.upper())}") == slug


PIECES = st.sampled_from(
    [
        *(
            "https://",
            "http:/",
            "//",
            "www.",
            "linkedin.com",
            "/in/",
            "/",
            "?",
            "#",
            "%",
            "%C3",
            "%A9",
        ),
        *("%25", "%2F", "@", ":", "[", "]", "\x00", "\ud800", "é", "e\u0301", "İ", "urn:li:", "\\"),
        *(
            "fsd_profile:",
            A_PROVIDER_ID,
            A_SALES_ID,
            "/sales/lead/",
            ",NAME",
            " ",
            "lea-moreau",
            ".",
        ),
        *("/pub/", "/company/", "mwlite", "comm", "profile", "\u200d", "Σ", "ß", "\u202e"),
    ]
)
ANYTHING = st.one_of(
    st.text(),
    st.lists(PIECES).map("".join),
    st.lists(st.one_of(PIECES, st.text(max_size=5))).map("https://www.linkedin.com/in/{}".format),
    st.lists(st.one_of(PIECES, st.text(max_size=5)))
    .map("".join)
    .map("https://www.linkedin.com/in/{}".format),
)


@given(ANYTHING)
@example("https://www.linkedin.com/in/İSTANBUL")
@example("https://www.linkedin.com/in/lea%2C-mba./?x")
@example("https://[::1/in/lea")
def test_an_identity_says_itself_and_nothing_ever_raises(value: str) -> None:
    who = identity(value)
    if isinstance(who, Identity):
        assert identity(who.url) == who
        assert who.url.isascii()
        assert who.key == (who.public_identifier or who.provider_id)
    else:
        assert who.problem
        assert who.fix


def test_a_query_is_never_read() -> None:
    stranger = "urn%3Ali%3Afs_miniProfile%3A" + A_PROVIDER_ID
    assert key(f"https://www.linkedin.com/in/lea-moreau?miniProfileUrn={stranger}") == "lea-moreau"
    assert problem(f"https://www.linkedin.com/in/?miniProfileUrn={stranger}") == (
        "the address names no profile"
    )


@pytest.mark.parametrize(
    "value",
    [
        A_PROVIDER_ID,
        f"https://www.linkedin.com/in/{A_PROVIDER_ID}",
        f"https://www.linkedin.com/in/{A_PROVIDER_ID}/?trk=x",
        f"urn:li:fsd_profile:{A_PROVIDER_ID}",
        f"urn:li:fs_miniProfile:{A_PROVIDER_ID}",
    ],
)
def test_a_provider_id_keeps_its_capitals(value: str) -> None:
    assert identity(value) == Identity(
        A_PROVIDER_ID,
        None,
        A_PROVIDER_ID,
        f"https://www.linkedin.com/in/{A_PROVIDER_ID}",
    )


def test_a_provider_id_that_lost_its_capitals_is_not_taken_for_a_name() -> None:
    assert "capitals" in problem(f"https://www.linkedin.com/in/{A_PROVIDER_ID.lower()}")
    assert key("https://www.linkedin.com/in/acosta-maria") == "acosta-maria"
    assert key("https://www.linkedin.com/in/ACosta-Maria") == "acosta-maria"


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (None, "empty"),
        ("", "empty"),
        (' " " ', "empty"),
        ("N/A", "empty"),
        ("null", "empty"),
        ("https://www.linkedin.com", "names no profile"),
        ("https://www.linkedin.com/in/", "names no profile"),
        ("https://www.linkedin.com/company/brumelle/", "company"),
        ("https://www.linkedin.com/sales/company/123", "company"),
        ("https://www.linkedin.com/school/orvane/", "school"),
        ("https://www.linkedin.com/jobs/view/1", "job"),
        ("https://www.linkedin.com/posts/lea-moreau_x-activity-1", "post"),
        ("https://www.linkedin.com/feed/update/urn:li:activity:1", "post"),
        ("https://www.linkedin.com/pub/lea-moreau/4/2a/1b", "old style"),
        ("https://www.linkedin.com/profile/view?id=1", "old style"),
        ("https://www.linkedin.com/talent/profile/AEMAAB1", "Recruiter"),
        ("https://www.linkedin.com/in/AEMAAB1cd", "Recruiter"),
        (f"https://www.linkedin.com/sales/lead/{A_SALES_ID},NAME_SEARCH,x1", "Sales Navigator"),
        (f"https://www.linkedin.com/sales/people/{A_SALES_ID},name", "Sales Navigator"),
        (f"https://www.linkedin.com/in/{A_SALES_ID}", "Sales Navigator"),
        (f"urn:li:fs_salesProfile:({A_SALES_ID},NAME,x)", "Sales Navigator"),
        (A_SALES_ID, "Sales Navigator"),
        ("urn:li:member:12345", "urn:li:member"),
        ("https://lnkd.in/eXaMpLe", "short link"),
        ("https://social.example.com/in/lea-moreau", "not a LinkedIn address"),
        ("https://evil-linkedin.com/in/lea-moreau", "not a LinkedIn address"),
        ("https://linkedin.com.example.com/in/lea-moreau", "not a LinkedIn address"),
        ("https://www.linkedin.com@example.com/in/lea-moreau", "not a LinkedIn address"),
        ("lea@example.com", "not a LinkedIn address"),
        ("Léa Moreau", "not a LinkedIn address"),
        ("example.com", "not a LinkedIn address"),
        ("https://www.linkedin.com/in/%E9lodie", "UTF-8"),
        ("https://www.linkedin.com/in/l%25C3%25A9a", "twice"),
        ("https://www.linkedin.com/in/lea moreau", "signs"),
        ("https://www.linkedin.com/in/lea%2Fmoreau", "signs"),
        ("https://www.linkedin.com/in/...", "signs"),
        ("https://www.linkedin.com/in/ab", "3 to 100"),
        (f"https://www.linkedin.com/in/{'a' * 101}", "3 to 100"),
    ],
)
def test_what_is_no_profile_is_called_what_it_is(value: str | None, word: str) -> None:
    assert word in problem(value)


@pytest.mark.parametrize(
    ("value", "who"),
    [
        ("https://www.linkedin.com/in/anna-p1.", "anna-p1"),
        ("https://www.linkedin.com/in/anna-p2,", "anna-p2"),
        ("https://www.linkedin.com/in/anna-p3…", "anna-p3"),
        ("https://www.linkedin.com/in/anna-p4!)", "anna-p4"),
        ("https://www.linkedin.com/in/anna-p5’", "anna-p5"),
        ("see https://www.linkedin.com/in/anna-p6.", "anna-p6"),
        ("linkedin.com/in/anna-p7;", "anna-p7"),
        ("https://www.linkedin.com/in/anna-p8&trk=x", "anna-p8"),
        ("https://www.linkedin.com/in/anna-p9%3Ftrk%3Dx", "anna-p9"),
        ("[Anna](https://www.linkedin.com/in/anna-q1)", "anna-q1"),
        ('<a href="https://www.linkedin.com/in/anna-q2">Anna</a>', "anna-q2"),
        ('=HYPERLINK("https://www.linkedin.com/in/anna-q3","Anna")', "anna-q3"),
        ('="https://www.linkedin.com/in/anna-q4"', "anna-q4"),
        ("https://www.linkedin.com/in/anna-q5; https://twitter.com/a", "anna-q5"),
        ("https://www.linkedin.com/in/anna-q6 | https://linkedin.com/in/Anna-Q6/en", "anna-q6"),
        ("https://www.linkedin.com/in/anna-q7, https://www.linkedin.com/company/x", "anna-q7"),
        ("https://www.linkedin.com/in/https://www.linkedin.com/in/anna-q8", "anna-q8"),
        ("https://www.linkedin.com/in/www.linkedin.com/in/anna-q9", "anna-q9"),
        ("(https://www.linkedin.com/in/john-(jd))", "john-(jd)"),
        (f"https://www.linkedin.com/in/{A_PROVIDER_ID}.", A_PROVIDER_ID),
    ],
)
def test_what_a_sentence_or_a_link_puts_around_an_address_is_taken_off(
    value: str, who: str
) -> None:
    assert key(value) == who


@pytest.mark.parametrize(
    "word",
    [
        *("undefined", "UNKNOWN", "nan", "None", "null", "your-profile", "edit", "linkedin.com"),
        *("not-available", "n/a", "username", "linkedin-member", "public-profile", "acme.com"),
    ],
)
def test_a_word_for_no_profile_is_nobodys_on_any_route(word: str) -> None:
    for value in (
        f"https://www.linkedin.com/in/{word}",
        f"https://de.linkedin.com/in/{word.upper()}/",
        f"in/{word}",
        f"https://www.linkedin.com/in/{word}?x=1",
        word,
    ):
        assert isinstance(identity(value), Rejected), value


@pytest.mark.parametrize(
    "number",
    [
        *("44123", "987654321", "44123.0", "9.87654E+08", "0031x00000AbCdE", "0031x00000AbCdEFAA"),
        *("5f2b1c9e8a7d6c5b4a3f2e1d", "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed", "recA1b2C3d4E5f6G7"),
    ],
)
def test_a_number_of_another_system_is_nobodys_name(number: str) -> None:
    assert isinstance(identity(number), Rejected)
    assert isinstance(member_id(number), Rejected)


@pytest.mark.parametrize("slug", ["44123", "5f2b1c9e8a7d6c5b4a3f2e1d", "007"])
def test_in_an_address_a_number_is_somebodys_name(slug: str) -> None:
    assert key(f"https://www.linkedin.com/in/{slug}") == slug


def test_only_linkedins_own_ids_are_ids() -> None:
    assert member_id(A_PROVIDER_ID) == identity(A_PROVIDER_ID)
    assert isinstance(member_id("lea-moreau"), Rejected)
    assert isinstance(member_id(A_SALES_ID), Rejected)
    assert member_id("https://www.linkedin.com/in/lea-moreau") == identity("lea-moreau")


@pytest.mark.parametrize(
    ("value", "word"),
    [
        ("https://www.linkedin.com/in/a-one; https://www.linkedin.com/in/b-two", "two people"),
        ("https://www.linkedin.com/in/lea moreau", "signs"),
        ("see https://www.linkedin.com/in/lea moreau.", "signs"),
        ("https://www.linkedin.com/in/{{slug}}", "signs"),
        ("https://www.linkedin.com/in/J\ufffdrg-x", "signs"),
        (f"https://www.linkedin.com/in/{A_PROVIDER_ID},NAME", "damaged"),
        ("https://www.linkedin.com/in/lea-moreau" + ")" * 100_000, "too long"),
        ("https://www.linkedin.com/authwall?u=https://www.linkedin.com/in/lea-moreau", "sign-in"),
        ("https://www.google.com/url?q=https://www.linkedin.com/in/lea-moreau&sa=D", "not a"),
    ],
)
def test_an_address_that_may_be_somebody_elses_is_refused(value: str, word: str) -> None:
    assert word in problem(value)


def test_names_with_commas_and_apostrophes_are_profiles() -> None:
    assert key("https://www.linkedin.com/in/john-doe%2C-cpa-12") == "john-doe,-cpa-12"
    assert key("https://www.linkedin.com/in/o%E2%80%99brannagh") == "o’brannagh"


def test_two_names_of_one_person_are_joined() -> None:
    by_slug = identity("in/lea-moreau")
    by_id = identity(A_PROVIDER_ID)
    assert isinstance(by_slug, Identity)
    assert isinstance(by_id, Identity)
    both = Identity(
        "lea-moreau", "lea-moreau", A_PROVIDER_ID, "https://www.linkedin.com/in/lea-moreau"
    )
    assert by_slug.known_also_as(by_id) == both
    assert by_id.known_also_as(by_slug) == both
    assert by_id.known_also_as(by_id) == by_id


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("Lea.Moreau@Example.com", "lea.moreau@example.com"),
        (" mailto:lea@example.org ", "lea@example.org"),
        ("<lea+crm@mail.example.co.uk>", "lea+crm@mail.example.co.uk"),
        ("lea@example.com; lea@example.org", "lea@example.com"),
        ("n.a. / lea@example.com", "lea@example.com"),
        ("léa@exämple.org", "léa@exämple.org"),
        ("lea@example", None),
        ("lea at example.com", None),
        ("lea@@example.com", None),
        ("@example.com", None),
        ("lea@-example.com", None),
        ("lea@example..com", None),
        ("unknown", None),
        ("", None),
        (f"{'a' * 60}@{'b' * 60}.{'c' * 60}.{'d' * 60}.{'e' * 60}.com", None),
    ],
)
def test_an_e_mail_address_is_found_or_not(value: str, address: str | None) -> None:
    assert email_address(value) == address


@given(
    st.text() | st.tuples(st.text(min_size=1), st.text(min_size=1)).map("{0[0]}@{0[1]}.com".format)
)
@example("lea@İ.com")
def test_an_e_mail_address_says_itself(value: str) -> None:
    address = email_address(value)
    assert address is None or email_address(address) == address
