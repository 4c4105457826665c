"""`duologue doctor`: engines that come with the server are run, of the others their parts are looked for."""

import socket
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest

from duologue.cli import doctor
from duologue.cli.doctor import BUILT_IN, Finding
from duologue.core.capabilities import Role


async def examined(role: Role, name: str) -> Finding:
    return Finding(f"{role} {name}", "works", "run")


@pytest.fixture
def said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Any:
    """The lines of a doctor who runs no engine, on a machine where nothing else is installed."""

    def absent(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(doctor, "_examine", examined)
    monkeypatch.setattr(doctor, "version", absent)
    monkeypatch.delenv("DUOLOGUE_LLM_URL", raising=False)

    def run() -> list[str]:
        assert doctor.main([]) == 0
        return capsys.readouterr().out.splitlines()

    return run


def test_only_what_comes_with_the_server_is_run(said: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    real = socket.socket.connect

    def connect(it: socket.socket, address: Any) -> None:
        asked.append(address[0] if isinstance(address, tuple) else "local")
        real(it, address)

    def look_up(host: Any, *args: Any, **more: Any) -> Any:
        asked.append(str(host))
        raise socket.gaierror("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    lines = said()
    run = [line.split()[2] for line in lines if line.endswith(" run")]
    assert sorted(run) == sorted(BUILT_IN)
    assert not any(line.startswith("FAIL") for line in lines)
    assert {*asked} <= {"127.0.0.1", "localhost", "local"}


def test_the_others_have_a_line_with_what_to_do(said: Any) -> None:
    lines = said()
    for module, extra in (
        ("faster_whisper", "whisper"),
        ("sherpa_onnx", "sherpa"),
        ("transformers", "transformers"),
        ("kokoro_onnx", "kokoro"),
        ("piper", "piper"),
        ("pocket_tts", "pocket"),
    ):
        (at,) = (n for n, line in enumerate(lines) if line.split()[:2] == ["-", module])
        assert f"`make setup EXTRAS={extra}`" in lines[at + 1]
    for program in ("vllm", "llama-server", "ollama"):
        (line,) = (line for line in lines if line.split()[:2] == ["-", program])
        assert "not found on PATH" in line


def test_what_is_installed_is_told_with_its_version_or_place(
    said: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ollama").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "ollama").chmod(0o755)
    versions = {"kokoro-onnx": "0.6.1"}

    def version(name: str) -> str:
        if name not in versions:
            raise PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(doctor, "version", version)
    lines = said()
    assert "ok   kokoro_onnx              0.6.1 (engine `kokoro`)" in lines
    assert f"ok   ollama                   {tmp_path / 'ollama'} (engine `ollama`)" in lines


def test_without_an_ear_no_server_can_run(
    said: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def deaf(role: Role, name: str) -> Finding:
        return Finding(f"{role} {name}", "broken" if role is Role.STT else "works", "")

    monkeypatch.setattr(doctor, "_examine", deaf)
    assert doctor.main([]) == 1
    assert "No server can run: nothing here can understand" in capsys.readouterr().out
