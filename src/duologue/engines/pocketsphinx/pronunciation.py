"""How English words sound, in the phones of the CMU dictionary: looked up, or guessed by rules.

A guess is for names that a client hints at and no dictionary has ("Zigbee"). In a phrase that is expected it
need not be perfect: the rules get 77 % of the phones of dictionary words right (N = 2 000), a quarter of the words
wholly. A recogniser is given two guesses, with English and with continental vowels.
"""

import re
from collections.abc import Iterable

Entries = tuple[str, ...]
"""Lines of a dictionary file: "word PHONE PHONE …", further ways to say it as "word(2) …"."""

LONGEST_GUESS = 24
"""Letters of the longest word whose sound is guessed at; what is longer is no word."""

SHORTEST_PART = 3
"""Letters of the shorter half of a compound."""

_SPELLED = re.compile(r"[a-z'._-]+")
"""A word as the dictionary may have it."""

_INITIALS = 2
"""Letters by which the file is divided for look-ups: 8 KiB to search, not 300."""

_VOWELS = "aeiouy"

_SOUNDS = dict(
    entry.split("=")
    for entry in """
tion=SH_AH_N sion=ZH_AH_N ssion=SH_AH_N cious=SH_AH_S tious=SH_AH_S ture=CH_ER sure=ZH_ER ight=AY_T
eigh=EY augh=AO ough=AO igh=AY tch=CH dge=JH sch=SH chr=K_R ch=CH sh=SH ph=F th=TH wh=W ck=K cc=K qu=K_W q=K
ng$=NG nk=NG_K nc=N_S gh=G gg=G mb$=M ^gn=N ^kn=N ^wr=R ^ps=S
ee=IY ea=IY oo=UW ou=AW ow=AW ow$=OW oi=OY oy=OY ai=EY ay=EY au=AO aw=AO ei=IY ey=EY ey$=IY ie=IY oa=OW
ue$=UW ui=UW ew=UW eu=UW air=EH_R are$=EH_R arr=EH_R ar=AA_R ear=IH_R eer=IH_R err=EH_R er=ER irr=IH_R
ire$=AY_ER ir=ER ore$=AO_R our=AO_R or=AO_R ure$=Y_UH_R urr=ER ur=ER
al$=AH_L all=AO_L le$=AH_L el$=AH_L en$=AH_N on$=AH_N an$=AH_N man$=M_AH_N us$=AH_S ous$=AH_S ed$=D es$=Z
^y=Y y$=IY y=IH a$=AH a=AE e$= e=EH i$=IY i=IH o$=OW o=AA u$=UW u=AH
bb=B b=B ce=S ci=S_IH cy=S_IY c=K dd=D d=D ff=F f=F ge$=JH gi=JH_IH ge=JH_EH g=G h=HH j=JH kk=K k=K ll=L l=L
mm=M m=M nn=N n=N pp=P p=P rr=R r=R ss=S s=S tt=T t=T vv=V v=V w=W ^x=Z x=K_S zz=Z z=Z
""".split()
)
"""Letters to phones, the longest that fits first; "^" only where the word begins, "$" where it ends."""

_LONGEST_RULE = 5

_MAGIC_E = re.compile(r"[aeiou][bcdfghjklmnpqstvz]e$")

_LONG = {"a": "EY", "e": "IY", "i": "AY", "o": "OW", "u": "UW"}
"""A vowel before one consonant and a last "e"."""

_CONTINENTAL = {"a": "AA", "e": "EY", "i": "IY", "o": "OW", "u": "UW", "y": "IY"}
"""A single vowel as most other languages read it: "Nabu", "Ikea"."""

_LETTERS = dict(
    entry.split("=")
    for entry in """
a=EY b=B_IY c=S_IY d=D_IY e=IY f=EH_F g=JH_IY h=EY_CH i=AY j=JH_EY k=K_EY l=EH_L m=EH_M n=EH_N o=OW p=P_IY
q=K_Y_UW r=AA_R s=EH_S t=T_IY u=Y_UW v=V_IY w=D_AH_B_AH_L_Y_UW x=EH_K_S y=W_AY z=Z_IY
""".split()
)


