"""Files as people really have them: each stands for a kind, and keeps what is right for it."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from clento_engine.domain.lead import LeadRow
from clento_engine.interface.leads.layout import Layout, layout
from clento_engine.interface.leads.reading import RejectedRow, read_leads
from clento_engine.interface.leads.source import UnreadableFile

CASES = Path(__file__).with_suffix("")
ANNA = "https://www.linkedin.com/in/anna-berg-1a2b3c"
BO = "https://www.linkedin.com/in/bo-dahl-4d5e6f"
CY = "https://www.linkedin.com/in/cy-moss-7a8b9c"
AN_ID = "ACoAAAcDMMQBODyLwZrRcHYhrkCafURGqva0U4E"
SALES = "https://www.linkedin.com/sales/lead/ACwAABcdEfGhIjKlMnOp,NAME_SEARCH,x"


class Read:
    """A file, read."""

    def __init__(self, path: Path, mapping: Mapping[str, str], encoding: str | None) -> None:
        self.layout: Layout = layout(path, mapping, encoding=encoding)
        rows = list(read_leads(path, self.layout))
        self.leads = [row for row in rows if isinstance(row, LeadRow)]
        self.rejected = [row for row in rows if isinstance(row, RejectedRow)]

    @property
    def people(self) -> dict[str, LeadRow]:
        return {lead.identity.key: lead for lead in self.leads}

    def column(self, field: str) -> str:
        return self.layout.columns[self.layout.fields[field]]


def case(name: str) -> Read:
    return Read(CASES / f"{name}.csv", {}, None)


def read(tmp_path: Path, content: str | bytes, encoding: str | None = None, **mapping: str) -> Read:
    path = tmp_path / "leads.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return Read(path, mapping, encoding)


def refusal(
    tmp_path: Path, content: str | bytes, encoding: str | None = None, **mapping: str
) -> str:
    with pytest.raises(UnreadableFile) as refused:
        read(tmp_path, content, encoding, **mapping)
    return str(refused.value)


# --- the shared cases


def test_addresses_in_sentences_are_people_and_words_for_nothing_are_nobody() -> None:
    found = case("addresses")
    assert {lead.first_name: lead.identity.key for lead in found.leads} == {
        "P7": "anna-p1",
        "P10": "anna-p4",
        "P15": "anna-p9",
        "P17": "anna-p11",
        "P18": "anna-p12",
        "P28": "anna-p19",
        "P38": "anna-p22",
    }
    rows = [row.row_number for row in found.rejected]
    assert rows == [1, 2, 3, 6, 11, 12, 14]
    assert all(row.problem and row.fix for row in found.rejected)


def test_numbers_in_a_column_of_ids_are_nobodys_name() -> None:
    found = case("numbers_in_an_id_column")
    assert list(found.people) == ["cy-dahl-22"]
    assert found.people["cy-dahl-22"].identity.provider_id is None
    assert [row.row_number for row in found.rejected] == [1, 2, 4]
    assert "Sales Navigator" in found.rejected[0].problem
    assert "provider_id" not in found.layout.fields
    assert "'Profile ID'" in found.layout.remarks[0]


def test_numbers_are_nobodys_name_though_the_column_is_said_to_hold_ids() -> None:
    found = Read(CASES / "numbers_in_an_id_column.csv", {"provider_id": "Profile ID"}, None)
    assert list(found.people) == ["cy-dahl-22"]


def test_values_that_are_none_are_left_empty_with_a_note() -> None:
    people = case("names").people
    rocket, hidden, mojibake, lost, formula, words = (
        people[f"n-{name}"]
        for name in ("anna-3", "anna-7", "joerg-8", "joerg-9", "anna-11", "anna-13")
    )
    assert (rocket.first_name, rocket.last_name) == ("Anna", "Berg")
    assert (rocket.company, len(rocket.notes)) == ("Nordlicht, Inc.", 2)
    assert (hidden.first_name, hidden.last_name, hidden.company) == (None, None, "Nordlicht")
    assert (mojibake.first_name, mojibake.last_name, mojibake.company) == (None, None, None)
    assert (lost.first_name, lost.last_name, lost.company) == (None, None, "X")
    assert (formula.first_name, formula.last_name, formula.company) == (None, "x", "y")
    assert (words.first_name, words.last_name, words.company) == (None, None, None)
    for lead, notes in ((hidden, 1), (mojibake, 3), (lost, 2), (formula, 1), (words, 3)):
        assert len(lead.notes) == notes


def test_emoji_are_kept_by_choice() -> None:
    path = CASES / "names.csv"
    first = next(iter(read_leads(path, layout(path), keep_emoji=True)))
    assert isinstance(first, LeadRow)
    assert (first.first_name, first.notes) == ("🚀 Anna", ())


def test_lines_above_the_header_are_passed_over_though_padded() -> None:
    found = case("preamble_padded_with_commas")
    assert [lead.first_name for lead in found.leads] == ["Anna", "Éloïse"]
    assert found.leads[0].company == "Nordlicht GmbH"
    assert found.rejected == []
    assert found.layout.header_lines == 4


def test_an_address_is_found_under_a_header_that_nobody_listed() -> None:
    found = case("addresses_under_profile")
    (lead,) = found.leads
    assert (lead.identity.key, lead.company, lead.job_title) == (
        "anna-berg-1a2b3c",
        "Nordlicht",
        "CTO",
    )
    assert found.column("profile_url") == "Profile"
    assert found.layout.why["profile_url"] == (
        "by what it holds: 1 of 1 values are profile addresses"
    )


def test_headers_say_first_whose_they_are() -> None:
    found = case("prefixed_headers")
    (lead,) = found.leads
    assert (lead.company, lead.email) == ("Nordlicht", "anna@x.example")
    assert lead.fields == {"full_name": "Anna Berg", "person_id": "44"}


def test_headers_in_italian_are_read() -> None:
    (lead,) = case("italian_headers").leads
    assert (lead.first_name, lead.last_name) == ("Anna", "Berg")
    assert (lead.company, lead.job_title) == ("Nordlicht", "CTO")


def test_a_whole_name_stays_whole() -> None:
    found = case("full_name_only")
    (lead,) = found.leads
    assert (lead.first_name, lead.last_name) == (None, None)
    assert lead.fields == {"full_name": "Anna Berg"}
    assert "first_name" not in found.layout.fields


@pytest.mark.parametrize(
    ("name", "people"),
    [
        ("one_person_two_names", ["nora-vik-51", "ACoAAdea73faa89d0b32f165d3d50cd1c32dbd4"]),
        ("suppressed_by_another_name", ["ACoAA008a714522ced58ca44678b31240681edd", "pia-rod-62"]),
        ("suppressed_company", ["s-anna-1", "s-bo-2", "s-cy-3", "s-di-4", "s-ev-5"]),
    ],
)
def test_lists_of_people_who_are_to_be_told_apart_are_read_whole(
    name: str, people: list[str]
) -> None:
    found = case(name)
    assert list(found.people) == people
    assert found.rejected == []


def test_a_companys_name_has_single_spaces_and_composed_letters() -> None:
    companies = [lead.company for lead in case("suppressed_company").leads]
    assert companies[3] == "ÖKO Häuser GmbH"
    assert case("suppressed_company").leads[2].email == "x@öko.example"


# --- exporters: what they call and hold


@pytest.mark.parametrize(
    ("header", "row", "right"),
    [
        (  # Sales Navigator through Phantombuster
            "profileUrl,defaultProfileUrl,fullName,firstName,lastName,companyName,title,vmid",
            f'"{SALES}",{ANNA},Anna Berg,Anna,Berg,Acme,CTO,ACwAABcdEfGhIjKlMnOp',
            ("Anna", "Berg", "Acme", "CTO", None),
        ),
        (  # Apollo
            (
                "First Name,Last Name,Title,Company,Company Name for Emails,Email,Email Status,"
                "Person Linkedin Url,Website,Company Linkedin Url,Contact Owner,Apollo Contact Id"
            ),
            (
                f"Anna,Berg,CTO,Acme,Acme,anna@acme.example,Verified,{ANNA},https://acme.example,"
                "https://www.linkedin.com/company/acme,sdr@us.example,5f2b1c9e8a7d6c5b4a3f2e1d"
            ),
            ("Anna", "Berg", "Acme", "CTO", "anna@acme.example"),
        ),
        (  # HubSpot
            (
                "Record ID,First Name,Last Name,Email,Contact owner,Associated Company,"
                "Job Title,LinkedIn Bio"
            ),
            f"101,Anna,Berg,anna@acme.example,Bo Dahl,Acme,CTO,{ANNA}",
            ("Anna", "Berg", "Acme", "CTO", "anna@acme.example"),
        ),
        (  # Salesforce: an id in a column called Account is no company's name
            "Contact ID,First Name,Last Name,Account,Account Name,Title,Email,LinkedIn__c",
            f"0031x00000AbCdE,Anna,Berg,001x00000AbCdE1,Acme,CTO,anna@acme.example,{ANNA}",
            ("Anna", "Berg", "Acme", "CTO", "anna@acme.example"),
        ),
        (  # Google Contacts
            (
                "Name,Given Name,Family Name,E-mail 1 - Value,Organization 1 - Name,"
                "Organization 1 - Title,Website 1 - Type,Website 1 - Value"
            ),
            f"Anna Berg,Anna,Berg,anna@acme.example,Acme,CTO,Profile,{ANNA}",
            ("Anna", "Berg", None, None, "anna@acme.example"),
        ),
        (  # Linked Helper
            (
                "id,public_id,hash_id,member_id,profile_url,full_name,first_name,last_name,"
                "current_company,current_company_position"
            ),
            f"7,anna-berg-1a2b3c,{AN_ID},123456,{ANNA},Anna Berg,Anna,Berg,Acme,CTO",
            ("Anna", "Berg", "Acme", None, None),
        ),
        (  # Lemlist
            "email;firstName;lastName;companyName;linkedinUrl;icebreaker",
            f"anna@acme.example;Anna;Berg;Acme;{ANNA};Hi",
            ("Anna", "Berg", "Acme", None, "anna@acme.example"),
        ),
        (  # ZoomInfo
            (
                "Last Name;First Name;Job Title;Email Address;LinkedIn Contact Profile URL;"
                "Company Name;LinkedIn Company Profile URL"
            ),
            f"Berg;Anna;CTO;anna@acme.example;{ANNA};Acme;https://www.linkedin.com/company/a",
            ("Anna", "Berg", "Acme", "CTO", "anna@acme.example"),
        ),
        (  # a German CRM
            "Name;Vorname;Firma;Funktion;E-Mail-Adresse;Profil",
            f"Berg;Anna;Acme;CTO;anna@acme.example;{ANNA}",
            ("Anna", "Berg", "Acme", "CTO", "anna@acme.example"),
        ),
        (  # a French sheet
            "Nom\tPrénom\tSociété\tPoste\tAdresse e-mail\tLien LinkedIn",
            f"Berg\tAnna\tAcme\tCTO\tanna@acme.example\t{ANNA}",
            ("Anna", "Berg", "Acme", "CTO", "anna@acme.example"),
        ),
        (  # a Portuguese sheet
            "Nome,Sobrenome,Empresa,Cargo,Correio,Página",
            f"Anna,Berg,Acme,CTO,anna@acme.example,{ANNA}",
            ("Anna", "Berg", "Acme", "CTO", "anna@acme.example"),
        ),
        (  # a Dutch sheet
            "Voornaam;Achternaam;Bedrijf;Functie;E-mailadres;Sociaal",
            f"Anna;Berg;Acme;CTO;anna@acme.example;{ANNA}",
            ("Anna", "Berg", "Acme", "CTO", "anna@acme.example"),
        ),
        (  # a Polish sheet
            "Imię;Nazwisko;Firma;Stanowisko;Adres;Strona",
            f"Anna;Berg;Acme;CTO;anna@acme.example;{ANNA}",
            ("Anna", "Berg", "Acme", "CTO", "anna@acme.example"),
        ),
        (  # Expandi and others, spelled with prefixes
            "contact_first_name,contact_last_name,contact_company,contact_job_title,contact_page",
            f"Anna,Berg,Acme,CTO,{ANNA}",
            ("Anna", "Berg", "Acme", "CTO", None),
        ),
    ],
)
def test_exports_are_read_as_their_tools_mean_them(
    tmp_path: Path, header: str, row: str, right: tuple[str | None, ...]
) -> None:
    found = read(tmp_path, f"{header}\n{row}\n")
    (lead,) = found.leads
    assert lead.identity.key == "anna-berg-1a2b3c"
    assert (lead.first_name, lead.last_name, lead.company, lead.job_title, lead.email) == right
    assert set(found.layout.why) == set(found.layout.fields)


# --- whose address it is


def test_the_address_of_somebody_else_is_not_the_leads(tmp_path: Path) -> None:
    content = f"Name,Profile,Sent by\nA,{ANNA},{CY}\nB,{BO},{CY}\nC,,{CY}\n"
    found = read(tmp_path, content)
    assert list(found.people) == ["anna-berg-1a2b3c", "bo-dahl-4d5e6f"]
    assert "no column" in refusal(tmp_path, f"Name,Owner LinkedIn\nA,{CY}\nB,{BO}\n")
    assert list(read(tmp_path, f"Name,Owner\nA,{CY}\n", profile_url="Owner").people)


def test_the_same_address_in_all_rows_is_the_senders(tmp_path: Path) -> None:
    rows = "".join(f"{lead},{CY}\n" for lead in (ANNA, BO, f"{ANNA}x"))
    found = read(tmp_path, f"Page,Account\n{rows}")
    assert found.column("profile_url") == "Page"
    assert len(found.leads) == 3


def test_two_columns_that_may_be_the_leads_are_asked_about(tmp_path: Path) -> None:
    said = refusal(tmp_path, f"Page one,Page two\n{ANNA},{BO}\n{BO},{CY}\n")
    assert "'Page one', 'Page two'" in said
    assert "--map profile_url=COLUMN" in said
    content = f"Page one,Page two\n{ANNA},{BO}\n{BO},{CY}\n"
    assert list(read(tmp_path, content, profile_url="Page two").people) == [
        "bo-dahl-4d5e6f",
        "cy-moss-7a8b9c",
    ]


def test_a_column_of_that_name_without_addresses_gives_way_to_one_with(tmp_path: Path) -> None:
    found = read(tmp_path, f"URL,Seite\nhttps://acme.example,{ANNA}\n")
    assert found.column("profile_url") == "Seite"
    found = read(tmp_path, f'LinkedIn,Public page\n"{SALES}",{ANNA}\n"{SALES}",\n')
    assert list(found.people) == ["anna-berg-1a2b3c"]
    assert "Sales Navigator" in found.rejected[0].problem


def test_ids_are_found_by_what_they_are(tmp_path: Path) -> None:
    found = read(tmp_path, f"Who,City\n{AN_ID},Oslo\n")
    assert list(found.people) == [AN_ID]
    assert "by what it holds" in found.layout.why["provider_id"]


def test_an_e_mail_is_found_by_what_it_is_and_never_an_owners(tmp_path: Path) -> None:
    content = f"LinkedIn,Kontakt,Owner Email\n{ANNA},anna@acme.example,sdr@us.example\n"
    found = read(tmp_path, content)
    assert found.leads[0].email == "anna@acme.example"
    assert "by what it holds" in found.layout.why["email"]
    found = read(tmp_path, f"LinkedIn,Owner Email\n{ANNA},sdr@us.example\n")
    assert found.leads[0].email is None


def test_salutations_are_no_positions_and_numbers_no_companies(tmp_path: Path) -> None:
    content = f"Title,Company,LinkedIn\nMr,123,{ANNA}\nDr.,456,{BO}\n"
    found = read(tmp_path, content)
    assert [(lead.job_title, lead.company) for lead in found.leads] == [(None, None)] * 2
    assert len(found.layout.remarks) == 2
    found = read(tmp_path, content, job_title="Title", company="Company")
    assert (found.leads[0].job_title, found.leads[0].company) == ("Mr", "123")


# --- where the header is


@pytest.mark.parametrize("lines", [1, 5, 39, 40])
@pytest.mark.parametrize("note", ["Note", "Note,,", "", '"Notes, many, of them",,', ";;"])
def test_the_header_is_found_below_notes(tmp_path: Path, lines: int, note: str) -> None:
    found = read(tmp_path, f"{note}\n" * lines + f"Vorname,Firma,LinkedIn\nAnna,Acme,{ANNA}\n")
    (lead,) = found.leads
    assert (lead.first_name, lead.company) == ("Anna", "Acme")
    assert found.layout.header_lines == lines + 1


def test_a_header_of_two_rows_is_the_second(tmp_path: Path) -> None:
    content = f"Person,,,Company,\nFirst,Last,URL,Name,Size\nAnna,Berg,{ANNA},Acme,9\n"
    (lead,) = read(tmp_path, content).leads
    assert (lead.first_name, lead.last_name) == ("Anna", "Berg")


def test_where_no_header_is_found_the_error_says_what_was_taken(tmp_path: Path) -> None:
    said = refusal(tmp_path, f"Notes\nAnna,Berg,{ANNA}\n")
    assert "row 1 was taken for the header" in said
    assert f"values of column 3 look like addresses: '{ANNA}'" in said
    assert "--map profile_url=#3" in said
    said = refusal(tmp_path, f"Anna,Berg,{ANNA}\nBo,Dahl,{BO}\n")
    assert "not a header" in said
    assert "--map profile_url=#3" in said


@pytest.mark.parametrize("above", ["", "Notes\n", "Notes\n\n"])
def test_columns_named_by_number_need_no_header(tmp_path: Path, above: str) -> None:
    content = f"{above}Anna,Berg,{ANNA}\nBo,Dahl,{BO}\n"
    found = read(tmp_path, content, profile_url="#3", first_name="#1")
    assert [lead.first_name for lead in found.leads] == ["Anna", "Bo"]
    assert found.leads[0].fields == {"column_2": "Berg"}


def test_whoever_is_in_the_first_row_of_a_file_without_header_is_not_lost(tmp_path: Path) -> None:
    content = f"Anna,Berg,\nBo,Dahl,{BO}\n"
    assert "row 1 was taken for the header" in refusal(tmp_path, content)
    found = read(tmp_path, content, profile_url="#3")
    assert [row.row_number for row in found.rejected] == [1]
    assert list(found.people) == ["bo-dahl-4d5e6f"]


def test_a_mapping_repairs_columns_of_one_name(tmp_path: Path) -> None:
    content = f"LinkedIn,LinkedIn,Firma\n{ANNA},{BO},Acme\n"
    said = refusal(tmp_path, content, profile_url="LinkedIn")
    assert "--map profile_url=#1 or --map profile_url=#2" in said
    assert list(read(tmp_path, content, profile_url="#2").people) == ["bo-dahl-4d5e6f"]
    assert read(tmp_path, content, profile_url="#2", company="-").leads[0].company is None


def test_a_mapping_finds_its_header_below_one_that_looks_better(tmp_path: Path) -> None:
    content = f"First Name,Last Name,Company\nWer,Wo,Was\n{ANNA},Oslo,x\n"
    found = read(tmp_path, content, profile_url="Wer")
    assert found.layout.columns == ("Wer", "Wo", "Was")
    assert list(found.people) == ["anna-berg-1a2b3c"]


# --- bytes


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "UTF-16LE", "utf-32-le"])
def test_an_encoding_is_believed_where_it_is_named(tmp_path: Path, encoding: str) -> None:
    content = f"First Name,LinkedIn\nÉva,{ANNA}\n".encode(encoding)
    assert read(tmp_path, content, encoding).leads[0].first_name == "Éva"
    assert "--encoding utf-16-le" in refusal(tmp_path, content)


def test_a_mark_on_bytes_of_another_encoding_gives_way_to_what_is_named(tmp_path: Path) -> None:
    content = b"\xef\xbb\xbf" + f"First Name,LinkedIn\nÉva,{ANNA}\n".encode("cp1252")
    assert "not UTF-8" in refusal(tmp_path, content)
    found = read(tmp_path, content, "cp1252")
    assert found.leads[0].first_name == "Éva"
    assert found.layout.columns[0] == "First Name"


def test_a_mark_that_is_right_is_said_where_another_encoding_is_named(tmp_path: Path) -> None:
    found = read(tmp_path, f"\ufeffFirst Name,LinkedIn\nÉva,{ANNA}\n", "cp1252")
    assert found.leads[0].first_name == "Éva"
    assert found.layout.remarks == ("its byte order mark says utf-8: cp1252 was not used",)


def test_a_wrong_encoding_shows_how_the_word_may_read(tmp_path: Path) -> None:
    content = f"First Name,LinkedIn\nÉlodie,{ANNA}\n".encode("mac_roman")
    said = refusal(tmp_path, content)
    assert "'Élodie' in mac_roman" in said
    assert read(tmp_path, content, "mac_roman").leads[0].first_name == "Élodie"


@pytest.mark.parametrize("encoding", ["undefined", "idna", "rot13", "unicode_escape", "", "x\0"])
def test_what_is_no_encoding_of_texts_is_refused(tmp_path: Path, encoding: str) -> None:
    assert "no encoding" in refusal(tmp_path, f"LinkedIn\n{ANNA}\n", encoding)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"PK\x03\x04\x14\x00", "Excel workbook"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "Excel workbook"),
        (b"\x1f\x8b\x08\x00", "compressed"),
        (b"%PDF-1.7", "PDF"),
        ("\ufeff<!DOCTYPE html><html>".encode(), "web page"),
        (b"\r\n<table><tr><td>LinkedIn", "web page"),
        (b'<?xml version="1.0"?><Workbook>', "web page or XML"),
        (b'[{"linkedin": "x"}]', "JSON"),
        (b'{"linkedin": "x"}\n', "JSON"),
    ],
)
def test_what_is_no_table_is_called_what_it_is(tmp_path: Path, content: bytes, word: str) -> None:
    assert word in refusal(tmp_path, content)


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_signs_that_nobody_sees_and_any_line_end_are_read(tmp_path: Path, end: str) -> None:
    content = f"First\x00 Name,\u200bLinkedIn{end}An\x00na,\ufeff{ANNA}{end}Bo,{BO}{end}"
    assert [lead.first_name for lead in read(tmp_path, content).leads] == ["Anna", "Bo"]


def test_decimal_commas_beside_semicolons_are_no_delimiters(tmp_path: Path) -> None:
    content = f"Umsatz, Mio;Firma;LinkedIn\n1,5;Acme, Inc.;{ANNA}\n2,25;Bolt;{BO}\n"
    found = read(tmp_path, content)
    assert [lead.company for lead in found.leads] == ["Acme, Inc.", "Bolt"]
    assert found.leads[0].fields == {"umsatz_mio": "1,5"}


def test_a_quote_left_open_above_the_header_or_in_it_swallows_nobody(tmp_path: Path) -> None:
    content = f'"Export of 2024\nFirst Name,LinkedIn\nAnna,{ANNA}\nBo,{BO}\n'
    assert len(read(tmp_path, content).leads) == 2
    assert "not a header" in refusal(tmp_path, f'"First Name,LinkedIn\nAnna,{ANNA}\nBo,{BO}\n')


def test_a_record_without_end_costs_its_line_and_no_other(tmp_path: Path) -> None:
    more = "x" * 1_000
    content = f'LinkedIn,Notes\n{ANNA},x\n"\n' + f'"{more}","\n' * 500 + f"{BO},y\n"
    found = read(tmp_path, content)
    assert "bo-dahl-4d5e6f" in found.people
    assert found.rejected[0].line_number == 3


def test_a_file_whose_quotes_make_no_sense_is_refused_before_it_takes_long(tmp_path: Path) -> None:
    lines = ("x" * 1_000 + '","\n') * 3_000  # each opens a quote, and the next closes and opens it
    with pytest.raises(UnreadableFile, match=r"quotes about line 1.. do not match"):
        read(tmp_path, f"LinkedIn,Notes\n{ANNA},x\n{lines}")


def test_thousands_of_columns_of_one_name_are_told_apart_at_once(tmp_path: Path) -> None:
    wide = ",".join(["a"] * 3_000)
    found = read(tmp_path, f"{wide},LinkedIn\n{'x,' * 3_000}{ANNA}\n")
    assert len(found.leads[0].fields) == 3_000
    too_wide = ",".join(["a"] * 20_000)
    assert "16,384 are the most" in refusal(tmp_path, f"{too_wide},LinkedIn\n{ANNA}\n")
