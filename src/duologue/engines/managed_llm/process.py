"""One run of a language model's server: started behind a guard, its words kept, its end noticed."""

import contextlib
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from duologue.core.errors import EngineError, EngineOutOfMemory, EngineUnavailable
from duologue.core.oom import KILLED, says_out_of_memory

GUARD = Path(__file__).with_name("guard.py")

MAX_LINES = 200
"""Of its words that are kept: vLLM's traceback through three processes has some 150, with the cause at its top."""

MAX_LINE_BYTES = 2_000
TOLD_LINES = 4
TOLD_CHARS = 300
"""Of its last words that an error repeats, and of each."""

GRACE_S = 5.0
"""From its being asked to end until it is killed: vLLM takes 1 to 3 seconds."""

_READER_PATIENCE_S = 1.0
_KILL_PATIENCE_S = 5.0


class ServerProcess:
    """A server from its start to its end.

    Args:
        name: for messages.
        command: its program and arguments.
        variables: environment beside what it inherits from us.
        grace_s: see `GRACE_S`.

    Attributes:
        ended: set when it is gone, with its whole process group.
        began_s: when it was started; `time.monotonic`.

    Raises:
        EngineUnavailable: not even the guard can be started.
    """

    def __init__(
        self, name: str, command: Sequence[str], variables: Mapping[str, str], grace_s: float
    ) -> None:
        self.name = name
        self.ended = threading.Event()
        self.began_s = time.monotonic()
        self._grace_s = grace_s
        self._pid: int | None = None
        self._is_ours = False  # its end
        self._lines: deque[str] = deque(maxlen=MAX_LINES)
        # `env` adds to an environment that nobody has to read; the guard needs neither packages nor settings
        with_variables = ["env", *(f"{key}={value}" for key, value in variables.items()), *command]
        words = [sys.executable, "-I", "-S", str(GUARD), f"{grace_s:g}", *with_variables]
        try:
            self._guard = subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in our terminal is for us to pass on
            )
        except OSError as error:
            raise EngineUnavailable(
                "llm_server_not_started", f"{name} cannot be started: {error.strerror}."
            ) from error
        self._reader = threading.Thread(target=self._read, name="llm-server-log", daemon=True)
        self._waiter = threading.Thread(target=self._wait, name="llm-server-end", daemon=True)
        self._reader.start()
        self._waiter.start()

    @property
    def pid(self) -> int | None:
        """The server's own, while it runs."""
        return None if self.ended.is_set() else self._pid

    @property
    def last_line(self) -> str:
        """What it said last."""
        return self._lines[-1] if self._lines else ""

    @property
    def lines(self) -> tuple[str, ...]:
        """What it said last of all, at most `MAX_LINES`."""
        return tuple(self._lines)

    def stop(self) -> None:
        """Let go of it: it ends by itself, or is killed. Returns at once; see `ended`."""
        self._is_ours = True
        assert self._guard.stdin is not None
        with contextlib.suppress(OSError):  # it has gone already
            self._guard.stdin.close()

    def close(self) -> None:
        """End it, and wait until it is gone; not for ever: a driver may hold a process that was killed."""
        self.stop()
        self._waiter.join(self._grace_s + _KILL_PATIENCE_S)

    def error(self) -> EngineError:
        """Why it has ended."""
        code = self._guard.returncode
        is_full = any(says_out_of_memory(line) for line in self.lines)
        if is_full or (code in KILLED and not self._is_ours):
            return EngineOutOfMemory(
                "llm_server_out_of_memory",
                f"{self.name} ran out of memory{self.told()}",
                remedy="Use a smaller model, a shorter context or fewer sequences; `duologue plan` says what fits.",
            )
        return EngineUnavailable(
            "llm_server_died", f"{self.name} ended with exit code {code}{self.told()}"
        )

    def told(self) -> str:
        """Its last words, for a message: after a colon, or a mere full stop where it has said nothing."""
        lines = self.lines
        full = [line for line in lines[:-TOLD_LINES] if says_out_of_memory(line)]
        told = " | ".join(line[:TOLD_CHARS] for line in (*full[-1:], *lines[-TOLD_LINES:]))
        return f": {told}" if told else "."

    def _read(self) -> None:
        assert self._guard.stdout is not None
        with self._guard.stdout as source:
            first = source.readline(MAX_LINE_BYTES).strip()
            if first.isdigit():
                self._pid = int(first)
            else:
                self._keep(first)
            while line := source.readline(MAX_LINE_BYTES):
                self._keep(line)

    def _keep(self, line: bytes) -> None:
        newest = line.rstrip().rpartition(b"\r")[2]  # of a progress bar
        text = "".join(c if c.isprintable() else " " for c in newest.decode(errors="replace"))
        if text := text.strip():
            self._lines.append(text)

    def _wait(self) -> None:
        self._guard.wait()
        self._reader.join(
            _READER_PATIENCE_S
        )  # its last words; a daemon of its own might hold the pipe for ever
        assert self._guard.stdin is not None
        with contextlib.suppress(OSError):
            self._guard.stdin.close()
        self.ended.set()
