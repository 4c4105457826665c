"""One scenario played: a user who follows the script, the room around them, and what came of it."""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from bench.turns import answers, sounds
from bench.turns.clients import CLASSES, Client
from bench.turns.loudspeaker import SAMPLES_PER_MS, Stretch
from bench.turns.policies import Manner
from bench.turns.recordings import Library
from bench.turns.reference import Pcm, reference
from bench.turns.scenario import Cue, Echo, Noise, Saying, Scenario
from bench.turns.whole import HUSH_DBFS
from bench.turns.world import FRAME_MS, Conversation, options
from duologue.core.audio import ms_to_samples, samples_to_ms
from duologue.core.notices import Committed, PlaybackBegan, SpeechBegan
from duologue.session.world import World

Real = NDArray[np.float64]

LONGEST_MS = 90_000
"""A script that waits for what never comes ends here."""

PATIENCE_MS = 8_000
"""A cue that waits for an answer or a commit is made after so long in any case: no user waits for ever."""

MARGIN_MS = 150
"""Kept around a recording's speech: soft first and last consonants, which loudness does not find."""

NOISE_MS = 30_000
ROOM_MS = 250
"""Of a room's response; what comes later is 30 dB down in the rooms at hand."""


@dataclass(frozen=True)
class Made:
    """A cue that was made: where its speech really was, in milliseconds of the conversation."""

    begin_ms: float
    end_ms: float
    is_turn: bool


@dataclass(frozen=True)
class Played:
    """What came of a scenario; milliseconds since its conversation began.

    Attributes:
        cues: in order; fewer than the script's if it came to no end.
        stretches: what the loudspeaker played when.
        began: (when, answer) as each became audible; `stopped` likewise where one was stopped before its end.
        speech: when the client was told that somebody speaks; `commits`: that a turn is over.
    """

    scenario: Scenario
    cues: tuple[Made, ...]
    stretches: tuple[Stretch, ...]
    began: tuple[tuple[float, str], ...]
    stopped: tuple[tuple[float, str], ...]
    speech: tuple[float, ...]
    commits: tuple[float, ...]
    duration_ms: int


class Room:
    """Everything that reaches the microphone beside the user: hush, noise, and the echo of what is played."""

    def __init__(
        self, library: Library, scenario: Scenario, client: Client, speech_dbfs: float
    ) -> None:
        self._client = client
        self._background = _background(library, scenario.noise, speech_dbfs)
        self._echo = scenario.echo
        self._response = _response(library, scenario.echo)
        # what wraps round lies before the samples that are kept
        self._fft = 1 << (len(self._response) + ms_to_samples(FRAME_MS)).bit_length()
        self._spectrum = np.fft.rfft(self._response, self._fft)

    def frame(self, at_ms: int) -> Real:
        """What is to be heard in the `FRAME_MS` from there on."""
        size, at = ms_to_samples(FRAME_MS), ms_to_samples(at_ms)
        start = at % (len(self._background) - size)
        sound = self._background[start : start + size].copy()
        if self._echo is not None:
            sound += self._echoed(at, size)
        return sound

    def _echoed(self, at: int, size: int) -> Real:
        assert self._echo is not None
        since = at - self._echo.delay_ms * SAMPLES_PER_MS
        tail = len(self._response) - 1
        played = self._client.speaker.sound(since - tail, since + size).astype(np.float64)
        if not played.any():
            return np.zeros(size)
        if tail:
            spectrum = np.fft.rfft(played, self._fft) * self._spectrum
            played = np.fft.irfft(spectrum, self._fft)[tail : tail + size]
        return np.asarray(played * 10 ** (self._echo.gain_db / 20), np.float64)


@dataclass
class User:
    """Follows the script; a microphone (`world.Microphone`) before which they and the room are heard."""

    scenario: Scenario
    client: Client
    sounds: list[tuple[Cue, Pcm]]
    room: Room
    answer_ms: float
    made: list[Made] = field(default_factory=list)
    _speaking: list[tuple[int, Pcm]] = field(default_factory=list)
    _next: int = 0
    _begun_ms: float = 0.0
    _ended_ms: float = 0.0

    def frame(self, at_ms: int) -> Pcm | None:
        if self._is_over(at_ms):
            return None
        self._follow(at_ms)
        sound = self.room.frame(at_ms)
        size = len(sound)
        for start, pcm in self._speaking:
            offset = ms_to_samples(at_ms) - start
            part = pcm[max(0, offset) : offset + size]
            sound[max(0, -offset) : max(0, -offset) + len(part)] += part
        return sounds.to_pcm(sound)

    def _follow(self, at_ms: int) -> None:
        while self._next < len(self.sounds):
            cue, pcm = self.sounds[self._next]
            due_ms = self._due(cue)
            if due_ms is None or due_ms >= at_ms + FRAME_MS:
                return
            start_ms = max(due_ms, at_ms)
            self._next += 1
            self._speaking.append((ms_to_samples(round(start_ms)), pcm))
            found = reference(pcm)
            lasts_ms = samples_to_ms(len(pcm))
            begin, end = (found.begin_ms, found.end_ms) if found is not None else (0, lasts_ms)
            self.made.append(Made(start_ms + begin, start_ms + end, cue.is_turn))
            self._begun_ms, self._ended_ms = start_ms, max(self._ended_ms, start_ms + lasts_ms)

    def _due(self, cue: Cue) -> float | None:
        """When it is to begin; None while that is not known."""
        if cue.at_ms is not None:
            return cue.at_ms
        if cue.after_previous_ms is not None:
            return (
                self.made[-1].end_ms + cue.after_previous_ms if self.made else cue.after_previous_ms
            )
        wanted = Committed if cue.after_commit_ms is not None else PlaybackBegan
        times = [told.at_ms for told in self.client.of(wanted) if told.at_ms >= self._begun_ms]
        if not times:
            return self._ended_ms + PATIENCE_MS
        if cue.after_commit_ms is not None:
            return times[0] + cue.after_commit_ms
        if cue.before_reply_end_ms is not None:
            return times[0] + self.answer_ms - cue.before_reply_end_ms
        return times[0] + (cue.after_reply_ms or 0)

    def _is_over(self, at_ms: int) -> bool:
        if at_ms >= LONGEST_MS and not self.scenario.noise_only_ms:
            return True
        if self.scenario.noise_only_ms:
            return at_ms >= self.scenario.noise_only_ms
        return self._next >= len(self.sounds) and at_ms >= self._ended_ms + self.scenario.tail_ms


