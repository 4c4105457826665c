"""Servers that are started, asked and ended: real processes that behave as vLLM, llama.cpp and Ollama do."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from duologue.core.capabilities import Role
from duologue.core.errors import EngineLost, EngineOutOfMemory, EngineUnavailable, OurError
from duologue.engines.loading import bring_up
from duologue.engines.managed_llm import probe
from duologue.engines.managed_llm.kinds import LLAMA_SERVER, OLLAMA, VLLM, Kind
from duologue.engines.managed_llm.responder import LLAMA_SPEC, OLLAMA_SPEC, VLLM_SPEC
from tests.engines.managed_llm.bench import (
    PACE,
    Bench,
    children,
    gone,
    hearing,
    parent,
    words,
)

ROOT = Path(__file__).parents[3]


async def test_vllm_is_started_asked_and_ended(bench: Bench) -> None:
    it = bench.vllm("@cuda:0?max_model_len=64", visible_gpus="5,6")
    with pytest.raises(OurError):
        await words(it, "hello")
    await asyncio.to_thread(bring_up, it)
    assert await words(it, "hello there") == "hello there"
    (start,) = bench.starts()
    assert start["argv"][1:3] == ["serve", str(bench.checkpoint)]
    assert start["env"]["CUDA_VISIBLE_DEVICES"] == "5"
    assert start["env"]["PYTORCH_ALLOC_CONF"] == "expandable_segments:True"
    assert list(it.pids) == [start["pid"]]
    assert os.getsid(parent(start["pid"])) != os.getsid(0)  # Ctrl-C is ours alone
    await it.aclose()
    assert gone(start["pid"])
    assert not it.pids


async def test_llama_server_is_given_its_file(bench: Bench) -> None:
    it = bench.make(LLAMA_SERVER, f"{bench.folder}/small@cpu:2?ctx_size=64")
    await asyncio.to_thread(bring_up, it)
    assert await words(it, "hello") == "hello"
    (start,) = bench.starts()
    assert start["argv"][1:5] == ["--model", str(bench.gguf), "--alias", "small"]
    assert start["env"]["CUDA_VISIBLE_DEVICES"] == "-1"


async def test_several_run_side_by_side(bench: Bench) -> None:
    for it in (bench.vllm(), bench.make(LLAMA_SERVER, str(bench.gguf)), bench.vllm()):
        await asyncio.to_thread(bring_up, it)
    assert [await words(it, "hello") for it in bench.made] == ["hello"] * 3


def test_the_gguf_of_a_folder_is_found(bench: Bench) -> None:
    names = ("mmproj-a.gguf", "b-00002-of-00002.gguf", "b-00001-of-00002.gguf")
    for name in names:
        (bench.folder / "tiny" / name).write_text("GGUF")
    assert LLAMA_SERVER.find(str(bench.folder / "tiny")).endswith("b-00001-of-00002.gguf")


async def test_ollama_is_started_where_it_does_not_run_and_used_where_it_does(bench: Bench) -> None:
    port = probe.free_port()
    ours = bench.make(OLLAMA, f"llama3.2?port={port}")
    await asyncio.to_thread(bring_up, ours)
    (start,) = bench.starts()
    assert start["env"]["OLLAMA_HOST"] == f"127.0.0.1:{port}"
    assert start["env"]["OLLAMA_KEEP_ALIVE"] == "-1"
    with hearing("runs already") as heard:
        other = bench.make(OLLAMA, f"llama3.2?port={port}")
        await asyncio.to_thread(bring_up, other)
    assert heard.is_set()
    assert await words(other, "hello") == "hello"
    await other.aclose()
    assert await words(ours, "still there") == "still there"
    assert len(bench.starts()) == 1


def test_a_model_that_ollama_does_not_have_is_named_with_its_remedy(bench: Bench) -> None:
    it = bench.make(OLLAMA, f"qwen3:8b?port={probe.free_port()}")
    with pytest.raises(EngineUnavailable) as told:
        it.load()
    assert told.value.code == "llm_model_missing"
    assert "ollama pull qwen3:8b" in told.value.remedy
    assert gone(bench.starts()[0]["pid"])


def test_a_model_that_is_missing_is_told_before_anything_starts(bench: Bench) -> None:
    for kind in (VLLM, LLAMA_SERVER):
        with pytest.raises(EngineUnavailable) as told:
            bench.make(kind, f"{bench.folder}/none").load()
        assert told.value.code == "llm_model_missing"
    assert not bench.starts()


@pytest.mark.parametrize("kind", [VLLM, LLAMA_SERVER, OLLAMA])
def test_a_program_that_is_missing_is_told_with_where_to_get_it(bench: Bench, kind: Kind) -> None:
    (bench.bin / kind.binary).unlink()
    model = {"vllm": bench.checkpoint, "llama-server": bench.gguf}.get(kind.binary, "llama3.2")
    with pytest.raises(EngineUnavailable) as told:
        bench.make(kind, f"{model}?port={probe.free_port()}").load()
    assert told.value.code == "llm_server_missing"
    assert told.value.remedy == kind.get_it


@pytest.mark.parametrize("kind", [VLLM, LLAMA_SERVER])
def test_a_program_is_missed_before_its_model_is(bench: Bench, kind: Kind) -> None:
    (bench.bin / kind.binary).unlink()
    for port in ("", f"?port={probe.free_port()}"):
        with pytest.raises(EngineUnavailable) as told:
            bench.make(kind, f"{bench.folder}/none{port}").load()
        assert told.value.code == "llm_server_missing"


async def test_a_port_that_somebody_else_has_is_told(bench: Bench) -> None:
    async with await asyncio.start_server(lambda _, w: w.close(), "127.0.0.1", 0) as other:
        port = other.sockets[0].getsockname()[1]
        with pytest.raises(EngineUnavailable, match="no language models' server") as told:
            await asyncio.to_thread(bench.vllm(f"?port={port}").load)
    assert told.value.code == "llm_port_taken"


def test_a_server_with_another_model_is_not_used(bench: Bench) -> None:
    port = probe.free_port()
    bench.vllm(f"?port={port}").load()
    with pytest.raises(EngineUnavailable, match="has 'tiny'") as told:
        bench.make(LLAMA_SERVER, f"{bench.gguf}?port={port}").load()
    assert told.value.code == "llm_port_taken"
    bench.vllm(f"?port={port}").load()
    assert len(bench.starts()) == 1


def test_one_that_dies_at_its_start_is_told_with_its_last_words(bench: Bench) -> None:
    bench.behave("die")
    with pytest.raises(EngineUnavailable, match=r"exit code 3: .*no such architecture") as told:
        bench.vllm().load()
    assert told.value.code == "llm_server_died"
    assert len(bench.starts()) == 1


@pytest.mark.parametrize(
    ("behaviour", "words_"), [("full", "Free memory on device cuda:0"), ("killed", "ran out of")]
)
def test_memory_that_runs_out_at_the_start_is_recognised(
    bench: Bench, behaviour: str, words_: str
) -> None:
    bench.behave(behaviour)
    with pytest.raises(EngineOutOfMemory, match=words_):
        bench.vllm().load()


def test_memory_that_runs_out_at_the_first_word_is_recognised(bench: Bench) -> None:
    bench.behave("full at work")
    it = bench.vllm()
    with pytest.raises(EngineOutOfMemory):
        bring_up(it)


def test_an_old_version_is_started_without_the_flag_that_it_does_not_know(bench: Bench) -> None:
    bench.behave("old")
    bench.vllm("?kv_cache_memory_bytes=1024&max_num_seqs=2").load()
    first, second = bench.starts()
    assert "--kv-cache-memory-bytes" in first["argv"]
    assert "--kv-cache-memory-bytes" not in second["argv"]
    assert second["argv"][-2:] == ["--max-num-seqs", "2"]


def test_a_slow_start_is_waited_for_and_told_of(bench: Bench) -> None:
    bench.behave("slow")
    port = probe.free_port()
    it = bench.vllm(f"?port={port}", replace(PACE, progress_s=0.02))
    with hearing("starts since") as heard:
        loading = threading.Thread(target=it.load)
        loading.start()
        assert heard.wait(10)
        assert loading.is_alive()
        while probe.get(port, "/go") is None:
            pass
        loading.join(10)
    assert not loading.is_alive()
    bring_up(it)


def test_one_that_does_not_become_well_in_time_is_ended(bench: Bench) -> None:
    bench.behave("slow")
    with pytest.raises(EngineUnavailable, match=r"not ready within 0\.3 s") as told:
        bench.vllm("?patience_s=0.3").load()
    assert "patience_s" in told.value.remedy
    assert all(gone(start["pid"]) for start in bench.starts())


def test_closing_ends_a_start(bench: Bench) -> None:
    bench.behave("slow")
    it = bench.vllm(pace=replace(PACE, progress_s=0.02))
    told: list[BaseException] = []

    def load() -> None:
        try:
            it.load()
        except EngineLost as error:
            told.append(error)

    with hearing("starts since") as heard:
        loading = threading.Thread(target=load)
        loading.start()
        assert heard.wait(10)
    it.close()
    loading.join(10)
    assert [getattr(error, "code", "") for error in told] == ["llm_closed"]


async def test_after_its_death_it_is_told_at_once_and_started_again(bench: Bench) -> None:
    bench.behave("serve", "slow")
    port = probe.free_port()
    it = bench.vllm(f"?port={port}")
    await asyncio.to_thread(bring_up, it)
    with hearing("is back") as back:
        with hearing("It is started again") as noticed:
            with pytest.raises(EngineLost):
                await words(it, "die")
            assert await asyncio.to_thread(noticed.wait, 10)
        with pytest.raises(EngineLost, match="something broke"):
            await words(it, "hello")
        while await asyncio.to_thread(probe.get, port, "/go") is None:
            pass
        assert await asyncio.to_thread(back.wait, 10)
    assert await words(it, "hello again") == "hello again"
    assert it.restarts == 1


async def test_it_is_tried_again_until_it_comes_back(bench: Bench) -> None:
    bench.behave("serve", "die", "die", "serve")
    it = bench.vllm()
    await asyncio.to_thread(bring_up, it)
    with hearing("is back") as back:
        os.kill(it.pids[0], signal.SIGTERM)
        assert await asyncio.to_thread(back.wait, 20)
    assert await words(it, "hello") == "hello"
    assert len(bench.starts()) == 4


async def test_it_is_back_when_it_has_said_a_word(bench: Bench) -> None:
    bench.behave("serve", "full at work", "serve")
    it = bench.vllm()
    await asyncio.to_thread(bring_up, it)
    with hearing("is back") as back:
        os.kill(it.pids[0], signal.SIGKILL)
        assert await asyncio.to_thread(back.wait, 20)
    assert len(bench.starts()) == 3


async def test_that_memory_ran_out_at_work_is_told_and_counted(bench: Bench) -> None:
    bench.behave("serve", "full", "slow")
    it = bench.vllm()
    shortages: list[int] = []
    it.on_shortage = lambda: shortages.append(1)
    await asyncio.to_thread(bring_up, it)
    with hearing("Free memory on device") as again:
        with pytest.raises(EngineLost):
            await words(it, "fill")
        assert await asyncio.to_thread(again.wait, 10)
    for _ in range(2):
        with pytest.raises(EngineOutOfMemory):
            await words(it, "hello")
    assert len(shortages) == 2  # at work, and when it was started again


async def test_a_server_that_lives_on_says_that_memory_ran_out(bench: Bench) -> None:
    it = bench.vllm()
    await asyncio.to_thread(bring_up, it)
    shortages: list[int] = []
    it.on_shortage = lambda: shortages.append(1)
    with pytest.raises(EngineOutOfMemory):
        await words(it, "refuse")
    assert shortages == [1]
    assert await words(it, "hello") == "hello"


async def test_one_that_hangs_is_ended_and_started_again(bench: Bench) -> None:
    it = bench.vllm()
    await asyncio.to_thread(bring_up, it)
    (first,) = it.pids
    with hearing("is back") as back:
        assert await words(it, "ail") == "now"
        assert await asyncio.to_thread(back.wait, 20)
    assert gone(first)
    assert await words(it, "hello") == "hello"


def test_one_that_ignores_being_asked_to_end_is_killed_with_its_children(bench: Bench) -> None:
    bench.behave("stubborn")
    it = bench.vllm(pace=replace(PACE, grace_s=0.1))
    it.load()
    (server,) = it.pids
    (child,) = children(server)
    it.close()
    assert gone(server)
    assert gone(child)


def test_what_a_dead_server_leaves_behind_is_killed(bench: Bench) -> None:
    bench.behave("stubborn", "serve")
    it = bench.vllm()
    it.load()
    (server,) = it.pids
    (child,) = children(server)
    with hearing("is back") as back:
        os.kill(server, signal.SIGKILL)
        assert gone(child)
        assert back.wait(20)


LONELY = """
import sys
from pathlib import Path
from tests.engines.managed_llm.bench import Bench
bench = Bench(Path(sys.argv[1]))
bench.behave("stubborn")
from dataclasses import replace
from tests.engines.managed_llm.bench import PACE
it = bench.vllm(pace=replace(PACE, grace_s=0.1))
it.load()
print(it.pids[0], flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_it_does_not_outlive_us_whoever_is_killed(tmp_path: Path) -> None:
    for victim in ("us", "guard"):
        folder = tmp_path / victim
        folder.mkdir()
        with subprocess.Popen(
            [sys.executable, "-c", LONELY, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
        ) as us:
            assert us.stdout is not None
            server = int(us.stdout.readline())
            (child,) = children(server)
            os.kill(us.pid if victim == "us" else parent(server), signal.SIGKILL)
            assert gone(server)
            if victim == "us":
                assert gone(child)
            else:
                os.kill(child, signal.SIGKILL)
            us.kill()


def test_the_specs_make_what_they_name() -> None:
    for spec, kind in ((VLLM_SPEC, VLLM), (LLAMA_SPEC, LLAMA_SERVER), (OLLAMA_SPEC, OLLAMA)):
        assert spec.role is Role.LLM
        assert spec.name == kind.binary
        assert spec.make("tiny").kind is kind
    assert VLLM_SPEC.locate is not None
    assert OLLAMA_SPEC.locate is None
