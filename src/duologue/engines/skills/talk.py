"""Greetings, thanks, stopping, goodbyes, "say that again", "repeat after me", and what the skills can do."""

import re
from dataclasses import dataclass

from duologue.core.manners import HANG_UP
from duologue.engines.skills.heard import Heard
from duologue.engines.skills.skill import Scene, Understood, say
from duologue.ports import CallDelta, TextDelta

CAN_DO = (
    "I can tell the time and the date, do sums, convert units, run timers, and repeat what you say."
)
WHO = "I am Duologue's set of offline skills, not a language model."
GREETING = "Hello. What can I do for you?"
GOODBYE = "Goodbye."
CANNOT_HANG_UP = "I cannot hang up here, but you can."
MAX_REPEATED = 300
"""Characters said back; longer is no longer a repetition but a reading."""

_REPEAT_AFTER = re.compile(
    r"^\W*(?:(?:please|can you|could you|would you|will you|okay|ok|now|hey|computer)\W+)*"
    r"(?:repeat|say)\W+after\W+me\b\W*(?P<what>.*)$",
    re.IGNORECASE | re.DOTALL,
)
_SAY = re.compile(
    r"^(?:say|repeat) (?:the (?:word|words|number|sentence) )?"
    r"(?P<what>(?!(?:that|it|this|again|what|your|the|something|anything|after|more|nothing)\b).+)$"
)
_AGAIN = re.compile(
    r"^(?:(?:say|repeat) (?:that|it|this|again|what you said|your last answer|the last answer)"
    r"(?: (?:again|once more|one more time|more slowly|slowly))*|"
    r"repeat|again|once more|one more time|come again|pardon(?: me)?|what did you say|what was that|"
    r"i did not (?:hear|catch|get) (?:that|you)|sorry what|excuse me what)$"
)
_GREETINGS = frozenset("hello hi hey".split())
_YES = frozenset(
    "yes yeah yep yup sure correct right exactly absolutely definitely course okay ok".split()
)
_NO = frozenset("no nope wrong nah neither not".split())
_REPLY_FILLERS = frozenset("i did do that is it please was of what meant mean said".split())


@dataclass(frozen=True, slots=True)
class Phrase:
    """A kind of small talk: any of `needs` (words, or several together), and nothing beside `allows`."""

    answer: str
    needs: tuple[frozenset[str], ...]
    allows: frozenset[str]

    def fits(self, words: frozenset[str]) -> bool:
        """Whether that is what was said."""
        return words <= self.allows and any(need <= words for need in self.needs)


def _phrase(answer: str, needs: str, allows: str) -> Phrase:
    """`needs` are alternatives, separated by "|"; each may be several words."""
    alternatives = tuple(frozenset(need.split()) for need in needs.split("|"))
    return Phrase(answer, alternatives, frozenset(allows.split()).union(*alternatives))


_PHRASES = (
    _phrase(CANNOT_HANG_UP, "hang up|end call|end conversation|close line|close connection|disconnect",
            "hang up end the this call conversation close line connection disconnect phone please now you can just "
            "me goodbye bye okay ok thanks thank and then"),
    _phrase(GOODBYE, "goodbye|bye|farewell|good night|see you|so long",
            "good night then now for later soon tomorrow see you thanks thank okay ok well and have a nice day"),
    _phrase("You are welcome.", "thanks|thank|appreciate|cheers",
            "you very much so a lot many for your help i it that was is great good nice okay ok all the and again "
            "everything yes yeah sure no"),
    _phrase("Okay.", "stop|never mind|nevermind|forget it|forget that|be quiet|quiet|shut up|shush|silence|enough|"
                     "cancel|nothing|abort|leave it|hush|wait|hold on|hang on|one moment|just moment|just minute|"
                     "just second|give minute|give second|give moment",
            "stop it that is just okay ok no oh please talking now be quiet mind the answer all right up for enough "
            "a one me minute second moment"),
    _phrase("I am well, thank you.", "how are you|how do you do|how is it going|how are things",
            "how are you today doing do is it going things fine"),
    _phrase(WHO, "who are you|your name|what are you|are you robot|are you human|are you real|are you person|"
                 "are you machine|are you computer|are you ai|are you model|who is this|are you there who|"
                 "who am talking|introduce yourself|are you alive|are you intelligent",
            "who are you what is your name a an the i am we talking to speaking with called language model do have "
            "large really or artificial intelligence and me should call chat"),
    _phrase(CAN_DO, "help|what can you do|what can i say|what can i ask|what do you do|what do you know|"
                    "how do you work|what else can you|your skills|your commands|what commands|what skills|"
                    "what are you able|what could you do|how can you help",
            "help me what can could you do i say ask know how work else are the commands skills options there some "
            "things kind of your able to with tell about is need all for us today now sort a an give list"),
    _phrase("All right.", "yes|no|nope|yeah|okay|ok|alright|right|sure|fine|good|great|nice|cool|perfect|maybe|"
                          "of course|absolutely|definitely|certainly|exactly|correct",
            "that is it was all very then i see oh am do did would not problem way really so think please"),
    _phrase(GREETING, "hello|hi|hey|greetings|howdy|good morning|good afternoon|good evening|good day|hallo",
            "hello hi hey there good morning afternoon evening day computer assistant again everybody everyone "
            "and to you all"),
)  # fmt: skip
"""In order: the first that fits."""


def understand_small_talk(heard: Heard, scene: Scene) -> Understood | None:
    """The skill for what is polite."""
    words = frozenset(heard.all_words)
    readings = (words, frozenset(heard.words))  # "hey there" is a greeting, "hey stop" is not
    phrase = next((p for p in _PHRASES for reading in readings if p.fits(reading)), None)
    if phrase is None:
        return None
    if phrase.answer in (GOODBYE, CANNOT_HANG_UP) and scene.may_hang_up:
        return Understood(lambda: (TextDelta(GOODBYE), CallDelta(HANG_UP.name, HANG_UP.name, "{}")))
    if phrase.answer == GREETING and "good" in words:
        part = next((p for p in ("morning", "afternoon", "evening") if p in words), "day")
        return say(f"Good {part}. What can I do for you?")
    return say(phrase.answer)


def understand_repeat(heard: Heard, scene: Scene) -> Understood | None:
    """The skill that repeats: what is said after "repeat after me", or its own last answer."""
    after = _REPEAT_AFTER.match(heard.text)
    if after is not None:
        what = after["what"].strip()
        return say(_short(what)) if what else say("What should I repeat?")
    if scene.last_answer.endswith("What should I repeat?"):
        return say(_short(heard.text))
    if (literal := _SAY.match(heard.core)) is not None:
        return say(literal["what"])
    if _AGAIN.match(heard.core) and heard.all_words[0] not in _GREETINGS:
        return say(scene.last_answer or "I have not said anything yet.")
    return None


def is_yes(heard: Heard) -> bool:
    """Whether a question of ours is answered with yes, and nothing else."""
    words = set(heard.all_words)
    return bool(words & _YES) and words <= _YES | _REPLY_FILLERS


def is_no(heard: Heard) -> bool:
    """Whether it is answered with no, and nothing else: "no that is not right"."""
    words = set(heard.all_words)
    return bool(words & _NO) and words <= _NO | _YES | _REPLY_FILLERS


def _short(text: str) -> str:
    if len(text) <= MAX_REPEATED:
        return text
    return text[:MAX_REPEATED].rpartition(" ")[0] + ", and so on"
