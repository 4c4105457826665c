"""A house on its way up: one spoken turn, through all engines, before anybody is let in."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from duologue.app import parts
from duologue.app.house import House, build
from duologue.core.capabilities import Role
from duologue.core.errors import EngineUnavailable, SetupError, first_of
from duologue.engines.pool_ladder import LadderPool
from duologue.settings import Settings


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[tuple[House, asyncio.Event]]:
    house, ready = build(settings), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(house.run(ready.set))
        yield house, ready
        task.cancel()


def fakes(**more: str) -> Settings:
    return Settings(engines="fake", **more)  # type: ignore[arg-type]


async def until(ready: asyncio.Event) -> None:
    async with asyncio.timeout(20):
        await ready.wait()


async def test_sessions_are_taken_after_the_first_turn_and_every_engine_was_tried_out() -> None:
    async with running(fakes(stt="fake-stt,fake-stt:stt_ms=2")) as (house, ready):
        was_open = house.reception.is_open
        await until(ready)
        assert (was_open, house.reception.is_open) == (False, True)
        states = house.engine_states()
        assert {s.state for s in states} == {"ready"}
        assert all(s.lost == 0 and not s.resting for s in states)
        assert [s.name for s in states if s.role == "stt"] == ["fake-stt", "fake-stt:stt_ms=2"]
        assert [s.streams for s in states if s.role == "stt"] == [0, 0]
        assert house.world.meters.counts["sessions"] == 0


async def test_while_the_first_turn_fails_nobody_is_let_in_and_the_reason_is_told() -> None:
    async with running(fakes(llm="fake-llm:fail=1")) as (house, ready):
        async with asyncio.timeout(20):
            while not house.first_turn:  # noqa: ASYNC110 - it is tried at its own time
                await asyncio.sleep(0.01)
        assert "told to refuse" in house.first_turn
        assert not ready.is_set()
        assert not house.reception.is_open
        house.models[0].responder.policy = house.models[0].responder.policy.__class__()  # type: ignore[attr-defined]
        await until(ready)
        assert house.first_turn == ""


async def test_with_another_model_behind_it_a_server_is_ready_all_the_same() -> None:
    async with running(fakes(llm="fake-llm:fail=1,embedded")) as (house, ready):
        await until(ready)
        assert house.fallbacks() >= 1
        assert [s.lost for s in house.engine_states() if s.role == "llm"] == [1, 0]


async def test_an_engine_may_have_smaller_ones_below_it() -> None:
    async with running(fakes(tts="fake-tts>fake-tts:tts_ms=5")) as (house, ready):
        await until(ready)
        (link,) = house.chains[next(r for r in house.chains if r == "tts")]
        assert isinstance(link.pool, LadderPool)
        assert link.pool.name == "fake-tts"


@pytest.mark.parametrize(
    ("setting", "names"),
    [
        ("embedded", ["skills"]),
        ("openai:http://127.0.0.1:9/v1|m,embedded", ["openai:http://127.0.0.1:9/v1|m", "skills"]),
    ],
)
def test_models_stand_in_the_order_of_preference(setting: str, names: list[str]) -> None:
    house = build(Settings(llm=setting, llm_url="http://ignored/v1"))
    assert [s.name for s in house.engine_states() if s.role == "llm"] == names


@pytest.mark.parametrize(
    "settings",
    [
        Settings(llm_url="http://me:PASSWORD@127.0.0.1:9/v1?api_key=PASSWORD"),
        Settings(llm="openai:http://me:PASSWORD@127.0.0.1:9/v1?key=PASSWORD|m"),
        Settings(stt="openai-stt:http://127.0.0.1:9/v1|m?language=en", tts="fake-tts"),
    ],
)
def test_names_that_are_told_hold_no_secret(settings: Settings) -> None:
    told = " ".join(f"{s.name} {s.about}" for s in build(settings).engine_states())
    assert "PASSWORD" not in told
    assert "127.0.0.1:9/v1" in told


def test_what_is_wrong_with_a_lower_rung_is_said_at_the_start() -> None:
    with pytest.raises(SetupError):
        build(Settings(engines="fake", stt="fake-stt > fake-stt:nonsense=1"))


async def test_an_engine_that_cannot_be_loaded_is_named_where_another_has_rungs() -> None:
    settings = fakes(stt="whisper:/nowhere@cpu", tts="fake-tts>fake-tts:tts_ms=5")
    with pytest.raises(ExceptionGroup) as raised:
        await build(settings).run(lambda: None)
    assert isinstance(first_of(raised.value), EngineUnavailable)


async def test_an_engine_server_that_is_not_there_keeps_nobody_waiting_and_may_still_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parts, "LENT_PATIENCE_S", 0.05)
    async with running(fakes(stt="ws://127.0.0.1:9,embedded")) as (house, ready):
        await until(ready)
        elsewhere, here = (s for s in house.engine_states() if s.role == "stt")
        assert (elsewhere.state, elsewhere.resting) == ("failed", True)
        assert "cannot be reached" in (elsewhere.error or "")
        assert (here.state, here.resting) == ("ready", False)
        assert [link.name for link in house.chains[Role.STT]] == [elsewhere.name, here.name]
