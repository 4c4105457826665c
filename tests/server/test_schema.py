"""What the OpenAPI description says is what comes: every operation of the whole server, asked rightly and wrongly.

A real server with fake engines; schemathesis makes the requests out of the description, the same ones each time.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis.errors import Unsatisfiable

from tests.support.server import RunningServer, server

schemathesis: Any = pytest.importorskip("schemathesis")

pytestmark = pytest.mark.timeout(180)

EXAMPLES = 8
"""Of requests as they should be, and as many of others, for each operation."""

SESSIONS = "/api/v1/audio-streaming/sessions"
EVENTS = f"{SESSIONS}/{{session_id}}/events"
SETTINGS = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)

MAY_FAIL = (501, 503)
"""Not installed here, or not now: the only answers of 500 and above, and only where they are described."""


@pytest.fixture(scope="module")
def running() -> Iterator[RunningServer]:
    with server("--engines", "fake", "--fake", "tts_s=0.3,llm_tokens=3") as started:
        yield started


class Asking:
    """Sends requests, and notes what is not as it was described."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.asked: Counter[str] = Counter()
        self.good: Counter[str] = Counter()
        self.wrong: dict[str, str] = {}
        self._session = ""

    def ask(self, operation: Any, mode: Any) -> None:
        """So many requests of one kind."""

        @seed(6)
        @SETTINGS
        @given(case=operation.as_strategy(generation_mode=mode))
        def examples(case: Any) -> None:
            self._send(operation, case)

        try:
            examples()
        except Unsatisfiable:  # nothing can be wrong with a request that carries nothing
            assert mode is schemathesis.GenerationMode.NEGATIVE

    def _send(self, operation: Any, case: Any) -> None:
        name = operation.label
        if "session_id" in case.path_parameters and self.asked[name] % 3:
            case.path_parameters["session_id"] = self._open_session()
        if operation.path == EVENTS:
            case.query["follow"] = "false"
        answer = case.call(timeout=20)
        self.asked[name] += 1
        self.good[name] += answer.status_code < 400
        problem = self._problem(case, answer)
        if problem:
            self.wrong.setdefault(f"{name} {answer.status_code}", f"{problem}: {answer.text[:300]}")

    def _problem(self, case: Any, answer: Any) -> str:
        if answer.status_code >= 500 and answer.status_code not in MAY_FAIL:
            return "the server failed"
        checks = schemathesis.checks
        try:
            case.validate_response(
                answer,
                checks=[
                    checks.CHECKS.get_one("status_code_conformance"),
                    checks.CHECKS.get_one("content_type_conformance"),
                    checks.CHECKS.get_one("response_headers_conformance"),
                    checks.CHECKS.get_one("response_schema_conformance"),
                ],
            )
        except BaseExceptionGroup as failures:  # all are told at the end, together
            return " ".join(str(failure) for failure in failures.exceptions)[:600]
        return ""

    def _open_session(self) -> str:
        """A session that is there, and has something in its transcript."""
        if self._session:
            asked = httpx.get(f"{self.url}{SESSIONS}/{self._session}")
            if asked.status_code == 200:
                return self._session
        made = httpx.post(f"{self.url}{SESSIONS}", json={"vad": False})
        self._session = made.json()["session_id"]
        at = f"{self.url}{SESSIONS}/{self._session}"
        sound = httpx.post(
            f"{at}/audio?is_final=true",
            content=b"\x00\x20" * 8_000,
            headers={"Content-Type": "audio/pcm;rate=16000"},
        )
        assert sound.status_code == 200, sound.text
        with httpx.stream("GET", f"{at}/events?after=0") as events:
            next(line for line in events.iter_lines() if line == "event: transcription")
        return self._session


def test_nothing_comes_that_is_not_described(running: RunningServer) -> None:
    document = httpx.get(f"{running.url}/openapi.json").json()
    described = {
        f"{method.upper()} {path}"
        for path, methods in document["paths"].items()
        for method in methods
    }
    schema = schemathesis.openapi.from_url(f"{running.url}/openapi.json")
    asking = Asking(running.url)
    for found in schema.get_all_operations():
        operation = found.ok()
        for mode in schemathesis.GenerationMode:
            asking.ask(operation, mode)
    assert set(asking.asked) == described
    assert f"POST {SESSIONS}" in described
    assert not asking.wrong, "\n".join(f"{k}: {v}" for k, v in asking.wrong.items())
    never_good = described - {name for name, count in asking.good.items() if count}
    assert never_good <= NEVER_GOOD


NEVER_GOOD = {
    "POST /v1/audio/transcriptions",  # made bytes are no file of sound
    "POST /v1/audio/translations",
    "POST /v1/realtime/calls",  # nor an SDP offer
    "POST /v1/realtime",
    "POST /v1/realtime/calls/{call_id}/hangup",
    "POST /v1/voices",
    "GET /v1/models/{model_id}",
}
"""Operations whose good answers have their own tests: what they take cannot be made up."""
