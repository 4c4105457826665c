"""What the tests of managed servers share: a folder with programs, a quick pace, and ways to wait."""

import json
import logging
import os
import select
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from duologue.engines.chat.responder import Patience
from duologue.engines.managed_llm.keeper import Pace
from duologue.engines.managed_llm.kinds import LLAMA_SERVER, OLLAMA, VLLM, Kind
from duologue.engines.managed_llm.responder import ManagedResponder
from duologue.ports import TextDelta
from tests.engines.chat.chat_talk import prompt

PACE = Pace(
    start_s=30,
    poll_s=0.01,
    health_s=0.05,
    hung_s=0.2,
    retry_s=0.01,
    retry_most_s=0.05,
    grace_s=3,
)
PATIENCE = Patience(connect_s=5, first_s=10, next_s=10, models_s=10, warm_up_s=10)
FAKE = Path(__file__).with_name("fake_server.py")


@dataclass
class Bench:
    """Programs in a folder, and a model for each of them."""

    folder: Path
    made: list[ManagedResponder] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.bin = self.folder / "bin"
        self.bin.mkdir()
        for kind in (VLLM, LLAMA_SERVER, OLLAMA):
            program = self.bin / kind.binary
            program.write_text(f"#!{sys.executable} -S\n{FAKE.read_text()}")
            program.chmod(0o755)
        self.checkpoint = self.folder / "tiny"
        self.checkpoint.mkdir()
        (self.checkpoint / "config.json").write_text("{}")
        self.gguf = self.folder / "small.gguf"
        self.gguf.write_text("GGUF")
        self.behave("serve")

    def behave(self, *starts: str, models: Sequence[str] = ("llama3.2:latest",)) -> None:
        """From now on, one start after the other."""
        (self.bin / "starts.jsonl").unlink(missing_ok=True)
        text = json.dumps({"starts": starts, "models": list(models)})
        (self.bin / "plan.json").write_text(text)

    def starts(self) -> list[dict[str, Any]]:
        """Those that there were."""
        log = self.bin / "starts.jsonl"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    def make(self, kind: Kind, argument: str, pace: Pace = PACE, **more: Any) -> ManagedResponder:
        """A responder, which is closed after the test."""
        path = str(self.bin)
        it = ManagedResponder(kind, argument, path=path, pace=pace, patience=PATIENCE, **more)
        self.made.append(it)
        return it

    def vllm(self, options: str = "", pace: Pace = PACE, **more: Any) -> ManagedResponder:
        """One with the checkpoint that is there."""
        return self.make(VLLM, f"{self.checkpoint}{options}", pace, **more)


async def words(responder: Any, text: str) -> str:
    """What it answers."""
    told = [delta async for delta in responder.respond(prompt(text))]
    return "".join(delta.text for delta in told if isinstance(delta, TextDelta)).strip()


class _Ear(logging.Handler):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.heard = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if self.text in record.getMessage():
            self.heard.set()


@contextmanager
def hearing(text: str) -> Iterator[threading.Event]:
    """An event that is set when the log says this."""
    ear, log = _Ear(text), logging.getLogger("duologue.engines")
    level = log.level
    log.setLevel(logging.INFO)
    log.addHandler(ear)
    try:
        yield ear.heard
    finally:
        log.removeHandler(ear)
        log.setLevel(level)


def gone(pid: int) -> bool:
    """Whether this process is gone, within some seconds."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], 10)[0])
    finally:
        os.close(handle)


def children(pid: int) -> list[int]:
    """Of a process that runs."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def parent(pid: int) -> int:
    """Of a process that runs."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
