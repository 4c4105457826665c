"""Whisper for real, from checkpoints of the true architecture with random weights: nothing is stood in for."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from duologue.core.audio import WINDOW_SAMPLES, AudioFrame
from duologue.core.capabilities import Role
from duologue.core.errors import (
    EngineError,
    EngineLost,
    EngineOutOfMemory,
    EngineRefused,
    EngineUnavailable,
)
from duologue.engines.base import Flush, StreamCancelled
from duologue.engines.models import store as models
from duologue.engines.models.forms import LocalSource
from duologue.engines.pool_inprocess import InProcessPool
from duologue.engines.whisper import engine as stt_whisper
from duologue.engines.whisper.engine import FINAL_BEAMS, SPEC, Whisper
from duologue.engines.whisper.shared_model import Job, SharedModel
from duologue.engines.whisper.speech_window import LIMIT_MS, Samples, SpeechWindow
from duologue.engines.whisper.transcriber import Heard, Manner, Transcriber, Work, kind
from duologue.ports import Event, Final, Partial, SttOptions
from tests.engines.contract import SttContract
from tests.support.clips import clip, silence

pytest.importorskip("faster_whisper")
from tests.engines.whisper import tiny_whisper

pytestmark = pytest.mark.full

RATE = 16_000
ENGLISH = SttOptions("en")
TIMED = SttOptions("en", word_times=True)
CARDS = "commands-cards_003.flac"
LJ = "lj-LJ001-0002.flac"
NUMBERS = "commands-numbers.flac"
NABU = "wake-okay_nabu_2.flac"
CLIPS = (CARDS, LJ, NUMBERS, NABU)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_whisper.make(tmp_path_factory.mktemp("models") / "mini")


def loaded(folder: Path, *, call_ms: int = 1, options: str = "") -> Whisper:
    """Each of its calls takes so long by its own clock, however busy this machine is."""
    engine = Whisper(f"{folder}@cpu:1{options}", clock=count(0.0, call_ms).__next__)
    engine.load()
    return engine


@pytest.fixture(scope="module")
def engine(checkpoint: Path) -> Iterator[Whisper]:
    engine = loaded(checkpoint)
    engine.warm_up()
    yield engine
    engine.close()


class Jobs(list[Job[Any, Any]]):
    """What the model was asked, in order."""

    def __init__(self) -> None:
        self._asked = threading.Condition()

    def put(self, job: Job[Any, Any]) -> None:
        with self._asked:
            self.append(job)
            self._asked.notify_all()

    @property
    def finals(self) -> list[Job[Any, Any]]:
        return [job for job in self if job.is_final]

    def until_finals(self, count: int) -> None:
        with self._asked:
            assert self._asked.wait_for(lambda: len(self.finals) >= count, 10)


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> Jobs:
    asked = Jobs()
    real = SharedModel.ask

    def ask(self: SharedModel[Any, Any], owner: Any, work: Any, *, is_final: bool) -> Job[Any, Any]:
        job = real(self, owner, work, is_final=is_final)
        asked.put(job)
        return job

    monkeypatch.setattr(SharedModel, "ask", ask)
    return asked


class Spy:
    """Between faster-whisper and CTranslate2: notes what is asked of the model, and runs out of memory if told to."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.prompts: list[list[list[int]]] = []
        self.beams: list[int] = []
        self.aligned = 0
        self.fits = 100

    @classmethod
    def on(cls, engine: Whisper, monkeypatch: pytest.MonkeyPatch) -> "Spy":
        spy = cls(engine._model.model)
        monkeypatch.setattr(engine._model, "model", spy)
        return spy

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def generate(self, encoded: Any, prompts: list[list[int]], **how: Any) -> Any:
        if len(prompts) > self.fits:
            raise RuntimeError("CUDA failed with error out of memory")
        self.prompts.append(prompts)
        self.beams.append(how["beam_size"])
        return self._model.generate(encoded, prompts, **how)

    def align(self, *what: Any, **how: Any) -> Any:
        self.aligned += 1
        return self._model.align(*what, **how)


Step = AudioFrame | Flush | Callable[[], object]


class Script:
    """An inbox that does something between two items."""

    def __init__(self, *steps: Step) -> None:
        self._steps = steps
        self.cancelled = False

    def __iter__(self) -> Iterator[AudioFrame | Flush]:
        for step in self._steps:
            if isinstance(step, AudioFrame | Flush):
                yield step
            else:
                step()


