"""A file of leads is read as people export it; whatever is not certain is reported with its row."""

import csv
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clento_engine.domain.lead import LeadRow
from clento_engine.domain.missing_value import is_nothing
from clento_engine.interface.leads.layout import Layout, layout
from clento_engine.interface.leads.reading import RejectedRow
from clento_engine.interface.leads.reading import read_leads as read_rows
from clento_engine.interface.leads.source import UnreadableFile

ROOT = Path(__file__).parents[2]
LEA = "https://www.linkedin.com/in/lea-moreau"
HUGO = "https://www.linkedin.com/in/hugo-legoff"
ZOE = "https://www.linkedin.com/in/zoe-ashgrove"


def read_leads(
    path: Path, mapping: Mapping[str, str] | None = None, encoding: str | None = None
) -> Iterator[LeadRow | RejectedRow]:
    return read_rows(path, layout(path, mapping, encoding=encoding))


def read(
    tmp_path: Path,
    content: str | bytes,
    mapping: Mapping[str, str] | None = None,
    encoding: str | None = None,
) -> list[LeadRow | RejectedRow]:
    path = tmp_path / "leads.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(read_leads(path, mapping, encoding=encoding))


def leads(
    tmp_path: Path, content: str | bytes, mapping: Mapping[str, str] | None = None
) -> list[LeadRow]:
    rows = read(tmp_path, content, mapping)
    assert not [row for row in rows if isinstance(row, RejectedRow)]
    return [row for row in rows if isinstance(row, LeadRow)]


def rejected(tmp_path: Path, content: str | bytes) -> list[RejectedRow]:
    return [row for row in read(tmp_path, content) if isinstance(row, RejectedRow)]


def layout_of(tmp_path: Path, content: str) -> Layout:
    path = tmp_path / "leads.csv"
    path.write_bytes(content.encode())
    return layout(path)


def keys(rows: list[LeadRow | RejectedRow]) -> list[str]:
    return [row.identity.key for row in rows if isinstance(row, LeadRow)]


def refusal(tmp_path: Path, content: str | bytes, **options: str | Mapping[str, str]) -> str:
    with pytest.raises(UnreadableFile) as refused:
        read(tmp_path, content, **options)  # type: ignore[arg-type]
    assert refused.value.fix
    return str(refused.value)


def test_a_plain_file_becomes_leads(tmp_path: Path) -> None:
    content = (
        "LinkedIn URL,First Name,Last Name,Company,Title,Email,Connected On\n"
        f"{LEA},Léa,Moreau,Brumelle,CTO,Lea@Example.com,2024-05-01\n"
        f"{HUGO},Hugo,Le Goff,,,,\n"
    )
    first, second = leads(tmp_path, content)
    assert (first.row_number, first.identity.key) == (1, "lea-moreau")
    assert (first.first_name, first.last_name) == ("Léa", "Moreau")
    assert (first.company, first.job_title, first.email) == ("Brumelle", "CTO", "lea@example.com")
    assert first.fields == {"connected_on": "2024-05-01"}
    assert (second.company, second.job_title, second.email, second.fields) == (None, None, None, {})


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_delimiter_mark_and_line_ends_are_found_out(
    tmp_path: Path, delimiter: str, mark: bytes, newline: str
) -> None:
    lines = [
        delimiter.join(["Company", "profileUrl", "Notes; and, more|"]).replace(
            "Notes; and, more|", '"Notes; and, more|"'
        ),
        delimiter.join(['"Brumelle, Inc.; & | Fils"', LEA, '"a,b;c\td|e"']),
    ]
    (lead,) = leads(tmp_path, mark + newline.join([*lines, ""]).encode())
    assert lead.company == "Brumelle, Inc.; & | Fils"
    assert lead.fields == {"notes_and_more": "a,b;c\td|e"}


def test_the_delimiter_is_the_one_that_finds_profiles(tmp_path: Path) -> None:
    content = f"a,b,c,d,e;LinkedIn URL\n1,2,3,4,5;{LEA}\n"
    assert layout_of(tmp_path, content).delimiter == ";"


def test_excel_may_name_the_delimiter_in_a_first_line(tmp_path: Path) -> None:
    (lead,) = leads(tmp_path, f"sep=;\r\nFirst Name;LinkedIn\r\nLéa;{LEA}\r\n")
    assert lead.first_name == "Léa"


def test_utf_16_from_excel_is_read(tmp_path: Path) -> None:
    (lead,) = leads(tmp_path, f"First Name\tLinkedIn\nLéa\t{LEA}\n".encode("utf-16"))
    assert lead.first_name == "Léa"


