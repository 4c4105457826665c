"""The command line, as a person at a terminal meets it."""

import os
import socket
import ssl
import subprocess
import sys
import urllib.request
import wave
from pathlib import Path

import pytest

from tests.support.clips import DATA
from tests.support.server import RunningServer, server

pytestmark = pytest.mark.timeout(120)


ME = str(Path(__file__))


def duologue(*args: str, **env: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "duologue.cli", *args],
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
        env={**os.environ, **env},
    )


def test_help_lists_the_commands_and_each_has_its_own() -> None:
    done = duologue("--help")
    assert done.returncode == 0
    assert duologue().returncode == 2
    for command in (
        "serve",
        "talk",
        "replay",
        "doctor",
        "models",
        "plan",
        "gpu",
        "calibrate",
        "engine-server",
    ):
        assert command in done.stdout
        own = duologue(command, "--help")
        assert own.returncode == 0
        assert f"duologue {command}" in own.stdout


def test_wrong_calls_exit_with_2() -> None:
    for args in (("fly",), ("serve", "--port"), ("serve", "--nix"), ("replay",)):
        assert duologue(*args).returncode == 2
    assert duologue("--version").stdout.startswith("duologue 0.")


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (("serve", "--host", "0.0.0.0"), "no_api_key", "--no-auth"),
        (("serve", "--port", "77777"), "setting_invalid", "port"),
        (("serve", "--stt", "nix"), "engine_unknown", "Known here"),
        (("serve", "--engines", "fake", "--fake", "x=1"), "fake_policy_invalid", "stt_ms"),
        (
            ("serve", "--port", "0", "--engines", "fake", "--tls", "a.pem,b.pem"),
            "tls_file_missing",
            "--tls auto",
        ),
        (
            ("serve", "--port", "0", "--engines", "fake", "--tls", f"{ME},{ME}"),
            "tls_file_unusable",
            "--tls auto",
        ),
        (
            ("serve", "--port", "0", "--engines", "fake", "--journal-dir", ME),
            "journal_dir_unusable",
            "Name a",
        ),
        (
            ("serve", "--engines", "fake", "--host", "192.0.2.77", "--no-auth"),
            "address_un",
            "--host",
        ),
        (("serve", "--port", "0", "--stt", ","), "setting_invalid", "--stt names no engine"),
        (("serve", "--port", "0", "--stt", "pocketsphinx:nix"), "stt_search_unknown", "dictation"),
        (
            ("serve", "--port", "0", "--stt", "fake-stt", "--llm-url", "http://127.0.0.1:9/v1"),
            "llm_unreachable",
            "Start it",
        ),
        (("talk", "--url", "ftp://x", "--file"), "url_invalid", "http://HOST:PORT"),
        (("talk", "--save", "/no-such-folder/x.wav", "--file"), "file_unwritable", "x.wav"),
        (("talk", "--file", ME), "file_unreadable", "Give a recording"),
        (("talk", "--url", "http://127.0.0.1:9", "--file"), "server_unreachable", "make serve"),
        (("talk", "--file", "no-such.wav"), "file_unreadable", "no-such.wav"),
        (("replay", "no-such.jsonl"), "file_unreadable", "no-such.jsonl"),
    ],
)
def test_errors_are_told_in_two_lines_with_a_remedy(
    args: tuple[str, ...], code: str, words: str
) -> None:
    if args[-1] == "--file":
        args = (*args, str(DATA / "commands-cards_003.flac"))
    done = duologue(*args)
    assert done.returncode == 1
    assert f"({code}" in done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    told = done.stderr[done.stderr.index("duologue: ") :]  # behind what was logged before it
    assert len(told.strip().splitlines()) <= 3


def test_talk_names_a_mix_up_of_http_and_https(fake_server: RunningServer) -> None:
    file = str(DATA / "commands-cards_003.flac")
    done = duologue("talk", "--url", fake_server.url.replace("http", "https"), "--file", file)
    assert (done.returncode, "server_speaks_otherwise" in done.stderr) == (1, True)
    assert "http://" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_taken_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = duologue("serve", "--engines", "fake", "--port", port)
    assert done.returncode == 1
    assert "address_unavailable" in done.stderr
    assert port in done.stderr


def test_talk_streams_files_prints_both_sides_and_saves_the_answers(
    fake_server: RunningServer, tmp_path: Path
) -> None:
    saved = tmp_path / "reply.wav"
    files = [str(DATA / "commands-cards_002.flac"), str(DATA / "lj-LJ001-0008.flac")]
    done = duologue("talk", "--url", fake_server.url, "--file", *files, "--save", str(saved))
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert sum(line.startswith("you ") for line in lines) == 2
    assert sum(line.startswith("duologue ") for line in lines) == 2
    waterfalls = [line for line in lines if "end of speech →" in line]
    assert len(waterfalls) == 2
    for stage in ("end of turn", "transcript", "first token", "first sound", "sent"):
        assert stage in waterfalls[0]
    with wave.open(str(saved)) as sound:
        assert sound.getframerate() == 24_000
        assert sound.getnframes() == 24_000  # two answers of half a second


def test_talk_to_a_server_that_refuses_says_why() -> None:
    with server("--engines", "fake", "--api-key", "sesame") as running:
        file = str(DATA / "commands-cards_003.flac")
        done = duologue("talk", "--url", running.url, "--file", file)
        assert done.returncode == 1
        assert "missing_api_key" in done.stderr
        assert "--api-key" in done.stderr
        keyed = duologue("talk", "--url", running.url, "--file", file, DUOLOGUE_API_KEY="sesame")
        assert keyed.returncode == 0, keyed.stderr


def test_a_journal_is_written_and_replays_to_the_same_orders(tmp_path: Path) -> None:
    with server("--engines", "fake", "--fake", "tts_s=0.3", "--journal-dir", str(tmp_path)) as s:
        file = str(DATA / "commands-cards_003.flac")
        assert duologue("talk", "--url", s.url, "--file", file).returncode == 0
    (journal,) = tmp_path.glob("*.jsonl")
    done = duologue("replay", str(journal))
    assert done.returncode == 0
    assert "0 with other orders" in done.stdout
    assert "SpeechStarted" in done.stdout
    changed = journal.read_text().replace('"draft_ms":160', '"draft_ms":900')
    journal.write_text(changed)
    other = duologue("replay", "--quiet", str(journal))
    assert other.returncode == 1
    assert "differs" in other.stdout
    journal.write_text("nonsense\n")
    assert "not_a_journal" in duologue("replay", str(journal)).stderr


def test_https_with_a_self_made_certificate(tmp_path: Path) -> None:
    options = ("--engines", "fake", "--fake", "tts_s=0.3", "--tls", "auto")
    with server(*options, XDG_DATA_HOME=str(tmp_path)) as running:
        assert running.url.startswith("https://")
        trusted = ssl.create_default_context(cafile=tmp_path / "duologue/tls/duologue-cert.pem")
        with urllib.request.urlopen(f"{running.url}/ready", context=trusted) as answer:
            assert answer.status == 200
        file = str(DATA / "commands-cards_003.flac")
        done = duologue("talk", "--url", running.url, "--insecure", "--file", file)
        assert done.returncode == 0, done.stdout + done.stderr
        strict = duologue("talk", "--url", running.url, "--file", file)
        assert strict.returncode == 1
        assert "certificate" in strict.stderr.lower()


def test_the_doctor_says_what_works() -> None:
    done = duologue("doctor")
    assert done.returncode == 0, done.stdout
    assert "ok   vad silero" in done.stdout
    assert "A server can run here." in done.stdout
