"""The acoustic model is asked once a pause, about the last seconds, and only where somebody heeds it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from duologue.core.audio import WINDOW_SAMPLES, AudioFrame, Ms, ms_to_samples
from duologue.core.commands import Commit, SetOptions
from duologue.core.facts import DraftId, Fact, TurnJudged, UtteranceId
from duologue.core.options import SessionOptions
from duologue.core.presets import PRESETS
from duologue.session.journal import replay
from duologue.session.judging import HEARD_SAMPLES, Judging
from tests.support.stage import Stage, stage

U1, U2 = UtteranceId(1), UtteranceId(2)
D1, D2 = DraftId(1), DraftId(2)
BALANCED = SessionOptions(turn=PRESETS["balanced"])
NOW = Ms(700)


class Judge:
    """Is as sure as it is told, at once or when it may; keeps what it was shown."""

    def __init__(self, probability: float | None = 0.9) -> None:
        self.probability = probability
        self.shown: list[bytes] = []
        self.may = asyncio.Event()
        self.may.set()

    async def judge(self, pcm: bytes) -> float | None:
        self.shown.append(pcm)
        await self.may.wait()
        return self.probability


@dataclass
class Bench:
    """A `Judging` that is fed by hand."""

    judging: Judging
    facts: list[Fact] = field(default_factory=list)
    at: int = 0

    def write(self, utterance: UtteranceId, windows: int = 1) -> None:
        """Windows of sound, each with its number in every sample."""
        for _ in range(windows):
            pcm = (self.at // WINDOW_SAMPLES).to_bytes(2, "little") * WINDOW_SAMPLES
            self.judging.write(utterance, AudioFrame(pcm, self.at))
            self.at += WINDOW_SAMPLES

    async def ask(self, utterance: UtteranceId, draft: DraftId) -> None:
        self.judging.ask(utterance, draft)
        await self.settle()

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)


@asynccontextmanager
async def bench(model: Judge | None) -> AsyncIterator[Bench]:
    async with asyncio.TaskGroup() as tasks:
        facts: list[Fact] = []
        judging = Judging(model, facts.append, lambda: NOW, tasks)
        judging.is_wanted = True
        yield Bench(judging, facts)
        judging.forget()


# --- one pause ---
async def test_the_model_is_shown_the_turn_and_its_word_is_a_fact() -> None:
    model = Judge(0.7)
    async with bench(model) as b:
        b.write(U1, 3)
        await b.ask(U1, D1)
        assert b.facts == [TurnJudged(NOW, U1, D1, 0.7)]
        (pcm,) = model.shown
        assert pcm[::1024] == bytes([0, 1, 2])  # the low byte of each window's first sample


async def test_no_more_is_kept_than_the_model_looks_at() -> None:
    model = Judge()
    async with bench(model) as b:
        b.write(U1, 2_000)
        await b.ask(U1, D1)
        (pcm,) = model.shown
        assert len(pcm) == HEARD_SAMPLES * 2 == ms_to_samples(8_000) * 2
        assert pcm[-2:] == (1_999).to_bytes(2, "little")


async def test_a_model_that_is_too_busy_says_so() -> None:
    async with bench(Judge(None)) as b:
        b.write(U1)
        await b.ask(U1, D1)
        assert b.facts == [TurnJudged(NOW, U1, D1, None)]


# --- nobody to ask ---
async def test_without_a_model_the_answer_is_there_at_once() -> None:
    async with bench(None) as b:
        b.write(U1)
        b.judging.ask(U1, D1)
        assert b.facts == [TurnJudged(NOW, U1, D1, None)]


async def test_what_was_not_heard_is_not_judged() -> None:
    model = Judge()
    async with bench(model) as b:
        b.write(U1)
        b.judging.ask(U2, D1)
        assert b.facts == [TurnJudged(NOW, U2, D1, None)]
        assert not model.shown


async def test_a_session_of_fixed_silence_neither_keeps_nor_asks() -> None:
    model = Judge()
    async with bench(model) as b:
        b.judging.is_wanted = False
        b.write(U1, 5)
        b.judging.ask(U1, D1)
        b.judging.is_wanted = True
        b.judging.ask(U1, D2)  # nothing was kept either
        assert [fact for fact in b.facts if isinstance(fact, TurnJudged) and fact.probability] == []
        assert len(b.facts) == 2
        b.write(U1)
        b.judging.is_wanted = False  # the client changed its mind within an utterance
        await b.ask(U1, D2)
        assert b.facts[-1] == TurnJudged(NOW, U1, D2, None)
        assert not model.shown


# --- too late ---
async def test_a_word_about_a_former_pause_is_dropped_when_the_speaker_goes_on() -> None:
    model = Judge()
    async with bench(model) as b:
        model.may.clear()
        b.write(U1)
        await b.ask(U1, D1)
        b.write(U1)
        model.may.set()
        await b.settle()
        assert not b.facts
        await b.ask(U1, D2)
        assert b.facts == [TurnJudged(NOW, U1, D2, 0.9)]
        assert [len(pcm) // 1024 for pcm in model.shown] == [1, 2]


async def test_only_the_latest_question_is_answered() -> None:
    model = Judge()
    async with bench(model) as b:
        model.may.clear()
        b.write(U1)
        await b.ask(U1, D1)
        await b.ask(U1, D2)
        model.may.set()
        await b.settle()
        assert b.facts == [TurnJudged(NOW, U1, D2, 0.9)]


async def test_what_is_forgotten_is_no_part_of_the_next_utterance() -> None:
    model = Judge()
    async with bench(model) as b:
        model.may.clear()
        b.write(U1, 4)
        await b.ask(U1, D1)
        b.judging.forget()
        model.may.set()
        b.write(U2, 1)
        await b.ask(U2, D2)
        assert b.facts == [TurnJudged(NOW, U2, D2, 0.9)]
        b.write(U1, 2)  # nor of another that nobody forgot
        await b.ask(U1, D1)
        assert [len(pcm) // 1024 for pcm in model.shown] == [4, 1, 2]


# --- whole turns ---
def reasons(s: Stage) -> list[str]:
    """Why each turn ended."""
    return [turn.reasons[0] for turn in s.world.meters.turns]


async def test_its_word_is_in_the_reason_why_a_turn_ended() -> None:
    model = Judge(0.97)
    async with stage(BALANCED, turn_end=model) as s:
        await s.turn(quiet_ms=1_500)
        assert "the acoustic model says 97 %" in reasons(s)[0]
        assert len(model.shown) == 1
        shown = np.frombuffer(model.shown[0], np.int16)
        assert np.abs(shown[-ms_to_samples(100) :]).max() < 10  # it hears the pause, too
        assert np.abs(shown).max() > 10_000


async def test_it_is_asked_once_in_each_pause_and_not_about_the_turn_before() -> None:
    model = Judge(0.02)
    async with stage(BALANCED, turn_end=model) as s:
        await s.turn(800, 300)
        await s.turn(600, 3_000)
        assert len(reasons(s)) == 1
        assert len(model.shown) == 2
        assert len(model.shown[0]) < len(model.shown[1])
        await s.quiet(3_000)
        await s.turn(400, 2_000)
        assert len(model.shown) == 3
        assert len(model.shown[2]) < ms_to_samples(1_200) * 2


async def waited(probability: float | None) -> float:
    """From the end of a short turn's speech to its end, as the listener has it."""
    async with stage(BALANCED, turn_end=Judge(probability)) as s:
        await s.speak(400)
        await s.quiet(3_000)
        return s.world.meters.turns[0].marks["end_of_turn"]