def test_the_notes_above_linkedins_own_export_are_passed_over(tmp_path: Path) -> None:
    content = (
        "Notes:\n"
        '"When exporting your connection data, you may notice that some of the\n'
        'e-mail addresses are missing, which is, well, intended."\n'
        "\n"
        "First Name,Last Name,URL,Email Address,Company,Position,Connected On\n"
        f"Léa,Moreau,{LEA},,Brumelle,CTO,01 May 2024\n"
        "Hugo,Le Goff,,,,,01 May 2024\n"
    )
    good, bad = read(tmp_path, content)
    assert isinstance(good, LeadRow)
    assert (good.row_number, good.job_title) == (1, "CTO")
    assert isinstance(bad, RejectedRow)
    assert (bad.row_number, bad.line_number, bad.problem) == (2, 7, "the address is empty")


@pytest.mark.parametrize(
    ("header", "field"),
    [
        ("LinkedIn URL", "profile_url"),
        ("linkedin_url", "profile_url"),
        ("Profile URL", "profile_url"),
        ("profileUrl", "profile_url"),
        ("Person Linkedin Url", "profile_url"),
        ("  LINKEDIN  ", "profile_url"),
        ("URL LinkedIn", "profile_url"),
        ("firstName", "first_name"),
        ("Prénom", "first_name"),
        ("Nom", "last_name"),
        ("Company Name", "company"),
        ("Organization", "company"),
        ("Job Title", "job_title"),
        ("Position", "job_title"),
        ("E-mail Address", "email"),
        ("Work Email", "email"),
        ("Provider ID", "provider_id"),
        ("publicIdentifier", "public_identifier"),
    ],
)
def test_headers_are_known_in_many_spellings(tmp_path: Path, header: str, field: str) -> None:
    columns = [header] if field == "profile_url" else ["LinkedIn URL", header]
    found = layout_of(tmp_path, ",".join(columns) + "\n")
    assert found.fields[field] == len(columns) - 1


def test_a_companys_profile_is_not_the_persons(tmp_path: Path) -> None:
    (lead,) = leads(
        tmp_path,
        "Company Linkedin Url,Person Linkedin Url\n"
        f"https://www.linkedin.com/company/brumelle,{LEA}\n",
    )
    assert lead.identity.key == "lea-moreau"
    assert lead.fields == {"company_linkedin_url": "https://www.linkedin.com/company/brumelle"}


def test_a_mapping_overrides_what_the_header_says(tmp_path: Path) -> None:
    content = f"LinkedIn URL,Person,Title,Role\n{LEA},{HUGO},Dr,CTO\n"
    (lead,) = leads(tmp_path, content, {"profile_url": "person", "job_title": "Role"})
    assert lead.identity.key == "hugo-legoff"
    assert lead.job_title == "CTO"
    assert lead.fields == {"linkedin_url": LEA, "title": "Dr"}


def test_a_wrong_mapping_names_the_columns_or_fields(tmp_path: Path) -> None:
    content = f"LinkedIn URL,Job,Job\n{LEA},a,b\n"
    said = refusal(tmp_path, content, mapping={"company": "Firm"})
    assert "'Firm'" in said
    assert "'LinkedIn URL', 'Job'" in said
    assert "job_title" in refusal(tmp_path, content, mapping={"titel": "Job"})
    assert "more than one" in refusal(tmp_path, content, mapping={"job_title": "Job"})


def test_a_file_without_profiles_says_what_it_has_and_how_to_go_on(tmp_path: Path) -> None:
    said = refusal(tmp_path, "Name;Firma;Wer\na;b;c\n")
    assert "'Name', 'Firma', 'Wer'" in said
    assert "--map profile_url=COLUMN" in said
    (lead,) = leads(tmp_path, f"Name;Firma;Wer\na;b;{LEA}\n", {"profile_url": "Wer"})
    assert lead.company == "b"


def test_a_file_without_a_header_is_told_so(tmp_path: Path) -> None:
    assert "not a header" in refusal(tmp_path, f"Léa,{LEA}\nHugo,{HUGO}\n")


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", b"\r\n\r\n", b" , ,\n"])
def test_an_empty_file_is_an_error(tmp_path: Path, content: bytes) -> None:
    assert "empty" in refusal(tmp_path, content)


def test_a_header_alone_is_a_list_of_nobody(tmp_path: Path) -> None:
    assert read(tmp_path, "First Name,LinkedIn URL\r\n") == []
    assert read(tmp_path, "First Name,LinkedIn URL") == []


