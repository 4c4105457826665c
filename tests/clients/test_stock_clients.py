"""Stock clients, as their makers publish them, against a real server: nothing but its address is changed.

Each has the same conversation in its own process and environment (see `drivers/common.py`): three spoken turns
in one session, the second answer spoken over, then a function called and its result used. The fakes make what
must come back known to the letter, and the pitch of each answer follows from its text.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from duologue.engines.fakes import tone_hz
from duologue.server import tls
from tests.clients import environments
from tests.support.clips import clip
from tests.support.server import RunningServer, server

# The first run also installs the client.
pytestmark = [pytest.mark.full, pytest.mark.timeout(420)]

SPOKEN = ("commands-cards_002.flac", "commands-cards_003.flac", "commands-something.flac")
ANSWER_WORDS = 10
"""The fake model's; a transcript of two drafts, for a speaker who paused, does not fit into them whole."""

ANSWER_MS = 3_000
FAKES = ("--engines", "fake", "--fake", f"tts_s={ANSWER_MS / 1000},llm_tokens=10")
DRIVER_S = 120


@pytest.fixture(scope="module")
def plain() -> Iterator[RunningServer]:
    with server(*FAKES) as running:
        yield running


def converse(
    command: list[str], running: RunningServer, folder: Path, cwd: Path, **env: str
) -> Any:
    """Let a driver talk to the server; what it found."""
    spoken = [folder / f"say-{number}.pcm" for number in range(len(SPOKEN))]
    for name, path in zip(SPOKEN, spoken, strict=True):
        path.write_bytes(clip(name))
    task = {"url": running.url, "utterances": [str(p) for p in spoken], "folder": str(folder)}
    before = sessions(running)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}
    done = subprocess.run(
        [*command, json.dumps(task)],
        cwd=cwd,
        env={**kept, **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=DRIVER_S,
    )
    assert done.stdout.strip(), f"the driver says nothing:\n{done.stderr[-4000:]}"
    findings = json.loads(done.stdout.splitlines()[-1])
    assert not findings["errors"], f"{findings['errors']}\n{done.stderr[-4000:]}"
    assert sessions(running) - before == 1  # a client that connects again hides why
    return findings


def sessions(running: RunningServer) -> int:
    """How many the server has begun."""
    return len(re.findall(r"sess_\w+: connected", running.output))


def assert_conversed(findings: Any, folder: Path, greetings: int = 0) -> None:
    """All of it happened, and the client knows it.

    Args:
        findings: what the driver told.
        folder: where the sound of the answers lies.
        greetings: answers before the first turn.
    """
    heard = findings["heard"]
    assert len(heard) == 3
    assert len(set(heard)) == 3
    assert all(re.fullmatch(r"(\w+ \w+ \w+ \d+ ms ?)+", text) for text in heard)
    whole = [" ".join(f"You said {text} and so on".split()[:ANSWER_WORDS]) + "." for text in heard]
    answers = findings["answers"][greetings:]
    first, cut, third, told = (answer["text"] for answer in answers)
    assert [first, third] == [whole[0], whole[2]]
    assert cut  # some clients shorten it to what was heard
    assert whole[1].startswith(cut)
    assert "the lamp is lit" in told
    assert told.startswith("You said the function returned")
    assert findings["calls"] == [{"said": True}]
    assert [answer["interrupted"] for answer in answers] == [False, True, False, False]
    assert all(answer["done"] for answer in answers if not answer["interrupted"])
    for number, text in enumerate([whole[0], whole[1], whole[2], told]):
        pcm = (folder / f"{number + greetings}.pcm").read_bytes()
        assert loudness(pcm) > 3_000
        assert abs(pitch_hz(pcm) - tone_hz(text)) < 10
        heard_ms = len(pcm) / 48
        spoken_over = number == 1
        assert 500 < heard_ms < ANSWER_MS - 300 if spoken_over else abs(heard_ms - ANSWER_MS) < 50


def pitch_hz(pcm: bytes) -> float:
    sound = np.frombuffer(pcm, np.int16).astype(np.float64)
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    return float(np.argmax(spectrum)) * 24_000 / len(sound)


def loudness(pcm: bytes) -> float:
    """Root of the mean square; silence is 0, the fake voice 6 364."""
    return float(np.sqrt(np.mean(np.frombuffer(pcm, np.int16).astype(np.float64) ** 2)))


def python_client(client: str, driver: str, running: RunningServer, folder: Path) -> Any:
    command = [str(environments.python_of(client)), "-m", f"tests.clients.drivers.{driver}"]
    return converse(command, running, folder, environments.ROOT)


def node_client(driver: str, running: RunningServer, folder: Path, **env: str) -> Any:
    """JavaScript finds its packages beside the script, so the script goes to where they can be."""
    node, modules = environments.node()
    for script in environments.NODE.glob("*.mjs"):
        shutil.copy(script, folder)
    (folder / "node_modules").symlink_to(modules)
    return converse([str(node), driver], running, folder, folder, **env)


def test_openai_agents_for_python(plain: RunningServer, tmp_path: Path) -> None:
    assert_conversed(python_client("agents", "agents_python", plain, tmp_path), tmp_path)


def test_pipecat(plain: RunningServer, tmp_path: Path) -> None:
    findings = python_client("pipecat", "pipecat_voice", plain, tmp_path)
    # pipecat's model speaks first: the conversation begins with what the context holds.
    assert findings["answers"][0]["text"].startswith("You said Greet the user.")
    assert_conversed(findings, tmp_path, greetings=1)


def test_livekit_agents(plain: RunningServer, tmp_path: Path) -> None:
    assert_conversed(python_client("livekit", "livekit_voice", plain, tmp_path), tmp_path)


def test_openai_agents_for_javascript(plain: RunningServer, tmp_path: Path) -> None:
    assert_conversed(node_client("agents_driver.mjs", plain, tmp_path), tmp_path)


def test_openai_for_javascript_over_tls(tmp_path: Path) -> None:
    certificate, key = tls.self_made(tmp_path / "tls")
    with server(*FAKES, "--tls", f"{certificate},{key}") as running:
        assert running.url.startswith("https://")
        trust = {"NODE_EXTRA_CA_CERTS": str(certificate)}
        findings = node_client("openai_driver.mjs", running, tmp_path, **trust)
    assert_conversed(findings, tmp_path)
