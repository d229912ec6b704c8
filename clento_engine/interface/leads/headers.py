"""What the columns of exports are called, and which field of a lead each is."""

import re
from collections.abc import Mapping

from clento_engine.domain.outside import decomposed, normalised

FIELDS = (
    "profile_url",
    "public_identifier",
    "provider_id",
    "first_name",
    "last_name",
    "full_name",
    "company",
    "job_title",
    "email",
)
WHO = FIELDS[:3]
MAX_KEY = 60  # characters of a custom field's key

# Header names with case, accents and punctuation taken off; the likeliest first.  Learned from the
# exports of LinkedIn itself, Apollo, Phantombuster, Waalaxy, Evaboot, HubSpot, Pipedrive, Dux-Soup
# and others, and from spreadsheets in a dozen languages.
_SPELLINGS: Mapping[str, tuple[str, ...]] = {
    "profile_url": (
        *("linkedinurl", "linkedinprofileurl", "personlinkedinurl", "profileurl"),
        *("linkedinprofile", "defaultprofileurl", "publicprofileurl", "linkedinpublicurl"),
        *("linkedinpublicprofileurl", "contactlinkedinurl", "leadlinkedinurl"),
        *("prospectlinkedinurl", "memberlinkedinurl"),
        *("linkedinlink", "linkedinaddress", "linkedin", "personlinkedin", "contactlinkedin"),
        *("linkedinpersonalurl", "linkedinprofilelink", "profilelink", "liurl", "liprofileurl"),
        *("linkedincontactprofileurl", "linkedinbio", "linkedinuri", "liprofile", "publicurl"),
        *("publicprofile", "profilepublicurl", "linkedininprofile", "linkedinpersonal"),
        *("urllinkedin", "lienlinkedin", "profillinkedin", "urlduprofil", "linkedinprofil"),
        *("urlprofillinkedin", "lienduprofil", "urldelprofilo", "profilolinkedin"),
        *("linkprofilolinkedin", "linkedinprofilurl", "linkzumprofil", "profilurl"),
        *("perfillinkedin", "perfildelinkedin", "urldeperfil", "perfildolinkedin", "linkdoperfil"),
        *("linkedinprofiel", "profiellinkedin", "linkedinlank", "linkedinprofilen"),
        *("profillinkedinurl", "profillinkedinlink", "linkedinprofili"),
        *("salesnavigatorurl", "salesnavigatorprofileurl"),
        *("linkedinsalesnavigatorurl", "salesnavurl", "url", "link", "lien"),
    ),
    "public_identifier": (
        *("publicidentifier", "linkedinpublicidentifier", "publicid", "linkedinpublicid"),
        *("linkedinslug", "linkedinusername", "linkedinhandle", "vanityname", "profileslug"),
    ),
    "provider_id": (
        *("providerid", "linkedinproviderid", "linkedinprofileid", "profileid", "linkedinmemberid"),
        *("memberurn", "entityurn", "linkedinurn", "profileurn", "vmid", "hashid"),
    ),
    "first_name": (
        *("firstname", "first", "givenname", "forename", "contactfirstname", "leadfirstname"),
        *("prenom", "vorname", "nombre", "nome", "primeironome", "voornaam", "fornamn", "fornavn"),
        *("etunimi", "imie", "jmeno", "keresztnev", "prenume", "imya", "имя", "名", "이름", "adi"),
    ),
    "last_name": (
        *("lastname", "last", "surname", "familyname", "contactlastname", "leadlastname"),
        *("nom", "nomdefamille", "nachname", "familienname", "apellido", "apellidos", "cognome"),
        *("sobrenome", "apelido", "achternaam", "efternamn", "etternavn", "efternavn", "sukunimi"),
        *("nazwisko", "prijmeni", "vezeteknev", "soyadi", "soyad", "фамилия", "姓", "성"),
    ),
    "full_name": (
        *("fullname", "name", "contactname", "leadname", "personname", "prospectname"),
        *("nomcomplet", "nometprenom", "prenomnom", "prenometnom", "vollstandigername"),
        *("vollername", "vorundnachname", "nombrecompleto", "nombreyapellidos", "nomecompleto"),
        *("nomecognome", "volledigenaam", "naam", "namn", "navn", "nimi", "nazwa", "imieinazwisko"),
        *("displayname", "firstandlastname", "firstlastname", "имяифамилия", "фио", "氏名", "名前"),
    ),
    "company": (
        *("company", "companyname", "organization", "organisation", "organizationname"),
        *("organisationname", "employer", "currentcompany", "currentcompanyname", "accountname"),
        *("account", "entreprise", "societe", "nomdelentreprise", "nomentreprise", "firma"),
        *("firmenname", "unternehmen", "unternehmensname", "empresa", "compania"),
        *("nombredelaempresa", "nomedaempresa", "azienda", "societa", "ditta", "nomeazienda"),
        *("bedrijf", "bedrijfsnaam", "organisatie", "foretag", "bolag", "selskap", "virksomhed"),
        *("yritys", "spolecnost", "ceg", "sirket", "companydetails", "associatedcompany"),
        *("primarycompany", "organisatienaam", "компания", "会社", "会社名", "회사"),
    ),
    "job_title": (
        *("jobtitle", "title", "position", "role", "jobrole", "currenttitle", "currentposition"),
        *("currentjobtitle", "occupation", "job", "poste", "fonction", "intituledeposte"),
        *("berufsbezeichnung", "stellenbezeichnung", "funktion", "puesto", "cargo", "puestoactual"),
        *("posizione", "ruolo", "qualifica", "mansione", "functie", "functietitel", "befattning"),
        *("titel", "stilling", "stanowisko", "pozice", "beosztas", "unvan", "должность", "役職"),
        *("직책", "jobposition", "currentrole", "professionaltitle"),
    ),
    "email": (
        *("email", "emailaddress", "workemail", "businessemail", "professionalemail", "mail"),
        *("contactemail", "leademail", "primaryemail", "email1", "personalemail", "emailwork"),
        *("email1value", "proemail", "companyemail", "directemail", "verifiedemail", "workmail"),
        *("adresseemail", "adressemail", "courriel", "correo", "correoelectronico", "emailpro"),
        *("emailadresse", "emailadres", "epost", "epostadress", "epostadresse", "sahkoposti"),
        *("indirizzoemail", "emailaziendale", "enderecodeemail", "eposta", "почта", "メール"),
    ),
}
# Whose it is, before what it is: “Person - Organization”, `contact_first_name`.
_WHOSE = re.compile(r"(?:person|people|contact|lead|prospect|candidate|member|user|linkedin)")

