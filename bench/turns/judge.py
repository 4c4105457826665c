"""What a scenario's outcome is worth: each expectation held or not, and the figures that it adds to."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from bench.turns.figures import Figures, quantile, rate_per_hour, share
from bench.turns.reference import EARLY_MS
from bench.turns.scene import Made, Played

SETTLED_MS = 500
"""So long after the user's speech, being taken to speak is still due to it (VAD hangover, a late verdict)."""


DOUBLE_TALK = "double-talk"
"""The group in which our own voice comes back while somebody interrupts: told apart from plain interruptions."""


@dataclass(frozen=True)
class Verdict:
    """One scenario's.

    Attributes:
        failed: what was expected and did not happen, with the figure; empty if all did.
        barge_in_ms: from the onset of speech over an answer to silence at the listener; None if it was not stopped.
        over_answer: the last sound of the user's was over an answer at all.
        stopped: that answer was.
        self_triggers: times that somebody was taken to speak while only the loudspeaker did.
        holds: gaps in answers: each a hold that turned out to be nothing.
        lost: the user's last turn was neither committed nor answered.
    """

    name: str
    group: str
    client: str
    failed: tuple[str, ...]
    barge_in_ms: float | None
    over_answer: bool
    stopped: bool
    self_triggers: int
    holds: int
    lost: bool
    cut: bool
    answer_ms: float | None
    answers: int
    commits: int
    played_ms: float
    duration_ms: int
    loudest_echo_db: float | None


class Case:
    """The questions that are asked of an outcome."""

    def __init__(self, played: Played) -> None:
        self.played = played
        self.cues = played.cues
        self.turns = [cue for cue in played.cues if cue.is_turn]
        self.last: Made | None = played.cues[-1] if played.cues else None
        self.over = self._spoken_over()

    def _spoken_over(self) -> str | None:
        """The answer that plays when the last cue begins."""
        if self.last is None:
            return None
        for stretch in self.played.stretches:
            if stretch.start_ms < self.last.begin_ms < stretch.end_ms:
                return stretch.reply
        return None

    @property
    def stopped(self) -> bool:
        """That answer was broken off, after the last cue began."""
        assert self.last is not None or self.over is None
        begin = self.last.begin_ms if self.last else 0.0
        return any(at >= begin and reply == self.over for at, reply in self.played.stopped)

    @property
    def barge_in_ms(self) -> float | None:
        """Until the last sample of it that was heard; holds that did not last count for nothing."""
        if self.over is None or self.last is None or not self.stopped:
            return None
        ends = [s.end_ms for s in self.played.stretches if s.reply == self.over]
        return max(0.0, max(ends) - self.last.begin_ms)

    @property
    def cut(self) -> bool:
        """An answer began while a turn of the user's was not at its end."""
        return any(
            cue.begin_ms < at < cue.end_ms - EARLY_MS
            for cue in self.turns
            for at, _ in self.played.began
        )

    @property
    def answer_ms(self) -> float | None:
        """From the end of the user's last turn to its answer."""
        if not self.turns:
            return None
        end = self.turns[-1].end_ms
        times = [at for at, _ in self.played.began if at >= end - EARLY_MS]
        return times[0] - end if times else None

    @property
    def lost(self) -> bool:
        """Neither committed nor answered."""
        if not self.turns or self.answer_ms is not None:
            return False
        return not any(at >= self.turns[-1].end_ms - EARLY_MS for at in self.played.commits)

    @property
    def self_triggers(self) -> int:
        """Told of speech while an answer plays, and no sound of the user's is near."""
        since = self.played.began[0][0] if self.played.began else float("inf")
        return sum(
            at > since and not any(c.begin_ms <= at <= c.end_ms + SETTLED_MS for c in self.cues)
            for at in self.played.speech
        )

    @property
    def holds(self) -> int:
        """Gaps in answers."""
        replies = [stretch.reply for stretch in self.played.stretches]
        return len(replies) - len(set(replies))

    def resumed_within(self, limit_ms: int) -> bool:
        """It is heard after the last cue's end, or was at its end before."""
        assert self.last is not None
        since = self.last.end_ms
        mine = [s for s in self.played.stretches if s.reply == self.over]
        return any(s.end_ms > since and s.start_ms <= since + limit_ms for s in mine) or (
            not self.stopped and mine[-1].end_ms <= since
        )


def judge(played: Played) -> Verdict:
    """All of it."""
    case, scenario = Case(played), played.scenario
    return Verdict(
        scenario.name,
        scenario.group,
        scenario.client,
        tuple(_failures(case)),
        case.barge_in_ms,
        case.over is not None,
        case.stopped,
        case.self_triggers,
        case.holds,
        case.lost,
        case.cut,
        case.answer_ms,
        len(played.began),
        len(played.commits),
        sum(s.end_ms - s.start_ms for s in played.stretches),
        played.duration_ms,
        scenario.echo.gain_db if scenario.echo else None,
    )


def _failures(case: Case) -> Iterator[str]:
    played, expect = case.played, case.played.scenario.expect
    if len(case.cues) < len(played.scenario.user):
        yield "the script came to no end"
        return
    if expect.turns is not None and len(played.commits) != expect.turns:
        yield f"{len(played.commits)} turns, not {expect.turns}"
    if expect.answers is not None and len(played.began) != expect.answers:
        yield f"{len(played.began)} answers, not {expect.answers}"
    if expect.not_cut and case.cut:
        yield "cut off"
    if expect.no_answer and played.began:
        yield f"answered {len(played.began)} times"
    if expect.no_self_trigger and case.self_triggers:
        yield f"{case.self_triggers} self-triggers"
    if case.lost:
        yield "lost"
    if (limit := expect.answered_within_ms) is not None:
        yield from _late("answered", case.answer_ms, limit)
    yield from _over_answer(case)


