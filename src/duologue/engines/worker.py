"""An engine in a process of its own: `python -m duologue.engines.worker ROLE NAME[:ARGUMENT] [LOG_LEVEL]`.

The server starts it and speaks `pipe` with it on its standard input and output. It ends when its input
does, so it cannot outlive the server. What libraries print goes to standard error.
"""

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import BinaryIO

from duologue.core.audio import AudioFrame
from duologue.core.capabilities import Role
from duologue.engines import pipe, registry
from duologue.engines.base import BlockingEngine, Flush
from duologue.engines.loading import as_engine_error, bring_up
from duologue.engines.threads import StreamThread
from duologue.ports import Say

READ_BYTES = 64 * 1024

CREDIT_BATCH = 8
"""Items taken before the server is told: a frame of credit for every quarter of a second of sound."""


class Worker:
    """One engine and its streams, in this process."""

    def __init__(self, engine: BlockingEngine, out: BinaryIO) -> None:
        self._engine = engine
        self._out = out
        self._writing = threading.Lock()
        self._streams: dict[int, StreamThread] = {}

    def send(self, message: pipe.Message) -> None:
        """Tell the server; from any thread."""
        with self._writing:
            self._out.write(pipe.frame(message))
            self._out.flush()

    def handle(self, message: pipe.Message) -> None:
        """Do what the server says."""
        if isinstance(message, pipe.Open):
            self._open(message)
            return
        stream = self._streams.get(message.stream)
        if stream is None:
            return  # it has ended, and the server does not know yet
        match message:
            case pipe.Sound(pcm=pcm, start=start):
                stream.inbox.put(AudioFrame(pcm, start))
            case pipe.Text(number=number, text=text):
                stream.inbox.put(Say(number, text))
            case pipe.Finish(flush_id=flush_id):
                stream.inbox.put(Flush(flush_id))
            case pipe.Shut(cancel=cancel):
                stream.close(cancel=cancel)
            case pipe.Taken(count=count):
                for _ in range(count):
                    stream.taken()
            case _:
                pass

    def close(self) -> None:
        """The server is gone."""
        for stream in list(self._streams.values()):
            stream.close(cancel=True)

    def _open(self, message: pipe.Open) -> None:
        number = message.stream
        options = message.stt or message.tts
        assert options is not None
        self._streams[number] = StreamThread(
            self._engine,
            options,
            emit=lambda event: self.send(pipe.told(number, event)),
            on_taken=_batched(lambda count: self.send(pipe.Took(number, count))),
            on_done=lambda: self._ended(number),
        )

    def _ended(self, number: int) -> None:
        self._streams.pop(number, None)
        self.send(pipe.Ended(number))


def _batched(tell: Callable[[int], None]) -> Callable[[], None]:
    taken = 0

    def one() -> None:
        nonlocal taken
        taken += 1
        if taken == CREDIT_BATCH:
            taken = 0
            tell(CREDIT_BATCH)

    return one


def _take_stdout() -> BinaryIO:
    """Standard output for the wire alone: whatever else is printed goes to standard error."""
    out = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return out


def main(argv: list[str]) -> int:
    """Load, run once, then serve until standard input ends."""
    for number in (
        signal.SIGINT,
        signal.SIGTERM,
    ):  # sent to the whole group; the server drains, then hangs up
        signal.signal(number, signal.SIG_IGN)
    role, wanted = Role(argv[0]), argv[1]
    level = int(argv[2]) if len(argv) > 2 else logging.WARNING
    logging.basicConfig(level=level, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    out = _take_stdout()
    try:
        spec, argument = registry.find(wanted, role)
        engine = spec.make(argument)
        bring_up(engine)
    except Exception as error:  # noqa: BLE001 - the outer wall of the process: the server is told, whatever it is
        out.write(pipe.frame(pipe.failure(0, as_engine_error(error))))
        out.flush()
        return 1
    worker = Worker(engine, out)
    worker.send(pipe.Ready(0, engine.capabilities))
    frames = pipe.Frames()
    while data := os.read(sys.stdin.fileno(), READ_BYTES):
        for message in frames.push(data):
            worker.handle(message)
    worker.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
