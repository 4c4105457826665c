"""What an engine takes: what the phases come to, processes that misbehave, the file, and ballast."""

import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.core.errors import (
    EngineError,
    EngineLost,
    EngineOutOfMemory,
    EngineUnavailable,
    SetupError,
)
from duologue.memory import calibrate, calibration_file
from duologue.memory.calibrate import Figures, Level, Phase, Reader, figures
from duologue.memory.calibration_file import CalibrationFile, Circumstances, Record, candidate_key
from duologue.memory.cuda import Ballast, Cuda, next_chunk
from duologue.memory.nvml import Nvml
from tests.memory import card_engine
from tests.memory.fake_driver import CONTEXT_MIB, FakeCard, fake_driver, no_driver

CARD = "0000:17:00.0"


def phase(
    name: str, ram: float, card: int = 0, *, peak: tuple[float, int] | None = None, **told: object
) -> Phase:
    """Memory at a phase's end, and at its peak where that was higher."""
    high = peak or (ram, card)
    return Phase(name, Level(ram, {CARD: card}), Level(high[0], {CARD: high[1]}), told)


# --- what the phases come to ---
def test_without_a_card_the_terms_are_of_the_machines_memory() -> None:
    found = figures(
        [
            phase("started", 40),
            phase("loaded", 240, peak=(300, 0), took_ms=1_234.5),
            phase("warm", 250),
            phase("alone", 260, peak=(350, 0), first_ms=12.5, p50_ms=10.0),
            phase("crowded", 280, peak=(410, 0), streams=4),
            phase("gone", 0),
        ]
    )
    assert found == Figures(
        weights_mib=200,
        work_mib=90,
        per_stream_mib=20,
        ram_mib=40,
        load_ms=1_234,
        first_ms=12.5,
        p50_ms=10.0,
    )
    assert (found.peak_mib(1), found.peak_mib(4)) == (350 - 40, 410 - 40)


def on_card(gone: int = 1_000) -> list[Phase]:
    return [
        phase("started", 40, 1_000),
        phase("context", 90, 1_300, bus_id=CARD),
        phase("loaded", 500, 3_300, peak=(2_500, 3_800)),
        phase("warm", 500, 3_400),
        phase("alone", 500, 3_500, peak=(500, 3_900), first_ms=9.0, p50_ms=8.0),
        phase("crowded", 500, 3_700, peak=(500, 4_200), streams=3),
        phase("gone", 0, gone),
    ]


def test_on_a_card_the_context_is_told_from_the_weights() -> None:
    found = figures(on_card())
    assert found.uses_card
    assert (found.context_mib, found.weights_mib) == (300, 2_000)
    assert (found.work_mib, found.per_stream_mib) == (3_900 - 3_300 - 150, 150)
    assert (found.peak_mib(1), found.peak_mib(3)) == (2_900, 3_200)
    assert (found.ram_mib, found.warnings) == (2_500, ())


def test_a_card_whose_use_strayed_makes_the_figures_uncertain() -> None:
    assert figures(on_card(gone=1_064)).warnings == ()
    (warning,) = figures(on_card(gone=1_500)).warnings
    assert "500 MiB" in warning


def test_an_engine_that_leaves_the_card_alone_is_told_the_machines_memory_only() -> None:
    found = figures(
        [
            phase("started", 40, 1_000),
            phase("context", 90, 1_300, bus_id=CARD),
            phase("loaded", 140, 1_302),
            phase("warm", 140, 1_302),
            phase("alone", 150, 1_302),
            phase("crowded", 150, 1_302, streams=1),
            phase("gone", 0, 1_000),
        ]
    )
    assert not found.uses_card
    assert (found.context_mib, found.weights_mib, found.work_mib) == (0, 100, 10)


LEVELS = st.tuples(st.integers(0, 9_000), st.integers(0, 3_000))
"""What is held when a phase is over, and how much higher its peak was."""


@given(LEVELS, LEVELS, LEVELS, LEVELS, st.integers(2, 9))
def test_the_peaks_come_out_of_the_terms_again(
    loaded: tuple[int, int],
    warm: tuple[int, int],
    alone: tuple[int, int],
    crowded: tuple[int, int],
    streams: int,
) -> None:
    phases = [phase("started", 40)]
    for name, (over, high) in zip(
        ("loaded", "warm", "alone", "crowded"), (loaded, warm, alone, crowded), strict=True
    ):
        phases.append(phase(name, 40 + over, peak=(40 + over + high, 0), streams=streams))
    found = figures([*phases, phase("gone", 0)])
    highest = max(p.peak.ram_mib for p in phases[1:4]) - 40
    assert found.peak_mib(1) >= highest - 1
    assert found.peak_mib(streams) >= phases[4].peak.ram_mib - 40 - streams
    assert min(found.weights_mib, found.work_mib, found.per_stream_mib) >= 0


