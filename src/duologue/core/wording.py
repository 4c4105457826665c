"""What the wording of a transcript tells about whether its speaker has finished.

A rough judgement by a few closed classes of words, for recognisers that give no punctuation. It is evidence and no
verdict: `core.endpointing` weighs it with what was heard.
"""

from enum import Enum

from duologue.core.lexicon import Lexicon, lexicon, plain_words

DICTATED = 3
"""So many digits or letters in a row are being dictated ("one zero zero"), not the end of a time ("seven thirty")."""


class Wording(Enum):
    """How a transcript ends."""

    NOTHING = "nothing was recognised"
    TRAILING = "it ends with a word after which more comes"
    FILLER = "it ends with a hesitation"
    DICTATING = "it ends in a row of digits or letters"
    DIGITS = "it is a digit or letter or two, as of a number that is dictated"
    PLAIN = "its wording tells nothing"
    WHOLE = "it has the words of a whole question or request"
    ASKED = "it ends with a question mark"

    @property
    def is_open(self) -> bool:
        """More is to come."""
        return self in (Wording.TRAILING, Wording.FILLER, Wording.DICTATING)


def judge(text: str, language: str = "") -> Wording:
    """How this ends, as far as its last words tell; `language` is ISO-639-1, empty for English."""
    words, known = plain_words(text), lexicon(language)
    if not words:
        return Wording.NOTHING
    end = text.rstrip()[-1:]
    if end in "?？":
        return Wording.ASKED
    if end in ".!。！" and not text.rstrip().endswith("..."):
        return Wording.PLAIN  # so says a recogniser that sets such signs
    last = words[-1]
    if last in known.fillers:
        return Wording.FILLER
    if end in ",…-" or _trails(words, known):
        return Wording.TRAILING
    if len(words) >= DICTATED and all(_is_spelt(word, known) for word in words[-DICTATED:]):
        return Wording.DICTATING
    if len(words) < DICTATED and all(_is_spelt(word, known) for word in words):
        return Wording.DIGITS
    is_question = words[0] in known.questions and len(words) >= DICTATED
    if is_question or last in known.closings:
        return Wording.WHOLE
    return Wording.PLAIN


def says_something(text: str, language: str = "") -> bool:
    """Whether there is a word in it that asks for the floor: not only "mhm", not nothing."""
    known, words = lexicon(language), _words_said(text, language)
    return len(words) > 1 or any(word not in known.weak | known.trailing for word in words)


def words_said(text: str, language: str = "") -> int:
    """How many words of it are more than "go on"."""
    return len(_words_said(text, language))


def _words_said(text: str, language: str) -> list[str]:
    """Single letters are left out, too: they are what a recogniser makes of a hum."""
    known = lexicon(language)
    return [
        word
        for word in plain_words(text)
        if word not in known.backchannels and not (len(word) == 1 and word.isascii())
    ]


def _trails(words: list[str], known: Lexicon) -> bool:
    before, last = (words[-2:-1] or [""])[0], words[-1]
    return last in known.trailing or (last in known.copulas and before not in known.weak)


def _is_spelt(word: str, known: Lexicon) -> bool:
    return len(word) == 1 or word in known.spelt or word.isdigit()