class Lexicon:
    """A dictionary file, and guesses for what it lacks.

    Args:
        text: of the file, in lower-case ASCII; words that begin alike stand together.
    """

    def __init__(self, text: bytes) -> None:
        self._text = b"\n" + text.strip() + b"\n"
        self._blocks: dict[bytes, tuple[int, int]] = {b"": (0, len(self._text))}

    def words(self) -> Iterable[str]:
        """All that it has."""
        for line in self._text.splitlines():
            word = line.split(b" ", 1)[0]
            if word and not word.endswith(b")"):
                yield word.decode()

    def entries(self, words: Iterable[str]) -> dict[str, Entries]:
        """Those of many words that it has: one pass over the file, about 0.1 s."""
        wanted = set(words).difference([""])
        found: dict[str, list[str]] = {}
        for line in self._text.decode().splitlines():
            word = line.split(" ", 1)[0].split("(", 1)[0]
            if word in wanted:
                found.setdefault(word, []).append(line)
        return {word: tuple(lines) for word, lines in found.items()}

    def look_up(self, word: str) -> Entries:
        """The entries of one word, in some microseconds; empty if it has none."""
        if not _SPELLED.fullmatch(word):
            return ()
        lines: list[str] = []
        start, end = self._block(word[:_INITIALS].encode())
        key = f"\n{word} ".encode()
        while (at := self._text.find(key, start, end)) >= 0:
            lines.append(self._text[at + 1 : self._text.index(b"\n", at + 1)].decode())
            key = f"\n{word}({len(lines) + 1}) ".encode()
        return tuple(lines)

    def say(self, word: str) -> Entries:
        """The entries of one word, guessed where there are none; empty if it cannot be said."""
        if found := self.look_up(word):
            return found
        return _entries(word, list(dict.fromkeys(filter(None, self._guesses(word)))))

    def _guesses(self, word: str) -> list[str]:
        if not (word.isalpha() and word.isascii() and word.islower()) or len(word) > LONGEST_GUESS:
            return []
        if not set(word) & set(_VOWELS):
            return [_phones(_LETTERS[letter] for letter in word)]
        if compound := self._compound(word):
            return [compound]
        return [guess(word), guess(word, continental=True)]

    def _compound(self, word: str) -> str:
        """Two words of the dictionary written as one: "smarthome"."""
        for at in range(len(word) - SHORTEST_PART, SHORTEST_PART - 1, -1):
            if (head := self.look_up(word[:at])) and (tail := self.look_up(word[at:])):
                return " ".join(lines[0].split(" ", 1)[1] for lines in (head, tail))
        return ""

    def _block(self, initials: bytes) -> tuple[int, int]:
        """From where to where words begin with some letters."""
        if initials not in self._blocks:
            within = self._block(initials[:-1])
            key = b"\n" + initials
            last = self._text.rfind(key, *within)
            end = self._text.find(b"\n", last + 1) + 1
            first = self._text.find(key, *within)
            self._blocks[initials] = (first, end) if last >= 0 else (0, 0)
        return self._blocks[initials]


def guess(word: str, *, continental: bool = False) -> str:
    """Phones of a word by rules, separated by spaces.

    Args:
        word: lower-case ASCII letters.
        continental: read single vowels as most languages but English do.
    """
    sounds: list[str] = []
    at = 0
    while at < len(word):
        letters, sound = _longest(word, at)
        if letters == 1 and continental:
            sound = _CONTINENTAL.get(word[at], sound)
        elif letters == 1 and _MAGIC_E.match(word, at):
            sound = _LONG[word[at]]
        sounds.append(sound)
        at += letters
    return _phones(sounds)


def _longest(word: str, at: int) -> tuple[int, str]:
    """How many letters the rule for this place takes, and what they sound like."""
    for letters in range(min(_LONGEST_RULE, len(word) - at), 1, -1):
        if (sound := _rule(word, at, letters)) is not None:
            return letters, sound
    return 1, _rule(word, at, 1) or ""


def _rule(word: str, at: int, letters: int) -> str | None:
    piece = word[at : at + letters]
    if at == 0 and (first := _SOUNDS.get(f"^{piece}")) is not None:
        return first
    if at and at + letters == len(word) and (last := _SOUNDS.get(f"{piece}$")) is not None:
        return last
    return _SOUNDS.get(piece)


def _phones(sounds: Iterable[str]) -> str:
    return " ".join(sound.replace("_", " ") for sound in sounds if sound)


def _entries(word: str, sounds: list[str]) -> Entries:
    names = [word] + [f"{word}({number})" for number in range(2, len(sounds) + 1)]
    return tuple(f"{name} {sound}" for name, sound in zip(names, sounds, strict=False))