def _over_answer(case: Case) -> Iterator[str]:
    expect = case.played.scenario.expect
    if not (
        expect.interrupts
        or expect.not_interrupted
        or expect.silent_within_ms
        or expect.resumes_within_ms
    ):
        return
    if case.over is None:
        yield "nothing was playing"
        return
    if expect.interrupts and not case.stopped:
        yield "not interrupted"
    if expect.not_interrupted and case.stopped:
        yield "interrupted"
    if (limit := expect.silent_within_ms) is not None and case.stopped:
        yield from _late("silent", case.barge_in_ms, limit)
    if (limit := expect.resumes_within_ms) is not None and not case.resumed_within(limit):
        yield f"not resumed within {limit} ms"


def _late(what: str, took_ms: float | None, limit_ms: int) -> Iterator[str]:
    if took_ms is None:
        yield f"never {what}"
    elif round(took_ms) > limit_ms:
        yield f"{what} after {took_ms:.0f} ms, not {limit_ms}"


# --- figures ---
def of_scenarios(verdicts: Sequence[Verdict], outcomes: Sequence[Played]) -> Figures:
    """The figures of made conversations, and which of them went as expected."""
    wanted = {p.scenario.name: p.scenario.expect for p in outcomes}
    over = [v for v in verdicts if wanted[v.name].interrupts and v.over_answer]
    barges = [v for v in over if v.group != DOUBLE_TALK]
    double_talk = _barge_ins([v for v in over if v.group == DOUBLE_TALK])
    kept = [v for v in verdicts if wanted[v.name].not_interrupted and v.over_answer]
    echoes = [v for v in verdicts if v.group == "echo"]
    silent = [v for v in verdicts if wanted[v.name].no_answer]
    return {
        **_barge_ins(barges),
        DOUBLE_TALK: double_talk,
        **_kills(kept),
        **_echo(echoes),
        "phantom_turns": rate_per_hour(sum(v.answers for v in silent), _hours(silent)),
        "turns_lost_in_scenarios": sum(v.lost for v in verdicts),
        "hours": round(_hours(verdicts), 3),
        "scenarios": len(verdicts),
        "scenarios_passed": sorted(v.name for v in verdicts if not v.failed),
        "scenarios_failed": {v.name: list(v.failed) for v in verdicts if v.failed},
        "by_group": {
            group: _of_group([v for v in verdicts if v.group == group])
            for group in dict.fromkeys(v.group for v in verdicts)
        },
    }


def _barge_ins(barges: Sequence[Verdict]) -> Figures:
    def times(some: Sequence[Verdict]) -> list[float]:
        return [v.barge_in_ms for v in some if v.barge_in_ms is not None]

    by_client = {}
    for client in dict.fromkeys(v.client for v in barges):
        mine = [v for v in barges if v.client == client]
        by_client[client] = {
            "barge_in_p50_ms": quantile(times(mine), 0.5),
            "barge_in_p95_ms": quantile(times(mine), 0.95),
            "missed": sum(not v.stopped for v in mine),
            "barge_ins": len(mine),
        }
    return {
        "barge_in_p50_ms": quantile(times(barges), 0.5),
        "barge_in_p95_ms": quantile(times(barges), 0.95),
        "missed_barge_in_rate": share(sum(not v.stopped for v in barges), len(barges)),
        "barge_ins": len(barges),
        "barge_in_by_client": by_client,
    }


def _kills(kept: Sequence[Verdict]) -> Figures:
    backchannels = [v for v in kept if v.group == "backchannel"]
    others = [v for v in kept if v.group != "backchannel"]
    hours = sum(v.played_ms for v in others) / 3_600_000
    return {
        "backchannel_kill_rate": share(sum(v.stopped for v in backchannels), len(backchannels)),
        "backchannels": len(backchannels),
        "false_barge_ins": rate_per_hour(sum(v.stopped for v in others), hours),
        "false_barge_in_rate": share(sum(v.stopped for v in others), len(others)),
    }


def _echo(echoes: Sequence[Verdict]) -> Figures:
    def soft(v: Verdict) -> bool:
        return v.loudest_echo_db is not None and v.loudest_echo_db <= -12

    def found(some: Sequence[Verdict], count: Callable[[Verdict], int]) -> Figures:
        return rate_per_hour(sum(map(count, some)), sum(v.played_ms for v in some) / 3_600_000)

    quiet = [v for v in echoes if soft(v)]
    return {
        "echo_self_triggers": sum(v.self_triggers for v in quiet),
        "echo": {
            "at_most_-12_dB": found(quiet, lambda v: v.self_triggers),
            "all": found(echoes, lambda v: v.self_triggers),
            "holds": found(echoes, lambda v: v.holds),
        },
    }


def _of_group(verdicts: Sequence[Verdict]) -> Figures:
    delays = [v.answer_ms for v in verdicts if v.answer_ms is not None and not v.cut]
    return {
        "scenarios": len(verdicts),
        "passed": sum(not v.failed for v in verdicts),
        "cut": sum(v.cut for v in verdicts),
        "lost": sum(v.lost for v in verdicts),
        "holds": sum(v.holds for v in verdicts),
        "delay_p50_ms": quantile(delays, 0.5),
        "delay_p95_ms": quantile(delays, 0.95),
    }


def _hours(verdicts: Sequence[Verdict]) -> float:
    return sum(v.duration_ms for v in verdicts) / 3_600_000
