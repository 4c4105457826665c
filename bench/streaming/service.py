"""A server as a user would start it, and a client's few words with it over HTTP and WebSockets."""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from websockets.sync.client import ClientConnection, connect

from bench import speech

ROOT = "/api/v1/audio-streaming"
FAKES = ("--engines", "fake", "--fake", "stt_ms=200")


@contextmanager
def running(*arguments: str) -> Iterator[str]:
    """Its address."""
    command = [sys.executable, "-m", "duologue.cli", "serve", "--port", "0", *arguments]
    with tempfile.TemporaryDirectory() as home:
        process = subprocess.Popen(
            [*command, "--log-level", "warning"],
            stdout=subprocess.PIPE,
            text=True,
            cwd=speech.HERE,
            env={**os.environ, "XDG_DATA_HOME": home},
        )
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if found := re.search(r"is ready after .* s: (\S+)", line):
                    yield found[1]
                    break
            else:
                raise SystemExit("the server did not start")
        finally:
            process.terminate()
            process.wait(20)
            process.stdout.close()


class Socket:
    """One session's, which counts what it sends."""

    def __init__(self, address: str, session_id: str, **parameters: str) -> None:
        query = "&".join(f"{name}={value}" for name, value in parameters.items())
        url = f"{address.replace('http', 'ws', 1)}{ROOT}/ws/{session_id}?{query}"
        self._line = connect(url, max_size=None)
        self.ws: ClientConnection = self._line.__enter__()
        self.sent = 0
        self.heard = 0
        self.until("connection_established")

    def send(self, data: str | bytes) -> None:
        """A message."""
        self.sent += len(data)
        self.ws.send(data)

    def until(self, kind: str, timeout_s: float = 60.0) -> dict[str, Any]:
        """The next message of this type."""
        ends = time.monotonic() + timeout_s
        while True:
            data = self.ws.recv(timeout=max(0.0, ends - time.monotonic()))
            self.heard += len(data)
            if isinstance(data, bytes):
                continue
            message: dict[str, Any] = json.loads(data)
            if message["type"] == "error":
                raise RuntimeError(f"{message}")
            if message["type"] == kind:
                return message

    def close(self) -> None:
        """Leave."""
        self._line.__exit__(None, None, None)
