"""`duologue engine-server`, as an operator meets it."""

import json
import signal
import urllib.request

import pytest

from duologue.cli.engine_server import main
from duologue.core.errors import DuologueError
from tests.engines.endpoint.lent import engine_server

FAKE = ("--role", "tts", "--engine", "fake-tts")


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (("--host", "0.0.0.0"), "no_token"),
        (("--host", "192.0.2.1", "--token", "t"), "address_unavailable"),
        (("--engine", "nix"), "engine_unknown"),
        (("--role", "stt"), "engine_unknown"),
        (("--tls", "a.pem,b.pem"), "tls_file_missing"),
    ],
)
def test_what_cannot_be_is_refused_with_a_remedy(args: tuple[str, ...], code: str) -> None:
    with pytest.raises(DuologueError) as refused:
        main([*FAKE, "--port", "0", *args])
    assert refused.value.code == code
    assert refused.value.remedy


@pytest.mark.parametrize(
    "args",
    [
        (),
        ("--role", "llm", "--engine", "skills"),
        (*FAKE, "--port", "70000"),
        (*FAKE, "--max-streams", "-1"),
    ],
)
def test_wrong_calls_exit_with_2(args: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as left:
        main([*args])
    assert left.value.code == 2


def test_it_says_what_it_serves_and_stops_when_told() -> None:
    token = {"DUOLOGUE_ENGINE_TOKEN": "secret"}
    args = (*FAKE, "--host", "0.0.0.0", "--port", "0", "--max-streams", "2")
    with engine_server(*args, **token) as running:
        assert "tts fake-tts is ready, 2 streams: ws://0.0.0.0:" in running.output
        with urllib.request.urlopen(f"http://127.0.0.1:{running.port}/ready", timeout=5) as answer:
            assert json.load(answer)["max_streams"] == 2
        running.signal(signal.SIGTERM)
        assert running.process.wait(10) == 0
    assert "secret" not in running.output