def test_other_columns_become_fields_with_distinct_keys(tmp_path: Path) -> None:
    content = (
        "LinkedIn,Email,Email,ConnectedOn,Secteur d'activité,,Notes,notes,First Name,FirstName\n"
        f"{LEA},a@example.com,b@example.com,2024,Santé,x,1,2,Léa,Lea\n"
    )
    (lead,) = leads(tmp_path, content)
    assert lead.email == "a@example.com"
    assert lead.first_name == "Léa"
    assert lead.fields == {
        "email_2": "b@example.com",
        "connected_on": "2024",
        "secteur_d_activité": "Santé",
        "column_6": "x",
        "notes": "1",
        "notes_2": "2",
        "first_name_2": "Lea",
    }


def test_values_are_trimmed_and_cleaned(tmp_path: Path) -> None:
    content = (
        "LinkedIn,First Name,Last Name,Company,Title,Notes\n"
        f'\x00{LEA}\x00,\u200b Le\u0301a\x07 ,"Le\r\n Goff", \xa0 ,#N/A,"one\r\ntwo\x1b[0m"\n'
    )
    (lead,) = leads(tmp_path, content)
    assert lead.first_name == "Léa"
    assert lead.last_name == "Le Goff"
    assert lead.company is None
    assert lead.job_title is None
    assert lead.fields == {"notes": "one\ntwo[0m"}


def test_a_malformed_e_mail_costs_the_e_mail_not_the_lead(tmp_path: Path) -> None:
    (lead,) = leads(tmp_path, f"LinkedIn,Email\n{LEA},lea at example.com\n")
    assert lead.email is None
    assert lead.notes == ("'lea at example.com' is not an e-mail address: left out",)


def test_the_first_row_of_a_person_counts_and_the_others_are_reported(tmp_path: Path) -> None:
    content = (
        f"LinkedIn,First Name\n{LEA},Léa\n{HUGO},Hugo\n"
        "http://fr.linkedin.com/in/L%C3%A9a-Moreau?x=1,other\n"
        "linkedin.com/in/Lea-Moreau/en,again\n"
    )
    rows = read(tmp_path, content)
    assert keys(rows) == ["lea-moreau", "hugo-legoff", "léa-moreau"]
    last = rows[3]
    assert isinstance(last, RejectedRow)
    assert (last.row_number, last.duplicate_of) == (4, 1)
    assert last.problem == "same person as row 1"
    assert last.value == "linkedin.com/in/Lea-Moreau/en"


def test_one_person_is_known_by_slug_and_by_provider_id(tmp_path: Path) -> None:
    content = (
        f"LinkedIn,Provider ID\n{LEA},ACoAAB1\nhttps://www.linkedin.com/in/ACoAAB1,\n{HUGO},\n"
    )
    first, again, other = read(tmp_path, content)
    assert isinstance(first, LeadRow)
    assert (first.identity.key, first.identity.provider_id) == ("lea-moreau", "ACoAAB1")
    assert isinstance(again, RejectedRow)
    assert again.duplicate_of == 1
    assert isinstance(other, LeadRow)


def test_a_sales_navigator_address_needs_a_public_one_beside_it(tmp_path: Path) -> None:
    sales = "https://www.linkedin.com/sales/lead/ACwAAB1cdE,NAME_SEARCH,x"
    content = f'profileUrl,defaultProfileUrl\n"{sales}",{LEA}\n"{sales}",\n,{HUGO}\n'
    rows = read(tmp_path, content)
    assert keys(rows) == ["lea-moreau", "hugo-legoff"]
    refused = rows[1]
    assert isinstance(refused, RejectedRow)
    assert (refused.row_number, refused.line_number) == (2, 3)
    assert refused.value.startswith("https://www.linkedin.com/sales/")
    assert "Sales Navigator" in refused.problem


def test_a_word_in_an_address_column_is_nobodys_profile(tmp_path: Path) -> None:
    (refused,) = rejected(tmp_path, "LinkedIn,First Name\nyes,Léa\n")
    assert "--map public_identifier=COLUMN" in refused.fix
    (lead,) = leads(tmp_path, "LinkedIn\nlea-moreau\n", {"public_identifier": "LinkedIn"})
    assert lead.identity.url == LEA


def test_public_identifiers_and_provider_ids_do_without_addresses(tmp_path: Path) -> None:
    content = "public_identifier,provider_id\nlea-moreau,ACoAAB1\n,ACoAAB2\nhugo-legoff,\nx,y\n,\n"
    rows = read(tmp_path, content)
    assert keys(rows) == ["lea-moreau", "ACoAAB2", "hugo-legoff"]
    assert isinstance(rows[3], RejectedRow)
    assert rows[3].field == "public_identifier"