# Words of columns that hold somebody else's address or e-mail: a colleague's, the sender's.
_OF_OTHERS = frozenset(
    {
        *("owner", "sender", "recruiter", "referrer", "referred", "referral", "manager", "by"),
        *("assigned", "assignee", "mutual", "shared", "introducer", "intro", "rep", "sdr", "bdr"),
        *("colleague", "supervisor", "inviter", "via", "from", "creator", "author", "organizer"),
        *("besitzer", "eigentumer", "proprietaire", "propietario", "proprietario", "gestor"),
    }
)


def squashed(name: str) -> str:
    """Return a column's name as its spellings have it in common: letters and digits alone."""
    plain = decomposed(name.casefold(), compatible=True)
    return "".join(sign for sign in plain if sign.isalnum())


_KNOWN: Mapping[str, tuple[str, int]] = {
    squashed(spelling): (field, rank)
    for field, spellings in _SPELLINGS.items()
    for rank, spelling in reversed(list(enumerate(spellings)))
}
_LEAST = 1000  # more than any field has spellings: what was found by its own name comes first


def known(name: str) -> tuple[str, int] | None:
    """Return the field that a column's name, squashed, is known for, and how likely: 0 the most."""
    found = _KNOWN.get(name)
    further = 0
    while found is None and (whose := _WHOSE.match(name)) and further < 2 * _LEAST:
        name = name[whose.end() :]
        further += _LEAST
        found = _KNOWN.get(name)
    return None if found is None else (found[0], found[1] + further)


def is_of_others(name: str) -> bool:
    """Whether a column is, by its name, about somebody else than the lead."""
    return not _OF_OTHERS.isdisjoint(key(name).split("_"))


def key(name: str) -> str:
    """Return the key of a custom field: `Connected On` and `connectedOn` are `connected_on`."""
    words = re.sub(
        r"(?<=[a-z0-9])(?=[A-Z])",
        "_",
        normalised(name).replace("LinkedIn", "Linkedin"),
    )
    return re.sub(r"[\W_]+", "_", words.lower()).strip("_")[:MAX_KEY].strip("_")
