"""From what a language model wrote to what a voice is given: without markup, figures and signs it would stumble at.

What is said keeps its way back: each of its characters knows which of the original it stands for. All that is said
for a figure stands for the figure's first character, so "$3.50" has been heard once "three dollars" begins.
"""

from duologue.core.languages import family
from duologue.engines.text import english, figures
from duologue.engines.text.speakable import Speakable, speakable


def spoken(text: str, language: str = "en", *, reads_figures: bool = False) -> Speakable:
    """What is to be said of a text. Bears any text, and takes time linear in it.

    Args:
        language: a tag such as "en-GB"; English where it is empty.
        reads_figures: the voice reads the figures of other languages itself, as espeak-ng's front end does.
            English is put into words here all the same: espeak-ng 1.52 reads $3.50 as "dollar three point five
            zero", and 2024-05-01 with its dashes.
    """
    said = speakable(text)
    spoken_in = family(language) or "en"
    if spoken_in == "en":
        return said.swap(english.PATTERN, english.say)
    return said if reads_figures else said.swap(figures.PATTERN, figures.sayer(spoken_in))