# --- the engine's process ---
def run(code: str, patience_s: float = 60) -> list[Phase]:
    with no_driver(), Reader() as reader:
        return calibrate.measure(
            [sys.executable, "-c", code], reader, poll_s=0.005, patience_s=patience_s
        )


SAY = "import json, sys\ndef say(name, **told):\n print(json.dumps({'phase': name, **told}), flush=True)\n input()\n"


def test_each_phase_is_read_while_the_process_holds_still() -> None:
    code = f"{SAY}say('started')\nheld = bytearray(b'x') * (60 << 20)\nsay('loaded')\ndel held\nsay('crowded')"
    started, loaded, crowded, gone = run(code)
    took = loaded.level.ram_mib - started.level.ram_mib
    assert 55 < took < 70
    assert crowded.level.ram_mib < started.level.ram_mib + 5
    assert gone.level.ram_mib == 0


def test_a_peak_between_two_phases_is_seen_and_belongs_to_its_own() -> None:
    code = f"{SAY}say('started')\nbytearray(b'x') * (60 << 20)\nsay('loaded')\nsay('crowded')"
    started, loaded, crowded, _ = run(code)
    assert loaded.peak.ram_mib > loaded.level.ram_mib + 50
    assert crowded.peak.ram_mib < started.level.ram_mib + 10


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (f"{SAY}say('started')\nsys.exit(3)", EngineLost, "after 'started' with exit code 3"),
        ("import os; os._exit(5)", EngineLost, "at once with exit code 5"),
        ("import os; os.kill(os.getpid(), 9)", EngineLost, "want of memory"),
        ("print('hello'); input()", EngineLost, "The engine's process said: hello"),
        ("print('[]'); input()", EngineLost, "said: []"),
        (
            f"{SAY}say('failed', kind='EngineOutOfMemory', code='c', message='Full.', remedy='')",
            EngineOutOfMemory,
            "Full.",
        ),
        (
            f"{SAY}say('failed', kind='SetupError', code='c', message='No.', remedy='Do.')",
            EngineUnavailable,
            "No. Do.",
        ),
    ],
)
def test_a_process_that_fails_is_explained(code: str, kind: type[EngineError], words: str) -> None:
    with pytest.raises(kind) as caught:
        run(code)
    assert words in str(caught.value)


def test_a_process_that_hangs_is_ended() -> None:
    with pytest.raises(EngineLost) as caught:
        run(f"{SAY}say('started')\nimport threading; threading.Event().wait()", patience_s=0.3)
    assert "said nothing for 0.3 s after 'started'" in str(caught.value)


def test_a_card_is_read_by_its_place(tmp_path: Path) -> None:
    with fake_driver(tmp_path, FakeCard(used_mib=500), FakeCard(used_mib=700)), Reader() as reader:
        assert reader(0).gpu_mib == {CARD: 500, "0000:18:00.0": 700}


# --- the file ---
def record(candidate: str = "stt:x", mib: int = 100, **more: object) -> Record:
    told: dict[str, object] = {"under": Circumstances("Fake 4060", "8.9", "580"), **more}
    return Record(candidate, figures=Figures(weights_mib=mib, warnings=("a",)), **told)  # type: ignore[arg-type]


def test_records_are_kept_and_replaced_by_newer_of_the_same_kind(tmp_path: Path) -> None:
    file = CalibrationFile(tmp_path / "new" / "calibration.json")
    assert file.read() == []
    other = record(under=Circumstances("Fake 3090", "8.6", "580"))
    file.add([record(), record("tts:y", libraries={"torch": "2.13"})])
    file.add([record(mib=120), other, record("tts:y", libraries={"torch": "2.14"})])
    kept = [
        (r.candidate, r.figures.weights_mib, r.under.device, dict(r.libraries)) for r in file.read()
    ]
    assert kept == [
        ("stt:x", 120, "Fake 4060", {}),
        ("tts:y", 100, "Fake 4060", {"torch": "2.13"}),
        ("stt:x", 100, "Fake 3090", {}),
        ("tts:y", 100, "Fake 4060", {"torch": "2.14"}),
    ]
    assert file.read()[0] == record(mib=120)
    assert [f.name for f in file.path.parent.iterdir()] == ["calibration.json"]


