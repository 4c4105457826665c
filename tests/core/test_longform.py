"""Long sound through a recogniser of whole windows: exact, prompt, bounded, whatever the load."""

import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from bench.reference_stt import Manner, Reference, sound_of, sounding
from hypothesis import given, settings
from hypothesis import strategies as st

from duologue.core.audio import SAMPLE_BYTES, AudioFrame, ms_to_samples, samples_to_ms
from duologue.core.longform import LongForm, LongFormPolicy, Update, Window
from duologue.core.words import Word

POLICY = LongFormPolicy()
QUIET_MS = 200


def said(*parts: tuple[str, int, int]) -> list[Word]:
    """Words: text, pause before, length."""
    words, at = [], 0
    for text, pause_ms, length_ms in parts:
        words.append(Word(text, at + pause_ms, at + pause_ms + length_ms))
        at = words[-1].end_ms
    return words


def texts(words: Sequence[Word]) -> list[str]:
    return [word.text for word in words]


@dataclass
class Run:
    """A session whose recogniser knows what is said."""

    words: list[Word]
    policy: LongFormPolicy = POLICY
    is_timed: bool = True
    manner: Manner = field(default_factory=Manner)

    def __post_init__(self) -> None:
        self.long = LongForm(self.policy)
        self.reference = Reference(self.words, self.manner)
        self.sound = sound_of(self.words, self.words[-1].end_ms + QUIET_MS if self.words else 5_000)
        self.settled: list[Word] = []
        self.windows: deque[Window] = deque(maxlen=8)
        self.taken = 0
        self.ended = 0
        self.at = 0
        self.left_out = 0
        self.most_bytes = 0

    def push(self, samples: int) -> None:
        begin = self.at * SAMPLE_BYTES
        pcm = self.sound[begin : begin + samples * SAMPLE_BYTES]
        self.long.push(pcm)
        self.at += len(pcm) // SAMPLE_BYTES
        self.most_bytes = max(self.most_bytes, self.long.held_bytes)

    def skip(self, samples: int) -> None:
        self.long.skip(samples)
        self.at += samples

    def hear(self, window: Window) -> tuple[Word, ...]:
        spans = sounding(AudioFrame(window.pcm, window.start))
        return self.reference.hear([(samples_to_ms(a), samples_to_ms(b)) for a, b in spans])

    def answer(self) -> Update:
        window = self.long.take()
        assert window is not None
        assert len(window.pcm) in (0, (window.end - window.start) * SAMPLE_BYTES)
        assert window.end - window.start <= ms_to_samples(self.policy.longest_ms)
        self.windows.append(window)
        self.taken += 1
        words = self.hear(window)
        text = " ".join(texts(words))
        return self.told(self.long.heard(window.number, words if self.is_timed else (), text))

    def told(self, update: Update) -> Update:
        last_ms = self.settled[-1].end_ms if self.settled else 0
        for word in update.settled:
            assert last_ms <= word.start_ms <= word.end_ms
            last_ms = word.end_ms
        self.settled += update.settled
        self.ended += update.ended
        assert update.settled_to == self.long.settled <= self.at
        return update

    def catch_up(self) -> None:
        for _ in range(1_000):
            if not self.long.due:
                return
            self.answer()
        raise AssertionError("it never ends")

    def end(self) -> None:
        self.push(len(self.sound))
        self.long.finish()
        self.catch_up()
        assert self.long.held_bytes == 0
        assert self.long.settled == self.at

    def talk(self, dice: random.Random, busy: float = 0.0, finishes: Sequence[int] = ()) -> None:
        """Push all of it in chunks of any size; windows are taken now and then. Utterances end at some places."""
        places = [*finishes, len(self.sound) // SAMPLE_BYTES]
        for place in places:
            while self.at < place:
                self.push(min(place - self.at, dice.choice((160, 333, 1_600, 8_000, 40_000))))
                while self.long.due and dice.random() >= busy:
                    self.step(dice)
            self.long.finish()
        self.catch_up()
        assert self.ended == len(places)
        assert self.long.held_bytes == 0

    def step(self, dice: random.Random) -> None:
        if dice.random() < 0.05:
            window = self.long.take()
            assert window is not None
            self.long.give_back(window.number)
        else:
            self.answer()


NAMES = ["a", "no", "seven", "Seven,", "extraordinary", "some", "something", "thing", "on"]
PAUSES_MS = [0, 0, 0, 0, 20, 60, 120, 200, 700, 2_600]
LENGTHS_MS = [60, 90, 150, 200, 250, 300, 400, 600, 1_200]

parts = st.tuples(
    st.sampled_from(NAMES),
    st.sampled_from(PAUSES_MS),
    st.one_of(st.sampled_from(LENGTHS_MS), st.integers(60, 1_200)),
)
streams = st.lists(
    st.tuples(parts, st.sampled_from([1, 1, 1, 1, 2, 3, 6])), min_size=1, max_size=30
)
policies = st.builds(
    LongFormPolicy,
    window_ms=st.sampled_from([700, 2_000, 4_000]),
    overlap_ms=st.sampled_from([0, 500]),
    longest_ms=st.sampled_from([12_000, 28_000]),
)
loads = st.sampled_from([0.0, 0.3, 0.9, 0.995])


def repeated(stream: Sequence[tuple[tuple[str, int, int], int]]) -> list[Word]:
    return said(*(part for part, times in stream for _ in range(times)))


def paused(words: Sequence[Word]) -> list[Word]:
    """The same, with a pause before every twentieth."""
    starts = [0, *(word.end_ms for word in words)]
    return said(
        *(
            (w.text, 200 if number % 20 == 0 else w.start_ms - before, w.end_ms - w.start_ms)
            for number, (w, before) in enumerate(zip(words, starts, strict=False))
        )
    )


@settings(max_examples=120, deadline=None)
@given(streams, policies, loads, st.integers(0, 10**6))
def test_with_times_every_word_is_there_once(
    stream: list[tuple[tuple[str, int, int], int]], policy: LongFormPolicy, busy: float, seed: int
) -> None:
    run = Run(repeated(stream), policy, manner=Manner(seed=seed))
    run.talk(random.Random(seed), busy)
    assert texts(run.settled) == texts(run.words)


@settings(max_examples=60, deadline=None)
@given(streams, loads, st.integers(0, 10**6))
def test_without_times_too_where_there_are_pauses(
    stream: list[tuple[tuple[str, int, int], int]], busy: float, seed: int
) -> None:
    """One at least in all that a window holds at most; else see below."""
    words = paused(repeated(stream))
    run = Run(words, is_timed=False, manner=Manner(seed=seed))
    run.talk(random.Random(seed), busy)
    assert texts(run.settled) == texts(run.words)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(60, 600), min_size=150, max_size=250), st.integers(0, 10**6))
