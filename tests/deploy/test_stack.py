"""The services of the Compose files that can start here, started: real processes, health checks, sockets, a turn."""

import asyncio
import contextlib
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.deploy.composed import ROOT, stack
from tests.deploy.containers import Container
from tests.engines.chat.chat_server import ChatServer, says
from tests.support.client import phone
from tests.support.clips import clip, silence
from tests.support.server import RunningServer

pytestmark = pytest.mark.full

APART = {
    "DUOLOGUE_ENGINE_TOKEN": "secret",
    "STT_ENGINE": "pocketsphinx",
    "TTS_ENGINE": "espeak",
    "DUOLOGUE_STT": "ws://stt:9000",
    "DUOLOGUE_TTS": "ws://tts:9000",
}
"""In place of engines for cards those that need nothing, as the file lets one choose. Nothing stands by in the
backend, so that a turn can only have come from the others."""


@contextlib.contextmanager
def _up(
    file: str, folder: Path, elsewhere: Mapping[str, int], env: Mapping[str, str]
) -> Iterator[dict[str, Container]]:
    waiting = stack([ROOT / file], env)["services"]
    waiting = {name: service for name, service in waiting.items() if name not in elsewhere}
    started: dict[str, Container] = {}
    with contextlib.ExitStack() as running:
        while waiting:
            is_up = {*started, *elsewhere}
            name = next(n for n, s in waiting.items() if set(s.get("depends_on", ())) <= is_up)
            ports = {other: container.port for other, container in started.items()}
            container = Container(waiting.pop(name), folder / name, {**ports, **elsewhere})
            assert not container.is_healthy(), f"{name} is healthy before it runs"
            running.enter_context(container.running())
            assert container.is_healthy(), container.output
            started[name] = container
        yield started


@contextlib.asynccontextmanager
async def up(
    file: str, folder: Path, elsewhere: Mapping[str, int] | None = None, **env: str
) -> AsyncIterator[dict[str, Container]]:
    """All services but those `elsewhere`, each begun when those that it waits for are healthy."""
    services = _up(file, folder, elsewhere or {}, env)
    started = await asyncio.to_thread(services.__enter__)
    try:
        yield started
    finally:
        await asyncio.to_thread(services.__exit__, None, None, None)


async def answer(server: Container) -> tuple[str, str, bytes]:
    """What a spoken order was heard as, and the beginning of the answer, in words and in sound."""
    assert server.process is not None
    running = RunningServer(server.process, f"http://127.0.0.1:{server.port}")
    async with phone(running) as held:
        await held.say(clip("commands-cards_003.flac") + silence(700))
        await held.until("response.output_audio.delta", 10)
        told = held.of("response.output_audio_transcript.delta")
        said = "".join(event["delta"] for event in told)
        return held.heard()[0], said, next(iter(held.sound.values()))


async def stop(container: Container) -> None:
    assert await asyncio.to_thread(container.stop) == 0, container.output


def answered(port: int, token: str) -> float:
    """How often an engine has answered, by its metrics."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/metrics", headers={"Authorization": f"Bearer {token}"}
    )
    with urllib.request.urlopen(request, timeout=5) as page:
        lines = page.read().decode().splitlines()
    name = "duologue_engine_answer_seconds_count"
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


async def test_everything_in_one_takes_a_turn(tmp_path: Path) -> None:
    async with up("docker-compose.yml", tmp_path) as started:
        server = started["duologue"]
        heard, said, sound = await answer(server)
        assert "seven" in heard
        assert (heard in said, any(sound)) == (True, True)
        await stop(server)
    assert "no setting of Duologue" not in server.output


async def test_engines_apart_take_a_turn_together(tmp_path: Path) -> None:
    """In place of vLLM, which cannot start here, something else speaks its protocol under its name."""
    async with ChatServer(says("Yes.")) as llm:
        elsewhere = {"llm": urlsplit(llm.url).port or 0}
        async with up("docker-compose.autoconnect.yml", tmp_path, elsewhere, **APART) as started:
            assert list(started) == ["stt", "tts", "backend-autoconnect"]
            heard, said, sound = await answer(started["backend-autoconnect"])
            assert "seven" in heard
            assert (said, any(sound)) == ("Yes.", True)
            for name in ("stt", "tts"):
                assert answered(started[name].port, "secret") > 0
                with pytest.raises(urllib.error.HTTPError, match="401"):
                    answered(started[name].port, "wrong")
            for name in reversed(started):
                await stop(started[name])
        assert llm.requests[-1].headers["authorization"] == "Bearer secret"
        assert heard in str(llm.requests[-1].body["messages"])
