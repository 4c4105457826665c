"""What the recogniser wrote, made regular: lower-case words and plain numbers, without courtesies.

Transcripts of a command-grade recogniser have no punctuation and write numbers in words; typed text has
signs, digits and abbreviations. Both end as the same list of words here.
"""

import re
import unicodedata
from dataclasses import dataclass

MAX_CHARS = 400
"""Longer than any command; what is longer is no command, and is not looked at."""

MAX_WORDS = 60

QUOTED_WORDS = 12
"""So many words of what was heard are read back; more would bore."""

_SIGNS = str.maketrans(
    {
        "’": "'",
        "−": "-",
        "–": " ",
        "—": " ",
        "²": " squared ",
        "³": " cubed ",
        "√": " square root of ",
        "×": " times ",
        "*": " times ",
        "÷": " divided by ",
        "+": " plus ",
        "^": " to the power of ",
        "%": " percent ",
        "°": " degrees ",
        "½": " and a half ",
        "¼": " and a quarter ",
        "¾": " and three quarters ",
        "$": " dollars ",
        "€": " euros ",
        "£": " pounds sterling ",
    }
)
"""Before compatibility forms are folded: folding would make 52 of 5²."""

_REWRITES = tuple(
    (re.compile(pattern, re.ASCII), text)
    for pattern, text in (
        (r"(?<=\d),(?=\d{3}(?!\d))", ""),  # 1,000
        (r"(?<!\d)\.(?=\d)", " 0."),
        (r"(?<=\d)(st|[nr]d|th)\b", ""),
        (r"(?<=\d)\s*x\s*(?=\d)", " times "),
        (r"(?<=\d)\s*-\s*(?=\d)", " minus "),
        (r"(?<![a-z0-9])-(?=\s*\d)", " minus "),
        (r"(?<=[\d)])\s*/\s*(?=[\d(])", " divided by "),
        (r"(?<=[a-z])/(h|s)\b", r" per \1"),
        (r"\b(what|how|it|that|who|where|when|there)'?s\b", r"\1 is"),
        (r"\b(i|we|you|they)'(m|re)\b", r"\1 are"),
        (r"'(d|ll)\b", " would"),
        (r"\bo'?clock\b", "clock"),
        (r"n't\b", " not"),
        (r"'s\b", ""),
        (r"'", ""),
    )
)

_WORD = re.compile(r"\d+(?:\.\d+)?|[a-z]+", re.ASCII)

_NOISE = frozenset("um uh er erm ah hm hmm mm mhm eh please kindly".split())
"""Says nothing wherever it stands."""

_BEFORE = tuple(
    tuple(phrase.split())
    for phrase in (
        "can you|could you|would you|will you|can i|could i|tell me|let me know|give me|do you know|"
        "i want to know|i want you to|i would like to know|i would like you to|i need to know|i need you to|"
        "i would like to|i want to|i need to|so|well|okay|ok|and|now|then|oh|hello|hi|hey|good morning|"
        "good afternoon|good evening|excuse me|all right|alright|just|actually|maybe|computer|assistant|duologue|"
        "listen|yes|yeah|also|quickly"
    ).split("|")
)
_AFTER = tuple(
    tuple(phrase.split())
    for phrase in (
        "thanks|thank you|right now|for me|if you can|would you|will you|could you|can you|computer|duologue|"
        "okay|ok|then|again please|you know"
    ).split("|")
)


@dataclass(frozen=True, slots=True)
class Heard:
    """One utterance.

    Attributes:
        text: as it was transcribed, on one line.
        all_words: regular; at most `MAX_WORDS`, none if it is too long for a command.
        words: without courtesies at its ends.
    """

    text: str
    all_words: tuple[str, ...]
    words: tuple[str, ...]

    @property
    def core(self) -> str:
        """The words as one string."""
        return " ".join(self.words)

    @property
    def quote(self) -> str:
        """For "I heard: …": short, and without what cannot be spoken."""
        spoken = self.text.split()
        more = " and so on" if len(spoken) > QUOTED_WORDS else ""
        return " ".join(spoken[:QUOTED_WORDS])[:120].strip(" .,;:!?") + more


def hear(text: str) -> Heard:
    """Make a transcript or typed text regular."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[:4_000]).split())
    words = regular(line) if len(line) <= MAX_CHARS else ()
    if len(words) > MAX_WORDS:
        words = ()
    return Heard(line, words, _without_courtesies(words))


def regular(line: str) -> tuple[str, ...]:
    """Lower-case words and numbers."""
    folded = unicodedata.normalize("NFKD", line.lower().translate(_SIGNS)).lower()
    folded = "".join(c for c in folded if not unicodedata.combining(c)).replace("⁄", "/")
    for pattern, replacement in _REWRITES:
        folded = pattern.sub(replacement, folded)
    return tuple(word for word in _WORD.findall(folded) if word not in _NOISE)


def _without_courtesies(words: tuple[str, ...]) -> tuple[str, ...]:
    """Courtesies go, as long as something is left: "hello" alone is a greeting."""
    while True:
        start = next((len(p) for p in _BEFORE if words[: len(p)] == p), 0)
        end = next((len(p) for p in _AFTER if words[-len(p) :] == p), 0)
        if start and start < len(words):
            words = words[start:]
        elif end and end < len(words):
            words = words[:-end]
        else:
            return words
