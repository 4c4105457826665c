"""Our own server in its own process, as the other end."""

from collections.abc import Iterator

import pytest

from tests.support.server import server


@pytest.fixture(scope="session")
def audio_routes() -> Iterator[str]:
    """The address of `/v1/audio/…` with the fake recogniser, which names each sound, and a real voice."""
    with server("--engines", "fake", "--tts", "espeak") as running:
        yield f"{running.url}/v1"