def test_without_times_and_pauses_words_that_differ_are_exact(
    lengths_ms: list[int], seed: int
) -> None:
    run = Run(
        said(*((f"w{number}", 0, ms) for number, ms in enumerate(lengths_ms))),
        is_timed=False,
        manner=Manner(seed=seed),
    )
    run.talk(random.Random(seed), 0.3)
    assert texts(run.settled) == texts(run.words)


@settings(max_examples=60, deadline=None)
@given(streams, loads, st.booleans(), st.integers(0, 10**6))
def test_utterances_end_and_silence_is_left_out(
    stream: list[tuple[tuple[str, int, int], int]], busy: float, is_timed: bool, seed: int
) -> None:
    """Utterances end in pauses, or silence is left out there, or both, in any order."""
    words, dice = paused(repeated(stream)), random.Random(seed)
    run = Run(words, is_timed=is_timed, manner=Manner(seed=seed))
    finishes = 0
    for before, after in pairwise(words):
        gap_ms = after.start_ms - before.end_ms
        if gap_ms < 200:
            continue
        cut = ms_to_samples(before.end_ms + 100)
        while run.at < cut:
            run.push(min(cut - run.at, 4_000))
            while run.long.due and dice.random() >= busy:
                run.step(dice)
        for act in dice.sample(("finish", "skip", "nothing"), 2):
            if act == "finish":
                run.long.finish()
                finishes += 1
            elif act == "skip":
                run.skip(ms_to_samples(gap_ms - 200))
    run.end()
    assert run.ended <= finishes + 1
    assert texts(run.settled) == texts(run.words)


