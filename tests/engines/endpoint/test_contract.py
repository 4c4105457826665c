"""The engines' contract, kept across a socket: what an engine does here, it does there."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from functools import wraps
from typing import Any, TypeVar

import pytest

from duologue.core.capabilities import Role
from duologue.engines.fakes import FakeStt, FakeTts
from duologue.engines.voices import espeak
from tests.engines import contract
from tests.engines.contract import SttContract, TtsContract
from tests.engines.endpoint.lent import lent_and_borrowed


class Remote:
    """In the place of `InProcessPool`: the same engine behind a socket, from the first stream on."""

    stack: AsyncExitStack

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self._pool: Any = None

    @property
    def streams(self) -> int:
        return self._pool.streams if self._pool is not None else 0

    async def open(self, role: Role, key: str, options: Any) -> Any:
        if self._pool is None:
            self._pool = await self.stack.enter_async_context(lent_and_borrowed(self._engine, role))
        return await self._pool.open(role, key, options)


Suite = TypeVar("Suite", bound=type)


def across_a_socket(suite: Suite) -> Suite:
    """Each of the suite's tests with `Remote` in its pool's place; both ends are closed in the test itself."""
    for name in [name for name in dir(suite) if name.startswith("test_")]:
        setattr(suite, name, _remote(getattr(suite, name)))
    return suite


def _remote(test: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    @wraps(test)
    async def run(self: Any, engine: Any) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(contract, "InProcessPool", Remote)
            async with AsyncExitStack() as Remote.stack:
                await test(self, engine)

    return run


@pytest.fixture(scope="module")
def espeak_engine() -> Iterator[Any]:
    engine = espeak.SPEC.make("")
    engine.load()
    engine.warm_up()
    yield engine
    engine.close()


@across_a_socket
class TestFakeRecogniser(SttContract):
    @pytest.fixture
    def engine(self) -> FakeStt:
        return FakeStt()


@across_a_socket
class TestFakeVoice(TtsContract):
    CAN_CHANGE_SPEED = False
    CAN_NAME_WORDS = False

    @pytest.fixture
    def engine(self) -> FakeTts:
        return FakeTts()


@across_a_socket
class TestEspeak(TtsContract):
    @pytest.fixture
    def engine(self, espeak_engine: Any) -> Any:
        return espeak_engine
