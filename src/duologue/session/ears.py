"""What comes in: the client's sound -> one 16 kHz stream -> windows -> speech facts, and sound for the recogniser.

`hear` is the hot path, fifty calls a second for each session: it only keeps the bytes. Everything else
happens once a window, when the shared `Hearing` has judged it.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import soxr

from duologue.core.audio import (
    SAMPLE_BYTES,
    STREAM,
    WINDOW_SAMPLES,
    AudioFormat,
    AudioFrame,
    Ms,
    ms_to_samples,
    samples_to_ms,
)
from duologue.core.cadence import is_murmur
from duologue.core.facts import Fact, InputBegan, SpeechStarted, SpeechStopped, Tick
from duologue.core.options import Noise, SessionOptions
from duologue.core.speech import HYSTERESIS, SpeechSegmenter
from duologue.ports import Clock
from duologue.session import noise
from duologue.session.echo import Echo
from duologue.session.hearing import Hearing

SILENT_LINE_MS = 200
"""Without sound for this long the stream goes on by wall time, in deemed silence: the microphone is muted."""

KEEP_MS = 1_000
"""Sound kept beyond the pre-roll, for the time until speech is noticed and its order is given."""

MAX_PENDING_BYTES = 32 * 1024 * 1024
"""Sound accepted and not yet judged, about eleven minutes; beyond it `hear` refuses."""

LONGEST_MURMUR_MS = 800
""" "Mhm" takes half a second; what lasts longer is no matter of a hum."""

_WINDOW_BYTES = WINDOW_SAMPLES * SAMPLE_BYTES


class Ears:
    """The input of one session.

    Args:
        report: told every fact, at once.
        echo: what we say ourselves, where somebody tells it.

    Attributes:
        slot: this session's state in the voice-activity model.
        deadline: when the turn machine wants to be told the time; the owner keeps it up to date.
        on_doubt: called with True when what is heard may be our own voice or somebody who interrupts us, and with
            False once that is decided, after any fact that came of it.
    """

    def __init__(
        self,
        hearing: Hearing,
        options: SessionOptions,
        clock: Clock,
        report: Callable[[Fact], None],
        echo: Echo | None = None,
    ) -> None:
        self._hearing = hearing
        self._clock = clock
        self._report = report
        self._echo = echo or Echo()
        self._echo.position = self._position_at
        self._is_ours = False  # our own voice may be in the window being judged
        self._is_ducked = False
        self.on_doubt: Callable[[bool], None] = lambda _: None
        self.slot = hearing.admit()
        self.deadline: Ms | None = None
        self._raw: list[bytes] = []
        self._raw_bytes = 0
        self._rest = b""  # 16 kHz, less than a window
        self._unjudged: deque[bytes] = deque()
        self._ring: deque[tuple[int, bytes]] = deque()
        self._segmenter = SpeechSegmenter(options.speech)
        self._arrived = 0  # samples of the stream that came in, judged or not
        self._committed = 0  # samples that belong to earlier utterances
        self._fed = 0  # samples that the recogniser has, or will not get
        self._sink: Callable[[AudioFrame], None] | None = None
        self._speech_began = self._speech_ended = Ms(0)
        self._began = False  # InputBegan was told since the last commit
        self._silences: deque[tuple[int, int, int]] = deque([(0, 0, 0)], maxlen=1024)
        self._last_sound_ms = clock()
        self._gates: deque[tuple[int, Callable[[], None]]] = deque()
        self._format = STREAM
        self._noise: Noise = "as it is"
        self._cleaner: noise.NoiseReducer | None = None
        self._resampler: soxr.ResampleStream | None = None
        self.set_format(options.input_format)
        self.set_options(options)

    def set_options(self, options: SessionOptions) -> None:
        """Behave so from here on. The format is no part of it: see `set_format`."""
        if self._raw:
            self._convert()
        self._detect = options.turn.detect
        self._padding = ms_to_samples(options.prefix_padding_ms)
        self._keep = self._padding + ms_to_samples(KEEP_MS)
        self._segmenter.policy = options.speech
        self._echo.set_mode(options.echo)
        if options.noise != self._noise:
            self._noise, self._cleaner = options.noise, noise.reducer(options.noise)
        if not self._detect:
            self._segmenter.forget()

    def set_format(self, fmt: AudioFormat) -> None:
        """The format of all sound from here on; what is already here keeps its old one."""
        if fmt == self._format:
            return
        if self._raw:
            self._convert()
        self._format = fmt
        self._resampler = (
            None
            if fmt.rate_hz == STREAM.rate_hz
            else soxr.ResampleStream(fmt.rate_hz, STREAM.rate_hz, 1, dtype="int16", quality="LQ")
        )

    # --- sound ---
    def hear(self, pcm: bytes) -> bool:
        """Take sound in the client's format, whole samples. False if too much waits, and nothing was taken."""
        if self._raw_bytes + len(pcm) + len(self._unjudged) * _WINDOW_BYTES > MAX_PENDING_BYTES:
            return False
        self._raw.append(pcm)
        self._raw_bytes += len(pcm)
        self._hearing.notice(self)
        return True

    def next_window(self) -> bytes | None:
        """For `Hearing`: the next window to judge."""
        if self._raw:
            self._convert()
        if not self._unjudged:
            self._tell_deadline(self._arrived)
            return None
        start = self._segmenter.position
        self._is_ours = self._echo.may_hold(start)
        if self._is_ours:
            self._unjudged[0] = self._echo.clean(start, self._unjudged[0])
        return self._unjudged[0]

    def may_skip(self) -> bool:
        """For `Hearing`: nobody speaks, or seems to begin."""
        return not self._segmenter.speaking

    def judged(self, probability: float, power: float) -> None:
        """For `Hearing`: the verdict on the window given out last, and how loud it is."""
        window = self._unjudged.popleft()
        if self._is_ours:
            floor = self._segmenter.policy.threshold - HYSTERESIS
            probability = 0.0 if self._echo.explains(probability, floor) else probability
        start = self._segmenter.position
        self._tell_deadline(start + WINDOW_SAMPLES)
        over_us = self._echo.is_heard(start)
        fact = self._segmenter.feed(probability, power=power, over_us=over_us)
        self._keep_sound(start, window)
        if fact is not None:
            self._tell(fact)
        self._duck()
        self._tell_time()

    # --- the stream clock ---
    @property
    def now(self) -> Ms:
        """Up to where it is settled whether somebody speaks."""
        return self._segmenter.certain

    @property
    def position(self) -> int:
        """Samples that are judged."""
        return self._segmenter.position

    @property
    def last_speech(self) -> Ms:
        """Where speech was last heard to end; the present position while it lasts."""
        return self._segmenter.certain if self._segmenter.speaking else self._speech_ended

    @property
    def speaking(self) -> bool:
        """Somebody speaks, as far as can be told."""
        return self._segmenter.speaking

    @property
    def uncommitted_ms(self) -> int:
        """Client sound since the last commit or clear."""
        if self._raw:
            self._convert()
        return self._sound_ms(self._arrived) - self._sound_ms(self._committed)

    def client_ms(self, at: Ms) -> int:
        """A position on the stream as milliseconds of the client's own sound: less deemed silence."""
        return self._sound_ms(ms_to_samples(at))

    def wall_ms(self, at: Ms) -> float:
        """When, by the wall clock, the sound at this position came in."""
        return self._last_sound_ms - (samples_to_ms(self._arrived) - at)

    def when_judged(self, then: Callable[[], None]) -> None:
        """Call when all sound that is here by now is judged: at once if it is."""
        if self._raw:
            self._convert()
        if self._arrived - len(self._rest) // SAMPLE_BYTES <= self._segmenter.position:
            then()
        else:
            self._gates.append((self._arrived, then))

    def pass_silence(self, now_ms: float) -> None:
        """Without sound for a while: let the stream go on by wall time."""
        quiet_ms = now_ms - self._last_sound_ms
        if quiet_ms >= SILENT_LINE_MS and not (self._raw or self._unjudged):
            self._deem_silent(quiet_ms)
            self._tell_time()

    # --- the recogniser's share ---
    def listen(self, since: Ms, sink: Callable[[AudioFrame], None]) -> None:
        """Give sound to the recogniser from there on, less the pre-roll; nothing twice, nothing committed."""
        start = max(ms_to_samples(since) - self._padding, self._committed, self._fed)
        self._sink = sink
        for at, pcm in self._ring:
            if at + len(pcm) // SAMPLE_BYTES > start:
                self._feed(at, pcm)

    def hold(self) -> None:
        """Give it nothing until asked again."""
        self._sink = None

    def forget_level(self) -> None:
        """What was loud so far was nothing: how a voice falls is not measured by it."""
        self._segmenter.turn_is_over()

    def commit(self, upto: int) -> None:
        """What lies before belongs to an utterance that is over."""
        self._committed = max(self._committed, min(upto, self._arrived))
        self._fed = max(self._fed, self._committed)
        self._began = False
        self._sink = None
        self._segmenter.turn_is_over()

    def flush(self) -> None:
        """Push-to-talk: the last, incomplete window belongs to what is being committed."""
        if not self._detect and self._rest:
            self._pass_on(self._rest)
            self._rest = b""

    def clear(self) -> None:
        """Forget what was said since the last commit."""
        if self._raw:
            self._convert()
        self._unjudged.clear()
        self._rest = b""
        self._ring.clear()
        self._segmenter.forget()
        self._segmenter.pass_silence(self._arrived - self._segmenter.position)
        self.commit(self._arrived)
        self._open_gates()

    def close(self) -> None:
        """Hear nothing any more."""
        self._hearing.dismiss(self)

    # --- how ---
    def _position_at(self, now_ms: float) -> int:
        """Where the stream is at a wall time, had its sound come evenly."""
        if self._raw:
            came = self._raw_bytes // SAMPLE_BYTES * STREAM.rate_hz // self._format.rate_hz
            return self._arrived + came
        since_ms = min(max(0.0, now_ms - self._last_sound_ms), SILENT_LINE_MS)
        return self._arrived + int(since_ms * STREAM.rate_hz / 1000)

    def _make_up_for_silence(self, sound_ms: float) -> None:
        """Sound comes after a while in which nobody looked at the time."""
        quiet_ms = self._clock() - self._last_sound_ms - sound_ms
        if quiet_ms >= SILENT_LINE_MS and not (self._unjudged or self._segmenter.speaking):
            self._deem_silent(quiet_ms)

    def _deem_silent(self, quiet_ms: float) -> None:
        samples = int(quiet_ms / samples_to_ms(WINDOW_SAMPLES)) * WINDOW_SAMPLES
        self._last_sound_ms += samples_to_ms(samples)
        self._arrived += samples
        before = self._silences[-1][2]
        self._silences.append((self._segmenter.position, before, before + samples))
        if (fact := self._segmenter.pass_silence(samples)) is not None:
            self._tell(fact)

    def _convert(self) -> None:
        """Client sound -> whole windows of the stream."""
        data = b"".join(self._raw) if len(self._raw) > 1 else self._raw[0]
        self._make_up_for_silence(len(data) * 1000 / SAMPLE_BYTES / self._format.rate_hz)
        self._raw.clear()
        self._raw_bytes = 0
        self._last_sound_ms = self._clock()
        if self._resampler is not None:
            data = self._resampler.resample_chunk(np.frombuffer(data, np.int16)).tobytes()
        if self._cleaner is not None:
            data = self._cleaner.clean(data)
        self._arrived += len(data) // SAMPLE_BYTES
        data = self._rest + data
        whole = len(data) - len(data) % _WINDOW_BYTES
        self._rest = data[whole:]
        windows = (data[at : at + _WINDOW_BYTES] for at in range(0, whole, _WINDOW_BYTES))
        if self._detect:
            self._unjudged.extend(windows)
        else:
            for window in windows:
                self._pass_on(window)

    def _pass_on(self, pcm: bytes) -> None:
        """Push-to-talk: nobody judges; sound goes straight to the recogniser."""
        start = self._segmenter.position
        self._segmenter.pass_silence(len(pcm) // SAMPLE_BYTES)
        self._keep_sound(start, pcm)
        if not self._began:
            self._began = True
            self._report(InputBegan(samples_to_ms(start)))

    def _keep_sound(self, start: int, pcm: bytes) -> None:
        self._ring.append((start, pcm))
        oldest = self._segmenter.position - self._keep
        while self._ring[0][0] < oldest:
            self._ring.popleft()
        if self._sink is not None:
            self._feed(start, pcm)

    def _feed(self, start: int, pcm: bytes) -> None:
        assert self._sink is not None
        self._fed = start + len(pcm) // SAMPLE_BYTES
        self._sink(AudioFrame(pcm, start))

    def _tell(self, fact: SpeechStarted | SpeechStopped) -> None:
        if isinstance(fact, SpeechStarted):
            self._speech_began = fact.at
        else:
            self._speech_ended = fact.at
            fact = replace(fact, is_murmur=self._was_murmur(fact.at))
        self._report(fact)

    def _was_murmur(self, ended: Ms) -> bool:
        """Was the stretch of speech that ended there over our voice, and but a hum?"""
        begin, end = ms_to_samples(self._speech_began), ms_to_samples(ended)
        if ended - self._speech_began > LONGEST_MURMUR_MS or not self._echo.is_heard(begin):
            return False
        windows = [pcm for at, pcm in self._ring if begin <= at < end]
        return is_murmur(np.frombuffer(b"".join(windows), np.int16))

    def _duck(self) -> None:
        """Who may be interrupting us is not talked over until it is known whether they are."""
        is_undecided = self._is_ducked and not self._segmenter.settled
        wanted = (self._is_ours and self._echo.is_in_doubt) or is_undecided
        if wanted != self._is_ducked:
            self._is_ducked = wanted
            self.on_doubt(wanted)

    def _tell_deadline(self, upto: int) -> None:
        """A deadline that falls into the window now coming in does not wait for the window's end: what has
        lasted up to its beginning is taken to last. So the decision is the same however the sound is cut."""
        if (
            self.deadline is not None
            and self._segmenter.settled
            and samples_to_ms(upto) >= self.deadline
        ):
            self._report(Tick(self.deadline))

    def _tell_time(self) -> None:
        if self.deadline is not None and self._segmenter.certain >= self.deadline:
            self._report(Tick(self._segmenter.certain))
        self._open_gates()

    def _open_gates(self) -> None:
        while self._gates and self._gates[0][0] - WINDOW_SAMPLES < self._segmenter.position:
            self._gates.popleft()[1]()

    def _sound_ms(self, position: int) -> int:
        """Samples of the stream -> ms of sound that really came (a position within a silence: its start)."""
        for at, before, after in reversed(self._silences):
            if at <= position:
                return max(at - before, position - after) * 1000 // STREAM.rate_hz
        return 0  # further back than anybody may ask
