"""What every test gets: no task left behind, and servers that are started once."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Iterator

import pytest
from hypothesis import settings

from tests.support.server import RunningServer, server

settings.register_profile("suite", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("suite")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Each coroutine is watched for tasks that it leaves behind."""
    for item in items:
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj):
            item.fixturenames.append("no_task_is_left")


@pytest.fixture
async def no_task_is_left() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    for _ in range(20):
        await asyncio.sleep(0)
    mine = {asyncio.current_task()}
    left = {task for task in asyncio.all_tasks() - before - mine if not task.done()}
    assert not left, f"tasks were left behind: {left}"


@pytest.fixture(scope="session")
def fake_server() -> Iterator[RunningServer]:
    """Real sockets, real VAD; the other engines are fakes that answer at once for half a second."""
    with server("--engines", "fake", "--fake", "tts_s=0.5,llm_tokens=10") as running:
        yield running


@pytest.fixture(scope="session")
def talkative_server() -> Iterator[RunningServer]:
    """The same, but its answers take six seconds, so that they can be interrupted."""
    with server("--engines", "fake", "--fake", "tts_s=6,llm_tokens=12") as running:
        yield running
