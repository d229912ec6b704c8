"""Whether somebody asks to be left alone for good: phrases, matched as whole messages or sentences.

Conservative: who writes "stop" may mean it, who writes "I cannot stop laughing" does not.
"""

import re
import unicodedata
from collections.abc import Collection

LONGEST_PHRASE = 60
LOOKED_AT = 1000  # characters of a message; what comes later decides nothing
SHORT = 200  # a message may be this long to be a phrase as a whole

DEFAULT_PHRASES = frozenset(
    """
    stop; stop it; unsubscribe; unsubscribe me; opt out; optout; remove me; not interested stop;
    stop messaging me; stop writing to me; stop contacting me; stop messaging;
    stop sending me messages;
    do not contact me; dont contact me; do not contact me again; dont contact me again;
    do not message me; dont message me; do not write to me; dont write to me; leave me alone;
    remove me from your list; take me off your list; no more messages;
    stopp; abmelden; abbestellen; austragen; keine nachrichten mehr; keine weiteren nachrichten;
    nicht mehr kontaktieren; kontaktieren sie mich nicht; kontaktieren sie mich nicht mehr;
    kontaktiere mich nicht; kontaktiere mich nicht mehr; schreiben sie mir nicht mehr;
    schreib mir nicht mehr; lassen sie mich in ruhe; lass mich in ruhe;
    arrêtez; arrêtez de m écrire; arrête de m écrire; ne me contactez plus; ne me contacte plus;
    ne m écrivez plus; désabonner; désabonnez moi; se désabonner; me désinscrire; désinscription;
    plus de messages; laissez moi tranquille;
    darse de baja; dar de baja; baja; no me contactes; no me contacte; no me contacten;
    no me contactes más; no me contacte más; no me escribas; no me escriba; no me escribas más;
    no me escriba más; dejen de escribirme; deja de escribirme; no más mensajes; déjame en paz;
    cancellami; cancellatemi; disiscrivimi; annulla iscrizione; basta messaggi; non contattarmi;
    non contattarmi più; non mi contatti; non mi contatti più; non mi scriva più; non scrivermi;
    non scrivermi più; smettila di scrivermi; lasciami in pace;
    pare; cancelar inscrição; descadastrar; me descadastre; não me contate; não me contate mais;
    não me contacte; não me contacte mais; não entre em contato; não entre mais em contato;
    não me escreva; não me escreva mais; pare de me escrever; sem mais mensagens;
    afmelden; uitschrijven; schrijf me uit; stuur me geen berichten meer; geen berichten meer;
    neem geen contact meer op; niet meer contacteren; laat me met rust;
    sluta; avregistrera; avsluta prenumeration; kontakta mig inte; kontakta mig inte igen;
    skriv inte till mig; afmeld; afmeld mig; kontakt mig ikke; skriv ikke til mig; meld meg av;
    kontakt meg ikke; ikke kontakt meg; älä ota yhteyttä; lopeta viestit;
    wypisz mnie; proszę nie pisać; nie kontaktuj się ze mną; nie pisz do mnie; przestań pisać;
    odhlásit; nepište mi; nekontaktujte mě; leiratkozás; ne keressen többet; dezabonare;
    nu mă mai contactați; abonelikten çık; bana yazmayın; bana mesaj atmayın;
    отписаться; отпишите меня; не пишите мне; не пишите мне больше; больше не пишите;
    відписатися; не пишіть мені; 配信停止; 連絡しないでください; 停止; 退订; 不要再联系我; 수신거부
    """.replace("\n", " ").split(";")
)

_POLITE = frozenset(
    """
    please; pls; thanks; thank you; thx; bitte; danke; merci; s il vous plaît; svp; por favor;
    gracias; grazie; per favore; obrigado; obrigada; alstublieft; aub; bedankt; tack; tak; takk;
    proszę; dziękuję; пожалуйста; спасибо; hi; hello; hallo; hola; ciao; bonjour; no; nein; non
    """.replace("\n", " ").split(";")
)

_APOSTROPHES = re.compile("(?<=n)['\u2019`](?=t\\b)")  # don't is one word, m'écrire two
_ENDS = re.compile(r"[.!?;,:\n\r。！？…]+")
_NO_WORDS = re.compile(r"[\W_]+")


def plain_phrase(text: str) -> str:
    """Return a phrase, or part of a message, as phrases are compared: words in lower case."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(_NO_WORDS.sub(" ", _APOSTROPHES.sub("", folded)).split())


def is_opt_out(text: str, phrases: Collection[str]) -> bool:
    """Whether a message asks, by one of `phrases`, to be left alone; they are `plain_phrase`s.

    A phrase of one word counts only as the whole message, one of several as a sentence too.  Polite
    words around it do not matter.
    """
    text = text[: LOOKED_AT + 1]
    if len(text) <= SHORT and _bare(plain_phrase(text)) & set(phrases):
        return True
    sentences = _ENDS.split(text)
    if len(text) > LOOKED_AT:
        sentences.pop()  # it may go on
    return any(
        " " in phrase
        for sentence in sentences
        if len(sentence) <= SHORT
        for phrase in _bare(plain_phrase(sentence)) & set(phrases)
    )


def _bare(words: str) -> set[str]:
    """Return the words as they are, and without any of the polite ones before and after them."""
    found, left = {words}, [words]
    while left:
        words = left.pop()
        for polite in _POLITE_PLAIN:
            for shorter in (words.removeprefix(f"{polite} "), words.removesuffix(f" {polite}")):
                if shorter not in found:
                    found.add(shorter)
                    left.append(shorter)
    return found


DEFAULT_PHRASES = frozenset(map(plain_phrase, DEFAULT_PHRASES)) - {""}
_POLITE_PLAIN = frozenset(map(plain_phrase, _POLITE)) - {""}