@settings(max_examples=40, deadline=None)
@given(streams, loads, st.integers(0, 10**6))
def test_of_missing_sound_only_the_words_in_it_are_lost(
    stream: list[tuple[tuple[str, int, int], int]], busy: float, seed: int
) -> None:
    words, dice = repeated(stream), random.Random(seed)
    run = Run(words, manner=Manner(seed=seed))
    gaps: list[tuple[int, int]] = []
    while run.at < len(run.sound) // SAMPLE_BYTES:
        run.push(dice.randrange(1, 60_000))
        while run.long.due and dice.random() >= busy:
            run.answer()
        missing = dice.randrange(1, 8_000)
        gaps.append((samples_to_ms(run.at), samples_to_ms(run.at + missing) + 1))
        run.skip(missing)
    run.end()
    whole = [
        word.text
        for word in words
        if all(word.end_ms + 50 < begin or word.start_ms > end + 50 for begin, end in gaps)
    ]
    found = iter(texts(run.settled))
    assert all(text in found for text in whole)  # in order
    assert len(run.settled) <= len(words) + len(gaps)


def test_an_hour_is_exact_and_holds_no_more_than_a_window() -> None:
    dice = random.Random(7)
    words = said(
        *(
            (dice.choice(NAMES), dice.choice(PAUSES_MS), dice.choice(LENGTHS_MS))
            for _ in range(6_000)
        )
    )
    words = [word for word in words if word.end_ms < 3_600_000]
    assert words[-1].end_ms > 3_500_000
    run = Run(words)
    while run.at < len(run.sound) // SAMPLE_BYTES:
        run.push(1_600)
        run.catch_up()
    run.end()
    assert texts(run.settled) == texts(words)
    # a window that waited for nothing, and grew a few times for want of an anchor
    assert run.most_bytes < ms_to_samples(15_000) * SAMPLE_BYTES
    assert run.taken < 3_000


def test_one_word_over_and_over_is_cut_by_times_alone() -> None:
    """Where nothing else tells places apart: exact while the word is longer than times are off."""
    run = Run(said(*[("no", 0, 400)] * 200))
    while run.at < len(run.sound) // SAMPLE_BYTES:
        run.push(1_600)
        run.catch_up()
    run.end()
    assert len(run.settled) == 200
    assert run.most_bytes <= (ms_to_samples(28_000) + 1_600) * SAMPLE_BYTES


# --- promptness ---
def first_words(lead_ms: int, is_timed: bool, engine_ms: int = 200) -> tuple[int, int]:
    """From the start of speech to its first partial, and its first settled word; the sound comes in real time."""
    phrase = [("hello", lead_ms, 300), ("there", 30, 350)]
    run = Run(said(*phrase, *((f"w{n}", 20, 300) for n in range(12))), is_timed=is_timed)
    partial = settled = -1
    outs: list[Window] = []
    answer_at = 0
    while settled < 0 and run.at < ms_to_samples(lead_ms + 4_000):
        run.push(320)
        now = run.at
        if outs and now >= answer_at:
            out = outs.pop()
            words = run.hear(out)
            update = run.long.heard(
                out.number, words if is_timed else (), " ".join(w.text for w in words)
            )
            if (update.settled or update.tentative) and partial < 0:
                partial = samples_to_ms(now) - lead_ms
            if update.settled:
                settled = samples_to_ms(now) - lead_ms
        if not outs and (window := run.long.take()) is not None:
            outs.append(window)
            answer_at = now + ms_to_samples(engine_ms)
    assert settled >= partial >= 0
    return partial, settled


@given(st.integers(0, 9_000), st.booleans())
def test_words_are_there_within_two_seconds_of_speech(lead_ms: int, is_timed: bool) -> None:
    partial, settled = first_words(lead_ms, is_timed)
    assert partial <= 2_000
    assert settled <= 2_000  # and a partial that is never revised


def test_a_look_is_first_seen_and_settles_what_the_next_confirms() -> None:
    run = Run(said(("so", 100, 200), ("it", 40, 200), ("seems", 40, 800), ("then", 40, 900)))
    run.push(ms_to_samples(1_100) + 160)
    first = run.answer()
    assert run.windows[0].is_look
    assert first.settled == ()
    assert first.tentative.startswith("so it")
    assert not run.long.due
    run.push(ms_to_samples(500))
    second = run.answer()
    assert run.windows[1].is_look
    assert texts(second.settled) == ["so", "it"]
    run.push(ms_to_samples(380))
    assert not run.long.due  # it has words now, and waits for its window
    run.push(ms_to_samples(20))
    run.answer()
    assert not run.windows[2].is_look


