"""A process that speaks as a language model's does, and does what it is told by the words that it hears."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence

from duologue.core.errors import EngineUnavailable
from duologue.engines.local_llm import wire
from duologue.engines.local_llm.child import Orders, serve
from duologue.engines.local_llm.fitting import Line
from duologue.engines.local_llm.model import Told
from duologue.engines.pipe import failure

WINDOW = 50


class Obedient:
    """Echoes what it was told last, unless that is one of these words."""

    def answer(
        self,
        lines: Sequence[Line],
        max_tokens: int | None,
        emit: Callable[[str], None],
        is_cancelled: Callable[[], bool],
    ) -> Told:
        words = lines[-1].text.split()
        match words[0]:
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)
            case "exit":
                os._exit(3)
            case "garbage":
                os.write(OUT, b"\x04\x00\x00\x00junk")
                threading.Event().wait()
            case "hang":
                threading.Event().wait()
            case "full":
                raise MemoryError("no room")
            case "bug":
                raise IndexError("one too far")
            case "talk":
                emit("talking")
                while not is_cancelled():
                    threading.Event().wait(0.001)
            case _:
                pass
        for word in words:
            emit(f"{word} ")
        return Told(len(lines), len(words), 0, max_tokens == len(words))


if __name__ == "__main__":
    OUT = sys.stdout.fileno()
    if sys.argv[1] == "missing":
        error = EngineUnavailable("gone", "It is gone.", remedy="Look for it.")
        wire.write(sys.stdout.buffer, failure(0, error))
        sys.exit(1)
    if sys.argv[1] == "dead":
        sys.exit(7)
    wire.write(sys.stdout.buffer, wire.Note(0, 30, "it says something for the log"))
    wire.write(sys.stdout.buffer, wire.Ready(0, WINDOW))
    serve(Obedient(), Orders(sys.stdin.buffer), sys.stdout.buffer)
