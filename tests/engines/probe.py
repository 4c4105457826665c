"""A blocking engine for the tests of pools: real threads, real processes, and it does what the sound tells it to.

The first byte of a frame is an instruction: b"c" crashes the process, b"h" hangs, b"e" raises an engine's error,
b"b" raises a bug, b"p" emits a thousand partials; everything else is counted, and a flush tells the sum.
"""

import os
import time

from duologue.core.audio import AudioFrame
from duologue.core.capabilities import Capabilities, Role
from duologue.core.errors import EngineRefused, EngineUnavailable, SetupError
from duologue.engines.base import BlockingEngine, Emit, EngineSpec, Flush, Inbox
from duologue.ports import Final, Partial, StreamOptions, SttOptions


class Probe(BlockingEngine):
    def __init__(self, argument: str = "") -> None:
        self.capabilities = SPEC.capabilities
        self.argument = argument

    def load(self) -> None:
        if self.argument == "absent":
            raise EngineUnavailable(
                "probe_missing", "The probe is not here.", remedy="Put it here."
            )
        if self.argument == "misnamed":
            raise SetupError("probe_misnamed", "The probe has no such part.", remedy="Name one.")
        if self.argument == "bug":
            raise ZeroDivisionError("no")
        if self.argument == "noisy":
            print("this must not reach the wire", flush=True)  # noqa: T201
        if self.argument == "die":
            os._exit(3)

    def warm_up(self) -> None:
        pass

    def run(self, options: StreamOptions, inbox: Inbox, emit: Emit) -> None:
        assert isinstance(options, SttOptions)
        samples = upto = 0
        for item in inbox:
            if isinstance(item, Flush):
                text = f"{samples} samples {os.getpid()} {options.language}".strip()
                emit(Final(item.id, upto, text))
                samples = 0
            elif isinstance(item, AudioFrame):
                self._obey(item, inbox, emit)
                samples += item.end - item.start
                upto = item.end

    def _obey(self, item: AudioFrame, inbox: Inbox, emit: Emit) -> None:
        match item.pcm[:1]:
            case b"c":
                os._exit(7)
            case b"h":
                while not inbox.cancelled:
                    time.sleep(0.001)
            case b"e":
                raise EngineRefused("probe_refused", "The probe refuses.")
            case b"b":
                raise KeyError("a bug")
            case b"p":
                for number in range(1_000):
                    emit(Partial(str(number)))
            case _:
                pass


SPEC = EngineSpec(
    "probe", Role.STT, Capabilities(max_streams=3), Probe, is_own_process=True, processes=2
)
