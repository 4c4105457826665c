"""An engine that takes known amounts of a card through CUDA, and keeps them: as a caching allocator does.

100 MiB of weights, 40 of work, 10 for each stream that ever ran at once; 64 MiB of the machine's memory for a moment.
Its argument "oom" has it find no memory at load, "die" has its process end.
"""

import os
import threading

from duologue.core.capabilities import Capabilities, Role
from duologue.core.errors import EngineOutOfMemory
from duologue.engines.base import BlockingEngine, Emit, EngineSpec, Flush, Inbox
from duologue.memory.cuda import Cuda
from duologue.ports import Final, StreamOptions

WEIGHTS_MIB, WORK_MIB, STREAM_MIB = 100, 40, 10
MOMENT_MIB = 64


class CardEngine(BlockingEngine):
    def __init__(self, argument: str) -> None:
        self.capabilities = SPEC.capabilities
        self._argument = argument.partition("@")[0]
        self._places: list[int] = []
        self._running = 0
        self._counting = threading.Lock()

    def load(self) -> None:
        if self._argument == "oom":
            raise EngineOutOfMemory("card_full", "The card is full.", remedy="Take a larger one.")
        if self._argument == "die":
            os._exit(9)
        self._cuda = Cuda(0)
        self._cuda.take(WEIGHTS_MIB)

    def warm_up(self) -> None:
        self._cuda.take(WORK_MIB)
        bytearray(b"x") * (MOMENT_MIB << 20)

    def run(self, options: StreamOptions, inbox: Inbox, emit: Emit) -> None:
        with self._counting:
            self._running += 1
            if self._running > len(self._places):
                self._places.append(self._cuda.take(STREAM_MIB))
        for item in inbox:
            if isinstance(item, Flush):
                emit(Final(item.id, 0, "heard"))
        with self._counting:
            self._running -= 1


SPEC = EngineSpec("card", Role.STT, Capabilities(max_streams=8), CardEngine)
