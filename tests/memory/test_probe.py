"""What a machine is seen to have: NVML itself over a driver made of files, and Linux over a tree of files."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from duologue.memory import host, nvml, probe
from duologue.memory.machine import Gpu
from duologue.memory.nvml import Card, Nvml, NvmlUnavailable
from tests.memory.fake_driver import FakeCard, fake_driver, no_driver

SMALL = FakeCard(8_192, 500, (8, 9), "GPU-1111", "Fake 4060")
LARGE = FakeCard(24_576, 1_000, (8, 6), "GPU-2222", "Fake 3090")


# --- cards ---
def test_cards_are_seen_as_nvml_tells_them(tmp_path: Path) -> None:
    with fake_driver(tmp_path, SMALL, LARGE) as driver:
        driver.holds(os.getpid(), 1, 2_000)
        looked = probe.look()
    assert looked.machine.gpus == (
        Gpu(0, "Fake 4060", 8_192, 7_692, (8, 9)),
        Gpu(1, "Fake 3090", 24_576, 21_576, (8, 6)),
    )
    assert (looked.driver, looked.reasons) == ("580.12", ())
    assert [card.processes for card in looked.cards] == [(), ((os.getpid(), 2_000),)]
    assert [card.bus_id for card in looked.cards] == ["0000:17:00.0", "0000:18:00.0"]
    assert [card.used_mib for card in looked.cards] == [500, 3_000]


def test_cards_are_numbered_as_cuda_shows_them(tmp_path: Path) -> None:
    with fake_driver(tmp_path, SMALL, LARGE):
        assert [(g.index, g.name) for g in probe.machine("1,0").gpus] == [
            (0, "Fake 3090"),
            (1, "Fake 4060"),
        ]
        looked = probe.look("GPU-22")
    assert [(g.index, g.name) for g in looked.machine.gpus] == [(0, "Fake 3090")]
    assert looked.reasons == ("CUDA_VISIBLE_DEVICES=GPU-22 shows 1 of 2",)


CARDS = [Card(n, f"GPU-{n}{n}ab", f"0000:0{n}:00.0", "x", 1, 1, (8, 0)) for n in range(3)]


@pytest.mark.parametrize(
    ("wanted", "seen"),
    [
        (None, [0, 1, 2]),
        ("2,0", [2, 0]),
        (" 1 , 2 ", [1, 2]),
        ("0,7,1", [0]),  # what follows an entry that is none is not shown
        ("-1", []),
        ("", []),
        ("1,-1,0", [1]),
        ("0,0", []),  # twice
        ("GPU-1,GPU-11ab", []),
        ("GPU-2,GPU-0", [2, 0]),
        ("GPU-", []),  # names more than one
        ("MIG-GPU-0", []),
    ],
)
def test_which_cards_cuda_shows(wanted: str | None, seen: list[int]) -> None:
    assert [card.index for card in nvml.visible(CARDS, wanted)[0]] == seen


def test_a_card_that_is_lost_costs_only_itself(tmp_path: Path) -> None:
    with fake_driver(tmp_path, FakeCard(name="lost"), LARGE):
        assert [gpu.name for gpu in probe.machine().gpus] == ["Fake 3090"]


@pytest.mark.parametrize(("mode", "sizes"), [("SIZELESS", [None]), ("BLIND", [])])
def test_what_nvml_does_not_tell_of_processes_is_unknown(
    mode: str, sizes: list[None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"NVML_FAKE_{mode}", "1")
    with fake_driver(tmp_path, SMALL) as driver:
        driver.holds(os.getpid(), 0, 100)
        (card,) = probe.look().cards
    assert card.used_mib == 600
    assert [size for _, size in card.processes] == sizes


# --- no cards ---
def test_without_a_driver_there_is_no_card_and_a_reason() -> None:
    with no_driver():
        looked = probe.look()
    assert looked.machine.gpus == ()
    assert "driver does not answer (Driver Not Loaded)" in looked.reasons[0]
    assert looked.machine.ram_mib > 0
    assert looked.machine.cores >= 1


def test_without_the_package_there_is_no_card_and_a_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert "pip install nvidia-ml-py" in probe.look().reasons[0]
    with pytest.raises(NvmlUnavailable):
        Nvml()


def test_a_driver_without_cards_is_said(tmp_path: Path) -> None:
    with fake_driver(tmp_path):
        assert probe.look().reasons == ("the NVIDIA driver runs and has no card",)


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (".dockerenv", "--gpus all"),
        ("run/.containerenv", "--gpus all"),
        ("proc/driver/nvidia/version", "libnvidia-compute"),
        ("etc/other", "install NVIDIA's driver"),
    ],
)
def test_a_missing_library_is_explained_by_what_is_there(
    file: str, words: str, tmp_path: Path
) -> None:
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).touch()
    assert words in nvml.why_none(NvmlUnavailable("library", "x"), tmp_path)


# --- memory and cores ---
MEMINFO = "MemTotal:       16384000 kB\nMemFree:  1 kB\nMemAvailable:    8192000 kB\n"
GIB = 1 << 30


def files(root: Path, **texts: str) -> Path:
    """A tree of files; in names, "__" stands for a slash and "_dot_" for a dot."""
    for name, text in texts.items():
        file = root / name.replace("__", "/").replace("_dot_", ".")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


def test_memory_of_a_machine_without_limits(tmp_path: Path) -> None:
    root = files(tmp_path, proc__meminfo=MEMINFO, proc__self__cgroup="0::/user\n")
    files(root, sys__fs__cgroup__user__memory_dot_max="max\n")
    assert host.available_mib(root) == 8_000
    assert host.available_mib(tmp_path / "mac") == 0


def test_the_tightest_group_counts_and_unused_file_pages_are_given_back(tmp_path: Path) -> None:
    root = files(
        tmp_path,
        proc__meminfo=MEMINFO,
        proc__self__cgroup="0::/a/b\n",
        sys__fs__cgroup__a__b__memory_dot_max="max",
        sys__fs__cgroup__a__b__memory_dot_current="1",
        sys__fs__cgroup__a__memory_dot_max=f"{4 * GIB}\n",
        sys__fs__cgroup__a__memory_dot_current=f"{3 * GIB}\n",
        sys__fs__cgroup__a__memory_dot_stat=f"anon 5\ninactive_file {GIB // 2}\n",
    )
    assert host.available_mib(root) == 1_536


def test_groups_of_version_1_and_of_a_container(tmp_path: Path) -> None:
    root = files(
        tmp_path,
        proc__meminfo=MEMINFO,
        proc__self__cgroup="4:memory:/docker/0123\n1:cpu,cpuacct:/docker/0123\n",
        sys__fs__cgroup__memory__memory_dot_limit_in_bytes=f"{2 * GIB}",
        sys__fs__cgroup__memory__memory_dot_usage_in_bytes=f"{3 * GIB}",
        sys__fs__cgroup__memory__memory_dot_stat=f"total_inactive_file {GIB + GIB // 4}",
    )
    assert host.available_mib(root) == 256
    files(root, sys__fs__cgroup__memory__memory_dot_limit_in_bytes="9223372036854771712")
    assert host.available_mib(root) == 8_000


def test_cores_are_those_that_may_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    assert host.cores(tmp_path) == 8
    root = files(tmp_path / "2", proc__self__cgroup="0::/a\n")
    files(root, sys__fs__cgroup__a__cpu_dot_max="250000 100000\n")
    assert host.cores(root) == 2
    files(root, sys__fs__cgroup__a__cpu_dot_max="50000 100000\n")
    assert host.cores(root) == 1
    files(root, sys__fs__cgroup__a__cpu_dot_max="max 100000\n")
    assert host.cores(root) == 8
    root = files(tmp_path / "1", proc__self__cgroup="1:cpu,cpuacct:/x\n")
    files(root, sys__fs__cgroup__cpu__cpu_dot_cfs_quota_us="300000")
    files(root, sys__fs__cgroup__cpu__cpu_dot_cfs_period_us="100000")
    assert host.cores(root) == 3
    files(root, sys__fs__cgroup__cpu__cpu_dot_cfs_quota_us="-1")
    assert host.cores(root) == 8


def test_a_processor_has_a_name(tmp_path: Path) -> None:
    files(tmp_path, proc__cpuinfo="processor : 0\nmodel name\t: Fake 9000\nmodel name : other\n")
    assert host.cpu_name(tmp_path) == "Fake 9000"
    assert host.cpu_name(tmp_path / "mac") == "CPU"


# --- processes, of this machine ---
@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_a_process_and_its_children_are_measured() -> None:
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(1); input()'])"
    with subprocess.Popen(
        [sys.executable, "-u", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()  # the grandchild runs
        family = host.tree(process.pid)
        assert len(family) == 2
        assert all(host.resident_mib(pid) > 1 for pid in family)
        process.communicate(b"\n")
    assert host.tree(process.pid) == []
    assert host.resident_mib(process.pid) == 0
    assert (os.getpid(), sys.executable) in [(pid, words[0]) for pid, words in host.commands()]


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_a_peak_can_be_forgotten() -> None:
    me = os.getpid()
    bytearray(b"x") * (64 << 20)
    assert host.peak_mib(me) > 64
    host.forget_peak(me)
    assert host.peak_mib(me) < host.resident_mib(me) + 8