async def test_who_sounds_as_if_they_had_finished_is_answered_sooner() -> None:
    waits = [await waited(probability) for probability in (0.98, None, 0.02)]
    assert waits == sorted(waits)
    assert waits[0] + 200 < waits[2]


async def test_a_model_that_never_answers_delays_nobody_for_long() -> None:
    model = Judge()
    async with stage(BALANCED, turn_end=model) as s:
        model.may.clear()
        await s.turn(quiet_ms=1_600)
        (why,) = reasons(s)
        assert "acoustic" not in why
        assert s.ear.frames


async def test_a_fixed_silence_never_asks_nor_does_a_client_that_commits() -> None:
    model = Judge()
    async with stage(turn_end=model) as s:
        await s.turn()
        await s.quiet(2_500)
        by_hand = replace(BALANCED, turn=replace(BALANCED.turn, detect=False))
        await s.ask(SetOptions, by_hand)
        await s.speak(800)
        await s.ask(Commit)
        await s.quiet(500)
        assert len(reasons(s)) == 2
        assert not model.shown


async def test_a_recorded_session_is_decided_alike_again(tmp_path: Path) -> None:
    path = tmp_path / "sess_test.jsonl"
    async with stage(BALANCED, turn_end=Judge(0.6), journal=path) as s:
        await s.turn(800, 300)
        await s.turn(600, 3_000)
    steps = list(replay(path.read_text().splitlines()))
    assert any(isinstance(step.fact, TurnJudged) for step in steps)
    assert all(step.same for step in steps)


async def test_a_model_that_breaks_costs_its_word_and_nothing_else() -> None:
    class Broken(Judge):
        async def judge(self, pcm: bytes) -> float | None:
            raise RuntimeError("a bug of somebody else's")

    async with stage(BALANCED, turn_end=Broken()) as s:
        await s.turn(speech_ms=800, quiet_ms=1_600)
        assert s.session.error is None
        assert s.session.turn is not None
        assert "acoustic" not in s.session.turn.reasons[0]
