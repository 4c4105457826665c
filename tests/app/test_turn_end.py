"""The judge of turns: there where it can be, gone without where it cannot, and closed with the house."""

from pathlib import Path
from typing import Any, ClassVar

import pytest

from duologue.app.house import House, build
from duologue.core.capabilities import Capabilities, Role
from duologue.core.errors import EngineUnavailable
from duologue.engines.base import Engine, EngineSpec
from duologue.engines.turn_end import smart_turn
from duologue.server.engine_state import EngineState
from duologue.settings import Settings
from tests.engines.turn_end import tiny_onnx

OURS: dict[str, Any] = {"stt": "fake-stt", "tts": "fake-tts"}
"""Engines that load at once; the set is the embedded one."""


class Judge(Engine):
    """Remembers what became of it; its argument is what fails."""

    made: ClassVar["list[Judge]"] = []

    def __init__(self, argument: str = "") -> None:
        self.capabilities = SPEC.capabilities
        self.breaks = argument
        self.acts: list[str] = []
        Judge.made.append(self)

    def load(self) -> None:
        self.acts.append("load")
        if self.breaks:
            raise EngineUnavailable("judge_broken", "The judge is broken.", remedy="Mend it.")

    def warm_up(self) -> None:
        self.acts.append("warm up")

    async def judge(self, pcm: bytes) -> float | None:
        return 0.5

    def close(self) -> None:
        self.acts.append("close")


SPEC = EngineSpec("judge", Role.TURN, Capabilities(), Judge, about="A judge of the tests")
NAME = f"{__name__}.SPEC"


@pytest.fixture(autouse=True)
def none_made() -> None:
    Judge.made.clear()


class Enough(Exception):
    """Ends a house."""


async def opened(house: House) -> EngineState | None:
    """Run it until it is ready, then close it; what it says of its judge of turns meanwhile.

    Raises:
        EngineUnavailable: it does not become ready.
    """
    states: list[EngineState] = []

    async def look() -> None:
        assert house.reception.is_open
        states.extend(state for state in house.engine_states() if state.role == Role.TURN)
        raise Enough

    try:
        await house.run(lambda: None, look)
    except ExceptionGroup as group:
        (error,) = group.exceptions
        if not isinstance(error, Enough):
            raise error from group
    return states[0] if states else None


def test_the_embedded_set_has_one_and_the_fake_set_none() -> None:
    assert build(Settings(engines="fake")).world.turn_end is None
    assert build(Settings(turn_end="none")).world.turn_end is None
    assert isinstance(build(Settings()).world.turn_end, smart_turn.SmartTurn)


async def test_one_that_is_asked_for_is_loaded_and_closed_at_the_end() -> None:
    house = build(Settings(engines="fake", turn_end=NAME))
    state = await opened(house)
    assert state is not None
    assert (state.name, state.state) == ("judge", "ready")
    (judge,) = Judge.made
    assert house.world.turn_end is judge
    assert judge.acts == ["load", "warm up", "close"]


async def test_a_file_of_ones_own_is_taken(tmp_path: Path) -> None:
    path = tiny_onnx.make(tmp_path / "mine.onnx")
    state = await opened(build(Settings(engines="fake", turn_end=f"smart-turn:{path}")))
    assert state is not None
    assert state.state == "ready"


async def test_without_its_file_a_server_is_ready_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(smart_turn, "packaged", lambda: tmp_path / "not_there.onnx")
    house = build(Settings(**OURS, models_dir=str(tmp_path)))
    state = await opened(house)
    assert state is not None
    assert state.state == "failed"
    assert "not_there.onnx" in str(state.error)
    assert "turn smart-turn cannot be used" in caplog.text
    assert house.world.turn_end is not None
    assert await house.world.turn_end.judge(bytes(3_200)) is None  # and nobody waits for it


@pytest.mark.parametrize("files", [[], ["a.onnx", "b.onnx"]])
async def test_nor_does_a_spoilt_models_folder_keep_it_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: list[str]
) -> None:
    monkeypatch.setattr(smart_turn, "packaged", lambda: tmp_path / "not_there.onnx")
    (tmp_path / smart_turn.NAME).mkdir()
    for name in files:
        (tmp_path / smart_turn.NAME / name).write_bytes(b"no model")
    state = await opened(build(Settings(**OURS, models_dir=str(tmp_path))))
    assert state is not None
    assert state.state == "failed"


async def test_one_that_is_asked_for_and_cannot_be_had_keeps_the_doors_shut(tmp_path: Path) -> None:
    house = build(Settings(engines="fake", turn_end=f"smart-turn:{tmp_path}/nowhere.onnx"))
    with pytest.raises(EngineUnavailable) as caught:
        await opened(house)
    assert caught.value.code == "turn_model_missing"
    assert "nowhere.onnx" in str(caught.value)
    assert not house.reception.is_open


async def test_one_that_fails_to_load_is_closed_too() -> None:
    house = build(Settings(engines="fake", turn_end=f"{NAME}:broken"))
    with pytest.raises(EngineUnavailable) as caught:
        await opened(house)
    assert caught.value.code == "judge_broken"
    assert Judge.made[0].acts == ["load", "close"]


def test_what_is_no_judge_is_refused_before_anything_runs() -> None:
    with pytest.raises(EngineUnavailable) as caught:
        build(Settings(turn_end="espeak"))
    assert caught.value.code == "engine_unknown"