@pytest.mark.parametrize("text", ["{", "[]", '{"version": 2, "measured": []}', '{"version": 1}'])
def test_a_file_that_cannot_be_read_is_refused_with_its_name(text: str, tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(SetupError, match=r"c\.json"):
        CalibrationFile(tmp_path / "c.json").read()


def test_a_record_of_an_older_form_is_refused(tmp_path: Path) -> None:
    file = CalibrationFile(tmp_path / "c.json")
    file.add([record()])
    told = json.loads(file.path.read_text())
    told["measured"][0]["figures"]["colour"] = 1
    file.path.write_text(json.dumps(told))
    with pytest.raises(SetupError, match="colour"):
        file.read()


def test_figures_hold_for_their_card_driver_and_libraries_only() -> None:
    here = Circumstances("Fake 4060", "8.9", "580")
    records = [
        record("a"),
        record("b", under=Circumstances("Fake 4060", "8.9", "570")),
        record("c", libraries={"torch": "2.13"}),
        record("d", libraries={"torch": "2.12"}),
        record("e", libraries={"vllm": "1"}),
        record("f", 100),
        record("f", 300, under=Circumstances("CPU")),
        record("f", 200, under=Circumstances("CPU")),
    ]
    held = calibration_file.holding(records, [here, Circumstances("CPU")], {"torch": "2.13"})
    assert {name: found.weights_mib for name, found in held.items()} == {
        "a": 100,
        "c": 100,
        "f": 300,
    }


def test_versions_are_those_installed() -> None:
    found = calibration_file.installed(["numpy", "no-such-package"])
    assert list(found) == ["numpy"]


@pytest.mark.parametrize(
    ("engine", "key"),
    [
        ("whisper:base@cuda:1/int8", "stt:whisper:base@cuda/int8"),
        ("whisper:base@cpu:2", "stt:whisper:base@cpu"),
        ("whisper:base", "stt:whisper:base"),
        ("pocketsphinx", "stt:pocketsphinx"),
        ("csm:a@auto/bf16?top_k=5", "stt:csm:a@auto/bf16?top_k=5"),
        ("odd:x?y", "stt:odd:x?y"),
    ],
)
def test_a_key_names_the_engine_and_not_which_card(engine: str, key: str) -> None:
    assert candidate_key("stt", engine) == key


# --- CUDA, and ballast ---
@given(st.integers(0, 200_000), st.integers(0, 200_000))
def test_ballast_comes_in_pieces_and_never_goes_below_the_target(free: int, leave: int) -> None:
    pieces = 0
    while chunk := next_chunk(free, leave):
        free -= chunk
        pieces += 1
        assert free >= leave
        assert pieces < 1_000
    assert free - leave <= 16


def test_a_large_card_becomes_a_small_one_and_large_again(tmp_path: Path) -> None:
    with fake_driver(tmp_path, FakeCard(), FakeCard(24_576, 500, (8, 6))), Nvml() as nvml:

        def free() -> int:
            return nvml.cards()[1].free_mib

        cuda = Cuda("0000:18:00.0")
        assert cuda.bus_id == "0000:18:00.0"
        assert free() == 24_076 - CONTEXT_MIB
        with Ballast(cuda, free, 6_144):
            assert 6_144 <= free() <= 6_160
        assert free() == 24_076 - CONTEXT_MIB
        with pytest.raises(SetupError, match="23776 MiB are free"):
            Ballast(cuda, free, 24_000)
        with pytest.raises(EngineOutOfMemory, match="cuMemAlloc_v2"):
            Ballast(cuda, lambda: 99_000, 6_144)  # the card gives less than it seemed to have
        assert free() == 24_076 - CONTEXT_MIB
        cuda.close()
        assert free() == 24_076
        with pytest.raises(EngineUnavailable, match="cuDeviceGet "):
            Cuda(5)


def test_without_cuda_there_is_no_ballast(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match="CUDA cannot be used"):
        Cuda(0, str(tmp_path / "none.so"))


# --- the whole, over the real NVML bindings, with an engine that really allocates ---
def work(wanted: str, streams: int) -> list[str]:
    child = [sys.executable, "-m", "duologue.cli.calibrate_work"]
    return [*child, "stt", wanted, str(streams), "0.2", "0"]


def test_what_an_engine_takes_of_a_card_is_found_to_the_mebibyte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fake_driver(tmp_path, FakeCard()) as driver:
        monkeypatch.setenv("LD_LIBRARY_PATH", driver.env["LD_LIBRARY_PATH"])
        with Reader() as reader:
            phases = calibrate.measure(work("tests.memory.card_engine.SPEC", 3), reader)
        found = figures(phases)
    assert (found.uses_card, found.warnings) == (True, ())
    assert (found.context_mib, found.weights_mib) == (CONTEXT_MIB, card_engine.WEIGHTS_MIB)
    assert (found.work_mib, found.per_stream_mib) == (card_engine.WORK_MIB, card_engine.STREAM_MIB)
    warm = next(p for p in phases if p.name == "warm")
    assert warm.peak.ram_mib > warm.level.ram_mib + card_engine.MOMENT_MIB - 5
    assert found.p50_ms is not None


@pytest.mark.parametrize(
    ("wanted", "kind"),
    [
        ("tests.memory.card_engine.SPEC:oom", EngineOutOfMemory),
        ("tests.memory.card_engine.SPEC:die", EngineLost),
        ("nix", EngineUnavailable),
    ],
)
def test_an_engine_that_fails_is_told_of_by_its_own_error(
    wanted: str, kind: type[EngineError], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fake_driver(tmp_path, FakeCard()) as driver:
        monkeypatch.setenv("LD_LIBRARY_PATH", driver.env["LD_LIBRARY_PATH"])
        with Reader() as reader, pytest.raises(kind):
            calibrate.measure(work(wanted, 1), reader)
