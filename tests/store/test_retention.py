"""What is erased when."""

import asyncio
from pathlib import Path

import pytest

from duologue.core.errors import OurError
from duologue.store.archive import Erased
from duologue.store.opening import open_archive
from duologue.store.retention import EVERY_S, Housekeeper, Retention
from tests.store.records import a_session, a_sound


def test_nothing_is_kept_longer_than_it_may_be() -> None:
    retention = Retention(sounds_s=100.0, sessions_s=1_000.0)
    assert retention.sounds_before_s(5_000.0) == 4_900.0
    assert retention.sessions_before_s(5_000.0) == 4_000.0
    for_ever = Retention(sounds_s=None, sessions_s=None)
    assert for_ever.sounds_before_s(5_000.0) is None
    assert for_ever.sessions_before_s(5_000.0) is None


async def test_it_erases_at_once_and_every_hour(tmp_path: Path) -> None:
    store = open_archive("memory", tmp_path)
    await store.start()
    await store.write(a_session(expires_s=1e9), a_sound(0, at_s=1_000.0), a_sound(20, at_s=5_000.0))
    left: list[list[float]] = []
    now_s = 1_050.0

    async def pause(seconds: float) -> None:
        nonlocal now_s
        left.append([sound.at_s for sound in await store.sounds("s")])
        if len(left) == 3:
            raise asyncio.CancelledError
        now_s += seconds

    keeper = Housekeeper(store, Retention(sounds_s=3_600.0), lambda: now_s, pause)
    with pytest.raises(asyncio.CancelledError):
        await keeper.run()
    assert EVERY_S == 3_600.0
    assert left == [[1_000.0, 5_000.0], [5_000.0], [5_000.0]]
    assert await keeper.tidy(5_000.0 + 3_601.0) == Erased(sounds=1)
    await store.aclose()


async def test_a_store_that_fails_is_asked_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = open_archive("memory", tmp_path)
    rounds = 0

    async def pause(_seconds: float) -> None:
        nonlocal rounds
        rounds += 1
        if rounds == 2:
            raise asyncio.CancelledError

    keeper = Housekeeper(store, Retention(), lambda: 0.0, pause)
    with pytest.raises(asyncio.CancelledError):
        await keeper.run()
    assert "could not be erased" in caplog.text
    with pytest.raises(OurError):
        await keeper.tidy(0.0)