def test_a_window_goes_before_a_look() -> None:
    run = Run(said(*[("so", 0, 200)] * 20))
    run.push(ms_to_samples(2_000))
    window = run.long.take()
    assert window is not None
    assert not window.is_look
    assert not run.long.due
    assert run.long.take() is None


def test_silence_is_not_looked_at() -> None:
    """Once the room is known; in the first seconds the quiet might be somebody who speaks evenly."""
    run = Run([])
    run.sound *= 4
    looks = []
    while run.at < len(run.sound) // SAMPLE_BYTES:
        run.push(800)
        while run.long.due:
            run.answer()
            looks += [window.end for window in list(run.windows)[-1:] if window.is_look]
    assert len(looks) <= 3
    assert all(at <= ms_to_samples(5_000) for at in looks)


def test_a_noise_is_looked_at_once() -> None:
    run = Run(said(("bang", 0, 1_900)))
    run.reference = Reference((), Manner())
    while run.at < ms_to_samples(1_900):
        run.push(800)
        run.catch_up()
    assert [window.is_look for window in run.windows] == [True]


# --- load ---
def test_fifty_sessions_share_two_workers_fairly() -> None:
    """200 ms a window, whatever its length: 50 sessions at 1.5 s would ask for three times what two workers give."""
    runs = []
    for seed in range(50):
        dice = random.Random(seed)
        words = said(
            *((dice.choice(NAMES), dice.choice(PAUSES_MS[:-1]), 300) for _ in range(80)),
        )
        runs.append(Run(words, manner=Manner(seed=seed)))
        runs[-1].sound = runs[-1].sound[: 40_000 * 32]
    queue: list[int] = []
    since: dict[int, int] = {}
    busy: list[tuple[int, int, Window]] = []  # until when, whose
    waits, lengths = [], []
    for now in range(0, 40_000, 20):
        for until, who, window in [work for work in busy if work[0] <= now]:
            busy.remove((until, who, window))
            runs[who].told(runs[who].long.heard(window.number, runs[who].hear(window), ""))
        for who, run in enumerate(runs):
            run.push(320)
            if run.long.due and who not in since:
                since[who] = now
                queue.append(who)
        while queue and len(busy) < 2:
            who = queue.pop(0)
            taken = runs[who].long.take()
            assert taken is not None
            waits.append(now - since.pop(who))
            lengths.append(taken.end - taken.start)
            busy.append((now + 200, who, taken))
    assert max(waits) <= 50 / 2 * 200 + 400  # a round
    assert ms_to_samples(4_000) < sum(lengths) / len(lengths) < ms_to_samples(8_000)
    for _, who, window in busy:
        runs[who].long.give_back(window.number)
    for run in runs:
        run.end()
        whole = [word for word in run.words if word.end_ms <= 40_000]
        assert texts(run.settled)[: len(whole)] == texts(whole)
        assert len(run.settled) <= len(whole) + 1  # the last is cut


def test_utterances_that_waited_share_a_window() -> None:
    words = said(*[("one", 50, 300), ("two", 0, 300), ("three", 900, 300), ("four", 5_000, 300)])
    run = Run(words)
    run.push(ms_to_samples(750))
    run.long.finish()
    run.skip(ms_to_samples(500))
    run.push(ms_to_samples(700))
    run.long.finish()
    run.skip(ms_to_samples(4_500))
    run.push(ms_to_samples(10_000))
    run.long.finish()
    update = run.answer()
    assert texts(update.settled) == ["one", "two", "three"]
    assert update.ended
    window = run.windows[0]
    assert window.is_last
    gap = window.pcm[ms_to_samples(750) * 2 : ms_to_samples(1_250) * 2]
    assert gap == bytes(len(gap))
    assert texts(run.answer().settled) == ["four"]  # too far away
    assert not run.long.due
    assert run.ended == 2


