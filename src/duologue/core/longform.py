"""Sound without end through a recogniser that takes only whole windows. A machine without time.

Sound is pushed as it comes. When a window is due, whoever has a worker free takes it, with all the sound that is
there: the longer it waits, the longer its window, and the less work each second of sound is. What the recogniser
heard comes back, and makes words that are *settled*, never to be revised, and a *tentative* rest.

Where the next window begins:

- a window that ends in a pause has cut no word: all its words are settled, and the next begins where it ended;
- one that ends amid speech settles its words up to an anchor (`core.stitch`), a word some way before its end, and
  the next begins shortly before that word;
- where there is no such word (one word over and over, a recogniser that tells no times) the next begins where this
  one did, and is longer; then those words are settled on which two windows in a row agree, but for the last of each,
  which the edge may have cut;
- a window that could not grow any more is cut all the same: at the last whole word, or without times where both
  transcripts agree for longest. Here alone is a guess made.

While an utterance is young, *looks* at what there is bring its first words sooner. They settle what two of them
agree on, and are left out when a window is due.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from duologue.core.audio import SAMPLE_BYTES, ms_to_samples, samples_to_ms
from duologue.core.segments import joined
from duologue.core.stitch import Hearing, Stitcher
from duologue.core.windows import PAUSE_STEPS, STEP_SAMPLES, Passage, Room
from duologue.core.words import Word

LEAST_MS = 500
"""A window is not ended by a pause before this."""


@dataclass(frozen=True, slots=True)
class LongFormPolicy:
    """How sound is cut.

    Attributes:
        window_ms: sound of a window, where nothing waits.
        overlap_ms: of it with the one before, at least, unless they meet in a pause.
        longest_ms: most sound of a window; Whisper takes 30 s.
        near_ms: how far before its end a window looks for a pause.
        word_ms: no word is longer.
        jitter_ms: how far the times of a recogniser may be off. The more, the longer the overlaps.
        first_look_ms: sound of an utterance until it is looked at for the first time; `look_every_ms` later again.
        bridge_ms: passages so far apart at most may share a window when they had to wait.
    """

    window_ms: int = 2_000
    overlap_ms: int = 500
    longest_ms: int = 28_000
    near_ms: int = 1_000
    word_ms: int = 1_500
    jitter_ms: int = 150
    first_look_ms: int = 1_000
    look_every_ms: int = 500
    bridge_ms: int = 3_000

    def __post_init__(self) -> None:
        if not 0 <= self.overlap_ms < self.window_ms:
            raise ValueError(f"overlap_ms must be within 0..window_ms, got {self.overlap_ms}")
        if self.longest_ms < 2 * self.window_ms + self.word_ms:
            raise ValueError("longest_ms must be two windows and a word at least")
        least = min(self.near_ms, self.word_ms, self.jitter_ms, self.first_look_ms)
        if least <= 0 or self.look_every_ms <= 0 or self.bridge_ms < 0:
            raise ValueError("lengths of sound are positive")

    @property
    def stride_ms(self) -> int:
        """New sound of a window."""
        return self.window_ms - self.overlap_ms


@dataclass(frozen=True, slots=True)
class Window:
    """Sound to be transcribed.

    Attributes:
        start: position of its first sample; `end` of the one after the last.
        pcm: 16 kHz mono. May be empty where an utterance ended in silence that is not worth it: nothing was said.
        is_look: for a glance: a quick answer is better than a good one, and a failure costs nothing.
        is_last: of an utterance.
        breaks: where in it, before its end, other utterances ended that had to wait; positions.
    """

    number: int
    start: int
    end: int
    pcm: bytes
    is_look: bool
    is_last: bool
    breaks: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Update:
    """What came of a window.

    Attributes:
        settled: words that follow those settled before; they are never revised, overlap or go back in time.
        tentative: what was said after them, as far as it is understood now.
        settled_to: position before which all sound is dealt with.
        ended: the utterance is over, and all of it settled.
        gap: from where to where sound was passed over.
    """

    settled: tuple[Word, ...] = ()
    tentative: str = ""
    settled_to: int = 0
    ended: bool = False
    gap: tuple[int, int] | None = None


@dataclass(slots=True)
class _Out:
    """The window that is out."""

    window: Window
    passages: int  # that it reaches the end of
    is_clean: bool  # it ends in a pause, or with its passage


class LongForm:
    """One session's. Holds what is not settled; bounded by whoever pushes, who looks at `held_bytes`.

    Args:
        start: position of the first sample.
    """

    def __init__(self, policy: LongFormPolicy, *, start: int = 0) -> None:
        self._policy = policy
        self._room = Room()
        self._passages: deque[Passage] = deque()
        self._held_bytes = 0
        self._position = start  # of the next sample
        self._number = 0
        self._out: _Out | None = None
        self._has_sound = False  # something was pushed since the last finish
        self._stitcher = Stitcher(policy.jitter_ms, policy.word_ms)
        self._is_young = True  # nothing was heard yet of what may be an utterance
        self._begin(start)

    def _begin(self, position: int) -> None:
        """With a passage that begins there."""
        self._stitcher.begin()
        self._heard_to = position
        self._looked_to = position  # by a window or a look
        self._is_after_pause = False  # of the same passage

    # --- in ---
    def push(self, pcm: bytes) -> None:
        """More sound: 16 kHz mono, little-endian 16-bit, whole samples. It follows what came before."""
        if not pcm:
            return
        if not self._passages or self._passages[-1].is_closed:
            self._append_passage()
        self._passages[-1].add(pcm)
        self._held_bytes += len(pcm)
        self._position += len(pcm) // SAMPLE_BYTES
        self._has_sound = True

    def skip(self, samples: int) -> None:
        """So much sound is missing, or was silence and is left out. No word goes over it."""
        if samples <= 0:
            return
        if self._passages:
            self._passages[-1].is_closed = True
        self._position += samples
        self._shed()

    def finish(self) -> None:
        """The utterance is over: all of it is to be transcribed. Answered by an `Update` that has `ended`.

        Nothing happens if there was no sound since the last time.
        """
        if not self._has_sound:
            return
        self._has_sound = False
        if not self._passages:
            self._append_passage()
        self._passages[-1].is_closed = True
        self._passages[-1].ends = True

    def _append_passage(self) -> None:
        self._passages.append(Passage(self._room, self._position))
        if len(self._passages) == 1:
            self._begin(self._position)

    # --- what is due ---
    @property
    def held_bytes(self) -> int:
        """Sound that is kept."""
        return self._held_bytes

    @property
    def settled(self) -> int:
        """Position before which all sound is dealt with and dropped."""
        return self._start if self._passages else self._position

    @property
    def due(self) -> bool:
        """A window or a look may be taken."""
        return self._out is None and (self._is_window_due() or self._is_look_due())

    def take(self) -> Window | None:
        """The next window; None if none is due. It is to be answered by `heard`, `give_back` or `give_up`."""
        if not self.due:
            return None
        self._number += 1
        self._out = self._whole_window() if self._is_window_due() else self._look()
        return self._out.window

    def _is_window_due(self) -> bool:
        if not self._passages:
            return False
        first = self._passages[0]
        if first.is_closed:
            return True
        policy = self._policy
        return first.end >= max(
            self._start + ms_to_samples(policy.window_ms),
            self._heard_to + ms_to_samples(policy.stride_ms),
        )

    def _is_look_due(self) -> bool:
        if not self._passages or not self._is_young:
            return False
        first, policy = self._passages[0], self._policy
        first_look = ms_to_samples(policy.first_look_ms)
        if first.end < max(
            self._start + first_look, self._looked_to + ms_to_samples(policy.look_every_ms)
        ):
            return False
        onset = first.onset()
        return onset is not None and first.end >= onset + first_look

    def _look(self) -> _Out:
        first = self._passages[0]
        end = self._looked_to = first.end
        sound = first.sound(end)
        return _Out(Window(self._number, self._start, end, sound, True, False), 0, False)

    def _whole_window(self) -> _Out:
        first, start = self._passages[0], self._start
        end = min(first.end, start + ms_to_samples(self._policy.longest_ms))
        if end == first.end and first.is_closed:
            return self._to_the_end()
        near = self._policy.near_ms if self._stitcher.is_timed else self._policy.longest_ms
        since = max(
            start + ms_to_samples(LEAST_MS),
            end - ms_to_samples(near),
            self._looked_to - PAUSE_STEPS * STEP_SAMPLES,  # words that lie before may be settled
        )
        cut = first.pause(since, end)
        if cut is not None:
            end = cut
        self._looked_to = end
        window = Window(self._number, start, end, first.sound(end), False, False)
        return _Out(window, 0, cut is not None)

    def _to_the_end(self) -> _Out:
        """A window to the end of the passage; of those after it, too, if they are whole and were made to wait."""
        first, count = self._passages[0], 1
        sound = b"" if self._is_but_silence() else first.sound(first.end)
        end, ends = first.end, first.ends
        breaks: list[int] = []
        for passage in islice(self._passages, 1, None):
            gap = passage.start - end
            if not (
                sound
                and passage.is_closed
                and gap <= ms_to_samples(self._policy.bridge_ms)
                and passage.end - self._start <= ms_to_samples(self._policy.longest_ms)
            ):
                break
            if ends:
                breaks.append(end)
            sound += bytes(gap * SAMPLE_BYTES) + passage.sound(passage.end)
            end, ends, count = passage.end, passage.ends, count + 1
        window = Window(self._number, self._start, end, sound, False, ends, tuple(breaks))
        return _Out(window, count, True)

    def _is_but_silence(self) -> bool:
        """What is left of the first passage follows a pause, and is nothing but that."""
        first = self._passages[0]
        return not first.size_bytes or (self._is_after_pause and first.is_quiet())

    # --- what came of it ---
    def heard(self, number: int, words: Sequence[Word], text: str) -> Update:
        """What the recogniser understood.

        Args:
            number: the window's; an answer for another than that which is out changes nothing.
            words: with times on the session's clock, where it knows them.
            text: all of it; not looked at where there are words.
        """
        out = self._take_in(number)
        if out is None:
            return Update(settled_to=self.settled)
        window, stitcher = out.window, self._stitcher
        first, _ = self._passages[0].loud_part(window.end)
        _, last = self._passages[max(0, out.passages - 1)].loud_part(window.end)
        hearing = stitcher.hear(
            *(words, text),
            (samples_to_ms(window.start), samples_to_ms(window.end)),
            (samples_to_ms(first), samples_to_ms(last)),
        )
        is_empty = not hearing.known and not hearing.words
        if window.is_look:
            self._is_young = not is_empty  # what was loud may have been some noise
            return self._update(stitcher.stay(hearing, stitcher.agreed(hearing)), hearing)
        if out.is_clean or self._is_at_end(window):
            update = self._go_on(out, stitcher.end(hearing))
        else:
            self._heard_to = window.end
            update = self._amid_speech(window, hearing)
        self._is_young = self._is_young or is_empty
        return update

    def give_back(self, number: int) -> None:
        """The recogniser failed: the window is due again, with what has come since."""
        self._take_in(number)

    def give_up(self, number: int) -> Update:
        """It failed for good: the window's sound is passed over, but for what an earlier window has heard of it."""
        out = self._take_in(number)
        if out is None or out.window.is_look:
            return Update(settled_to=self.settled)
        settled = self._stitcher.give_up()
        since = max(out.window.start, ms_to_samples(self._stitcher.told_ms))
        return self._go_on(out, settled, (since, out.window.end))

    def _take_in(self, number: int) -> _Out | None:
        if self._out is None or self._out.window.number != number:
            return None
        out, self._out = self._out, None
        return out

    def _is_at_end(self, window: Window) -> bool:
        """Whether its passage has ended with it; that may have come out since it was taken."""
        first = self._passages[0]
        return first.is_closed and first.end == window.end

    def _update(self, settled: tuple[Word, ...], hearing: Hearing) -> Update:
        if settled:
            self._is_young = False
        tentative = joined([word.text for word in hearing.words[len(settled) :]])
        return Update(settled, tentative, self.settled)

    def _amid_speech(self, window: Window, hearing: Hearing) -> Update:
        """The window's end may have cut a word."""
        stitcher, policy = self._stitcher, self._policy
        begin_ms = samples_to_ms(window.start)
        tight_ms = hearing.end_ms - policy.longest_ms + policy.stride_ms
        after_ms = max(begin_ms, tight_ms)  # else the next window would have too little that is new
        agreed = stitcher.agreed(hearing)
        place = stitcher.silence(hearing)
        if place is not None and place > after_ms:
            return self._move(stitcher.move(hearing, hearing.sure, None), hearing, place)
        at = stitcher.anchor(hearing, after_ms) if hearing.is_timed else None
        if at is None and begin_ms > tight_ms:
            return self._update(stitcher.stay(hearing, agreed), hearing)
        if at is None:
            settled, place = stitcher.cut(hearing, agreed, after_ms)
            return self._move(settled, hearing, place)
        place = min(stitcher.place_before(hearing.words[at]), hearing.end_ms - policy.overlap_ms)
        return self._move(stitcher.move(hearing, max(agreed, at + 1), at), hearing, place)

    def _move(self, settled: tuple[Word, ...], hearing: Hearing, place_ms: int) -> Update:
        """The next window begins there."""
        self._is_after_pause = False
        self._drop(ms_to_samples(place_ms))
        return self._update(settled, hearing)

    def _go_on(
        self, out: _Out, settled: tuple[Word, ...], gap: tuple[int, int] | None = None
    ) -> Update:
        """The next window begins where that one ended."""
        ended = False
        if out.passages or self._is_at_end(out.window):
            for _ in range(out.passages or 1):
                ended = self._pass() or ended
        else:
            self._drop(out.window.end)
            self._begin(self._start)
            self._is_after_pause = gap is None
        self._is_young = ended or (self._is_young and not settled)
        self._shed()
        return Update(settled, "", self.settled, ended, gap)

    # --- what is held ---
    @property
    def _start(self) -> int:
        """Of the next window."""
        return self._passages[0].start

    def _drop(self, upto: int) -> None:
        first = self._passages[0]
        before = first.size_bytes
        first.drop(upto)
        self._held_bytes -= before - first.size_bytes

    def _pass(self) -> bool:
        """The first passage is dealt with. Returns whether an utterance ends with it."""
        first = self._passages.popleft()
        self._held_bytes -= first.size_bytes
        self._begin(self._start if self._passages else self._position)
        return first.ends

    def _shed(self) -> None:
        """Do without the silence at the end of a passage, if nobody waits for it."""
        while self._passages and self._out is None:
            first = self._passages[0]
            if not (first.is_closed and not first.ends and self._is_but_silence()):
                return
            self._pass()
