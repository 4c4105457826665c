"""How soon a cancelled stream is gone while its network runs, and the network free for the next."""

import threading
import time
from typing import Any

from duologue.engines.base import BlockingEngine
from duologue.engines.threads import StreamThread
from duologue.engines.voices.inference import Inference
from duologue.ports import Event, Say, TtsOptions
from tests.engines.contract import LONG

PATIENCE_S = 20.0
TRIES = 3
"""The best counts: the machine has other things to do."""


class _Told:
    """A session that tells when it runs."""

    def __init__(self, session: Any, running: threading.Event) -> None:
        self._session = session
        self._running = running

    def run(self, *args: Any) -> Any:
        self._running.set()
        return self._session.run(*args)


def given_up_ms(engine: BlockingEngine, inference: Inference) -> tuple[float, float]:
    """(until the stream has ended, until its network has)."""
    left, freed = [], []
    session = inference.session
    for _ in range(TRIES):
        events: list[Event] = []
        running, done = threading.Event(), threading.Event()
        inference.session = _Told(session, running)
        stream = StreamThread(engine, TtsOptions(), events.append, lambda: None, done.set)
        stream.put(Say(0, LONG))
        assert running.wait(PATIENCE_S)
        began = time.perf_counter()
        stream.close(cancel=True)
        assert done.wait(PATIENCE_S)
        left.append((time.perf_counter() - began) * 1000)
        inference._thread.submit(lambda: None).result(PATIENCE_S)
        freed.append((time.perf_counter() - began) * 1000)
        assert events == []
    return min(left), min(freed)
