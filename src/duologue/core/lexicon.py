"""What a few words tell about a turn, language by language: plain data.

Only what a listener goes by without understanding: sounds that say "go on", words after which no sentence ends,
sounds of somebody searching for a word, words that open a question, and words that are dictated one by one.
Words are lower case, without punctuation and hyphens.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Lexicon:
    """The words of one language.

    Attributes:
        backchannels: say "go on", not "stop"; each alone or several in a row.
        trailing: conjunctions, prepositions, articles: more comes after them.
        copulas: words like these, unless a pronoun stands before them ("that's what it is").
        fillers: the speaker searches for a word, and keeps the floor.
        questions: open a question; with more words after them it is whole.
        closings: end a request: nothing is expected after them.
        weak: pronouns and auxiliaries, which ask for nothing alone: recognisers make them of a hum.
        spelt: digits, which come in rows where a number is dictated. Single letters count without being named.
    """

    backchannels: frozenset[str]
    trailing: frozenset[str]
    copulas: frozenset[str]
    fillers: frozenset[str]
    questions: frozenset[str]
    closings: frozenset[str]
    weak: frozenset[str]
    spelt: frozenset[str]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


ENGLISH = Lexicon(
    backchannels=_words(
        "ah aha hm hmm hmmm huh mhm mhmm mm mmm mmhm mmhmm oh ok okay right sure uh uhhuh um yeah yep yes yup wow"
    ),
    trailing=_words(
        "a an and as at because but by for if into its my of or our so than the their to until which while with"
        " without your"
    ),
    copulas=_words("are is was were"),
    fillers=_words("ah eh er erm hm hmm uh uhm um well"),
    questions=_words(
        "are can could did do does how is may shall should was were what whats when where wheres which who whos whose"
        " why will would"
    ),
    closings=_words("please thanks today tomorrow tonight now again bye goodbye"),
    weak=_words(
        "am are be did do does he her him i is it me she they them was we were will yet you"
    ),
    spelt=_words("zero oh one two three four five six seven eight nine double dash dot"),
)

GERMAN = Lexicon(
    backchannels=_words(
        "ach ah aha genau gut hm hmm ja jaja klar mhm mm mmm oh ok okay richtig so stimmt"
    ),
    trailing=_words(
        "aber als am an auf aus bei bis das dass dem den denn der des die durch ein eine einem einen einer für im in"
        " mein meine mit nach oder ob seit sehr sein und um unter vom von vor weil wenn wie zu zum zur"
    ),
    copulas=_words("ist sind war waren"),
    fillers=_words("äh ähm eh hm hmm öh also"),
    questions=_words(
        "kann kannst wann warum was welche welcher welches wer weshalb wie wieso wo woher wohin"
    ),
    closings=_words("bitte danke heute jetzt morgen tschüss"),
    weak=_words("bin bist du er es hat hast ich ihr mich mir sie sind uns war wir"),
    spelt=_words("null eins zwei zwo drei vier fünf sechs sieben acht neun strich punkt"),
)

FRENCH = Lexicon(
    backchannels=_words("ah bien daccord exactement hm hmm mhm mm oh ok okay ouais oui voilà"),
    trailing=_words(
        "à au aux avec car ce ces cette chez comme dans de des donc du elle en entre et il je la le les leur mais"
        " mon ma mes ou où par parce pour puis quand que qui sa sans ses si son sur un une"
    ),
    copulas=_words("est sont était"),
    fillers=_words("ben bah euh heu hm hmm alors"),
    questions=_words("combien comment lequel où pourquoi quand quel quelle quels quelles qui quoi"),
    closings=_words("merci maintenant demain aujourdhui revoir"),
    weak=_words("ai as elle es il je moi nous sommes suis toi tu vous y"),
    spelt=_words("zéro un deux trois quatre cinq six sept huit neuf tiret point"),
)

SPANISH = Lexicon(
    backchannels=_words("ah ajá bien bueno claro exacto hm hmm mhm mm oh ok okay sí vale ya"),
    trailing=_words(
        "a al aunque como con cuando de del desde donde el ella en entre esta este hasta la las lo los más mi mis"
        " ni o para pero por porque que se si sin sobre su sus un una y"
    ),
    copulas=_words("es son era"),
    fillers=_words("eh em este hm hmm pues"),
    questions=_words("adónde cómo cuál cuáles cuándo cuánto cuántos dónde qué quién quiénes"),
    closings=_words("ahora gracias hoy mañana adiós favor"),
    weak=_words("él ella eres es le me nos soy te tú usted yo"),
    spelt=_words("cero uno dos tres cuatro cinco seis siete ocho nueve guion punto"),
)

LEXICONS: Mapping[str, Lexicon] = {"en": ENGLISH, "de": GERMAN, "fr": FRENCH, "es": SPANISH}
"""By ISO-639-1."""

UNKNOWN = Lexicon(
    backchannels=frozenset().union(*(lexicon.backchannels for lexicon in LEXICONS.values())),
    trailing=frozenset(),
    copulas=frozenset(),
    fillers=frozenset().union(*(lexicon.fillers for lexicon in LEXICONS.values())),
    questions=frozenset(),
    closings=frozenset(),
    weak=frozenset(),
    spelt=frozenset(),
)
"""For a language of which nothing is known here: the sounds that are much alike everywhere."""


def lexicon(language: str) -> Lexicon:
    """The words of a language (ISO-639-1, with or without a region); of English where none is given."""
    if not language:
        return ENGLISH
    return LEXICONS.get(language.lower()[:2], UNKNOWN)


def plain_words(text: str) -> list[str]:
    """The words of a transcript as the lexicons spell them: lower case, letters and digits only."""
    words = ("".join(c for c in word if c.isalnum()) for word in text.lower().split())
    return [word for word in words if word]
