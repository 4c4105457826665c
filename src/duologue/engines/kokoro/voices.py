"""Which of Kokoro's voices is meant, and in which language it reads.

The first letter of a voice's name is its language, the second whether it is a woman's or a man's (Kokoro's list of
voices). Japanese and Chinese are left out: their phonemes come from other libraries (misaki), and what espeak-ng
makes of them is not what the model was trained on.
"""

import logging
from collections.abc import Iterable

log = logging.getLogger("duologue.engines")

ACCENTS = {
    "a": ("en-us", "en"),
    "b": ("en-gb", "en"),
    "e": ("es", "es"),
    "f": ("fr-fr", "fr"),
    "h": ("hi", "hi"),
    "i": ("it", "it"),
    "p": ("pt-br", "pt"),
}
"""Letter -> what espeak-ng calls it, and its language."""

FAVOURITES = (
    "af_heart af_bella am_michael bf_emma ef_dora ff_siwis hf_alpha if_sara pf_dora".split()
)
"""For a language whose voice nobody chose: those that the model's authors grade best."""


class KokoroVoices:
    """All voices of a model.

    Args:
        names: as the model's files have them.
        default: for English where a client asks for none.
    """

    def __init__(self, names: Iterable[str], default: str = "") -> None:
        self.names = tuple(sorted(name for name in names if name[:1] in ACCENTS))
        self._by_name = {name.casefold(): name for name in self.names}
        first = (self._by_name.get(name.casefold(), "") for name in (default, *FAVOURITES))
        self._ranked = list(dict.fromkeys(name for name in (*first, *self.names) if name))
        self.default = self._ranked[0] if self._ranked else ""

    @property
    def languages(self) -> tuple[str, ...]:
        """Of the voices that there are."""
        return tuple(sorted({ACCENTS[name[0]][1] for name in self.names}))

    def knows(self, voice: str) -> bool:
        """Whether there is one of this name."""
        return voice.casefold() in self._by_name

    def choose(self, voice: str, language: str) -> tuple[str, str]:
        """(the voice's name, the accent in which it reads, as espeak-ng calls it).

        Args:
            voice: any other than ours is passed over.
            language: a tag such as "en-GB". A voice that was asked for reads other languages, too, with an accent.
        """
        tag = language.casefold().replace("_", "-")
        family = tag.partition("-")[0]
        named = self._by_name.get(voice.casefold())
        chosen = named or self._for_language(tag, family)
        accent, own = ACCENTS[chosen[0]]
        if not family or family == own:
            return chosen, accent
        accents = {known: name for name, known in reversed(ACCENTS.values())}
        if family not in accents:
            log.info("~ kokoro does not speak '%s'; %s reads it as %s", language, chosen, own)
            return chosen, accent
        return chosen, accents[family]

    def _for_language(self, tag: str, family: str) -> str:
        for wanted in (0, 1):  # by the whole tag ("en-gb"), and then by the language
            for name in self._ranked:
                if ACCENTS[name[0]][wanted] == (family if wanted else tag):
                    return name
        return self.default
