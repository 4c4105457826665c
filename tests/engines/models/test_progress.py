import io

import pytest

from duologue.engines.models.progress import Line


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_at_a_terminal_one_line_is_rewritten(clock: Clock) -> None:
    out = io.StringIO()
    line = Line(out, is_tty=True, clock=clock, columns=80)
    line.begin("it.onnx", 326_000_000)
    for _ in range(100):
        clock.now += 0.1
        line.reach(round(clock.now * 12_000_000))
    line.end()
    drawn = out.getvalue().split("\r")
    assert out.getvalue().endswith("\n")
    assert out.getvalue().count("\n") == 1
    assert all(len(text.rstrip("\n")) == 79 for text in drawn[1:])
    assert drawn[1].strip() == "it.onnx  0.0 of 326.0 MB    0 %"
    assert drawn[-1].strip() == "it.onnx  120.0 of 326.0 MB   36 %     12.0 MB/s  0:17 left"


def test_a_terminal_is_not_written_to_more_often_than_anybody_reads(clock: Clock) -> None:
    out = io.StringIO()
    line = Line(out, is_tty=True, clock=clock, columns=60)
    line.begin("it", 1_000_000)
    for have in range(0, 1_000_000, 1_000):
        clock.now += 0.001
        line.reach(have)
    assert out.getvalue().count("\r") <= 12


def test_a_narrow_terminal_gets_no_second_line(clock: Clock) -> None:
    out = io.StringIO()
    line = Line(out, is_tty=True, clock=clock, columns=20)
    line.begin("a-very-long-name-of-a-model.safetensors", 5)
    assert len(out.getvalue()) == 20


def test_the_speed_is_that_of_the_last_seconds_and_leaves_out_what_was_there(clock: Clock) -> None:
    out = io.StringIO()
    line = Line(out, is_tty=True, clock=clock, columns=80)
    line.begin("it", 1_000_000_000, have=900_000_000)
    for step in range(1, 201):
        clock.now = step / 10
        line.reach(900_000_000 + (step * 10_000_000 if step <= 5 else 50_000_000 + step * 100_000))
    assert "1.0 MB/s" in out.getvalue().split("\r")[-1]


def test_elsewhere_there_is_a_line_for_each_tenth(clock: Clock) -> None:
    out = io.StringIO()
    line = Line(out, is_tty=False, clock=clock)
    line.begin("it.onnx", 1_000_000, have=250_000)
    for have in range(250_000, 1_000_001, 10_000):
        clock.now += 0.1
        line.reach(have)
    line.end()
    lines = out.getvalue().splitlines()
    assert [text.split()[5] for text in lines] == ["30", "40", "50", "60", "70", "80", "90", "100"]
    assert "\r" not in out.getvalue()


def test_what_has_no_known_size_is_told_by_its_bytes(clock: Clock) -> None:
    out = io.StringIO()
    line = Line(out, is_tty=False, clock=clock)
    line.begin("it", None)
    for have in (50_000_000, 150_000_000, 199_000_000, 200_000_000):
        clock.now += 1
        line.reach(have)
    line.end()
    assert [text.split()[1] for text in out.getvalue().splitlines()] == ["150.0", "200.0"]


def test_what_starts_anew_starts_anew(clock: Clock) -> None:
    out = io.StringIO()
    line = Line(out, is_tty=True, clock=clock, columns=80)
    line.begin("it", 1_000_000)
    clock.now = 1
    line.reach(900_000)
    clock.now = 2
    line.reach(1_000)
    assert out.getvalue().split("\r")[-1].strip() == "it  0.0 of 1.0 MB    0 %"


@pytest.mark.parametrize(
    ("rate", "left"), [(1_000_000, "0:59 left"), (10_000, "1:39:59 left"), (100, "left")]
)
def test_the_time_that_is_left(rate: int, left: str, clock: Clock) -> None:
    out = io.StringIO()
    line = Line(out, is_tty=True, clock=clock, columns=90)
    line.begin("it", 60_000_000)
    clock.now = 1
    line.reach(rate)
    assert out.getvalue().rstrip().endswith(left)
    assert ("10.0 kB/s" in out.getvalue()) is (rate == 10_000)


@pytest.mark.parametrize("is_tty", [True, False])
def test_a_note_has_a_line_of_its_own(is_tty: bool, clock: Clock) -> None:
    out = io.StringIO()
    line = Line(out, is_tty=is_tty, clock=clock, columns=40)
    line.begin("it", 10)
    line.end()
    line.note("no connection, trying again in 2 s …")
    assert out.getvalue().endswith("no connection, trying again in 2 s …\n")
    assert out.getvalue().count("\n") == 1 + is_tty
