"""What is planned against what is used."""

import asyncio
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.memory import probe, watch
from duologue.memory.watch import CardUse, EngineUse, Snapshot, Watcher
from tests.memory.fake_driver import FakeCard, fake_driver, no_driver

CARD = CardUse(index=0, name="Fake", total_mib=8_000, used_mib=2_500, free_mib=5_500)


def engine(**more: object) -> EngineUse:
    told: dict[str, object] = {"name": "tts csm", "pid": 7, "card": 0, "planned_mib": 2_000}
    return EngineUse(**{**told, "used_mib": 2_000, **more})  # type: ignore[arg-type]


def told(*engines: EngineUse, card: CardUse = CARD) -> list[watch.Finding]:
    return watch.compare(Snapshot(cards=(card,), engines=engines))


# --- findings ---
def test_a_tenth_over_plan_is_within_it_and_more_is_told() -> None:
    assert told(engine(used_mib=2_200)) == []
    (finding,) = told(engine(used_mib=2_250))
    assert finding.about == "tts csm"
    assert finding.text == "takes 2.20 GiB of GPU 0, 1.95 GiB were planned (+12 %)"
    assert "lower precision" in finding.advice
    assert "calibrate --write" in finding.advice


def test_what_helps_follows_from_what_takes_the_memory() -> None:
    (finding,) = told(engine(used_mib=2_400, kv_mib=900))
    assert "shorter context" in finding.advice
    (finding,) = told(engine(card=None, used_mib=None, planned_mib=400, ram_mib=600))
    assert finding.text == "takes 600 MiB of RAM, 400 MiB were planned (+50 %)"
    assert "smaller model" in finding.advice


@given(st.integers(1, 50_000), st.integers(0, 60_000))
def test_the_limit_is_a_tenth_or_the_slack_of_small_engines(planned: int, used: int) -> None:
    found = told(engine(planned_mib=planned, used_mib=used), card=_holding(used))
    over = used > planned * 1.1 and used > planned + watch.SLACK_MIB
    assert [finding.about for finding in found] == (["tts csm"] if over else [])


def _holding(mib: int) -> CardUse:
    return CardUse(index=0, name="Fake", total_mib=100_000, used_mib=mib, free_mib=100_000 - mib)


def test_engines_of_one_process_are_held_against_their_plans_together() -> None:
    hears, speaks = engine(planned_mib=900), engine(name="stt x", planned_mib=900)
    (finding,) = told(hears, speaks)
    assert finding.about == "tts csm + stt x"
    assert "takes 1.95 GiB of GPU 0, 1.76 GiB were planned" in finding.text
    assert told(hears, engine(name="stt x", planned_mib=1_100)) == []
    assert told(hears, engine(name="stt x", planned_mib=None)) == []  # its share is not known
    elsewhere = engine(name="stt x", planned_mib=1_100, pid=8, used_mib=1_000)
    assert [finding.about for finding in told(hears, elsewhere)] == ["tts csm"]


def test_what_is_not_known_is_not_told() -> None:
    roomy = _holding(9_000)
    assert told(engine(used_mib=9_000, planned_mib=None), card=roomy) == []
    assert told(engine(used_mib=None), card=roomy) == []


def test_a_card_that_is_nearly_full_is_told() -> None:
    full = CardUse(index=1, name="Fake", total_mib=8_000, used_mib=7_700, free_mib=300)
    (finding,) = told(card=full)
    assert (finding.about, "duologue plan" in finding.advice) == ("GPU 1", True)
    assert finding.text == "is nearly full: 300 MiB of 7.81 GiB are free"


def test_other_programs_on_a_card_are_told_and_engines_of_one_process_count_once() -> None:
    assert told(engine(), engine(name="stt x")) == []
    crowded = CardUse(index=0, name="Fake", total_mib=8_000, used_mib=4_000, free_mib=4_000)
    (finding,) = told(engine(), engine(name="stt x"), card=crowded)
    assert finding.text == "1.95 GiB are taken by other programs"
    assert told(engine(used_mib=None), card=crowded) == []  # it may all be ours


# --- a server's answer ---
def test_a_snapshot_survives_json_and_anything_else_is_none() -> None:
    import msgspec

    seen = Snapshot(cards=(CARD,), engines=(engine(kv_mib=5),), notes=("a",))
    assert watch.parse(msgspec.json.decode(msgspec.json.encode(seen))) == seen
    others: tuple[object, ...] = (None, 5, [], {"engines": [{"planned_mib": 1}]}, {"cards": "x"})
    for other in others:
        assert watch.parse(other) is None
    assert watch.parse({"more": 1}) == Snapshot()


