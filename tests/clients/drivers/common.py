"""The conversation that every Python client has with the server, and what it must tell of it in the end.

A driver is run by its client's own interpreter, so nothing here needs more than Python itself. It is given
one JSON object as its argument (`Task`) and prints one JSON object (`Ear.findings`).
"""

import asyncio
import json
import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

RATE_HZ = 24_000
FRAME_MS = 20
FRAME_BYTES = RATE_HZ * FRAME_MS // 1000 * 2
PATIENCE_S = 20.0
# A whole conversation takes about twenty seconds.
WHOLE_S = 75.0
# So much of an answer is heard before it is spoken over.
LISTEN_MS = 700

LAMP = "lamp"
LAMP_ANSWER = "the lamp is lit"
ASK_FOR_LAMP = f"please call {LAMP}"


@dataclass(frozen=True)
class Task:
    """What a driver is to do.

    Attributes:
        url: of the server, http or https.
        utterances: three recordings, mono 16-bit samples at 24 kHz.
        folder: where the sound of the answers is kept, as `<number>.pcm`.
    """

    url: str
    utterances: list[bytes]
    folder: Path

    @property
    def ws(self) -> str:
        """The same address for a WebSocket."""
        return self.url.replace("http", "ws", 1)

    @classmethod
    def given(cls) -> "Task":
        """The task in this process's argument."""
        told = json.loads(sys.argv[1])
        spoken = [Path(name).read_bytes() for name in told["utterances"]]
        return cls(told["url"], spoken, Path(told["folder"]))


@dataclass
class Answer:
    """One spoken answer, as far as it came."""

    text: str = ""
    sound: bytearray = field(default_factory=bytearray)
    done: bool = False
    interrupted: bool = False

    @property
    def sound_ms(self) -> float:
        """How much of it came."""
        return len(self.sound) / 2 / RATE_HZ * 1000


class Ear:
    """What the client told of the session, in its own callbacks."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.answers: dict[str, Answer] = {}
        self.calls: list[dict[str, Any]] = []
        self.errors: list[str] = []
        self._changed = asyncio.Event()

    def answer(self, key: str) -> Answer:
        """The answer of this name, which begins with its first mention."""
        self._changed.set()
        return self.answers.setdefault(key, Answer())

    def hear(self, transcript: str) -> None:
        """What the server understood of the user."""
        self.heard.append(transcript)
        self._changed.set()

    def call(self, arguments: dict[str, Any]) -> str:
        """The function that the model may call."""
        self.calls.append(arguments)
        self._changed.set()
        return LAMP_ANSWER

    def fail(self, what: object) -> None:
        """Something that a user of this client would see as an error."""
        self.errors.append(str(what))
        self._changed.set()

    def changed(self) -> None:
        """Look again."""
        self._changed.set()

    @property
    def last(self) -> Answer:
        """The latest answer, or one of which nothing came."""
        return next(reversed(self.answers.values()), Answer())

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for something that the callbacks tell.

        Raises:
            TimeoutError: it did not happen, or an error came instead.
        """
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not condition():
                    if self.errors:
                        raise TimeoutError
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            self.fail(f"did not happen: {what}")
            raise

    def findings(self, folder: Path) -> dict[str, Any]:
        """All of it as plain data; the sound lies in the folder."""
        told = []
        for number, answer in enumerate(self.answers.values()):
            (folder / f"{number}.pcm").write_bytes(answer.sound)
            told.append(
                {"text": answer.text, "done": answer.done, "interrupted": answer.interrupted}
            )
        return {
            "heard": self.heard,
            "answers": told,
            "calls": self.calls,
            "errors": self.errors,
        }


class Microphone:
    """A microphone that is never off: 20 ms of sound every 20 ms, silence when nobody speaks."""

    def __init__(self) -> None:
        self._ahead: deque[bytes] = deque()

    def say(self, pcm: bytes) -> None:
        """Speak after what is being said."""
        whole = len(pcm) - len(pcm) % FRAME_BYTES
        self._ahead.extend(pcm[at : at + FRAME_BYTES] for at in range(0, whole, FRAME_BYTES))

    async def frames(self) -> AsyncIterator[bytes]:
        """The sound, in real time, until nobody listens any more."""
        due = time.monotonic()
        while True:
            yield self._ahead.popleft() if self._ahead else bytes(FRAME_BYTES)
            due += FRAME_MS / 1000
            await asyncio.sleep(max(0.0, due - time.monotonic()))


async def converse(
    task: Task, microphone: Microphone, ear: Ear, write: Callable[[str], Awaitable[None]]
) -> None:
    """Three spoken turns, the second answer spoken over, then a function and its result.

    `write` sends a typed message and asks for its answer, in the client's own way.
    """
    first, second, third = task.utterances
    before = len(ear.answers)

    def answered(count: int) -> bool:
        return len(ear.answers) == before + count and ear.last.done

    microphone.say(first)
    await ear.until(lambda: answered(1), "the first answer")
    microphone.say(second)
    await ear.until(
        lambda: len(ear.answers) == before + 2 and ear.last.sound_ms >= LISTEN_MS,
        "sound of the second answer",
    )
    spoken_over = ear.last
    microphone.say(third)
    await ear.until(lambda: spoken_over.interrupted, "the interruption")
    await ear.until(lambda: answered(3), "the third answer")
    await write(ASK_FOR_LAMP)
    await ear.until(lambda: answered(4), "the answer with the function's result")


class _Complaints(logging.Handler):
    """A client that logs an error has one, even where it goes on."""

    def __init__(self, ear: Ear) -> None:
        super().__init__(logging.ERROR)
        self._ear = ear

    def emit(self, record: logging.LogRecord) -> None:
        self._ear.errors.append(f"logged by {record.name}: {record.getMessage()}")


def tell(session: Callable[[Task, Ear], Coroutine[Any, Any, None]]) -> None:
    """Run a driver and print what it found, also when it broke or hangs."""
    task, ear = Task.given(), Ear()
    logging.getLogger().addHandler(_Complaints(ear))

    def end() -> None:
        sys.stdout.write(json.dumps(ear.findings(task.folder)) + "\n")
        sys.stdout.flush()
        os._exit(0)

    def give_up() -> None:
        ear.errors.append("the driver hangs")
        end()

    watch = threading.Timer(WHOLE_S, give_up)
    watch.daemon = True
    watch.start()
    try:
        asyncio.run(session(task, ear))
    except BaseException as error:  # noqa: BLE001 - whatever it is, the test is to see it
        ear.errors.append(repr(error))
    end()
