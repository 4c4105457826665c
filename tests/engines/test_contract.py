"""The contract, kept by the engines that come with the server."""

from collections.abc import Iterator
from typing import Any

import pytest

from duologue.core.capabilities import Role
from duologue.engines import registry
from duologue.engines.fakes import FakeStt, FakeTts
from duologue.engines.voices import flite
from tests.engines import freshness
from tests.engines.contract import SttContract, TtsContract

needs_flite = pytest.mark.skipif(not flite.available(), reason="libflite is not installed")


def ready(role: Role, name: str) -> Iterator[Any]:
    spec, argument = registry.find(name, role)
    engine = spec.make(argument)
    engine.load()
    engine.warm_up()
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def pocketsphinx_engine() -> Iterator[Any]:
    yield from ready(Role.STT, "pocketsphinx")


@pytest.fixture(scope="module")
def espeak_engine() -> Iterator[Any]:
    yield from ready(Role.TTS, "espeak")


@pytest.fixture(scope="module")
def flite_engine() -> Iterator[Any]:
    yield from ready(Role.TTS, "flite")


class TestFakeRecogniser(SttContract):
    @pytest.fixture
    def engine(self) -> FakeStt:
        return FakeStt()


class TestFakeVoice(TtsContract):
    CAN_CHANGE_SPEED = False
    CAN_NAME_WORDS = False

    @pytest.fixture
    def engine(self) -> FakeTts:
        return FakeTts()


class TestPocketsphinx(SttContract):
    ADAPTS = True  # to the channel and the voice

    @pytest.fixture
    def engine(self, pocketsphinx_engine: Any) -> Any:
        return pocketsphinx_engine


class TestEspeak(TtsContract):
    @pytest.fixture
    def engine(self, espeak_engine: Any) -> Any:
        return espeak_engine


@needs_flite
class TestFlite(TtsContract):
    @pytest.fixture
    def engine(self, flite_engine: Any) -> Any:
        return flite_engine


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("role", "name"),
    [
        (Role.STT, "pocketsphinx"),
        (Role.TTS, "espeak"),
        pytest.param(Role.TTS, "flite", marks=needs_flite),
    ],
)
def test_the_first_work_after_the_warm_up_is_as_fast_as_the_rest(role: Role, name: str) -> None:
    """A few processes tell on a quiet machine; on a busy one it takes ten."""
    few = freshness.ratio(role, name, 3)
    assert few <= freshness.LIMIT or freshness.ratio(role, name, 10) <= freshness.LIMIT
