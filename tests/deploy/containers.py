"""A service of a Compose file as processes of this machine: its command, its environment, its health check.

In place of an image there is the environment that runs the tests. Folders are below a temporary one, ports are free
ones, and the names of services are 127.0.0.1; else everything is as the files have it.
"""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.deploy import dockerfiles
from tests.deploy.composed import ROOT

PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

READY = re.compile(r"is ready(?: after .* s|, \d+ streams): \w+://")

PORTS = {"serve": 8_000, "engine-server": 9_000}


def free_port() -> int:
    """One that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


@dataclass
class Container:
    """A service that is made, and may run."""

    service: Mapping[str, Any]
    folder: Path
    names: Mapping[str, int]
    port: int = field(default_factory=free_port)
    process: "subprocess.Popen[str] | None" = None
    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.image = dockerfiles.read(ROOT / self.service["build"]["dockerfile"])[-1]

    @property
    def output(self) -> str:
        return "".join(self.lines)

    @property
    def command(self) -> list[str]:
        words = self.service.get("command") or self.image.words("CMD")
        entry = self.service.get("entrypoint") or self.image.words("ENTRYPOINT")
        return [*entry, *words, "--port", str(self.port)]

    @property
    def env(self) -> dict[str, str]:
        """The image's, then the file's; nothing of ours but where programs are."""
        given = {**self.image.env, **self.service["environment"], "PATH": PATH}
        return {name: self._here(value) for name, value in given.items() if value is not None}

    def _here(self, text: str) -> str:
        if text in self.image.words("VOLUME"):
            return str(self.folder / text.removeprefix("/"))
        for name, port in self.names.items():
            text = re.sub(rf"//{name}:\d+", f"//127.0.0.1:{port}", text)
        return text

    def is_healthy(self) -> bool:
        """What its health check says."""
        how, *words = self.service["healthcheck"]["test"]
        assert how == "CMD"
        inside = PORTS[self.service["command"][0]]
        words = [word.replace(f"127.0.0.1:{inside}", f"127.0.0.1:{self.port}") for word in words]
        assert str(self.port) in " ".join(words)
        done = subprocess.run(words, env=self.env, capture_output=True, check=False, timeout=20)
        return done.returncode == 0

    @contextlib.contextmanager
    def running(self, timeout_s: float = 45) -> Iterator[None]:
        """From the moment in which it says that it is ready."""
        for folder in self.image.words("VOLUME"):
            (self.folder / folder.removeprefix("/")).mkdir(parents=True, exist_ok=True)
        self.process = subprocess.Popen(
            self.command,
            env=self.env,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        ready = threading.Event()
        reader = threading.Thread(target=self._read, args=(ready,), daemon=True)
        reader.start()
        try:
            assert ready.wait(timeout_s), self.output
            assert self.process.poll() is None, self.output
            yield
        finally:
            if self.process.poll() is None:
                self.process.kill()
            self.process.wait(10)
            reader.join(5)
            assert self.process.stdout is not None
            self.process.stdout.close()

    def _read(self, ready: threading.Event) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if READY.search(line):
                ready.set()
        ready.set()

    def stop(self) -> int:
        """As Docker does: a signal, and as long as the file grants."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(float(self.service["stop_grace_period"].removesuffix("s")))