async def play(
    surroundings: World, manner: Manner, scenario: Scenario, library: Library, seed: int
) -> Played:
    """One scenario, one policy."""
    talk = Conversation(CLASSES[scenario.client])
    script = [(cue, sound_of(cue.say, library, seed)) for cue in scenario.user]
    loud = [sounds.active_dbfs(pcm) for cue, pcm in script if cue.is_turn]
    room = Room(library, scenario, talk.client, loud[0] if loud else sounds.SPEECH_DBFS)
    answer_ms = samples_to_ms(len(answers.answer()[0]) // 2)
    user = User(scenario, talk.client, script, room, answer_ms)
    if scenario.llm_ms:
        surroundings = replace(surroundings, responder=answers.Answerer(scenario.llm_ms))
    await talk.hold(surroundings, options(manner.policy), user, f"sess_{scenario.name}")
    client = talk.client
    return Played(
        scenario,
        tuple(user.made),
        tuple(client.speaker.stretches),
        tuple(client.began()),
        tuple(client.stopped()),
        tuple(told.at_ms for told in client.of(SpeechBegan)),
        tuple(told.at_ms for told in client.of(Committed)),
        talk.duration_ms,
    )


# --- what is heard ---
def sound_of(saying: Saying, library: Library, seed: int) -> Pcm:
    """What the user says, ready to be played."""
    if saying.cough is not None:
        return sounds.cough(saying.cough + seed, saying.bursts)
    if saying.hum is not None:
        return sounds.hum(saying.hum + seed)
    if saying.text:
        return _read_aloud(saying, library, seed)
    found = library.pick(saying.kind, saying.index + seed, saying.shortest_s, saying.longest_s)
    pcm = _speech_of(found.pcm())
    for pause in sorted(saying.pauses, key=lambda p: -p.at):
        pcm = sounds.with_pause(pcm, pause.at, pause.ms)
    return pcm


def _speech_of(pcm: Pcm) -> Pcm:
    """A recording without the silence before and after its speech, so that a script's times are those of speech."""
    found = reference(pcm)
    if found is None:
        return pcm
    return pcm[
        max(0, ms_to_samples(found.begin_ms - MARGIN_MS)) : ms_to_samples(found.end_ms + MARGIN_MS)
    ]


def _read_aloud(saying: Saying, library: Library, seed: int) -> Pcm:
    """Pieces of text with gaps; short recordings stand in where no voice is on the machine."""
    pieces: list[Pcm] = []
    for number, text in enumerate(saying.text):
        spoken = sounds.said(text, saying.voice + seed)
        if spoken is None:
            spoken = library.pick("commands", saying.voice + number + seed, 0.0, 2.0).pcm()
        if number:
            pieces.append(np.zeros(ms_to_samples(saying.gap_ms), np.int16))
        pieces.append(spoken)
    return np.concatenate(pieces)


def _background(library: Library, noise: Noise | None, speech_dbfs: float) -> Real:
    """Thirty seconds of what is around, to be repeated."""
    hush = sounds.at_level(sounds.coloured(sounds.WHITE, NOISE_MS, 1), HUSH_DBFS)
    if noise is None:
        return hush
    if noise.source == "babble":
        voices = [
            library.pick("libri_other", noise.index + 7 * n).pcm() for n in range(noise.voices)
        ]
        loud = sounds.babble(voices, NOISE_MS)
    elif noise.source == "noise" and library.noise:
        recorded = library.noise[noise.index % len(library.noise)].pcm()
        loud = np.resize(recorded, ms_to_samples(NOISE_MS)).astype(np.float64)
    else:
        colour = sounds.WHITE if noise.source == sounds.WHITE else sounds.PINK
        loud = sounds.coloured(colour, NOISE_MS, 3 + noise.index)
    return hush + sounds.at_level(loud, speech_dbfs - noise.snr_db)


def _response(library: Library, echo: Echo | None) -> Real:
    """A room's, scaled so that the echo is as loud as is stated; a single sample where there is none."""
    if echo is None or echo.room is None or not library.rooms:
        return np.ones(1)
    room = library.rooms[echo.room % len(library.rooms)].pcm().astype(np.float64)
    first = int(np.argmax(np.abs(room)))
    kept = room[first : first + ms_to_samples(ROOM_MS)]
    return np.asarray(kept / (np.sqrt((kept**2).sum()) + 1e-9), np.float64)
