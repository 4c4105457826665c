"""Answers without a language model: a few skills that work offline, and the word of honour not to guess.

It says what it heard where it is in doubt, and that it is no language model where it cannot help. Nothing
that it says is made up: there is an answer from a skill, a question, or the admission.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from duologue.core.capabilities import Capabilities, Role
from duologue.core.conversation import Item, Message
from duologue.core.errors import EngineRefused, SetupError
from duologue.core.manners import may_hang_up
from duologue.engines.base import EngineSpec
from duologue.engines.skills import arithmetic, clock, conversions, talk
from duologue.engines.skills.heard import Heard, hear
from duologue.engines.skills.skill import Scene, Skill, Understood, meant
from duologue.engines.skills.timer_talk import TimerTalk
from duologue.engines.skills.timers import TimerBook
from duologue.ports import Delta, Prompt, TextDelta

NO_MODEL = "I am not a language model and cannot answer that."
CONNECT = "To connect one, give Duologue its address in the setting llm url."
NOT_HEARD = "I did not catch that. Please say it again."
SAY_AGAIN = "All right. Please say it again."

LOOK_BACK = 40
"""Items of the conversation that are looked at for what we said before."""


class SkillsResponder:
    """See `ports.Responder`. Instructions and tools are not for it: it plays no part and calls nothing but `HANG_UP`.

    Args:
        now: the local time, with its zone.
        can_take_back: whether the session knows `skills.timers.TakeBack`.
    """

    def __init__(
        self, now: Callable[[], datetime] | None = None, *, can_take_back: bool = False
    ) -> None:
        self.capabilities = SPEC.capabilities
        self._now = now or _local_now
        self.timers = TimerBook()
        timer_talk = TimerTalk(self.timers, can_take_back=can_take_back)
        self._skills: tuple[Skill, ...] = (
            talk.understand_repeat,
            timer_talk.understand,
            clock.understand_until,
            clock.understand_day,
            clock.understand_time,
            conversions.understand,
            arithmetic.understand,
            talk.understand_small_talk,
        )

    def load(self) -> None:
        """Nothing to load."""

    def warm_up(self) -> None:
        """Nothing to warm up."""

    async def respond(self, prompt: Prompt) -> AsyncIterator[Delta]:
        """See `ports.Responder.respond`."""
        for delta in self.answer(prompt):
            yield delta

    def answer(self, prompt: Prompt) -> Sequence[Delta]:
        """The whole answer; it takes well under a millisecond.

        Raises:
            EngineRefused: a summary is wanted, which takes a language model.
        """
        if prompt.purpose != "answer":
            raise EngineRefused("not_a_language_model", "The offline skills sum nothing up.")
        said = _said(prompt.items)
        scene = Scene(self._now(), said[-1] if said else "", prompt.session_id)
        if may_hang_up(prompt.options) and not self.timers.running(scene):  # they end with the line
            scene = replace(scene, may_hang_up=True)
        text = _asked(prompt.items)
        if text is None:
            return (TextDelta(talk.GREETING),)
        heard = hear(text)
        if not any(c.isalnum() for c in heard.text):
            return (TextDelta(NOT_HEARD),)
        reading = self._reading(heard, scene)
        if reading is not None:
            return (TextDelta(reading.question),) if reading.question else reading.act()
        return (TextDelta(_unknown(heard, said)),)

    def _reading(self, heard: Heard, scene: Scene) -> Understood | None:
        """What is meant: without doubt if any skill has none, else the first doubt."""
        question = meant(scene.last_answer)
        if question and talk.is_yes(heard):
            return self._understand(hear(question), scene)
        if question and talk.is_no(heard):
            return Understood(lambda: (TextDelta(SAY_AGAIN),))
        return self._understand(heard, scene)

    def _understand(self, heard: Heard, scene: Scene) -> Understood | None:
        doubtful: Understood | None = None
        for skill in self._skills:
            reading = skill(heard, scene)
            if reading is not None and not reading.question:
                return reading
            doubtful = doubtful or reading
        return doubtful


def _unknown(heard: Heard, said: Sequence[str]) -> str:
    """The admission: at length once, and then in short."""
    quote = f"I heard: {heard.quote}. " if heard.quote else ""
    if any(NO_MODEL in answer for answer in said):
        return f"{quote}I cannot help with that. Ask me what I can do."
    return f"{quote}{NO_MODEL} {CONNECT}"


def _asked(items: Sequence[Item]) -> str | None:
    """The user's last words; None if the user has not spoken yet."""
    for item in reversed(items):
        if isinstance(item, Message) and item.role == "user":
            return item.text
    return None


def _said(items: Sequence[Item]) -> list[str]:
    """Our last answers, as they were heard, the latest last."""
    return [
        item.text.strip()
        for item in items[-LOOK_BACK:]
        if isinstance(item, Message) and item.role == "assistant" and item.text.strip()
    ]


def _local_now() -> datetime:
    return datetime.now().astimezone()


def _make(argument: str) -> SkillsResponder:
    """From "skills" (the machine's time zone) or "skills:Europe/Berlin".

    Raises:
        SetupError: there is no such time zone.
    """
    if not argument:
        return SkillsResponder()
    try:
        zone = ZoneInfo(argument)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise SetupError(
            "time_zone_unknown",
            f"The skills cannot tell the time: there is no time zone '{argument}' here.",
            remedy="Name one like Europe/Berlin, or none for the machine's own.",
        ) from error
    return SkillsResponder(lambda: datetime.now(zone))


SPEC = EngineSpec(
    "skills",
    Role.LLM,
    Capabilities(languages=("en",), acts=True),
    _make,
    about="offline skills: time, sums, units, timers; not a language model",
)
