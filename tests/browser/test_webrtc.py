"""A call from a real browser: Debian's chromium, with recorded speech for a microphone and a page of its own."""

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from duologue.engines.fakes import tone_hz
from tests.browser.test_page import microphone, page
from tests.support.server import RunningServer, server

pytest.importorskip("aiortc")

pytestmark = [pytest.mark.full, pytest.mark.timeout(120)]

__all__ = ["microphone"]  # the fixture

BIN_HZ = 48_000 / 4096


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def origin() -> Iterator[str]:
    """Somebody else's web server, with a page that wants to use ours."""
    handler = functools.partial(_Quiet, directory=str(Path(__file__).parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as pages:
        thread = threading.Thread(target=pages.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{pages.server_address[1]}"
        pages.shutdown()
        thread.join()


@contextmanager
def calling(
    running: RunningServer, origin: str, tmp_path: Path, sound: Path, *, speaks: bool = True
) -> Iterator[Any]:
    """A page in a call."""
    flags = ["--use-fake-ui-for-media-stream"] if speaks else []
    with page(tmp_path, sound, *flags) as (shown, faults):
        shown.goto(f"{origin}/webrtc.html")
        shown.evaluate("([url, speaks]) => call.begin(url, speaks)", [running.url, speaks])
        shown.wait_for_function("call.of('session.created').length === 1", timeout=10_000)
        yield shown
        assert not events(shown, "error")
        assert not faults


def events(shown: Any, kind: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = shown.evaluate("kind => call.of(kind)", kind)
    return found


def until(shown: Any, kind: str, count: int = 1, timeout_s: float = 40) -> dict[str, Any]:
    shown.wait_for_function(
        "([kind, count]) => call.of(kind).length >= count",
        arg=[kind, count],
        timeout=timeout_s * 1000,
    )
    return events(shown, kind)[count - 1]


def heard(shown: Any, since_ms: float, until_ms: float) -> list[dict[str, float]]:
    found: list[dict[str, float]] = shown.evaluate(
        "([a, b]) => call.heard.filter(h => a <= h.at && h.at < b)", [since_ms, until_ms]
    )
    return found


def test_three_turns_are_spoken_and_heard(tmp_path: Path, microphone: Path, origin: str) -> None:
    fake = ("--engines", "fake", "--fake", "tts_s=1,llm_tokens=8", "--origin", origin)
    with server(*fake) as running, calling(running, origin, tmp_path, microphone) as shown:
        assert shown.evaluate("call.status") == 201
        assert shown.evaluate("call.location").startswith("/v1/realtime/calls/rtc_")
        stopped = 0.0
        for turn in (1, 2, 3):
            stopped = until(shown, "output_audio_buffer.stopped", turn)["at"]
            began = events(shown, "output_audio_buffer.started")[turn - 1]["at"]
            answer = events(shown, "response.output_audio_transcript.done")[turn - 1]["transcript"]
            sound = heard(shown, began + 400, stopped)
            assert len(sound) > 15
            loud = [h for h in sound if h["level"] > 0.1]
            assert len(loud) > 0.9 * len(sound)
            right = [h for h in loud if abs(h["hz"] - tone_hz(answer)) <= BIN_HZ]
            assert len(right) > 0.9 * len(loud)
        pause = heard(shown, stopped + 500, stopped + 1_500)
        assert max((h["level"] for h in pause), default=0.0) < 0.01
        assert not events(shown, "response.output_audio.delta")
        statuses = [e["response"]["status"] for e in events(shown, "response.done")]
        assert statuses == ["completed"] * 3


def test_speaking_over_an_answer_silences_it(tmp_path: Path, microphone: Path, origin: str) -> None:
    fake = ("--engines", "fake", "--fake", "tts_s=8,llm_tokens=12", "--origin", origin)
    with server(*fake) as running, calling(running, origin, tmp_path, microphone) as shown:
        cleared = until(shown, "output_audio_buffer.cleared")
        truncated = until(shown, "conversation.item.truncated")
        until(shown, "output_audio_buffer.started", 2)
        began = [e["at"] for e in events(shown, "output_audio_buffer.started")]
        assert events(shown, "response.done")[0]["response"]["status"] == "cancelled"
        assert 0 < truncated["audio_end_ms"] < 8_000
        before = heard(shown, began[0] + 400, began[0] + truncated["audio_end_ms"] - 200)
        assert min(h["level"] for h in before) > 0.1
        after = heard(shown, cleared["at"] + 200, began[1])
        assert max((h["level"] for h in after), default=0.0) < 0.01


def test_a_page_without_a_microphone_has_a_function_called(
    tmp_path: Path, microphone: Path, origin: str
) -> None:
    """Without its permission, the browser hides its addresses behind names of mDNS."""
    fake = ("--engines", "fake", "--fake", "tts_s=1,llm_tokens=12", "--origin", origin)
    with (
        server(*fake) as running,
        calling(running, origin, tmp_path, microphone, speaks=False) as shown,
    ):
        candidates = shown.evaluate("call.candidates")
        assert candidates
        assert all(".local " in candidate for candidate in candidates)
        assert shown.evaluate("call.answered_ms") < 900  # none of them was asked for
        tool = {"type": "function", "name": "lamp", "parameters": {"type": "object"}}
        shown.evaluate(
            "tools => call.send({type: 'session.update', session: {type: 'realtime', tools}})",
            [tool],
        )
        item: dict[str, Any] = {
            "type": "message",
            "role": "user",
            "content": [{"type": "input_text", "text": "now call lamp"}],
        }
        give = "item => call.send({type: 'conversation.item.create', item})"
        shown.evaluate(give, item)
        shown.evaluate("call.send({type: 'response.create'})")
        function = until(shown, "response.done")["response"]["output"][0]
        assert (function["type"], function["name"]) == ("function_call", "lamp")
        result = {"call_id": function["call_id"], "output": "it is lit"}
        shown.evaluate(give, {"type": "function_call_output", **result})
        shown.evaluate("call.send({type: 'response.create'})")
        stopped = until(shown, "output_audio_buffer.stopped")["at"]
        answer = events(shown, "response.output_audio_transcript.done")[0]["transcript"]
        assert "it is lit" in answer
        sound = heard(shown, stopped - 500, stopped - 100)
        assert min(h["level"] for h in sound) > 0.1
        shown.evaluate("call.pc.close()")
