"""Chinese from end to end, by a multilingual Whisper with random weights that writes Chinese characters."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from duologue.core.audio import Ms
from duologue.core.capabilities import Role
from duologue.core.facts import DraftId, Fact, TranscriptReady, UtteranceId
from duologue.engines.languages import WHISPER, lacking
from duologue.engines.pool_inprocess import InProcessPool
from duologue.engines.whisper.engine import Whisper
from duologue.engines.whisper.speech_window import LIMIT_MS
from duologue.ports import Final, SttOptions
from duologue.session.recognition import Recognition
from tests.engines.contract import SttContract, frames_of
from tests.support.clips import clip

pytest.importorskip("faster_whisper")
from tests.engines.whisper import tiny_whisper

pytestmark = pytest.mark.full

SOUND = clip("commands-numbers.flac", 16_000)


@pytest.fixture(scope="module")
def chinese(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whisper]:
    folder = tiny_whisper.make(tmp_path_factory.mktemp("models") / "chinese", chinese=True)
    engine = Whisper(f"{folder}@cpu:1")
    engine.load()
    engine.warm_up()
    yield engine
    engine.close()


class TestContract(SttContract):
    """All that every recogniser must do, asked for Chinese."""

    LANGUAGE = "zh-CN"

    @pytest.fixture
    def engine(self, chinese: Whisper) -> Whisper:
        return chinese


@pytest.fixture
def prompts(chinese: Whisper, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The control tokens that the decoder began with, call by call."""
    asked: list[list[str]] = []
    real = chinese._model.model

    class Spy:
        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

        def generate(self, encoded: Any, given: list[list[int]], **how: Any) -> Any:
            asked.extend([chinese._model.hf_tokenizer.id_to_token(n) for n in p] for p in given)
            return real.generate(encoded, given, **how)

    monkeypatch.setattr(chinese._model, "model", Spy())
    return asked


def is_chinese(text: str) -> bool:
    """Mostly; a byte on its own is no character."""
    signs = sum("\u4e00" <= sign <= "\u9fff" for sign in text)
    return signs > 0.9 * len(text) > 9


async def transcribed(engine: Whisper, options: SttOptions, pcm: bytes = SOUND) -> Final:
    stream = await InProcessPool(engine).open(Role.STT, "s", options)
    async with asyncio.timeout(30):
        for frame in frames_of(pcm):
            while not stream.offer(frame):
                await stream.room()
        stream.flush(1)
        async for event in stream.events():
            if isinstance(event, Final):
                break
    await stream.aclose()
    assert isinstance(event, Final)
    return event


def test_it_has_the_language_and_lacks_none_of_whispers(chinese: Whisper) -> None:
    known = [chinese.capabilities]
    assert lacking(Role.STT, "zh-TW", known) is None
    assert [code for code in WHISPER if lacking(Role.STT, code, known) is not None] == []
    assert lacking(Role.STT, "tlh", known) is not None


async def test_the_decoder_is_told_the_language(chinese: Whisper, prompts: list[list[str]]) -> None:
    final = await transcribed(chinese, SttOptions("zh-CN"))
    assert is_chinese(final.text)
    assert final.language == ""  # it was told
    assert prompts[-1] == [
        "<|startoftranscript|>", "<|zh|>", "<|transcribe|>", "<|notimestamps|>"
    ]  # fmt: skip


async def test_what_is_detected_is_reported(chinese: Whisper, prompts: list[list[str]]) -> None:
    final = await transcribed(chinese, SttOptions())
    assert final.language == "zh"
    assert prompts[-1][1] == "<|zh|>"
    assert (await transcribed(chinese, SttOptions("tlh"))).language == "zh"
    assert (await transcribed(chinese, SttOptions(), bytes(32_000))) == Final(1, 16_000)


async def test_nothing_stands_between_the_pieces_of_a_long_speech(chinese: Whisper) -> None:
    pcm = SOUND * (LIMIT_MS * 32 // len(SOUND) + 1)
    final = await transcribed(chinese, SttOptions("zh"), pcm)
    assert " " not in final.text
    assert is_chinese(final.text)
    assert (await transcribed(chinese, SttOptions(), pcm)).language == "zh"


async def test_words_are_timed_without_spaces_to_part_them(chinese: Whisper) -> None:
    final = await transcribed(chinese, SttOptions("zh", word_times=True))
    assert "".join(word.text for word in final.words) == "".join(final.text.split())
    assert len(final.words) > 5


async def test_a_session_switches_between_two_utterances(
    chinese: Whisper, prompts: list[list[str]]
) -> None:
    facts: asyncio.Queue[Fact] = asyncio.Queue()
    async with asyncio.TaskGroup() as tasks, asyncio.timeout(30):
        now = lambda: Ms(0)  # noqa: E731
        ears = Recognition(InProcessPool(chinese), "s", facts.put_nowait, now, tasks)
        texts = []
        for number, language in enumerate(("zh", "en", "")):
            ears.options = SttOptions(language)
            for frame in frames_of(SOUND):
                ears.write(UtteranceId(number), frame)
            ears.finish(UtteranceId(number), DraftId(number))
            while not isinstance(fact := await facts.get(), TranscriptReady):
                pass
            texts.append(fact.text)
            ears.end(UtteranceId(number))
    finals = [p[1] for p in prompts if p[1] in ("<|zh|>", "<|en|>")]
    assert list(dict.fromkeys(finals)) == ["<|zh|>", "<|en|>"]
    assert finals[-1] == "<|zh|>"
    assert texts[0] == texts[2] != texts[1]
    assert is_chinese(texts[0])
