"""Timers and reminders that run: what is kept of them, and in what words they are spoken of.

The sound comes from the session: a timer is a `SpeakLater` in the answer that sets it. Here it is kept only
so that it can be asked after and taken back.
"""

import itertools
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from duologue.engines.skills.durations import say_duration, say_span
from duologue.engines.skills.skill import Scene, capital
from duologue.ports import SpeakLater

MAX_TIMERS = 32
"""Of one conversation: as many as its session runs (`session.agent_side`)."""

MAX_SESSIONS = 4_096
"""Conversations with timers that are kept; the one longest unused is forgotten, though its timers still sound."""

MAX_S = 24 * 3600
"""A timer lives in the memory of a conversation: a longer one would promise too much."""


@dataclass(frozen=True, slots=True)
class NamedLater(SpeakLater):
    """Say this later, unless it is taken back by its id."""

    id: str = ""


@dataclass(frozen=True, slots=True)
class TakeBack:
    """What was to be said later under this id is not said."""

    id: str


@dataclass(frozen=True, slots=True)
class Timer:
    """One that runs.

    Attributes:
        label: what it is for ("tea"), or what a reminder is about ("to take the tea out"); may be empty.
    """

    id: str
    seconds: int
    due: datetime
    label: str = ""
    is_reminder: bool = False

    @property
    def name(self) -> str:
        """What it is called: "your tea timer for five minutes"."""
        if self.is_reminder:
            return f"your reminder {self.label}".rstrip()
        return f"your {self.label} timer".replace("  ", " ") + f" for {say_duration(self.seconds)}"

    @property
    def promise(self) -> str:
        """What is said when it is set."""
        long = say_duration(self.seconds)
        if self.is_reminder:
            return f"I will remind you in {long} {self.label}".rstrip() + "."
        if self.label:
            return f"Your {self.label} timer is set for {long}."
        return f"{capital(long)}, starting now."

    @property
    def announcement(self) -> str:
        """What is said when it is due."""
        if self.is_reminder and self.label:
            return f"Your reminder: {self.label.partition(' ')[2]}."
        if self.is_reminder:
            return f"This is your reminder after {say_duration(self.seconds)}."
        return f"{capital(self.name)} is done."

    def left(self, now: datetime) -> str:
        """How long it still runs."""
        return f"{self.name} has {say_span((self.due - now).total_seconds())} left"


class TimerBook:
    """The timers that run, by conversation; bounded."""

    def __init__(self) -> None:
        self._timers: OrderedDict[str, list[Timer]] = OrderedDict()
        self._numbers = itertools.count(1)

    def __len__(self) -> int:
        return len(self._timers)

    def running(self, scene: Scene) -> list[Timer]:
        """Those of this conversation that are not due yet, the next one first."""
        timers = [t for t in self._timers.get(scene.session_id, ()) if t.due > scene.now]
        self._keep(scene.session_id, timers)
        return sorted(timers, key=lambda timer: timer.due)

    def start(self, scene: Scene, seconds: int, label: str, *, is_reminder: bool) -> Timer:
        """Note a timer. One of a nameless conversation is not kept: nobody could ask after it."""
        due = scene.now + timedelta(seconds=seconds)
        timer = Timer(f"timer_{next(self._numbers)}", seconds, due, label, is_reminder)
        self._keep(scene.session_id, [*self.running(scene), timer])
        return timer

    def forget(self, scene: Scene, gone: Sequence[Timer]) -> None:
        """These do not run any more."""
        self._keep(scene.session_id, [t for t in self.running(scene) if t not in gone])

    def _keep(self, session_id: str, timers: list[Timer]) -> None:
        self._timers.pop(session_id, None)
        if timers and session_id:
            self._timers[session_id] = timers
        if len(self._timers) > MAX_SESSIONS:
            self._timers.popitem(last=False)
