"""The headline: every whole recording of one person speaking, untouched, is one turn.

A recording is heard after 0.3 s and before 4 s of faint noise. It is **cut** if any sample of an answer was to be
heard before the speaker's last word ended (`reference`: by loudness), whatever becomes of that answer. It counts as
cut too where that cannot be told by loudness and yet another turn was begun over an answer within the recording
(`more`). The **delay** of a turn that was not cut is from the reference's end to the first sound of the answer, or
to the end of the turn where the recogniser found no word to answer. A turn is **lost** if none was taken to be over
at or after its last words, of which two witnesses tell, loudness and the detector alone; the earlier one counts.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from bench.turns.clients import Client
from bench.turns.policies import Manner
from bench.turns.recordings import Recording
from bench.turns.reference import EARLY_MS, Pcm, Reference, reference
from bench.turns.world import FRAME_MS, Conversation, options
from duologue.core.audio import ms_to_samples, samples_to_ms
from duologue.core.notices import Committed, SpeechBegan
from duologue.session.world import World

LEAD_MS, TAIL_MS = 300, 4_000
HUSH_DBFS = -70.0
"""Level of the noise around a recording: no microphone gives digital silence."""

PAUSE_MS = 200
"""A mid-turn pause: longer than the closure of a consonant (Silero's and the drafts' own measure)."""


@dataclass(frozen=True)
class Outcome:
    """What came of one recording; milliseconds since its conversation began.

    Attributes:
        heard_ms: when sound of an answer began to be heard, each time.
        committed_ms: when a turn was taken to be over, each time.
        again_ms: when the client was told that speech started, each time.
        ends_ms: where the recording ends; `speech_until_ms`: its last word, by the earlier witness.
        why: the reasons of the first turn's end.
    """

    file: str
    kind: str
    reference: Reference | None
    heard_ms: tuple[float, ...]
    committed_ms: tuple[float, ...]
    again_ms: tuple[float, ...]
    ends_ms: int
    speech_until_ms: int
    why: tuple[str, ...] = ()

    def cut_within(self, early_ms: int) -> bool:
        """An answer was heard more than this before the speaker's last word ended."""
        right = self.reference
        return right is not None and any(at < right.end_ms - early_ms for at in self.heard_ms)

    @property
    def cut(self) -> bool:
        """With the reference's own tolerance."""
        return self.cut_within(EARLY_MS)

    @property
    def more(self) -> bool:
        """Not cut as far as loudness tells; and yet speech began anew over an answer, within the recording."""
        if self.cut or not self.heard_ms:
            return False
        return any(self.heard_ms[0] < at <= self.ends_ms for at in self.again_ms)

    @property
    def false_cutoff(self) -> bool:
        """The figure that counts."""
        return self.cut or self.more

    @property
    def paused(self) -> bool:
        """There is a pause in it that might be taken for its end."""
        return self.reference is not None and self.reference.pause_ms >= PAUSE_MS

    @property
    def lost(self) -> bool:
        """Its last words were never taken for a turn."""
        return not any(at >= self.speech_until_ms for at in self.committed_ms)

    @property
    def unanswered(self) -> bool:
        """Its end was seen, and no answer came: the recogniser found no word."""
        return not self.lost and not any(at >= self.speech_until_ms for at in self.heard_ms)

    @property
    def delay_ms(self) -> float | None:
        """From the end of speech to the answer; None where it was cut, lost, or has no reference."""
        right = self.reference
        if right is None or self.false_cutoff or self.lost:
            return None
        since = right.end_ms - EARLY_MS
        times = [at for at in self.heard_ms or self.committed_ms if at >= since]
        return times[0] - right.end_ms if times else None


@lru_cache(maxsize=1)
def hush(samples: int) -> Pcm:
    """Faint noise, always the same."""
    scale = 32_768 * 10 ** (HUSH_DBFS / 20)
    noise = np.random.default_rng(1).standard_normal(samples) * scale
    return noise.round().astype(np.int16)


class Playback:
    """A microphone before which one recording is played."""

    def __init__(self, pcm: Pcm) -> None:
        noise = hush(ms_to_samples(LEAD_MS + TAIL_MS))
        lead = ms_to_samples(LEAD_MS)
        self._pcm = np.concatenate((noise[:lead], pcm, noise[lead:]))

    def frame(self, at_ms: int) -> Pcm | None:
        at, size = ms_to_samples(at_ms), ms_to_samples(FRAME_MS)
        return self._pcm[at : at + size] if at + size <= len(self._pcm) else None


@lru_cache(maxsize=1024)
def right(recording: Recording) -> Reference | None:
    """Where its speech is, in its conversation."""
    found = reference(recording.pcm())
    return found.shifted(LEAD_MS) if found is not None else None


async def hear(
    surroundings: World, manner: Manner, recording: Recording, detected_ms: int
) -> Outcome:
    """One recording, one policy; `detected_ms`: where the detector alone hears its last word end."""
    pcm = recording.pcm()
    talk = Conversation(Client)
    await talk.hold(surroundings, options(manner.policy), Playback(pcm), recording.file)
    client, found = talk.client, right(recording)
    detected_ms += LEAD_MS
    turns = [turn for turn in surroundings.meters.turns if turn.session_id == recording.file]
    return Outcome(
        recording.file,
        recording.kind,
        found,
        tuple(stretch.start_ms for stretch in client.speaker.stretches),
        tuple(told.at_ms for told in client.of(Committed)),
        tuple(told.at_ms for told in client.of(SpeechBegan)),
        LEAD_MS + samples_to_ms(len(pcm)),
        min(found.end_ms - EARLY_MS, detected_ms) if found is not None else detected_ms,
        tuple(turns[0].reasons) if turns else (),
    )
