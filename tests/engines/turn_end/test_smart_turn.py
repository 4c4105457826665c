"""The loader and its bounds on tiny models made here; the judgement itself on the true one, where it is there."""

import asyncio
import logging
import statistics
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from duologue.core.capabilities import Role
from duologue.core.errors import EngineError, EngineLost, EngineUnavailable
from duologue.engines import registry
from duologue.engines.turn_end import smart_turn
from duologue.engines.turn_end.log_mel import log_mel
from duologue.engines.turn_end.smart_turn import NAME, SPEC, WAITING, SmartTurn, in_folder, packaged
from tests.engines.turn_end.tiny_onnx import make
from tests.support.clips import clip, manifest

TONE = (8_000 * np.sin(np.arange(32_000) * 0.2)).astype(np.int16).tobytes()


@pytest.fixture
def judge(tmp_path: Path) -> SmartTurn:
    made = SmartTurn(str(make(tmp_path / "tiny.onnx")))
    made.load()
    made.warm_up()
    return made


def refused(path: Path) -> EngineError:
    with pytest.raises(EngineUnavailable) as caught:
        SmartTurn(str(path)).load()
    return caught.value


async def test_the_model_is_shown_the_features_of_the_sound(judge: SmartTurn) -> None:
    expected = 1 / (1 + np.exp(-log_mel(TONE).mean()))
    assert judge.probability(TONE) == pytest.approx(expected, abs=1e-5)
    assert await judge.judge(TONE) == judge.probability(TONE)
    assert judge.probability(TONE) != judge.probability(b"")
    judge.close()


# --- what cannot be loaded ---
def test_a_missing_file_says_how_to_get_it(tmp_path: Path) -> None:
    error = refused(tmp_path / "none.onnx")
    assert error.code == "turn_model_missing"
    assert f"duologue models pull {NAME}" in error.remedy


def test_without_onnxruntime_the_remedy_is_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert refused(make(tmp_path / "tiny.onnx")).code == "onnxruntime_missing"


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"<html>404</html>")
    error = refused(tmp_path / "bad.onnx")
    assert error.code == "turn_model_unfit"
    assert str(tmp_path / "bad.onnx") in error.message
    assert "smart-turn:/path" in error.remedy


def test_a_model_of_other_shapes_is_refused(tmp_path: Path) -> None:
    longer = refused(make(tmp_path / "longer.onnx", takes=("N", 80, 3_000)))
    assert "[N, 80, 800]" in longer.message
    assert "3000" in longer.message
    assert refused(make(tmp_path / "more.onnx", inputs=2)).code == "turn_model_unfit"
    wider = refused(make(tmp_path / "wider.onnx", gives=("N", 2)))
    assert "one float a turn" in wider.message


async def test_a_model_that_gives_no_probability_is_refused_and_never_believed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    numb = SmartTurn(str(make(tmp_path / "nan.onnx", then="Log")))
    numb.load()
    with pytest.raises(EngineUnavailable, match="not a probability"):
        numb.warm_up()
    with caplog.at_level(logging.WARNING):
        assert await numb.judge(b"") is None
        assert await numb.judge(b"") is None
    assert len(caplog.records) == 1
    numb.close()


# --- its threads ---
class Held(SmartTurn):
    """Judges only when let."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.begun = threading.Event()
        self.go = threading.Event()
        self.judged: list[bytes] = []

    def probability(self, pcm: bytes) -> float:
        self.begun.set()
        assert self.go.wait(10)
        self.judged.append(pcm)
        return 0.5


@pytest.fixture
def held(tmp_path: Path) -> Held:
    made = Held(str(make(tmp_path / "tiny.onnx")))
    made.load()
    return made


async def test_who_comes_when_too_many_wait_is_told_so_at_once(held: Held) -> None:
    async with asyncio.TaskGroup() as tasks:
        first = [tasks.create_task(held.judge(b"")) for _ in range(1 + WAITING)]
        await asyncio.sleep(0)
        assert await held.judge(b"") is None
        held.go.set()
    assert [task.result() for task in first] == [0.5] * (1 + WAITING)
    assert await held.judge(b"") == 0.5
    held.close()


async def test_a_judgement_that_nobody_wants_any_more_leaves_its_place(held: Held) -> None:
    async with asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(held.judge(bytes([n]))) for n in range(1 + WAITING)]
        await asyncio.sleep(0)
        waiting[-1].cancel()
        await asyncio.sleep(0)
        late = tasks.create_task(held.judge(b"late"))
        await asyncio.sleep(0)
        held.go.set()
    assert late.result() == 0.5
    assert bytes([WAITING]) not in held.judged


async def test_closing_waits_for_what_runs_and_answers_what_waits(
    held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutdown = held._threads.shutdown

    def let_go() -> None:
        held.go.set()
        shutdown()

    monkeypatch.setattr(held._threads, "shutdown", let_go)
    async with asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(held.judge(bytes([n]))) for n in range(3)]
        await asyncio.sleep(0)
        assert await asyncio.to_thread(held.begun.wait, 10)
        held.close()
    assert [task.result() for task in asked] == [0.5, None, None]
    assert await held.judge(b"") is None
    with pytest.raises(EngineLost):
        SmartTurn.probability(held, b"")


# --- which file ---
def test_a_path_is_taken_as_it_is(tmp_path: Path) -> None:
    for path in ("/models/it.onnx", "./it.onnx", "~/it.onnx"):
        assert in_folder(path, tmp_path) == path


def test_a_name_is_a_model_of_the_models_folder(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    made = make(tmp_path / "mine" / "turn.onnx")
    assert in_folder("mine", tmp_path) == str(made)
    with pytest.raises(EngineUnavailable):
        in_folder("other", tmp_path)


def test_no_name_is_the_packaged_file_and_else_the_one_that_was_pulled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smart_turn, "packaged", lambda: tmp_path / "packaged.onnx")
    assert in_folder("", tmp_path) == ""
    (tmp_path / NAME).mkdir()
    pulled = make(tmp_path / NAME / "smart-turn-v3.2-cpu.onnx")
    assert in_folder("", tmp_path) == str(pulled)
    make(tmp_path / "packaged.onnx")
    assert in_folder("", tmp_path) == ""


def test_it_is_found_as_an_engine_that_judges_turns() -> None:
    spec, argument = registry.find(f"{smart_turn.__name__}.SPEC:/x.onnx", Role.TURN)
    assert (spec, argument) == (SPEC, "/x.onnx")
    assert spec.capabilities.max_streams == 1 + WAITING


# --- the true model ---
WHOLE = [m["file"] for m in manifest() if m["transcript"] and m["kind"] != "wake"]


@pytest.mark.skipif(not packaged().is_file(), reason="the model could not be had at setup")
def test_the_true_model_tells_whole_utterances_from_halves() -> None:
    """Whole ones are taken for finished. Of halves many are too (some are cut at a pause, some are whole sentences
    themselves): it is a hint and no oracle, and the bounds say no more than that."""
    judge = SmartTurn()
    judge.load()
    judge.warm_up()
    whole = [judge.probability(clip(name, 16_000)) for name in WHOLE]
    halves = [
        judge.probability(pcm[: len(pcm) // 4 * 2])
        for pcm in (clip(name, 16_000) for name in WHOLE)
    ]
    judge.close()
    assert len(WHOLE) > 10
    assert sum(p > 0.5 for p in whole) >= 0.9 * len(whole)
    assert sum(half < p for p, half in zip(whole, halves, strict=True)) >= 0.75 * len(whole)
    assert statistics.mean(whole) - statistics.mean(halves) > 0.25