def test_rejected_rows_say_where_they_are(tmp_path: Path) -> None:
    content = (
        "First Name,LinkedIn,Notes\r\n"
        f'Léa,{LEA},"one\r\ntwo\r\nthree"\r\n'
        "\r\n"
        ",,\r\n"
        f"Hugo,https://www.linkedin.com/company/{'x' * 200},\r\n"
    )
    (refused,) = rejected(tmp_path, content)
    assert (refused.row_number, refused.line_number, refused.field) == (4, 7, "profile_url")
    assert refused.value.endswith("x…")
    assert len(refused.value) == 80
    assert "company" in refused.problem


def test_rows_with_too_many_cells_are_rejected_and_short_ones_filled(tmp_path: Path) -> None:
    content = (
        "LinkedIn,First Name,Company\n"
        f"{LEA},Léa,Brumelle, Inc.\n"
        f"{HUGO},Hugo,Brumelle,,\n"
        f"{ZOE},Zoë\n"
    )
    refused, hugo, zoe = read(tmp_path, content)
    assert isinstance(refused, RejectedRow)
    assert "4 cells" in refused.problem
    assert isinstance(hugo, LeadRow)
    assert (hugo.company, hugo.notes) == ("Brumelle", ())
    assert isinstance(zoe, LeadRow)
    assert zoe.company is None
    assert "2 cells" in zoe.notes[0]


def test_a_quote_left_open_costs_its_row_and_no_other(tmp_path: Path) -> None:
    content = (
        "LinkedIn,First Name,Company\n"
        f'{LEA},Léa,"Brumelle\n'
        f"{HUGO},Hugo,Tarvok\n"
        f'{ZOE},Zoë,"Osselin ""Labs"""\n'
    )
    refused, hugo, zoe = read(tmp_path, content)
    assert isinstance(refused, RejectedRow)
    assert (refused.row_number, refused.line_number) == (1, 2)
    assert "quote" in refused.problem
    assert isinstance(hugo, LeadRow)
    assert (hugo.row_number, hugo.company) == (2, "Tarvok")
    assert isinstance(zoe, LeadRow)
    assert zoe.company == 'Osselin "Labs"'


def test_a_quote_that_nothing_closes_before_the_end_swallows_nobody(tmp_path: Path) -> None:
    rows = read(tmp_path, f'LinkedIn,Company\n{LEA},"Brumelle\n{HUGO},Tarvok\n{ZOE},Osselin')
    assert keys(rows) == ["hugo-legoff", "zoe-ashgrove"]
    assert isinstance(rows[0], RejectedRow)


def test_a_huge_cell_costs_its_row_and_no_other(tmp_path: Path) -> None:
    size = csv.field_size_limit() + 1
    content = f"LinkedIn,Notes\n{LEA},{'x' * size}\n{HUGO},ok\n{ZOE},{'x' * (size - 1)}\n"
    refused, hugo, zoe = read(tmp_path, content)
    assert isinstance(refused, RejectedRow)
    assert "more than 131,072 characters" in refused.problem
    assert isinstance(hugo, LeadRow)
    assert isinstance(zoe, LeadRow)


def test_a_file_that_is_not_utf_8_is_refused_with_the_byte(tmp_path: Path) -> None:
    content = f"First Name,LinkedIn\nHugo,{HUGO}\nLéa,{LEA}\n"
    said = refusal(tmp_path, content.encode("cp1252"))
    assert f"byte 0xE9 at offset {content.index('é')} (line 3)" in said
    assert "--encoding cp1252" in said
    rows = read(tmp_path, content.encode("cp1252"), encoding="cp1252")
    assert [row.first_name for row in rows if isinstance(row, LeadRow)] == ["Hugo", "Léa"]


def test_the_offset_is_right_beyond_the_first_chunk(tmp_path: Path) -> None:
    start = "LinkedIn,Notes\n" + f"{LEA},{'é' * 1000}\n" * 700  # the chunks end inside characters
    for padding in ("", "x"):
        content = (start + padding).encode()
        said = refusal(tmp_path, content + b"\xff\n")
        assert f"byte 0xFF at offset {len(content)} (line 702)" in said
    assert "ends within a character" in refusal(tmp_path, start.encode() + b"\xc3")


