"""Trying an engine out: a second of sound, or a few words, as a session would give them."""

import asyncio

import numpy as np

from duologue.core.audio import STREAM, WINDOW_SAMPLES, AudioFrame
from duologue.core.capabilities import Role
from duologue.core.errors import EngineError, EngineLost
from duologue.ports import (
    Audio,
    EngineGone,
    EnginePool,
    EngineStream,
    Final,
    Offer,
    Say,
    SttOptions,
    TtsOptions,
)

KEY = "trial"
"""In place of a session's name."""

WORDS = "Ready."

FLUSH = 1


def _items(role: Role) -> list[Offer]:
    if role is Role.TTS:
        return [Say(0, WORDS)]
    noise = np.random.default_rng(0).normal(0, 300, STREAM.rate_hz).astype("<i2").tobytes()
    size = WINDOW_SAMPLES * 2
    return [AudioFrame(noise[at : at + size], at // 2) for at in range(0, len(noise), size)]


async def try_out(pool: EnginePool, role: Role, patience_s: float) -> None:
    """Have an engine do a little work.

    Raises:
        EngineError: it does not: it cannot be opened, breaks, says nothing, or takes longer than `patience_s`
            once it is open.
    """
    options = TtsOptions() if role is Role.TTS else SttOptions()
    stream = await pool.open(role, KEY, options)
    try:
        async with asyncio.timeout(patience_s):
            await _offer(stream, role)
            await _await_answer(stream, role)
    except TimeoutError as error:
        raise EngineLost(
            f"{role}_timed_out", f"The {role} engine has not answered for {patience_s:g} s."
        ) from error
    finally:
        await stream.aclose(cancel=True)


async def _offer(stream: EngineStream, role: Role) -> None:
    for item in _items(role):
        while not stream.offer(item):
            await stream.room()
    stream.flush(FLUSH)


async def _await_answer(stream: EngineStream, role: Role) -> None:
    has_sounded = False
    async for event in stream.events():
        if isinstance(event, EngineGone):
            raise event.error
        has_sounded = has_sounded or isinstance(event, Audio)
        if isinstance(event, Final):
            if role is Role.TTS and not has_sounded:
                break
            return
    raise _silent(role)


def _silent(role: Role) -> EngineError:
    return EngineLost(f"{role}_silent", f"The {role} engine was tried out, and gave nothing.")