def test_an_end_within_a_shared_window_is_told() -> None:
    run = Run(said(("one", 50, 300), ("two", 600, 300), ("three", 500, 300)))
    run.push(ms_to_samples(450))
    run.long.finish()
    run.push(ms_to_samples(900))
    run.skip(ms_to_samples(100))
    update = run.answer()
    assert texts(update.settled) == ["one", "two"]
    assert update.ended
    run.end()
    assert run.ended == 2


def test_sound_that_was_left_out_is_bridged_by_silence() -> None:
    run = Run(said(("one", 50, 300), ("two", 600, 300)))
    run.push(ms_to_samples(450))
    run.skip(ms_to_samples(400))
    run.push(ms_to_samples(5_000))
    run.skip(160)
    update = run.answer()
    assert texts(update.settled) == ["one", "two"]
    assert not update.ended
    assert not run.long.due


def test_all_that_a_window_may_hold_brings_new_sound() -> None:
    """An anchor at its beginning would leave no room for any."""
    run = Run(said(("one", 0, 300), ("two", 0, 900), *[("no", 0, 400)] * 150))
    run.push(len(run.sound))
    first = run.answer()
    assert len(first.settled) > 60
    assert run.answer().settled_to > first.settled_to
    assert run.windows[1].end - run.windows[0].end > ms_to_samples(20_000)
    run.end()
    assert len(run.settled) == len(run.words)


def test_without_times_words_of_a_shared_window_lie_where_sound_is() -> None:
    words = said(("one", 50, 300), ("two", 900, 300))
    run = Run(words, is_timed=False)
    run.push(ms_to_samples(450))
    run.long.finish()
    run.push(ms_to_samples(5_000))
    run.long.finish()
    settled = run.answer().settled
    assert abs(settled[0].start_ms - 50) <= 20
    assert abs(settled[-1].end_ms - words[-1].end_ms) <= 20


# --- ends ---
def test_an_utterance_may_end_while_its_last_window_is_out() -> None:
    run = Run(said(("so", 0, 300), ("it", 0, 300), ("is", 0, 1_400)))
    run.push(ms_to_samples(2_000))
    window = run.long.take()
    assert window is not None
    assert not window.is_last
    run.long.finish()
    update = run.told(run.long.heard(window.number, run.hear(window), ""))
    assert update.ended
    assert texts(update.settled) == ["so", "it", "is"]
    assert not run.long.due
    assert run.long.held_bytes == 0


def test_what_is_left_of_an_utterance_after_a_pause_is_nothing_but_told() -> None:
    run = Run(said(("so", 0, 300), ("it", 0, 1_300)))
    run.sound += bytes(16_000)
    run.push(ms_to_samples(2_050))
    assert texts(run.answer().settled) == ["so", "it"]
    assert run.long.held_bytes > 0
    run.long.finish()
    update = run.answer()
    assert (run.windows[-1].pcm, run.windows[-1].is_last) == (b"", True)
    assert update.ended
    assert run.long.held_bytes == 0


def test_silence_after_a_pause_is_dropped_where_sound_is_left_out() -> None:
    run = Run(said(("so", 0, 300), ("it", 0, 1_300)))
    run.sound += bytes(16_000)
    run.push(ms_to_samples(2_050))
    run.answer()
    run.skip(160)
    assert not run.long.due
    assert run.long.held_bytes == 0
    assert run.long.settled == run.at
    run.long.finish()
    assert run.answer().ended  # of the words that were told before


def test_what_is_quiet_and_follows_no_pause_is_heard() -> None:
    """It may be a whisper."""
    run = Run(said(("so", 0, 300), ("it", 0, 1_300)))
    run.sound += sound_of([], 1_000)
    run.push(ms_to_samples(2_050))
    run.answer()
    run.long.finish()
    run.push(ms_to_samples(300))
    run.long.finish()
    run.catch_up()
    assert [bool(window.pcm) for window in run.windows][1:] == [False, True]
    assert run.ended == 2
    run.long.finish()  # of nothing new
    assert not run.long.due


def test_nothing_comes_of_nothing() -> None:
    long = LongForm(POLICY, start=160)
    long.push(b"")
    long.skip(0)
    long.finish()
    assert not long.due
    assert long.take() is None
    assert (long.settled, long.held_bytes) == (160, 0)
    long.skip(16_000)
    assert long.settled == 16_160