def frames(pcm: bytes, start: int = 0, size: int = WINDOW_SAMPLES) -> list[AudioFrame]:
    step = size * 2
    return [AudioFrame(pcm[at : at + step], start + at // 2) for at in range(0, len(pcm), step)]


def speech(name: str) -> bytes:
    return clip(name, RATE)


def samples(pcm: bytes) -> Samples:
    return np.frombuffer(pcm, "<i2").astype(np.float32) / np.float32(32_768)


def played(engine: Whisper, *steps: Step, options: SttOptions = ENGLISH) -> list[Event]:
    events: list[Event] = []
    engine.run(options, Script(*steps), events.append)
    return events


def finals_of(events: list[Event]) -> list[Final]:
    return [event for event in events if isinstance(event, Final)]


def text_of(engine: Whisper, pcm: bytes, options: SttOptions = ENGLISH) -> str:
    final = played(engine, *frames(pcm), Flush(1), options=options)[-1]
    assert isinstance(final, Final)
    return final.text


# --- one stream ---
def test_what_it_declares_is_narrowed_to_what_is_there(engine: Whisper) -> None:
    assert {"en", "de", "yue"} <= set(engine.capabilities.languages)
    assert stt_whisper.MIN_STREAMS <= engine.capabilities.max_streams <= stt_whisper.MAX_STREAMS
    assert (SPEC.capabilities.languages, SPEC.role) == (("*",), Role.STT)


class TestWhisper(SttContract):
    @pytest.fixture
    def engine(self, engine: Whisper) -> Whisper:
        return engine


def test_a_flush_is_answered_with_what_follows_from_the_sound(engine: Whisper) -> None:
    texts = {name: text_of(engine, speech(name)) for name in CLIPS}
    assert all(texts.values())
    assert len(set(texts.values())) == len(CLIPS)
    assert texts == {name: text_of(engine, speech(name)) for name in CLIPS}


def test_each_flush_tells_what_came_since_the_last(engine: Whisper) -> None:
    first, second = speech(CARDS), speech(NUMBERS)
    start = len(first) // 2
    events = played(
        engine,
        *frames(first, 100),
        Flush(7),
        Flush(8),
        *frames(second, 100 + start),
        Flush(9),
    )
    assert [event for event in events if isinstance(event, Final)] == [
        Final(7, 100 + start, text_of(engine, first)),
        Final(8, 100 + start, ""),
        Final(9, 100 + start + len(second) // 2, text_of(engine, second)),
    ]


def test_words_are_given_where_asked_in_the_streams_time(engine: Whisper) -> None:
    first, second, at = speech(CARDS), speech(NUMBERS), 160_000
    gap = at + len(first) // 2 + 8_000
    events = played(
        engine, *frames(first, at), Flush(1), *frames(second, gap), Flush(2), options=TIMED
    )
    one, two = [event for event in events if isinstance(event, Final)]
    assert one.text == text_of(engine, first)
    assert "".join(word.text for word in one.words) == one.text.replace(" ", "")
    for final, pcm, start in ((one, first, at), (two, second, gap)):
        times = [t for word in final.words for t in (word.start_ms, word.end_ms)]
        assert times == sorted(times)
        assert times[0] >= start // 16
        assert times[-1] <= (start + len(pcm) // 2) / 16
        assert all(word.logprob is not None and -14 < word.logprob <= 0 for word in final.words)


def test_words_that_were_not_asked_for_are_not_looked_for(
    engine: Whisper, monkeypatch: pytest.MonkeyPatch
) -> None:
    spy = Spy.on(engine, monkeypatch)
    (final,) = finals_of(played(engine, *frames(speech(CARDS)), Flush(1)))
    assert (final.words, spy.aligned) == ((), 0)
    played(engine, *frames(speech(CARDS)), Flush(1), options=TIMED)
    assert (spy.beams[-1], spy.aligned) == (FINAL_BEAMS, 1)


def test_words_of_a_window_that_overflowed_keep_their_places(engine: Whisper) -> None:
    sound = speech(NUMBERS) * 9  # 36 s: more than one window
    events = played(engine, *frames(sound), Flush(1), options=TIMED)
    (final,) = [event for event in events if isinstance(event, Final)]
    starts = [word.start_ms for word in final.words]
    assert starts == sorted(starts)
    assert any(start > LIMIT_MS for start in starts)
    assert final.text == text_of(engine, sound)


def test_a_translation_is_asked_of_the_model(
    engine: Whisper, monkeypatch: pytest.MonkeyPatch
) -> None:
    spy = Spy.on(engine, monkeypatch)
    translate = engine._model.hf_tokenizer.token_to_id("<|translate|>")
    assert engine.capabilities.translates
    played(engine, *frames(speech(CARDS)), Flush(1), options=SttOptions(task="translate"))
    assert spy.prompts
    assert all(translate in prompt for call in spy.prompts for prompt in call)
    played(engine, *frames(speech(CARDS)), Flush(1))
    assert translate not in spy.prompts[-1][0]


def test_a_flush_before_any_sound_is_answered(engine: Whisper) -> None:
    assert played(engine, Flush(1)) == [Final(1, 0, "")]


def test_silence_is_nothing_and_costs_nothing(engine: Whisper, jobs: Jobs) -> None:
    hiss = np.random.default_rng(0).integers(-30, 30, RATE * 3).astype("<i2").tobytes()
    for pcm in (silence(3_000, RATE), hiss, speech(LJ)[6_000:8_000]):
        assert text_of(engine, pcm) == ""
    assert jobs == []


def test_what_the_model_takes_for_no_speech_is_nothing(tmp_path: Path, jobs: Jobs) -> None:
    deaf = loaded(tiny_whisper.make(tmp_path, hears_nothing=True))
    assert [text_of(deaf, speech(name)) for name in CLIPS] == [""] * len(CLIPS)
    first, rest = speech(NUMBERS)[: RATE * 2], speech(NUMBERS)[RATE * 2 :]
    events = played(deaf, *frames(first), lambda: jobs[-1].wait(30), *frames(rest, RATE), Flush(1))
    assert [type(event) for event in events] == [Final]
    deaf.close()


def test_a_stream_that_nobody_wants_ends_at_once(engine: Whisper, jobs: Jobs) -> None:
    events: list[Event] = []
    script = Script(
        *frames(speech(NUMBERS) * 5), lambda: setattr(script, "cancelled", True), Flush(1)
    )
    with pytest.raises(StreamCancelled):
        engine.run(ENGLISH, script, events.append)
    assert not any(isinstance(event, Final) for event in events)
    assert text_of(engine, speech(LJ))  # and the model serves the next


# --- partials ---
def test_a_partial_is_told_while_sound_still_comes(engine: Whisper, jobs: Jobs) -> None:
    sound = speech(NUMBERS)
    first, rest = sound[: RATE * 2], sound[RATE * 2 :]
    events = played(
        engine, *frames(first), lambda: jobs[-1].wait(30), *frames(rest, RATE), Flush(1)
    )
    assert isinstance(events[0], Partial)
    assert events[0].text
    assert events[-1] == Final(1, len(sound) // 2, text_of(engine, sound))
    texts = [event.text for event in events if isinstance(event, Partial)]
    assert all(one != next_ for one, next_ in pairwise(texts))


def test_partials_are_asked_once_a_second_and_never_for_silence(
    engine: Whisper, jobs: Jobs
) -> None:
    played(engine, *frames(silence(2_500, RATE) + speech(NUMBERS)[: RATE * 2 * 3]))
    assert [job.is_final for job in jobs] == [False] * 3  # at 3, 4 and 5 s; not at 1 and 2
    played(engine, *frames(silence(2_500, RATE)))
    assert len(jobs) == 3


def test_a_partial_that_is_ready_too_late_is_not_told(engine: Whisper, jobs: Jobs) -> None:
    sound = speech(NUMBERS)[: RATE * 2]
    wait = lambda: jobs[-1].wait(30)  # noqa: E731
    events = played(engine, *frames(sound), wait, Flush(1), *frames(bytes(640), RATE))
    assert [job.is_final for job in jobs] == [False, True]
    assert [type(event) for event in events] == [Final]


# --- long sound ---
def spoken(seconds: int) -> bytes:
    """Clips and pauses in turn, up to a length."""
    gap = silence(400, RATE)
    once = gap.join(speech(name) for name in CLIPS) + gap
    return (once * (1 + seconds * RATE * 2 // len(once)))[: seconds * RATE * 2]


@pytest.mark.parametrize(("seconds", "pieces"), [(27, 1), (35, 2), (80, 4)])
def test_sound_beyond_the_models_window_is_transcribed_in_pieces(
    engine: Whisper, jobs: Jobs, seconds: int, pieces: int
) -> None:
    sound = spoken(seconds)
    text = text_of(engine, sound)
    assert sum(job.is_final for job in jobs) == pieces
    window = SpeechWindow()
    alone = [window.add(frame.pcm) for frame in frames(sound)]
    parts = [piece for piece in alone if piece is not None] + [window.take()]
    assert text == " ".join(text_of(engine, (p * 32_768).astype("<i2").tobytes()) for p in parts)


def test_a_partial_of_long_sound_tells_it_from_the_start(engine: Whisper, jobs: Jobs) -> None:
    sound = spoken(31)
    events = played(
        engine,
        *frames(sound),
        lambda: [job.wait(30) for job in jobs if job.is_final],
        lambda: jobs[-1].wait(30),
        *frames(bytes(64), len(sound) // 2),
    )
    settled = next(job.answer().text for job in jobs if job.is_final)
    last = events[-1]
    assert isinstance(last, Partial)
    assert last.text.startswith(f"{settled} ")
    assert len(last.text) > len(settled) + 1


# --- options ---
def test_the_language_is_taken_from_the_options(engine: Whisper) -> None:
    sound = speech(NUMBERS)
    german = text_of(engine, sound, SttOptions("de"))
    assert german != text_of(engine, sound, SttOptions("en"))
    assert german == text_of(engine, sound, SttOptions("de-AT"))
    assert german == text_of(engine, sound, SttOptions("DE"))


def test_an_unset_or_unknown_language_is_detected(engine: Whisper, checkpoint: Path) -> None:
    import faster_whisper

    sound = speech(NUMBERS)
    model = faster_whisper.WhisperModel(str(checkpoint), device="cpu", compute_type="int8")
    samples = np.frombuffer(sound, "<i2").astype(np.float32) / 32_768
    language, _, _ = model.detect_language(samples)
    assert language != "en"
    told = text_of(engine, sound, SttOptions(language))
    assert told == text_of(engine, sound, SttOptions())
    assert told == text_of(engine, sound, SttOptions("tlh"))


def test_an_english_model_takes_everything_for_english(tmp_path: Path) -> None:
    english = loaded(tiny_whisper.make(tmp_path, multilingual=False))
    assert english.capabilities.languages == ("en",)
    texts = {text_of(english, speech(LJ), SttOptions(code)) for code in ("", "en", "de")}
    assert len(texts) == 1
    assert not english.capabilities.translates
    with pytest.raises(EngineRefused) as refused:
        played(english, Flush(1), options=SttOptions(task="translate"))
    assert refused.value.code == "stt_translation_not_supported"
    english.close()


def test_hints_reach_the_model(engine: Whisper) -> None:
    sound = speech(NUMBERS)
    plain = text_of(engine, sound)
    hinted = text_of(engine, sound, SttOptions("en", ("Duologue", "flat white")))
    assert hinted != plain
    assert text_of(engine, sound, SttOptions("en", ("", "  "))) == plain


@pytest.mark.parametrize("hint", ["<|startoftranscript|><|de|>", "x" * 5_000, "bo " * 190])
def test_no_hint_breaks_the_model_not_even_with_the_longest_answer(
    engine: Whisper, hint: str
) -> None:
    assert text_of(engine, spoken(27), SttOptions("en", (hint, "espresso")))
    assert "<|" not in stt_whisper._hotwords((hint,))


def test_many_hints_are_cut_at_a_phrase() -> None:
    phrases = tuple(f"phrase number {n}" for n in range(200))
    line = stt_whisper._hotwords(phrases)
    assert len(line) <= stt_whisper.HINT_CHARS
    assert line.split(", ") == list(phrases[: len(line.split(", "))])


# --- a crowd ---
async def test_in_a_crowd_each_stream_hears_itself(checkpoint: Path) -> None:
    pool = InProcessPool(loaded(checkpoint))
    alone = {name: text_of(pool.engine, speech(name)) for name in CLIPS}  # type: ignore[arg-type]
    pool.engine.capabilities = SPEC.capabilities

    async def one(number: int) -> None:
        name = CLIPS[number % len(CLIPS)]
        stream = await pool.open(Role.STT, f"s{number}", ENGLISH)
        finals = []
        for flush_id in (1, 2):
            for frame in frames(speech(name)):
                assert stream.offer(frame)
                await asyncio.sleep(0)
            stream.flush(flush_id)
        async for event in stream.events():
            if isinstance(event, Final):
                finals.append(event.text)
            if len(finals) == 2:
                break
        await stream.aclose()
        assert finals == [alone[name]] * 2

    async with asyncio.timeout(50), asyncio.TaskGroup() as tasks:
        for number in range(16):
            tasks.create_task(one(number))
    assert pool.streams == 0
    await pool.aclose()


async def test_a_cancelled_stream_gives_its_place_back_while_others_go_on(
    checkpoint: Path,
) -> None:
    pool = InProcessPool(loaded(checkpoint))
    kept = await pool.open(Role.STT, "kept", ENGLISH)
    dropped = await pool.open(Role.STT, "dropped", ENGLISH)
    for stream in (kept, dropped):
        for frame in frames(spoken(10)):
            stream.offer(frame)
        stream.flush(1)
    async with asyncio.timeout(20):
        await dropped.aclose(cancel=True)
        assert pool.streams == 1
        final = [event async for event in _until_final(kept.events())][-1]
        assert isinstance(final, Final)
        assert final.text
        await kept.aclose()
    await pool.aclose()


async def _until_final(events: Any) -> Any:
    async for event in events:
        yield event
        if isinstance(event, Final):
            return


def test_finals_are_served_in_the_order_of_asking_and_partials_last(
    engine: Whisper, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight streams come while the model is held up by the first."""
    shared, gate, served = engine._shared, threading.Event(), []
    assert shared is not None
    real = shared._call

    def call(works: Any) -> Any:
        assert gate.wait(30)
        served.extend(works)
        return real(works)

    monkeypatch.setattr(shared, "_call", call)
    monkeypatch.setattr(shared, "most", 1)
    threads = []
    for number in range(8):
        script = Script(*frames(speech(CLIPS[number % 4])), Flush(1))
        threads.append(threading.Thread(target=engine.run, args=(ENGLISH, script, lambda _: None)))
        threads[-1].start()
        jobs.until_finals(number + 1)
    asked = [job.work for job in jobs.finals]
    guess = shared.ask("last", Work(np.ones(RATE, np.float32), 1), is_final=False)
    gate.set()
    for thread in threads:
        thread.join(30)
    assert guess.wait(30)
    assert [id(work) for work in served if work.beams > 1] == [id(work) for work in asked]
    assert served[-1].beams == 1


# --- several streams in a call ---
def pieces() -> list[Work]:
    """Of one kind, though in three languages, one of them unknown; one is silence."""
    languages = ("en", "de", "", "en")
    works = [
        Work(samples(speech(name))[: 2 * RATE], FINAL_BEAMS, Manner(language, translates=n == 3))
        for n, (name, language) in enumerate(zip(CLIPS, languages, strict=True))
    ]
    works.append(Work(np.zeros(RATE, np.float32), FINAL_BEAMS, Manner("en")))
    assert len({kind(work) for work in works}) == 1
    return works


@pytest.mark.parametrize("beams", [1, FINAL_BEAMS])
def test_a_piece_is_heard_alike_alone_and_beside_others(engine: Whisper, beams: int) -> None:
    call = Transcriber(engine._model)
    works = [replace(work, beams=beams) for work in pieces()]
    alone = [call([work])[0] for work in works]
    assert len({heard.text for heard in alone}) == len(works)
    assert call(works) == alone
    assert call(works[::-1]) == alone[::-1]


@pytest.mark.parametrize("beams", [1, FINAL_BEAMS])
def test_a_batch_hears_what_faster_whisper_itself_hears(engine: Whisper, beams: int) -> None:
    works = [replace(work, beams=beams) for work in pieces()]
    texts = [heard.text for heard in Transcriber(engine._model)(works)]
    for work, text in zip(works, texts, strict=True):
        segments, _ = engine._model.transcribe(
            work.sound,
            language=work.manner.language or "en",
            task="translate" if work.manner.translates else "transcribe",
            multilingual=not work.manner.language,
            beam_size=beams,
            temperature=0.0,
            without_timestamps=True,
            max_new_tokens=work.token_bound,
        )
        assert text == "".join(segment.text for segment in segments).strip()


def test_only_what_is_alike_shares_a_call() -> None:
    sound = np.zeros(RATE, np.float32)
    work = Work(sound, FINAL_BEAMS, Manner("en"))
    assert kind(work) == kind(Work(sound[:8_000], FINAL_BEAMS, Manner("de", translates=True)))
    others = (
        replace(work, beams=1),
        replace(work, sound=np.zeros(4 * RATE, np.float32)),
        replace(work, manner=Manner("en", "espresso")),
    )
    assert len({kind(other) for other in (work, *others)}) == 4
    assert kind(replace(work, with_words=True)) is None


def test_an_answer_may_be_as_long_as_fast_speech() -> None:
    bounds = [
        Work(np.zeros(int(s * RATE), np.float32), 1).token_bound for s in (0.1, 2, 2.1, 6, 28)
    ]
    assert bounds == [64, 64, 128, 220, 220]


def test_in_a_batch_too_what_is_no_speech_is_nothing(tmp_path: Path) -> None:
    deaf = loaded(tiny_whisper.make(tmp_path, hears_nothing=True))
    assert [heard.text for heard in Transcriber(deaf._model)(pieces())] == [""] * 5
    deaf.close()


@pytest.mark.parametrize(("each_ms", "batch"), [(40, 8), (49, 8), (70, 1), (100, 1)])
def test_how_many_share_a_call_is_found_by_trying(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, each_ms: int, batch: int
) -> None:
    """By a clock on which a call takes 100 ms, and so much more for each further piece."""
    now = [0.0]
    engine = Whisper(f"{checkpoint}@cpu:1", clock=lambda: now[0])
    engine.load()
    shared = engine._shared
    assert shared is not None

    def call(works: Any) -> Any:
        now[0] += 100 + each_ms * (len(works) - 1)
        return [Heard("")] * len(works)

    monkeypatch.setattr(shared, "_call", call)
    engine.warm_up()
    assert shared.most == batch
    took_ms = 100 + each_ms * (batch - 1)
    assert engine.capabilities.max_streams == min(32, 4_000 * batch // took_ms)
    engine.close()


def test_how_many_share_a_call_may_be_told(checkpoint: Path) -> None:
    engine = loaded(checkpoint, options="?batch=3")
    engine.warm_up()
    assert engine._shared is not None
    assert engine._shared.most == 3
    engine.close()


def test_where_memory_ends_fewer_share_a_call_and_no_utterance_is_lost(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = loaded(checkpoint)
    spy = Spy.on(engine, monkeypatch)
    spy.fits = 4
    engine.warm_up()
    shared = engine._shared
    assert shared is not None
    assert shared.most == 4
    spy.fits = 1
    jobs = shared.ask_at_once("s", pieces()[:4], is_final=True)
    assert all(job.wait(30) and job.answer().text for job in jobs)
    assert shared.most == 2
    spy.fits = 0
    with pytest.raises(EngineOutOfMemory) as caught:
        text_of(engine, speech(CARDS))
    assert caught.value.code == "whisper_out_of_memory"
    engine.close()


# --- failures ---
def test_a_call_that_fails_ends_the_stream_with_its_cause(checkpoint: Path) -> None:
    broken = loaded(checkpoint)
    broken._model.model.unload_model()
    with pytest.raises(EngineLost, match="Speech recognition by Whisper failed") as caught:
        text_of(broken, speech(LJ))
    assert caught.value.code == "whisper_failed"
    assert caught.value.__cause__ is not None
    broken._model.model.load_model()
    assert text_of(broken, speech(LJ))
    broken.close()


def test_a_closed_engine_answers_with_an_error(checkpoint: Path) -> None:
    closed = loaded(checkpoint)
    stream = Script(*frames(speech(LJ)), closed.close, Flush(1))
    with pytest.raises(EngineError) as caught:
        closed.run(ENGLISH, stream, lambda _: None)
    assert caught.value.code == "engine_closed"
    closed.close()


def test_a_name_that_is_not_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stt_whisper, "DEFAULT_FOLDER", tmp_path)
    for argument, code in (("small", "model_not_installed"), ("", "whisper_model_unnamed")):
        with pytest.raises(EngineUnavailable) as caught:
            Whisper(argument).load()
        assert caught.value.code == code


def test_a_model_that_was_pulled_is_found_by_name(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stt_whisper, "DEFAULT_FOLDER", tmp_path)
    models.pull(LocalSource(str(checkpoint)), "mine", tmp_path)
    engine = Whisper("mine@cpu")
    engine.load()
    assert text_of(engine, speech(LJ))
    engine.close()


def test_a_slow_machine_takes_fewer_streams(checkpoint: Path) -> None:
    slow = loaded(checkpoint, call_ms=800, options="?batch=1")
    slow.warm_up()
    assert slow.capabilities.max_streams == 4_000 // 800
    slow.close()


def test_partials_stop_where_calls_are_long(checkpoint: Path, jobs: Jobs) -> None:
    slow = loaded(checkpoint, call_ms=800)
    slow.warm_up()
    events = played(slow, *frames(spoken(10)), Flush(1))
    assert [type(event) for event in events] == [Final]
    assert any(not job.is_final and not job.is_over for job in jobs)
    slow.close()