# --- gauges ---
def test_gauges_are_bytes_by_kind_and_leave_out_what_is_not_known() -> None:
    cards, engines = watch.gauges(
        Snapshot(cards=(CARD,), engines=(engine(used_mib=None, ram_mib=3),))
    )
    assert cards.name == "duologue_gpu_memory_bytes"
    assert [(labels["gpu"], labels["kind"], value / 2**20) for labels, value in cards.values] == [
        ("0", "total", 8_000),
        ("0", "used", 2_500),
        ("0", "free", 5_500),
        ("0", "planned", 2_000),
    ]
    assert engines.name == "duologue_engine_memory_bytes"
    assert [(labels["kind"], value / 2**20) for labels, value in engines.values] == [
        ("planned", 2_000),
        ("ram", 3),
    ]


def test_sizes_are_written_for_people() -> None:
    assert [watch.size(mib) for mib in (0, 350.4, 1_023, 1_024, 4_526)] == [
        *("0 MiB", "350 MiB", "1023 MiB", "1.00 GiB", "4.42 GiB"),
    ]


# --- the watcher, over the real NVML bindings and real processes ---
@pytest.fixture
def child() -> "Iterator[subprocess.Popen[bytes]]":
    command = [sys.executable, "-uc", "print(1); input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()  # it runs
        yield process
        process.communicate(b"\n")


def test_engines_are_measured_by_their_processes_and_warned_of_once(
    tmp_path: Path, child: "subprocess.Popen[bytes]", caplog: pytest.LogCaptureFixture
) -> None:
    mine = engine(pid=child.pid, planned_mib=1_000)
    with fake_driver(tmp_path, FakeCard()) as driver, caplog.at_level(logging.WARNING):
        driver.holds(child.pid, 0, 900)
        watcher = Watcher(lambda: [mine])
        (seen,) = watcher.look([mine]).engines
        assert (seen.used_mib, caplog.messages) == (900, [])
        assert seen.ram_mib is not None
        driver.holds(child.pid, 0, 300)
        for _ in range(3):
            assert watcher.look([mine]).engines[0].used_mib == 1_200
        assert [message.partition(";")[0] for message in caplog.messages] == [
            "! memory: tts csm takes 1.17 GiB of GPU 0, 1000 MiB were planned (+20 %)"
        ]
        driver.holds(child.pid, 0, -300)
        watcher.look([mine])
        driver.holds(child.pid, 0, 300)
        watcher.look([mine])  # it was well in between
        assert len(caplog.messages) == 2
        watcher.close()


def test_a_child_counts_with_its_parent_unless_it_is_told_by_itself(
    tmp_path: Path, child: "subprocess.Popen[bytes]"
) -> None:
    mine, its = engine(pid=os.getpid()), engine(pid=child.pid)
    with fake_driver(tmp_path, FakeCard()) as driver:
        driver.holds(os.getpid(), 0, 100)
        driver.holds(child.pid, 0, 30)
        cards = probe.look().cards
        (together,) = watch.filled([mine], cards)
        alone, apart = watch.filled([mine, its], cards)
    assert [use.used_mib for use in (together, alone, apart)] == [130, 100, 30]
    assert (alone.ram_mib or 0) < (together.ram_mib or 0)


def test_where_the_driver_names_no_processes_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NVML_FAKE_BLIND", "1")
    with fake_driver(tmp_path, FakeCard()):
        watcher = Watcher(list)
        seen = watcher.look([engine(pid=os.getpid())])
        watcher.close()
    assert seen.engines[0].used_mib is None
    assert seen.cards[0].used_mib == 500
    assert "unknown" in seen.notes[0]


def test_sizes_that_the_driver_does_not_know_are_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NVML_FAKE_SIZELESS", "1")
    with fake_driver(tmp_path, FakeCard()) as driver:
        driver.holds(os.getpid(), 0, 100)
        watcher = Watcher(list)
        (seen,) = watcher.look([engine(pid=os.getpid())]).engines
        watcher.close()
    assert seen.used_mib is None


async def test_it_looks_until_it_is_cancelled_and_never_on_the_event_loop(tmp_path: Path) -> None:
    looked, threads = asyncio.Event(), set()
    loop = asyncio.get_running_loop()

    class Seen(Watcher):
        def look(self, engines: object) -> Snapshot:
            threads.add(threading.current_thread())
            loop.call_soon_threadsafe(looked.set)
            return super().look([])

    with no_driver():
        watcher = Seen(list)
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(watcher.run(every_s=0.001))
            for _ in range(3):
                looked.clear()
                await asyncio.wait_for(looked.wait(), 10)
            running.cancel()
    assert threading.main_thread() not in threads
    assert "driver does not answer" in watcher.last.notes[0]