# --- failures ---
def test_a_failed_window_is_due_again_with_what_came_since() -> None:
    run = Run(said(*[("so", 0, 250)] * 20))
    run.push(ms_to_samples(2_000))
    window = run.long.take()
    assert window is not None
    run.push(160)
    run.long.give_back(window.number)
    again = run.long.take()
    assert again is not None
    assert again.start == window.start
    assert again.end == window.end + 160
    run.long.give_back(window.number)  # of old
    assert not run.long.due


def test_a_failed_look_costs_nothing() -> None:
    run = Run(said(*[("so", 0, 250)] * 20))
    for due_ms in (1_000, 500):
        run.push(ms_to_samples(due_ms))
        look = run.long.take()
        assert look is not None
        assert look.is_look
        assert run.long.give_up(look.number) == Update()
        assert not run.long.due
    run.push(ms_to_samples(400))
    run.end()
    assert texts(run.settled) == texts(run.words)


def test_a_window_that_is_given_up_leaves_a_gap_behind_what_was_heard_before() -> None:
    run = Run(said(*((f"w{n}", 0, 300) for n in range(30))), is_timed=False)
    run.push(ms_to_samples(2_000))
    assert run.answer().tentative
    run.push(ms_to_samples(2_000))
    window = run.long.take()
    assert window is not None
    update = run.told(run.long.give_up(window.number))
    assert texts(update.settled) == ["w0", "w1", "w2", "w3", "w4", "w5"][: len(update.settled)]
    assert len(update.settled) >= 5
    assert update.gap == (ms_to_samples(update.settled[-1].end_ms), window.end)
    assert update.settled_to == window.end
    assert run.long.give_up(window.number) == Update(settled_to=window.end)
    run.end()
    assert texts(run.settled)[-15:] == texts(run.words)[-15:]


def test_an_answer_out_of_season_changes_nothing() -> None:
    run = Run(said(*[("so", 0, 250)] * 20))
    run.push(ms_to_samples(2_000))
    assert run.long.heard(1, run.words, "") == Update()
    window = run.long.take()
    assert window is not None
    assert run.long.heard(window.number + 1, run.words, "") == Update()
    assert run.told(run.long.heard(window.number, run.hear(window), "")).tentative


def test_words_outside_of_their_window_are_moved_into_it() -> None:
    run = Run(said(*[("so", 1_000, 250)] * 20))
    run.push(ms_to_samples(3_000))
    window = run.long.take()
    assert window is not None
    wild = [Word("early", -500, -300), Word("back", 900, 100), Word("late", 9_000, 99_000)]
    run.long.finish()
    settled = run.told(run.long.heard(window.number, wild, "")).settled
    assert texts(settled) == ["early", "back", "late"]
    assert all(0 <= word.start_ms <= word.end_ms <= 3_000 for word in settled)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.lists(
            st.builds(
                Word,
                st.sampled_from([*NAMES, "", "今日は"]),
                st.integers(-999, 60_000),
                st.integers(-999, 60_000),
            ),
            max_size=8,
        ),
        max_size=20,
    ),
    st.booleans(),
    st.booleans(),
    st.integers(0, 999),
)
def test_whatever_a_recogniser_says_settled_words_are_in_order(
    answers: list[list[Word]], is_timed: bool, is_loud: bool, seed: int
) -> None:
    dice = random.Random(seed)
    run = Run([Word("x", 0, 59_000)])
    run.sound = run.sound if is_loud else sound_of([], 59_200)
    told = iter(answers)
    while run.at < ms_to_samples(59_000):
        run.push(dice.randrange(1, 20_000))
        if run.long.due:
            window = run.long.take()
            assert window is not None
            words = next(told, [])
            text = " ".join(texts(words))
            run.told(run.long.heard(window.number, words if is_timed else (), text))
        if dice.random() < 0.1:
            run.long.finish()
    run.end()


def test_policies_that_cannot_be() -> None:
    for wrong in (
        {"overlap_ms": 2_000},
        {"overlap_ms": -1},
        {"longest_ms": 5_000},
        {"jitter_ms": 0},
        {"look_every_ms": 0},
        {"bridge_ms": -1},
    ):
        with pytest.raises(ValueError, match=r"overlap_ms|longest_ms|lengths"):
            LongFormPolicy(**wrong)
