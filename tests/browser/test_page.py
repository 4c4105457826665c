"""The page in a real browser: Debian's chromium, with recorded speech for a microphone."""

import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.clips import clip, silence
from tests.support.server import RunningServer, server

sync_api = pytest.importorskip("playwright.sync_api")

pytestmark = [pytest.mark.full, pytest.mark.timeout(120)]

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--use-fake-device-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
]


@pytest.fixture(scope="module")
def microphone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three phrases with pauses between them, as chromium's microphone takes them."""
    path = tmp_path_factory.mktemp("sound") / "microphone.wav"
    names = ("commands-cards_002.flac", "commands-cards_003.flac", "commands-something.flac")
    sound = b"".join(clip(name, 48_000) + silence(3_000, 48_000) for name in names)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(48_000)
        file.writeframes(sound)
    return path


@contextmanager
def page(tmp_path: Path, microphone: Path, *flags: str) -> Iterator[tuple[Any, list[str]]]:
    """A page in a fresh profile, and the errors that it has."""
    assert CHROMIUM.exists(), "run .ci/setup: the browser tests need Debian's chromium"
    faults: list[str] = []
    capture = f"--use-file-for-fake-audio-capture={microphone}%noloop"
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch_persistent_context(
            str(tmp_path / "profile"),
            executable_path=str(CHROMIUM),
            headless=True,
            args=[*FLAGS, capture, *flags],
        )
        try:
            opened = browser.new_page()
            opened.on("pageerror", lambda error: faults.append(str(error)))
            opened.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)
            yield opened, faults
        finally:
            browser.close()


def lines(shown: Any, kind: str) -> list[str]:
    return [text.strip() for text in shown.locator(f"#lines li.{kind}").all_inner_texts()]


def test_speaking_to_the_page_is_answered_turn_after_turn(tmp_path: Path, microphone: Path) -> None:
    with (
        server("--engines", "fake", "--fake", "tts_s=1,llm_tokens=8") as running,
        page(tmp_path, microphone, "--use-fake-ui-for-media-stream") as (shown, faults),
    ):
        shown.goto(running.url)
        shown.click("#talk")
        shown.wait_for_function(
            "document.querySelectorAll('li.us .time').length === 3", timeout=40_000
        )
        heard, said = lines(shown, "you"), lines(shown, "us")
        assert len(heard) == len(said) == 3
        for question, answer in zip(heard, said, strict=True):
            words = " ".join(question.removeprefix("you").split()[:3])
            assert words in answer
            assert "ms after you stopped" in answer
        assert shown.inner_text("#state") == "listening"
        shown.click("#talk")
        assert shown.inner_text("#state") == "not connected"
        assert not faults
        assert not lines(shown, "bad")


def test_speaking_over_an_answer_silences_the_page(tmp_path: Path, microphone: Path) -> None:
    with (
        server("--engines", "fake", "--fake", "tts_s=8,llm_tokens=12") as running,
        page(tmp_path, microphone, "--use-fake-ui-for-media-stream") as (shown, faults),
    ):
        shown.goto(running.url)
        shown.click("#talk")
        shown.wait_for_function("document.querySelectorAll('li.you').length === 2", timeout=30_000)
        left = shown.evaluate("talk.answer === null || talk.answer.played >= 0")
        assert left
        assert not faults
        assert not lines(shown, "bad")


def test_a_refused_microphone_is_explained(
    tmp_path: Path, microphone: Path, fake_server: RunningServer
) -> None:
    with page(tmp_path, microphone, "--deny-permission-prompts") as (shown, _):
        shown.goto(fake_server.url)
        shown.click("#talk")
        shown.wait_for_selector("li.bad")
        assert "microphone was refused" in lines(shown, "bad")[0]
        assert shown.inner_text("#talk") == "Start talking"


def test_a_server_with_a_key_asks_for_it(tmp_path: Path, microphone: Path) -> None:
    with (
        server("--engines", "fake", "--fake", "tts_s=1", "--api-key", "sesame") as running,
        page(tmp_path, microphone, "--use-fake-ui-for-media-stream") as (shown, _),
    ):
        shown.goto(running.url)
        shown.click("#talk")
        shown.fill("#key", "sesame")
        shown.click("dialog button")
        shown.wait_for_selector("li.us", timeout=20_000)
