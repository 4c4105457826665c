"""A real server in its own process, on a free port, as a user would start it."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class RunningServer:
    """One `duologue serve`."""

    process: "subprocess.Popen[str]"
    url: str = ""
    lines: list[str] = field(default_factory=list)

    @property
    def ws(self) -> str:
        return self.url.replace("http", "ws", 1)

    @property
    def output(self) -> str:
        return "".join(self.lines)

    def stop(self, number: int = signal.SIGINT, timeout_s: float = 20) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


@contextlib.contextmanager
def server(*args: str, ready_s: float = 60, **env: str) -> Iterator[RunningServer]:
    """Start one, wait until it says that it is ready, stop it as Ctrl-C would."""
    command = [sys.executable, "-m", "duologue.cli", "serve", "--port", "0", *args]
    home = tempfile.TemporaryDirectory(prefix="duologue-")  # not the keys of whoever runs the tests
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "XDG_DATA_HOME": home.name, **env},
    )
    running = RunningServer(process)
    ready = threading.Event()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            running.lines.append(line)
            if found := re.search(r"is ready after .* s: (\S+)", line):
                running.url = found[1]
                ready.set()
        ready.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        if not ready.wait(ready_s) or not running.url:
            raise AssertionError(f"the server did not start:\n{running.output}")
        yield running
    finally:
        with contextlib.suppress(Exception):
            running.stop()
        if process.poll() is None:
            process.kill()
        reader.join(5)
        if process.stdout is not None:
            process.stdout.close()
        home.cleanup()
