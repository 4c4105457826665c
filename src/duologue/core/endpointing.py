"""How long to wait in a pause before the turn is taken to be over: evidence -> odds -> milliseconds.

Each piece of evidence shifts the logarithm of the odds that the speaker has finished. The wait is a
function of them: prompt where an end is likely, patient where it is not, and little in between: an answer that does
not come at once may as well come safely.

The weights are rounded from a logistic regression on 349 pauses of 219 recordings, judged on speakers that it was
not fitted to (docs/turn-taking.md has the figures). Two are set by reason instead: the wording's, for the embedded
recogniser is too weak to learn them from; and the acoustic model's, which knows conversation better than the read
speech that most of these recordings are.
"""

import math
from dataclasses import dataclass

from duologue.core.cadence import Cadence
from duologue.core.wording import Wording

BASE = -0.5
"""Log odds that a pause is an end, with nothing known: two in five are."""

SHORT = 1.35
SHORT_MS = 900.0
SHORT_SPREAD_MS = 150.0
"""A turn of less than a second is seldom the beginning of a longer one: "yes", "stop", "lights off"."""

WENT_ON = -0.42
MOST_COUNTED = 3
"""Each pause after which the speaker went on in this turn makes it likelier that they will again."""

FALL_PER_DB = 0.065
DEEPEST_FALL_DB = 20.0
SINKING = 0.024
FASTEST_DB_PER_S = 60.0
"""Voices fall towards an end: for each decibel that the last syllable is softer than the turn's loudest, and for
each decibel a second by which the last few sink."""

ACOUSTIC = 0.15
SUREST = 0.98
"""Part of the acoustic model's log odds that is believed, and how sure it may be."""

WORDING = {
    Wording.NOTHING: 0.0,
    Wording.TRAILING: -2.0,
    Wording.FILLER: -2.0,
    Wording.DICTATING: -2.0,
    Wording.DIGITS: -1.0,
    Wording.PLAIN: 0.0,
    Wording.WHOLE: 0.8,
    Wording.ASKED: 1.2,
}

HABIT_BOUND = 0.8
"""What is learned of a speaker shifts the odds by no more than this, up or down."""

OPEN_FACTOR = 1.5
"""Who is dictating a number, or looking for a word, takes longer than others who go on."""

LONGEST_FACTOR = 1.6
"""A patient wait outlasts the longest pause of this turn, or this speaker's usual one, by this."""

LONGEST_MS = 2_000
"""No wait is made longer than this by what was learned."""


@dataclass(frozen=True, slots=True)
class Endpointing:
    """How an end of turn is found out.

    Attributes:
        prompt_ms: the wait where an end is certain.
        patient_ms: the wait where it is not.
        even: log odds at which the wait lies in the middle.
        spread: log odds from there to either end.
    """

    prompt_ms: int = 230
    patient_ms: int = 1_050
    even: float = 1.3
    spread: float = 0.25


@dataclass(frozen=True, slots=True)
class Pause:
    """What is known of a pause and the turn before it.

    Attributes:
        speech_ms: from the turn's first sound to this pause.
        number: pauses of this turn after which the speaker went on.
        longest_ms: the longest of them; 0 if there was none.
        cadence: how the voice fell before it; None if not known.
        probability: that this is an end, by the acoustic model; None if there is none, or not yet.
        wording: of the transcript so far; None if there is none yet.
    """

    speech_ms: int
    number: int = 0
    longest_ms: int = 0
    cadence: Cadence | None = None
    probability: float | None = None
    wording: Wording | None = None


@dataclass(slots=True)
class Habits:
    """How one speaker pauses, learned from their own turns; moving averages, so that nothing grows.

    Attributes:
        ends, mids: pauses that were ends and that were not; what is older weighs less.
        usual_ms: the length of their pauses within a turn; 0 until there was one.
    """

    ends: float = 3.0
    mids: float = 2.0
    usual_ms: float = 0.0

    def turn_ended(self, pauses: int, longest_ms: int) -> None:
        """A turn is over; it had so many pauses within, the longest this long."""
        self.ends = self.ends * 0.8 + 1
        self.mids = self.mids * 0.8 + min(pauses, MOST_COUNTED)
        if pauses:
            self._heed(longest_ms)

    def was_cut(self, pause_ms: int) -> None:
        """What was taken for an end was a pause of this length: they went on speaking at once."""
        self.ends = max(0.0, self.ends - 1)
        self.mids += 1
        self._heed(pause_ms)

    def shift(self) -> float:
        """What this adds to the log odds of an end."""
        learned = math.log((self.ends + 3) / (self.mids + 2)) - math.log(3 / 2)
        return max(-HABIT_BOUND, min(HABIT_BOUND, learned))

    def _heed(self, pause_ms: int) -> None:
        self.usual_ms = pause_ms if not self.usual_ms else 0.7 * self.usual_ms + 0.3 * pause_ms


@dataclass(frozen=True, slots=True)
class Wait:
    """How long to wait from the end of speech, and why: for the deadline and the waterfall."""

    ms: int
    why: str


def log_odds(pause: Pause, habits: Habits) -> float:
    """Natural logarithm of the odds that the speaker has finished."""
    z = BASE + habits.shift()
    z += SHORT * (0.5 - 0.5 * math.tanh((pause.speech_ms - SHORT_MS) / (2 * SHORT_SPREAD_MS)))
    z += WENT_ON * min(pause.number, MOST_COUNTED)
    if pause.cadence is not None:
        z += FALL_PER_DB * min(pause.cadence.fall_db, DEEPEST_FALL_DB)
        sinking = min(max(-pause.cadence.slope_db_per_s, -FASTEST_DB_PER_S), FASTEST_DB_PER_S)
        z += SINKING * sinking
    if pause.probability is not None:
        p = min(max(pause.probability, 1 - SUREST), SUREST)
        z += ACOUSTIC * math.log(p / (1 - p))
    if pause.wording is not None:
        z += WORDING[pause.wording]
    return z


def wait(pause: Pause, how: Endpointing, habits: Habits) -> Wait:
    """How long this pause must last to be an end."""
    z = log_odds(pause, habits)
    is_open = pause.wording is not None and pause.wording.is_open
    patient_ms = how.patient_ms * (OPEN_FACTOR if is_open else 1)
    learned_ms = LONGEST_FACTOR * max(pause.longest_ms, habits.usual_ms)
    patient_ms = max(patient_ms, min(learned_ms, LONGEST_MS))
    doubt = min(max((how.even + how.spread - z) / (2 * how.spread), 0.0), 1.0)
    ms = round(how.prompt_ms + doubt * (patient_ms - how.prompt_ms))
    share = round(100 / (1 + math.exp(-z)))
    return Wait(ms, f"silence of {ms} ms, an end {share} % likely{_because(pause)}")


def _because(pause: Pause) -> str:
    parts = []
    if pause.wording is not None and pause.wording not in (Wording.NOTHING, Wording.PLAIN):
        parts.append(pause.wording.value)
    if pause.number:
        parts.append(f"{pause.number} pauses before")
    if pause.probability is not None:
        parts.append(f"the acoustic model says {round(100 * pause.probability)} %")
    return f" ({'; '.join(parts)})" if parts else ""
