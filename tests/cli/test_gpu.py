"""`duologue gpu`, as a person at a terminal meets it, over NVML itself and a server that answers."""

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from duologue.cli import gpu
from tests.memory.fake_driver import FakeCard, fake_driver, no_driver

NOBODY = "http://127.0.0.1:9"

CARDS = (
    FakeCard(8_192, 500, (8, 9), "GPU-1111", "Fake 4060"),
    FakeCard(24_576, 1_000, (8, 6), "GPU-2222", "Fake 3090"),
)

MEMORY = {
    "cards": [],
    "engines": [
        {
            "name": "stt whisper:small@cuda:0/int8",
            "pid": 7,
            "card": 0,
            "planned_mib": 900,
            "used_mib": 1_200,
            "ram_mib": 700,
            "context_mib": 300,
        },
        {"name": "llm vllm:x@cuda:1", "pid": 8, "card": 1, "planned_mib": 9_000, "kv_mib": 450},
        {"name": "tts espeak", "pid": 9, "planned_mib": 50, "ram_mib": 45},
    ],
}


@contextlib.contextmanager
def answering(body: object) -> Iterator[str]:
    """A server whose `/v1/health` says this."""

    class Health(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert self.path == "/v1/health"
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Health) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()
        thread.join()


def test_cards_and_engines_stand_in_columns_with_what_would_help(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with fake_driver(tmp_path, *CARDS), answering({"ok": True, "memory": MEMORY}) as url:
        assert gpu.main(["--url", url]) == 0
    out = capsys.readouterr().out
    words = [line.split() for line in out.splitlines()]
    assert words[0] == ["GPU", "total", "used", "planned", "free"]
    assert " ".join(words[1]) == "0 Fake 4060 8.00 GiB 500 MiB 900 MiB 7.51 GiB 6 %"
    assert " ".join(words[2]) == "1 Fake 3090 24.00 GiB 1000 MiB 8.79 GiB 23.02 GiB 4 %"
    rows = {line.split("  ")[0]: " ".join(line.split()) for line in out.splitlines()}
    assert rows["stt whisper:small@cuda:0/int8"].endswith(
        "GPU 0 900 MiB 1.17 GiB 700 MiB 300 MiB - 7"
    )
    assert rows["llm vllm:x@cuda:1"].endswith("GPU 1 8.79 GiB ? - - 450 MiB 8")
    assert rows["tts espeak"].endswith("CPU 50 MiB - 45 MiB - - 9")
    assert "! stt whisper:small@cuda:0/int8 takes 1.17 GiB of GPU 0, 900 MiB were planned" in out
    assert "-> a lower precision" in out
    columns = {line.rfind("iB") for line in out.splitlines()[1:3]}
    assert len(columns) == 1, "sizes stand below one another"


def test_everything_is_told_to_programs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    with fake_driver(tmp_path, *CARDS), answering({"memory": MEMORY}) as url:
        assert gpu.main(["--json", "--url", url]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["driver"] == "580.12"
    assert [(c["index"], c["name"], c["free_mib"]) for c in told["cards"]] == [
        (0, "Fake 3090", 23_576)
    ]
    assert told["reasons"] == ["CUDA_VISIBLE_DEVICES=1 shows 1 of 2"]
    assert told["engines"][0]["planned_mib"] == 900
    assert told["findings"][0]["about"] == "stt whisper:small@cuda:0/int8"
    assert told["ram_available_mib"] > 0


@pytest.mark.parametrize("health", [{"ok": True}, {"memory": None}, {"memory": "much"}, []])
def test_a_server_that_tells_nothing_of_memory_is_none_the_worse(
    health: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with fake_driver(tmp_path, CARDS[0]), answering(health) as url:
        assert gpu.main(["--url", url]) == 0
    assert "Fake 4060" in capsys.readouterr().out


def test_without_a_card_it_says_why_and_shows_the_engines_memory(
    capsys: pytest.CaptureFixture[str],
) -> None:
    engine = [sys.executable, "-m", "duologue.engines.worker", "tts", "espeak"]
    with (
        no_driver(),
        subprocess.Popen(engine, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process,
    ):
        assert process.stdout is not None
        process.stdout.read(4)  # it is loaded
        assert gpu.main(["--url", NOBODY]) == 0
        process.communicate()
    out = capsys.readouterr().out
    assert out.startswith("No GPU: the NVIDIA driver does not answer (Driver Not Loaded)")
    line = next(line for line in out.splitlines() if line.endswith(f" {process.pid}"))
    name, where, dash, none, ram, unit, *_ = line.replace("tts espeak", "tts-espeak").split()
    assert (name, where, dash, none, unit) == ("tts-espeak", "CPU", "-", "-", "MiB")
    assert 10 < int(ram) < 200
    assert f"no server answers at {NOBODY}" in out
    assert "duologue plan" in out.splitlines()[-1]


def test_it_goes_on_until_it_is_interrupted(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "duologue.cli.gpu",
        "--json",
        "--watch",
        "0.1",
        "--url",
        NOBODY,
    ]
    with (
        fake_driver(tmp_path, CARDS[0]) as driver,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env={**os.environ, **driver.env}
        ) as process,
    ):
        assert process.stdout is not None
        free = [json.loads(process.stdout.readline())["cards"][0]["free_mib"]]
        driver.has(FakeCard(8_192, 900))
        while free[-1] == 7_692:
            free.append(json.loads(process.stdout.readline())["cards"][0]["free_mib"])
        process.terminate()
        process.stdout.read()
    assert free[-1] == 7_292


@pytest.mark.parametrize(
    "args",
    [
        *(("--watch", text) for text in ("0", "-1", "nan", "inf", "x")),
        *(
            ("--url", text)
            for text in ("", "localhost:8000", "ftp://host", "http://", "http://a:b")
        ),
    ],
)
def test_wrong_calls_exit_with_2(args: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        gpu.main([*args])
    assert stopped.value.code == 2
    assert " is no " in capsys.readouterr().err
