"""A language model in a process of its own: `python -m duologue.engines.local_llm.child ARGUMENT VERDICTS`.

The server starts it and speaks `wire` with it on its standard input and output. It ends when its input does, so it
cannot outlive the server. What libraries print goes to standard error.
"""

import logging
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Protocol

from duologue.core.errors import DuologueError, EngineError, EngineUnavailable
from duologue.engines.local_llm import wire
from duologue.engines.local_llm.fitting import Line
from duologue.engines.local_llm.model import LocalModel, Told
from duologue.engines.pipe import failure
from duologue.engines.threads import engine_bug


class Model(Protocol):
    """What is asked; see `model.LocalModel`."""

    def answer(
        self,
        lines: Sequence[Line],
        max_tokens: int | None,
        emit: Callable[[str], None],
        is_cancelled: Callable[[], bool],
    ) -> Told:
        """See `model.LocalModel.answer`."""


class Orders:
    """What the server wants, read in a thread of its own. The server lets only a few questions wait.

    Attributes:
        is_over: the server is gone.
    """

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self._changed = threading.Condition()
        self._asked: deque[wire.Ask] = deque()
        self._running = 0
        self._is_dropped = False
        self.is_over = False
        threading.Thread(target=self._read, name="orders", daemon=True).start()

    def next(self) -> wire.Ask | None:
        """The next question, in the order in which they came; None when the server is gone."""
        with self._changed:
            while not self._asked and not self.is_over:
                self._changed.wait()
            if self.is_over:
                return None
            ask = self._asked.popleft()
            self._running, self._is_dropped = ask.number, False
            return ask

    def is_unwanted(self) -> bool:
        """Whether anybody still wants the answer to the last question."""
        return self._is_dropped or self.is_over

    def _read(self) -> None:
        while (message := wire.read(self._source)) is not None:
            with self._changed:
                if isinstance(message, wire.Ask):
                    self._asked.append(message)
                elif isinstance(message, wire.Drop):
                    self._is_dropped = self._is_dropped or message.number == self._running
                    kept = (ask for ask in self._asked if ask.number != message.number)
                    self._asked = deque(kept)
                self._changed.notify()
        with self._changed:
            self.is_over = True
            self._changed.notify()


class Reporter(logging.Handler):
    """Takes what is logged to the server, whose log it belongs into."""

    def __init__(self, out: IO[bytes]) -> None:
        super().__init__()
        self._out = out

    def emit(self, record: logging.LogRecord) -> None:
        """Send it; from the thread that sends everything else."""
        wire.write(self._out, wire.Note(0, record.levelno, record.getMessage()))


def serve(model: Model, orders: Orders, out: IO[bytes]) -> None:
    """Answer until the server is gone."""
    while (ask := orders.next()) is not None:
        number = ask.number
        lines = [Line(role, text) for role, text in ask.lines]
        try:
            told = model.answer(
                lines,
                ask.max_tokens,
                lambda text, number=number: wire.write(out, wire.Piece(number, text)),  # type: ignore[misc]
                orders.is_unwanted,
            )
        except Exception as error:  # noqa: BLE001 - the outer wall of the engine: its bug costs one answer
            wire.write(out, failure(number, engine_bug(error)))
            continue
        wire.write(
            out,
            wire.Over(
                *(number, told.input_tokens, told.output_tokens, told.cached_tokens, told.is_cut)
            ),
        )


def main(argv: list[str]) -> int:
    """Load, warm up, then answer until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the server's affair
    out = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    logger = logging.getLogger("duologue")
    logger.setLevel(logging.INFO)
    logger.addHandler(Reporter(out))
    logger.propagate = False
    try:
        model = LocalModel(argv[0], verdicts=Path(argv[1]))
        model.load()
        model.warm_up()
    except Exception as error:  # noqa: BLE001 - the outer wall of the process: the server is told, whatever it is
        known = error if isinstance(error, DuologueError) else engine_bug(error)
        if not isinstance(known, EngineError):
            known = EngineUnavailable(known.code, known.message, remedy=known.remedy)
        wire.write(out, failure(0, known))
        return 1
    wire.write(out, wire.Ready(0, model.window))
    with suppress(BrokenPipeError):  # the server is gone
        serve(model, Orders(sys.stdin.buffer), out)
    return 0


if __name__ == "__main__":
    os._exit(main(sys.argv[1:]))  # torch takes seconds to take itself apart
