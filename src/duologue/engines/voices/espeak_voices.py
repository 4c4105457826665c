"""Which of espeak-ng's voices is meant by what a client wrote."""

from collections.abc import Iterable, Sequence

from duologue.engines.voices.espeak_library import ListedVoice

ENGLISH = "gmw/en-US+edward"
"""The voice of English where nobody asked for another: of 101 that there are (8 accents, 93 variants of the American
one) the one that the embedded recogniser understood best: 20 % of words wrong, where the plain voice has 56 %
(`bench.eval_tts`). It is made by espeak-ng's Klatt synthesiser, and stands out of noise as well as any."""

LANGUAGES = tuple(
    "af am an ar as az ba be bg bn bpy bs ca chr cmn cs cv cy da de el en eo es et eu fa fi fr ga gd gn "
    "grc gu hak haw hbs he hi hr ht hu hy hyw ia id io is it ja jbo ka kk kl kn ko kok ku ky la lb lfn "
    "lt ltg lv mi mk ml mr ms mt mto my nb nci ne nl no nog om or pa pap piqd pl pt py qdb qu quc qya ro "
    "ru sd shn si sjn sk sl smj sq sr sv sw ta te th ti tk tn tr tt ug uk ur uz vi yue zh".split()
)
"""Those that espeak-ng 1.52 speaks, by the first part of their tags (a test compares). It lists three more (fo, kaa,
xex) whose dictionaries did not come with it, and is silent in them."""


class EspeakVoices:
    """All voices by all their names.

    Args:
        listed: the voice files.
        variants: names of the voice qualities that any of them can be given ("f3", "Annie").
        english: the identifier, with or without a variant, where English is wanted and no voice.
    """

    def __init__(
        self, listed: Sequence[ListedVoice], variants: Iterable[str], english: str = ENGLISH
    ) -> None:
        self._english = english
        self._variants = {variant.casefold(): variant for variant in variants}
        self._by_tag: dict[str, str] = {}
        listed = [v for v in listed if any(_language(tag) in LANGUAGES for _, tag in v.languages)]
        ranked = ((rank, tag, v.identifier) for v in listed for rank, tag in v.languages)
        for _, tag, identifier in sorted(ranked, key=lambda entry: entry[0]):
            self._by_tag.setdefault(tag.casefold(), identifier)
        self._by_name = dict(self._by_tag)
        for voice in listed:
            for name in (voice.identifier, voice.identifier.split("/")[-1], voice.name):
                self._by_name[name.casefold()] = voice.identifier

    def knows(self, voice: str) -> bool:
        """Whether there is a voice of this name, and the variant where it names one."""
        base, plus, variant = voice.casefold().partition("+")
        return base.strip() in self._by_name and (not plus or variant.strip() in self._variants)

    def choose(self, voice: str, language: str) -> str:
        """An identifier that the library takes.

        Args:
            voice: a name, identifier or language tag, possibly with "+" and a variant, or "+" and a variant
                alone; any other (another engine's voice) is passed over.
            language: a tag such as "de" or "pt-BR"; counts where there is no voice.
        """
        base, _, variant = voice.casefold().partition("+")
        identifier = self._by_name.get(base.strip()) or self._for_language(language)
        if variant.strip() in self._variants:
            return f"{identifier.split('+')[0]}+{self._variants[variant.strip()]}"
        return identifier

    def _for_language(self, language: str) -> str:
        tag = language.casefold().replace("_", "-")
        if tag in ("", "en", "en-us"):
            return self._english
        while tag not in self._by_tag and "-" in tag:
            tag = tag.rpartition("-")[0]
        return self._english if tag == "en" else self._by_tag.get(tag, self._english)


def _language(tag: str) -> str:
    return tag.partition("-")[0]
