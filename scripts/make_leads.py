"""Write a file of invented leads, as a real export holds them: `examples/leads.csv`.

With --rows 250 it is `first-look.csv`.  The same arguments give the same bytes.  Most rows are
people; the rest is what makes an import hard: one person under two addresses, missing addresses,
companies, other sites, broken e-mails.
Nobody in it exists: names are combined from lists, e-mails end in example.com or example.org.
"""

import argparse
import csv
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import TypeVar
from urllib.parse import quote

T = TypeVar("T")

COLUMNS = (
    *("First Name", "Last Name", "Title", "Company", "Email", "Person Linkedin Url"),
    *("Industry", "City", "Country", "Connected On", "Notes"),
)

# Of 1,000 rows; what remains is people.
SHARES = {
    "duplicate": 30,
    "missing": 15,
    "company": 10,
    "sales_navigator": 4,
    "other_page": 3,
    "other_site": 3,
}

FIRST_NAMES = (
    *("Léa", "Noémie", "Chloé", "Hugo", "Théo", "Maëlle", "Anaïs", "François", "Zoë", "Inès"),
    *("Jürgen", "Käthe", "Sören", "Björn", "Åsa", "Øyvind", "Maja", "Łukasz", "Małgorzata"),
    *("Zdeněk", "Jiří", "Ágnes", "Gergő", "Ștefan", "Ioana", "José", "Íñigo", "Begoña", "João"),
    *("Amara", "Kwame", "Ngozi", "Tariq", "Leïla", "Priya", "Arjun", "Mei", "Haruto", "Min-jun"),
    *("Olivia", "Liam", "Grace", "Ethan", "Jean-Luc", "Marie-Claire", "Siobhán", "Rhys", "Eilidh"),
)
LAST_NAMES = (
    *("Moreau", "Lefèvre", "Garnier-Vasseur", "d'Aubrac", "Le Goff", "Béranger", "Delacroissac"),
    *("Müllerhaus", "Großmann", "Von Ostheim", "Åkerlund", "Sørvik", "Kowalczewski", "Dvořánek"),
    *("Szabóky", "Popescari", "Muñozal", "de la Serna", "Gonçalvez", "O'Brannagh", "MacTavery"),
    *("Okonjara", "Mensahene", "El Amrani", "Ramanathapur", "Chaturvani", "Linhua", "Sakamori"),
    *("Parkson", "Whitlock", "Ashgrove", "Thornbury", "Penhallow", "Vanderhoek", "Bjarnason"),
)
# first name, last name, and the two as LinkedIn would write them in Latin letters
OTHER_SCRIPTS = (
    ("Ольга", "Ветрова", "olga-vetrova"),
    ("Дмитро", "Горобець", "dmytro-horobets"),
    ("Ελένη", "Παπαλεξίου", "eleni-papalexiou"),
    ("美咲", "山森", "misaki-yamamori"),
    ("伟", "林泽", "wei-linze"),
    ("지우", "한솔", "jiwoo-hansol"),
    ("ليلى", "المنصوري", "layla-almansoori"),
    ("יעל", "ברקן", "yael-barkan"),
    ("अनिका", "वर्धन", "anika-vardhan"),
    ("สมหญิง", "ศรีวงษ์", "somying-sriwong"),
)
TITLES = (
    *("CEO", "CTO", "Chief Revenue Officer", "Head of Growth", "VP Sales", "VP Engineering"),
    *("Account Executive", "Founder & CEO", "Directrice commerciale", "Responsable marketing"),
    *("Leiter Vertrieb", "Geschäftsführerin", "Director, Business Development", "Product Manager"),
    *('Partner ("M&A")', "Co-Founder", "Data Engineer", "Gerente de ventas", "Talent Lead"),
)
COMPANY_NAMES = (
    *("Brumelle", "Tarvok", "Osselin", "Quivara", "Nordlumen", "Feldspar & Finch", "Zephyrine"),
    *("Kestrelworks", "Maison Ravenel", "Halbmond", "Øresyn", "Verdanza", "Pixelmoor", "Ombrine"),
    *("Cobaltine", "Sunderleaf", "Atelier Drouvain", "Mirabeck", "Granitold", "Lumière d'Orvane"),
)
COMPANY_KINDS = (
    *("", " Logistics", " Biotech", " Robotics", " Software", " Conseil", " Energie", " Studios"),
    *(", Inc.", " GmbH", " & Fils", " SAS", " S.A.", " Health", ' "Labs"', " Group, Ltd."),
)
INDUSTRIES = (
    *("Information Technology & Services", "Logistics, Supply Chain", "Biotechnology"),
    *("Marketing and Advertising", "Renewables & Environment", "Hospital & Health Care"),
)
CITIES = (
    *(("Lyon", "France"), ("Orléans", "France"), ("Köln", "Germany"), ("Zürich", "Switzerland")),
    *(("Kraków", "Poland"), ("Malmö", "Sweden"), ("São Paulo", "Brazil"), ("Austin", "US")),
    *(("Lagos", "Nigeria"), ("Bengaluru", "India"), ("大阪", "Japan"), ("Montréal", "Canada")),
)
NOTES = (
    *(
        "Met at the fair in Lyon",
        "Asked for a demo,\nprefers mornings",
        'Says "maybe next quarter"',
    ),
    *("Referred by a customer; call first", "Speaks French\r\nand German", "🚀 hiring"),
)


