"""A session in another language: switched while it lasts, told what is missing, and its text as it is written."""

from typing import Any

import pytest

from duologue.core.audio import AudioFrame
from duologue.core.capabilities import Capabilities, Role
from duologue.core.commands import CreateItem, SetOptions
from duologue.core.conversation import Message, Part
from duologue.core.errors import ClientError
from duologue.core.notices import Problem, TranscriptDone
from duologue.core.options import ReplyOptions, SessionOptions
from duologue.core.policy import TurnPolicy
from duologue.engines.base import NativeEngine
from duologue.engines.fakes import STT, FakeStream, FakeTts, _Fake
from duologue.engines.languages import lacking
from duologue.ports import Final, Offer, StreamOptions, SttOptions, TtsOptions
from tests.support.stage import Stage, stage

WRITTEN = ReplyOptions(spoken=False)
PATIENT = TurnPolicy(silence_ms=1_000)


TEXTS = {"zh": "你好，世界。", "": "今天天气很好。", "en": "Hello there."}


class Polyglot(_Fake, NativeEngine):
    """Hears the same in every language, and remembers which it was asked for."""

    capabilities = STT.capabilities

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def open(self, key: str, options: StreamOptions) -> "_Stream":
        assert isinstance(options, SttOptions)
        self.asked.append(options.language)
        return _Stream(TEXTS[options.language], "" if options.language else "zh")


class _Stream(FakeStream):
    def __init__(self, text: str, language: str) -> None:
        super().__init__(16_000)
        self._text, self._language = text, language
        self._upto = 0

    def offer(self, item: Offer) -> bool:
        assert isinstance(item, AudioFrame)
        self._upto = item.end
        return True

    def flush(self, flush_id: int) -> None:
        self._out.put(Final(flush_id, self._upto, self._text, language=self._language))


class Voice(FakeTts):
    """Remembers which language it was to speak."""

    def __init__(self, *languages: str) -> None:
        super().__init__()
        self.capabilities = Capabilities(languages=languages, rate_hz=24_000, max_streams=9)
        self.asked: list[str] = []

    def open(self, key: str, options: StreamOptions) -> Any:
        assert isinstance(options, TtsOptions)
        self.asked.append(options.language)
        return super().open(key, options)


async def heard(s: Stage) -> str:
    """What the user is understood to say next."""
    await s.turn()
    text: str = s.ear.last(TranscriptDone).text
    return text


async def test_the_language_is_switched_between_two_utterances() -> None:
    async with stage(SessionOptions(reply=WRITTEN, language="zh"), stt=(stt := Polyglot())) as s:
        assert await heard(s) == "你好，世界。"
        await s.ask(SetOptions, SessionOptions(reply=WRITTEN, language="en"))
        assert await heard(s) == "Hello there."
        await s.ask(SetOptions, SessionOptions(reply=WRITTEN))
        assert await heard(s) == "今天天气很好。"
        assert stt.asked == ["zh", "en", ""]


async def test_chinese_that_is_said_in_two_breaths_has_no_space_in_it() -> None:
    async with stage(
        SessionOptions(reply=WRITTEN, language="zh", turn=PATIENT), stt=Polyglot()
    ) as s:
        await s.speak(800)
        await s.quiet(600)
        await s.speak(800)
        await s.quiet(1_400)
        (done,) = s.ear.of(TranscriptDone)
        assert done.text == "你好，世界。你好，世界。"
        item = next(iter(s.session.conversation))
        assert isinstance(item, Message)
        assert item.text == done.text


def test_parts_of_a_chinese_message_are_joined_as_they_are_written() -> None:
    def text(*parts: str) -> str:
        return Message("m", "user", tuple(Part("input_text", p) for p in parts)).text

    assert text("你好", "世界") == "你好世界"
    assert text("Hello", "there") == "Hello there"


async def test_the_voice_that_knows_the_language_speaks_it() -> None:
    english, chinese = Voice("en"), Voice("en", "zh")
    options = SessionOptions(language="zh")
    async with stage(options, stt=Polyglot(), tts=(english, chinese)) as s:
        await s.turn()
        assert (english.asked, chinese.asked) == ([], ["zh"])
        await s.quiet(4_000)
        await s.ask(SetOptions, SessionOptions(language="en"))
        await s.turn()
        assert (english.asked, chinese.asked) == (["en"], ["zh"])


# --- a language that nobody knows ---
ENGLISH = {
    Role.STT: [Capabilities(languages=("en",))],
    Role.TTS: [Capabilities(languages=("en",))],
}


def english_only(role: Role, language: str) -> ClientError | None:
    return lacking(role, language, ENGLISH[role])


@pytest.mark.parametrize(
    ("reply", "answers", "roles"),
    [(ReplyOptions(), True, 2), (WRITTEN, True, 1), (ReplyOptions(), False, 1)],
)
async def test_who_asks_for_a_language_that_is_not_here_is_told_what_would_add_it(
    reply: ReplyOptions,
    answers: bool,
    roles: int,
) -> None:
    async with stage(SessionOptions(reply=reply, answers=answers)) as s:
        s.world.lacking = english_only
        wanted = SessionOptions(reply=reply, answers=answers, language="zh")
        ask = await s.ask(SetOptions, wanted)
        problems = s.ear.of(Problem)
        assert [p.error.code for p in problems] == ["language_not_available"] * roles
        assert {p.ask for p in problems} == {ask}
        assert "whisper" in problems[0].error.remedy
        await s.ask(SetOptions, wanted)  # nothing new
        assert len(s.ear.of(Problem)) == roles
        assert s.session.options.language == "zh"


async def test_whoever_speaks_english_hears_nothing_of_it() -> None:
    async with stage(SessionOptions()) as s:
        s.world.lacking = english_only
        for language in ("en", "en-US", ""):
            await s.ask(SetOptions, SessionOptions(language=language))
        assert not s.ear.of(Problem)


async def test_without_anybody_who_knows_nothing_is_said() -> None:
    async with stage(SessionOptions()) as s:
        await s.ask(SetOptions, SessionOptions(language="tlh"))
        assert not s.ear.of(Problem)
        await s.ask(CreateItem, Message("m", "user", (Part("input_text", "nuqneH"),)))