def test_a_byte_order_mark_is_believed_more_than_the_caller(tmp_path: Path) -> None:
    content = b"\xef\xbb\xbf" + f"First Name,LinkedIn\nLéa,{LEA}\n".encode()
    (lead,) = read(tmp_path, content, encoding="cp1252")
    assert isinstance(lead, LeadRow)
    assert lead.first_name == "Léa"


@pytest.mark.parametrize(
    ("content", "encoding", "word"),
    [
        (b"PK\x03\x04\x14\x00", None, "Excel workbook"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", None, "Excel workbook"),
        ("LinkedIn,Name\n".encode("utf-16-le"), None, "UTF-16 without its mark"),
        (b"LinkedIn\n", "klingon", "no encoding 'klingon'"),
        (b"LinkedIn\n", "hex", "no encoding 'hex'"),
        ("LinkedIn\n".encode("utf-16") + b"\x00", None, "ends within a character"),
    ],
)
def test_what_is_no_csv_is_told_so(
    tmp_path: Path, content: bytes, encoding: str | None, word: str
) -> None:
    with pytest.raises(UnreadableFile, match=word):
        read(tmp_path, content, encoding=encoding)


def test_errors_of_the_file_come_before_the_first_row(tmp_path: Path) -> None:
    path = tmp_path / "leads.csv"
    path.write_text("Name\nLéa\n")
    with pytest.raises(UnreadableFile):
        read_leads(path)  # not asked for a row


CELLS = st.text(st.sampled_from('a,;"\n\r\t |é\x00') | st.characters(codec="utf-8"), max_size=8)


@given(st.lists(st.lists(CELLS, min_size=2, max_size=2), max_size=8))
def test_every_row_that_a_writer_quotes_properly_comes_back(
    tmp_path_factory: pytest.TempPathFactory, cells: list[list[str]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "written.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerow(["LinkedIn", "First Name", "Notes"])
        writer.writerows(
            [f"https://www.linkedin.com/in/lead-{number}", *pair]
            for number, pair in enumerate(cells, start=1)
        )
    rows = list(read_leads(path))
    assert keys(rows) == [f"lead-{number}" for number in range(1, len(cells) + 1)]
    for row, (_, notes) in zip(rows, cells, strict=True):
        assert isinstance(row, LeadRow)
        assert "\x00" not in row.fields.get("notes", "")
        if notes.isalnum() and notes.isascii() and not is_nothing(notes):
            assert row.fields == {"notes": notes}


@given(st.binary(max_size=300))
def test_any_bytes_are_rows_or_a_reason(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "bytes.csv"
    for start in (b"", b"LinkedIn,Email\n"):
        path.write_bytes(start + content)
        with suppress(UnreadableFile):
            assert all(isinstance(row, LeadRow | RejectedRow) for row in read_leads(path))


def test_the_example_holds_what_real_exports_hold() -> None:
    rows = list(read_leads(ROOT / "examples" / "leads.csv"))
    good = [row for row in rows if isinstance(row, LeadRow)]
    bad = [row for row in rows if isinstance(row, RejectedRow)]
    assert len(rows) == 1000
    problems = Counter("duplicate" if row.duplicate_of else row.problem for row in bad)
    assert problems["duplicate"] == 30
    assert problems["the address is empty"] == 15
    assert problems["/company/ is a company's page, not a person's profile"] == 10
    assert sum(problems.values()) == 65
    assert len({row.identity.key for row in good}) == len(good) == 935
    assert any(row.identity.provider_id for row in good)
    assert any(not row.identity.key.isascii() for row in good)
    assert any(row.notes for row in good)
    assert all(row.first_name and row.last_name and row.company for row in good)
    assert all(
        row.email is None or row.email.endswith((".example.com", ".example.org")) for row in good
    )
    assert {key for row in good for key in row.fields} == {
        *("industry", "city", "country", "connected_on", "notes")
    }


@pytest.mark.parametrize(("example", "rows"), [("leads.csv", "1000"), ("first-look.csv", "250")])
def test_the_examples_are_made_again_byte_for_byte(tmp_path: Path, example: str, rows: str) -> None:
    again = tmp_path / "leads.csv"
    script = ROOT / "scripts" / "make_leads.py"
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    make = [sys.executable, str(script), "--rows", rows, "--out", str(again)]
    subprocess.run(make, check=True, env=environment)
    content = again.read_bytes()
    assert content == (ROOT / "examples" / example).read_bytes()
    assert content.startswith(b"\xef\xbb\xbf")
    subprocess.run(
        [sys.executable, script, "--seed", "2", "--rows", "50", "--out", again], check=True
    )
    assert content != again.read_bytes()
    assert len(list(read_leads(again))) == 50
