"""What an export leaves in place of a value is none; whatever people are called is one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clento_engine.domain.missing_value import (
    NOTHING,
    damage,
    damage_of_name,
    damage_of_title,
    is_nothing,
    without_emoji,
)

# People, companies and positions as they are written, in many languages.
NAMES = (
    """
Anna|Jörg|Müller|Élodie|François|Zoë|O'Brien|O’Brien|D'Angelo|Jean-Luc|Łukasz|Škoda|Dvořák|Çelik
İpek|Đorđe|Þór|Ærø|Åse|Ægir|Ñandú|João|SÃO PAULO|NESTLÉ®|CAFÉ™|Groß–Klein|IRMÃ|ÂNGELA|Siân|Öko AG
Na|Nil|Blank|Mac|Ng|Wu|Li|Le|Van der Berg|Nan Goldin Ltd|None So Fine GmbH|Unknown Pleasures Inc
Анна|Неизвестный Андрей|Ελένη|עברית|山森 美咲|김나|Nguyễn Thị Ánh|محمد|आन्ना|สมชาย
AT&T|Smith & Sons|R&D|Marks &Spencer|C++ GmbH|3M|1&1 AG|24/7 Media|Yahoo!|Who? Media|E.ON|n8n|x
Acme, Inc.|Acme (Holding) B.V.|“Quote” Studio|Dr. Anna|Anna B.|CEO & Founder|VP, Sales|#1 Coach
LinkedIn|LinkedIn Corporation|Head of LinkedIn Marketing|Member of Technical Staff|=mc² Studio
Void Interactive|Null Island Ltd|Tag <Heuer>|Emptyness|Hans-Jürgen “Hansi”|Ça va|L’Oréal|Œuvre
""".replace("\n", "|")
    .strip("|")
    .split("|")
)


@pytest.mark.parametrize("name", NAMES)
def test_names_are_values(name: str) -> None:
    assert not is_nothing(name)
    assert damage(name) is None
    assert damage_of_title(name) is None
    assert damage_of_name(name) is None


@given(
    st.sampled_from(sorted(NOTHING)), st.sampled_from(["{}", "({})", "<{}>", "[{}]", "-{}-", "{}."])
)
def test_a_word_for_nothing_is_nothing_in_any_case_and_brackets(word: str, around: str) -> None:
    for text in (word.lower(), word.upper(), word.title()):
        assert is_nothing(around.format(text)) or text == "Na"


@pytest.mark.parametrize(
    "text",
    [
        *("-", "--", "—", "...", "…", "?", "???", ".", "_", "/", "*", "()", '""', "#", "####"),
        *("#N/A", "#REF!", "#VALUE!", "#NAME?", "#DIV/0!", "#NULL!", "#NUM!", "#ERROR!", "#NV"),
        *("#BEZUG!", "#WERT!", "#VALEUR!", "#NOM?", "#¡REF!", "#¿NOMBRE?", "#SPILL!", "#N/D"),
        *("NaN", "nan", "NA", "n.a.", "N/A", "(null)", "<none>", "[object Object]", "(blank)"),
        *("k. A.", "Non renseigné", "Desconocido", "Not Available", "(empty)", "TBD"),
    ],
)
def test_what_tools_write_for_nothing_is_nothing(text: str) -> None:
    assert is_nothing(text)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        *((text, "taken for another") for text in ("JÃ¶rg", "MÃ¼ller", "Ã–ko AG", "FranÃ§ois")),
        *((text, "taken for another") for text in ("Itâ€™s", "Jos√©", "M√ºller", "MÃƒÂ¼ller")),
        *(
            (text, "taken for another")
            for text in ("ÐÐ½Ð´Ñ€ÐµÐ¹", "ðŸš€ Anna", "å¼ ä¼Ÿ", "Å½eljko")
        ),
        ("J\ufffdrg", "signs were lost"),
        ('="Anna"', "a formula"),
        ("=VLOOKUP(A1,B:C,2)", "a formula"),
        ("=A1&B2", "a formula"),
        ("M&uuml;ller", "an HTML entity"),
        ("Smith &amp; Sons", "an HTML entity"),
        ("O&#39;Brien", "an HTML entity"),
        ("Anna&nbsp;", "an HTML entity"),
        ("<p>Anna</p>", "an HTML tag"),
        ("Anna<br/>", "an HTML tag"),
        ("{{first_name}}", "nobody filled"),
        ("${name}", "nobody filled"),
        ("[object Object]", "nobody filled"),
    ],
)
def test_a_damaged_value_is_told_by_its_damage(text: str, what: str) -> None:
    assert what in (damage(text) or "")


@pytest.mark.parametrize(
    "text",
    [
        *(
            "LinkedIn Member",
            "Linkedin member",
            "Membre de LinkedIn",
            "LinkedIn-Mitglied",
            "?",
            "12",
        ),
        *(
            "+49 170 1234567",
            "anna@acme.example",
            "https://acme.example",
            "www.acme.example",
            "M?ller",
        ),
    ],
)
def test_what_cannot_be_a_persons_name_is_none(text: str) -> None:
    assert damage_of_name(text) is not None


@pytest.mark.parametrize("text", ["LinkedIn Member", "M?ller GmbH", "***"])
def test_what_cannot_be_a_companys_name_is_none(text: str) -> None:
    assert damage_of_title(text) is not None


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("🚀 Anna", "Anna"),
        ("Berg 👩‍💪", "Berg"),
        ("Anna 👩🏽‍💻 Berg ✨", "Anna Berg"),
        ("⭐️Anna⭐️", "Anna"),
        ("🇩🇪 Anna", "Anna"),
        ("🚀", ""),
        ("Nestlé®", "Nestlé®"),
        ("Acme™ – 100 °C", "Acme™ – 100 °C"),
    ],
)
def test_emoji_are_taken_out(text: str, plain: str) -> None:
    assert without_emoji(text) == plain


@given(st.text())
def test_nothing_ever_raises(text: str) -> None:
    is_nothing(text)
    damage(text)
    damage_of_name(text)
    damage_of_title(text)
    assert without_emoji(without_emoji(text)) == without_emoji(text)
