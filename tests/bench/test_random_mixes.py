"""Whatever has happened in a conversation: a clear utterance at its end is heard and answered.

Random mixes of speech, knocks, silence, a muted line and a client's commands, in every kind of manners, on the real
session and table in virtual time; the detector goes by loudness, and the recogniser by length.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from bench.turns import policies, virtual
from bench.turns.answers import Delays
from bench.turns.clients import CLASSES
from bench.turns.reference import Pcm
from bench.turns.world import FRAME_MS, Conversation, Engines, Setup, options, world
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from duologue.core.audio import STREAM
from duologue.core.commands import CancelReply, Clear, Commit, CreateReply, SetOptions
from duologue.core.facts import AskId
from duologue.core.notices import Committed, PlaybackBegan
from duologue.core.options import ReplyOptions
from tests.support.stage import LoudnessVad

FINALE_MS = 1_400
PATIENCE_MS = 12_000

NAMES = (*policies.presets(), "fixed-300", "fixed-800", "fixed-1500")


class ByLength:
    """A recogniser that finds nothing in a knock, "mhm" in what is short, and words in the rest."""

    name = "by length"

    def open(self) -> "_ByLength":
        return _ByLength()


class _ByLength:
    def __init__(self) -> None:
        self._loud = 0

    def heard(self, sound: bytes) -> None:
        self._loud += int(np.abs(np.frombuffer(sound, np.int16)).mean() > 3_000)

    def partial(self) -> str:
        return self._text()

    def final(self) -> tuple[str, float | None]:
        text, self._loud = self._text(), 0
        return text, None

    def close(self) -> None:
        pass

    def _text(self) -> str:
        if self._loud <= 3:
            return ""
        return "mhm" if self._loud <= 9 else "and so I said"


@dataclass
class Mix:
    """A microphone that follows the script, then says something clearly and listens."""

    talk: Conversation
    script: list[tuple[str, int]]
    asks: int = 0

    def __post_init__(self) -> None:
        self._steps = [step for what, ms in self.script for step in [what] * max(1, ms // FRAME_MS)]
        self._steps += ["quiet"] * 5 + ["speak"] * (FINALE_MS // FRAME_MS)
        self.said_ms = len(self._steps) * FRAME_MS
        self._steps += ["quiet"] * (PATIENCE_MS // FRAME_MS)
        self._noise = np.random.default_rng(1)

    def frame(self, at_ms: int) -> Pcm | None:
        at = at_ms // FRAME_MS
        if at >= len(self._steps):
            return None
        what = self._steps[at]
        if what in COMMANDS:
            self._ask(COMMANDS[what])
            what = "quiet"
        if what == "muted":
            return np.zeros(0, np.int16)
        size = STREAM.rate_hz * FRAME_MS // 1000
        if what == "speak":
            return (
                (self._noise.standard_normal(size) * 12_000).clip(-32_000, 32_000).astype(np.int16)
            )
        return np.zeros(size, np.int16)

    def _ask(self, command: Callable[[AskId, Conversation], Any]) -> None:
        self.asks += 1
        assert self.talk.session is not None
        self.talk.session.ask(command(AskId(self.asks), self.talk))


def _other_manners(name: str) -> Callable[[AskId, Conversation], Any]:
    return lambda ask, _: SetOptions(ask, options(policies.find(name).policy))


COMMANDS: dict[str, Callable[[AskId, Conversation], Any]] = {
    "commit": lambda ask, _: Commit(ask),
    "clear": lambda ask, _: Clear(ask),
    "cancel": lambda ask, _: CancelReply(ask),
    "answer": lambda ask, _: CreateReply(ask, ReplyOptions(format=STREAM)),
    **{name: _other_manners(name) for name in NAMES},
}

SOUNDS = st.one_of(
    st.tuples(st.just("speak"), st.integers(60, 2_500)),
    st.tuples(st.just("speak"), st.integers(60, 320)),
    st.tuples(st.just("quiet"), st.integers(20, 3_000)),
    st.tuples(st.just("quiet"), st.integers(20, 700)),
    st.tuples(st.just("muted"), st.integers(100, 1_500)),
    st.tuples(st.sampled_from(sorted(COMMANDS)), st.just(0)),
)


async def performed(script: list[tuple[str, int]], name: str, client: str, setup: Setup) -> None:
    engines = Engines(setup, LoudnessVad())
    engines.recogniser = ByLength()
    async with world(engines) as surroundings:
        talk = Conversation(CLASSES[client])
        mix = Mix(talk, script)
        await talk.hold(surroundings, options(policies.find(name).policy), mix)
    answered = [told.at_ms for told in talk.client.of(PlaybackBegan)]
    committed = [told.at_ms for told in talk.client.of(Committed)]
    assert any(at >= mix.said_ms for at in committed), "the last utterance was not heard"
    assert any(at >= mix.said_ms for at in answered), "the last utterance was not answered"
    assert surroundings.meters.live == 0


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    script=st.lists(SOUNDS, max_size=14),
    name=st.sampled_from(NAMES),
    client=st.sampled_from(sorted(CLASSES)),
    llm_ms=st.sampled_from([0.0, 300.0, 1_500.0]),
    tts_ms=st.sampled_from([0.0, 200.0]),
    final_ms=st.sampled_from([0.0, 30.0, 600.0]),
)
def test_nobody_is_left_deaf(
    script: list[tuple[str, int]],
    name: str,
    client: str,
    llm_ms: float,
    tts_ms: float,
    final_ms: float,
) -> None:
    setup = Setup(stt="none", final_ms=final_ms, delays=Delays(llm_ms, tts_ms))
    virtual.run(performed(script, name, client, setup))