class Chance:
    """Choices that a seed decides, the same on every version of Python."""

    def __init__(self, seed: int) -> None:
        # Only `random()` is promised to stay the same; `choice` and `shuffle` are not.
        self._random = Random(seed).random  # noqa: S311 - nothing secret is drawn

    def below(self, limit: int) -> int:
        return int(self._random() * limit)

    def of(self, options: Sequence[T]) -> T:
        return options[self.below(len(options))]

    def happens(self, share: float) -> bool:
        return self._random() < share

    def shuffled(self, items: Sequence[T]) -> list[T]:
        order = sorted(range(len(items)), key=[self._random() for _ in items].__getitem__)
        return [items[place] for place in order]


def rows(count: int, seed: int) -> list[list[str]]:
    """Return `count` data rows, each with a cell for each of `COLUMNS`."""
    chance = Chance(seed)
    kinds = [kind for kind, share in SHARES.items() for _ in range(share * count // 1000)]
    kinds = ["person"] * (count - len(kinds)) + kinds
    opening = kinds[: min(5, count)]  # a duplicate needs somebody before it
    people: list[tuple[str, list[str]]] = []
    slugs: set[str] = set()
    written = []
    for kind in opening + chance.shuffled(kinds[len(opening) :]):
        if kind == "duplicate" and people:
            slug, first = chance.of(people)
            row = [*first]
            row[5] = another_spelling(chance, slug)
            row[2] = chance.of(TITLES)  # promoted since
            written.append(row)
            continue
        slug, row = person(chance, slugs)
        match kind:
            case "missing":
                row[5] = chance.of(("", "", "N/A", " "))
            case "company":
                row[5] = f"https://www.linkedin.com/company/{plain(row[3])}/"
            case "sales_navigator":
                row[5] = f"https://www.linkedin.com/sales/lead/{an_id(chance, 'ACwAA')},NAME_SEARCH"
            case "other_page":
                row[5] = chance.of(
                    (
                        f"https://www.linkedin.com/pub/{slug}/4/2a/1b",
                        f"https://www.linkedin.com/posts/{slug}_hiring-activity-7000000000000000000",
                        "https://www.linkedin.com/school/universite-d-orvane/",
                    )
                )
            case "other_site":
                row[5] = chance.of((f"https://social.example.com/{slug}", row[0], "see CRM"))
            case _:
                pass
        if kind == "person" and "/in/ACoAA" not in row[5]:  # an id does not tell whose slug it is
            people.append((slug, row))
        written.append(row)
    return written


def person(chance: Chance, slugs: set[str]) -> tuple[str, list[str]]:
    """Return the slug of someone new, and the row."""
    if chance.happens(0.04):
        first, last, base = chance.of(OTHER_SCRIPTS)
        if chance.happens(0.5) and first.isalpha():
            base = f"{first}-{last}".lower()
    else:
        first, last = chance.of(FIRST_NAMES), chance.of(LAST_NAMES)
        base = f"{first}-{last}".lower().replace(" ", "-").replace("'", "")
        if chance.happens(0.9):  # LinkedIn keeps the accents in some
            base = plain(base)
    while (slug := unicodedata.normalize("NFC", f"{base}-{chance.below(1 << 24):06x}")) in slugs:
        pass
    slugs.add(slug)
    company = chance.of(COMPANY_NAMES) + chance.of(COMPANY_KINDS)
    domain = f"{plain(company)}.example.{chance.of(('com', 'org'))}"
    email = f"{plain(first) or 'hello'}.{plain(last) or 'team'}@{domain}"
    if chance.happens(0.15):
        email = ""
    elif chance.happens(0.01):
        email = chance.of(("unknown", "n.a.", email.replace("@", " at "), "verified"))
    city, country = chance.of(CITIES)
    return slug, [
        f" {first} " if chance.happens(0.02) else first,
        last.upper() if chance.happens(0.03) else last,
        chance.of(TITLES),
        company,
        email,
        usual_spelling(chance, slug),
        chance.of(INDUSTRIES),
        city,
        country,
        f"20{20 + chance.below(6)}-{1 + chance.below(12):02}-{1 + chance.below(28):02}",
        chance.of(NOTES) if chance.happens(0.12) else "",
    ]


def usual_spelling(chance: Chance, slug: str) -> str:
    """Return a profile address as most exports write it."""
    if chance.happens(0.01):
        return f"https://www.linkedin.com/in/{an_id(chance, 'ACoAA')}"
    if chance.happens(0.15):
        return another_spelling(chance, slug)
    return f"{chance.of(('https', 'http'))}://www.linkedin.com/in/{quote(slug)}"


def another_spelling(chance: Chance, slug: str) -> str:
    """Return one of the many addresses under which the same profile is found."""
    encoded = quote(slug)
    stranger = an_id(chance, "ACoAA")
    return chance.of(
        (
            f"https://www.linkedin.com/in/{encoded}/",
            f"linkedin.com/in/{encoded}",
            f"www.linkedin.com/in/{slug}",
            f"https://fr.linkedin.com/in/{encoded}?trk=people-guest",
            f"https://de.linkedin.com/in/{encoded}/en",
            f"https://m.linkedin.com/in/{encoded}#about",
            f"https://www.linkedin.com/mwlite/in/{encoded}",
            f"https://www.linkedin.com/in/{encoded}?miniProfileUrn=urn%3Ali%3Afs_miniProfile%3A{stranger}",
            f"HTTPS://WWW.LinkedIn.com/in/{slug.title() if slug.isascii() else slug}/",
            f"  https://www.linkedin.com/in/{encoded}/overlay/contact-info/ ",
            f"<https://linkedin.com/in/{encoded}>",
        )
    )


def an_id(chance: Chance, tag: str) -> str:
    """Return something like LinkedIn's id of a person."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return tag + chance.of("ABCDEFGHIJKLMNOP") + "".join(chance.of(letters) for _ in range(33))


def plain(name: str) -> str:
    """Return a name in unaccented Latin letters, digits and hyphens, as far as it has them."""
    decomposed = unicodedata.normalize("NFKD", name.lower().replace("ø", "o").replace("ł", "l"))
    letters = "".join(sign if sign.isalnum() else " " for sign in decomposed if sign.isascii())
    return "-".join(letters.split())


def main() -> None:
    """Write the file that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1000, metavar="N", help="data rows (1000)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="another N, other people")
    parser.add_argument("--out", type=Path, default=Path("examples/leads.csv"), metavar="FILE")
    args = parser.parse_args()
    with args.out.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file, lineterminator="\r\n")
        writer.writerow(COLUMNS)
        writer.writerows(rows(args.rows, args.seed))


if __name__ == "__main__":
    main()
